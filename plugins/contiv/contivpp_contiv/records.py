# SPDX-License-Identifier: Apache-2.0
"""Records of pods' interfaces, and of what connects the node with the others.

A `LocalPod` is one attachment: a sandbox's interface, with every choice that was made for it. It is keyed by
container ID and interface name, because a pod's name is used again by its successor while the old sandbox is still
being taken down. `PodInterface` is what other plugins need to know of it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contivpp_core.kubernetes import NodeSettings
from contivpp_core.namespaces import Namespace
from contivpp_core.node import ClusterNode
from contivpp_core.records import AnyTable, Record, Table

__all__ = [
    "ALTERED_LINK",
    "HOST_LINK",
    "LOCAL_POD",
    "OWN_NODE",
    "PEER",
    "POD_INTERFACE",
    "REMEMBERED",
    "TABLES",
    "UPLINK",
    "AlteredLink",
    "HostLink",
    "LocalPod",
    "Peer",
    "PodInterface",
    "Uplink",
    "attachment_key",
    "link_name",
]


def attachment_key(container_id: str, interface: str) -> str:
    """Return the key of an attachment."""
    return f"{container_id}/{interface}"


def link_name(netns: Namespace, interface: str) -> str:
    """Return what stands for a link of a namespace in an index."""
    return f"{netns}/{interface}"


class LocalPod(Record, frozen=True, kw_only=True):
    """A pod's interface on this node; everything but the MTU was chosen by its ADD and never changes."""

    container_id: str
    interface: str
    namespace: str
    name: str
    netns: Namespace
    address: str
    gateway: str
    wiring: Literal["tap", "afpacket"]
    mtu: int
    vrf: int = 0

    @property
    def key(self) -> str:
        """`<container ID>/<interface>`."""
        return attachment_key(self.container_id, self.interface)

    @property
    def pod(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.namespace}/{self.name}"


class PodInterface(Record, frozen=True, kw_only=True):
    """A pod's interface in VPP: its logical name, and whose it is."""

    interface: str
    namespace: str
    pod: str
    address: str
    vrf: int = 0


LOCAL_POD = Table(
    "LocalPod",
    LocalPod,
    key=lambda record: record.key,
    persistent=True,
    indexes={
        "pod": lambda record: (record.pod,),
        "address": lambda record: (record.address,),
        "link": lambda record: (link_name(record.netns, record.interface),),
    },
)
POD_INTERFACE = Table(
    "PodInterface",
    PodInterface,
    key=lambda record: record.interface,
    derived=True,
    indexes={"pod": lambda record: (f"{record.namespace}/{record.pod}",)},
    namespace=lambda record: record.namespace,
)

class HostLink(Record, frozen=True, kw_only=True):
    """How VPP and the host's stack are connected; chosen by what VPP can make."""

    name: str
    kind: Literal["tap", "veth"]


class Uplink(Record, frozen=True, kw_only=True):
    """The interface by which a node's VPP reaches the other nodes: its logical name, and VPP's address on it.

    `device` is VPP's name of the NIC; empty for the loopback that stands in where there is none. `address` has a prefix
    length, `gateway` may be empty.
    """

    name: str
    interface: str
    device: str
    address: str
    gateway: str = ""


class Peer(Record, frozen=True, kw_only=True):
    """Another node that this one is connected with, and where: addresses without prefix length."""

    name: str
    node_id: int
    vpp_address: str
    management_addresses: tuple[str, ...] = ()


class AlteredLink(Record, frozen=True, kw_only=True):
    """What others have made of a pod's link after its ADD, where it is not as the ADD left it.

    `link` is its index in the pod's namespace: with another one, it is another link. Empty fields are as this agent
    made them. `lost` says what others had made of former links of the attachment, and is there no more.
    """

    attachment: str
    link: int
    mac: str = ""
    mtu: int = 0
    routes: tuple[str, ...] = ()
    promiscuous: bool = False
    all_multicast: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()


ALTERED_LINK = Table("AlteredLink", AlteredLink, key=lambda record: record.attachment, persistent=True)

HOST_LINK = Table("HostLink", HostLink, key=lambda record: record.name)
REMEMBERED = Table("RememberedSettings", NodeSettings, key=lambda record: record.name)
"""The operator's settings of this node as they were known last; they count until the cluster's store tells them."""
UPLINK = Table("Uplink", Uplink, key=lambda record: record.name, derived=True)
PEER = Table("Peer", Peer, key=lambda record: record.name, derived=True)
OWN_NODE = Table("OwnNode", ClusterNode, key=lambda record: record.name, derived=True)
"""This node as it is to be published."""
TABLES: tuple[AnyTable, ...] = (LOCAL_POD, ALTERED_LINK, POD_INTERFACE, HOST_LINK, REMEMBERED, UPLINK, PEER, OWN_NODE)
"""The tables of this plugin."""

ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(LocalPod)
