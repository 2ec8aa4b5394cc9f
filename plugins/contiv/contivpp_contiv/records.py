# SPDX-License-Identifier: Apache-2.0
"""Records of pods' interfaces.

A `LocalPod` is one attachment: a sandbox's interface, with every choice that was made for it. It is keyed by
container ID and interface name, because a pod's name is used again by its successor while the old sandbox is still
being taken down. `PodInterface` is what other plugins need to know of it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contivpp_core.namespaces import Namespace
from contivpp_core.records import Record, Table

__all__ = ["LOCAL_POD", "POD_INTERFACE", "LocalPod", "PodInterface", "attachment_key"]


def attachment_key(container_id: str, interface: str) -> str:
    """Return the key of an attachment."""
    return f"{container_id}/{interface}"


class LocalPod(Record, frozen=True, kw_only=True):
    """A pod's interface on this node; everything here was chosen by its ADD and never changes."""

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
    indexes={"pod": lambda record: (record.pod,), "address": lambda record: (record.address,)},
)
POD_INTERFACE = Table(
    "PodInterface",
    PodInterface,
    key=lambda record: record.interface,
    derived=True,
    indexes={"pod": lambda record: (f"{record.namespace}/{record.pod}",)},
    namespace=lambda record: record.namespace,
)

ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(LocalPod)
