# SPDX-License-Identifier: Apache-2.0
"""Records of pods' interfaces, and of what connects the node with the others.

A `LocalPod` is one attachment: a sandbox's interface, with every choice that was made for it. It is keyed by
container ID and interface name, because a pod's name is used again by its successor while the old sandbox is still
being taken down. `PodInterface` is what other plugins need to know of it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contivpp_contiv import names
from contivpp_core.kubernetes import NodeSettings
from contivpp_core.namespaces import Namespace
from contivpp_core.node import ClusterNode
from contivpp_core.records import AnyTable, Record, Table

__all__ = [
    "ALTERED_LINK",
    "CONTAINER_RUNTIME",
    "DEFAULT_ROUTE",
    "HOST_LINK",
    "LOCAL_POD",
    "OWN_NODE",
    "PEER",
    "PODS",
    "POD_INTERFACE",
    "REMEMBERED",
    "TABLES",
    "TOMBSTONES",
    "UPLINK",
    "AlteredLink",
    "ContainerRuntime",
    "Dns",
    "HostLink",
    "LocalPod",
    "Peer",
    "PodInterface",
    "PodRoute",
    "Stranger",
    "Uplink",
    "attachment_key",
]


PODS = "contiv.pod"
"""Where the ledger keeps attachments."""
TOMBSTONES = "contiv.tombstone"
"""Where it keeps those that are being taken down."""
DEFAULT_ROUTE = "0.0.0.0/0"


def attachment_key(container_id: str, interface: str) -> str:
    """Return the key of an attachment."""
    return f"{container_id}/{interface}"


class PodRoute(Record, frozen=True, kw_only=True):
    """A route that a pod has by its network's configuration; without a gateway, by the pod's. Metric 0: the pod's."""

    destination: str
    gateway: str = ""
    metric: int = 0


class Dns(Record, frozen=True, kw_only=True):
    """What a network says of name servers (CNI specification, "dns"); the runtime writes it into the container."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class LocalPod(Record, frozen=True, kw_only=True):
    """A pod's interface on this node; everything but the MTU was chosen by its ADD and never changes.

    `network` is the name of the network's configuration. `own_mac` and `own_mtu` were asked for; without them they
    follow from the attachment and from the underlay. `metric` tells the routes of several interfaces of one pod apart.
    """

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
    network: str = ""
    own_mac: str = ""
    own_mtu: int | None = None
    metric: int = 0
    default_route: bool = True
    routes: tuple[PodRoute, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    dns: Dns = Dns()

    @property
    def key(self) -> str:
        """`<container ID>/<interface>`."""
        return attachment_key(self.container_id, self.interface)

    @property
    def mac(self) -> str:
        """The MAC of the pod's end."""
        return self.own_mac or names.pod_mac(self.container_id, self.interface)

    @property
    def all_routes(self) -> tuple[PodRoute, ...]:
        """The routes of the pod, each with its gateway and metric; the one to the gateway itself is not among them."""
        default = (PodRoute(destination=DEFAULT_ROUTE),) if self.default_route else ()
        given = {(route.destination, route.metric or self.metric): route for route in (*default, *self.routes)}
        given.pop((f"{self.gateway}/32", self.metric), None)
        return tuple(
            PodRoute(destination=destination, gateway=route.gateway or self.gateway, metric=metric)
            for (destination, metric), route in given.items()
        )

    @property
    def pod(self) -> str:
        """`<namespace>/<name>`; outside Kubernetes the name alone."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


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
        "netns": lambda record: (str(record.netns),),
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


class Stranger(msgspec.Struct, frozen=True, order=True):
    """A sandbox that the runtime has, with an address of this node's pod subnet, and without an attachment."""

    id: str
    pod: str
    address: str


class ContainerRuntime(Record, frozen=True, kw_only=True):
    """What is wrong with the runtime at a socket: no answers for a while, or sandboxes that are not known here."""

    socket: str
    fault: str = ""
    strangers: tuple[Stranger, ...] = ()


CONTAINER_RUNTIME = Table("ContainerRuntime", ContainerRuntime, key=lambda record: record.socket)
HOST_LINK = Table("HostLink", HostLink, key=lambda record: record.name)
REMEMBERED = Table("RememberedSettings", NodeSettings, key=lambda record: record.name)
"""The operator's settings of this node as they were known last; they count until the cluster's store tells them."""
UPLINK = Table("Uplink", Uplink, key=lambda record: record.name, derived=True)
PEER = Table("Peer", Peer, key=lambda record: record.name, derived=True)
OWN_NODE = Table("OwnNode", ClusterNode, key=lambda record: record.name, derived=True)
"""This node as it is to be published."""
TABLES: tuple[AnyTable, ...] = (
    LOCAL_POD,
    ALTERED_LINK,
    POD_INTERFACE,
    CONTAINER_RUNTIME,
    HOST_LINK,
    REMEMBERED,
    UPLINK,
    PEER,
    OWN_NODE,
)
"""The tables of this plugin."""

ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(LocalPod)
