# SPDX-License-Identifier: Apache-2.0
"""Items of VPP: what a renderer can want of it.

An interface is known by a logical name; it provides the key `vpp/interface/NAME`, whatever it is made of, and
everything that is set on it (address, VRF, link state) is an item of its own that names it. The index that VPP
gives is a handle and never part of an item. Values become canonical when an item is made (`contivpp_vpp.values`),
so that what a dump finds equals what was wanted. How items are applied is in `contivpp_vpp.descriptors`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
from msgspec.structs import force_setattr

from contivpp_core.items import Item
from contivpp_core.namespaces import Namespace
from contivpp_vpp.l2_items import BridgeDomain, BridgeMember, L2FibEntry, VxlanTunnel
from contivpp_vpp.nat_items import Nat44, Nat44Address, Nat44Interface, Nat44Mapping, NatBackend
from contivpp_vpp.values import (
    canonical_address,
    canonical_interface_address,
    canonical_mac,
    canonical_prefix,
    checked_name,
)

__all__ = [
    "Address",
    "AfPacket",
    "BridgeDomain",
    "BridgeMember",
    "InterfaceVrf",
    "L2FibEntry",
    "LinkUp",
    "Loopback",
    "Mac",
    "Mtu",
    "Nat44",
    "Nat44Address",
    "Nat44Interface",
    "Nat44Mapping",
    "NatBackend",
    "Neighbour",
    "NeighbourSettings",
    "Path",
    "PhysicalInterface",
    "Route",
    "SubInterface",
    "Tag",
    "Tap",
    "Unnumbered",
    "VrfTable",
    "VxlanTunnel",
    "interface_key",
]


def interface_key(name: str) -> str:
    """Return the key that exists whenever the interface does."""
    return f"vpp/interface/{name}"


# --- interfaces


class Tap(Item, frozen=True, kw_only=True):
    """A TAP: one end in VPP, the other a Linux interface `host_name` in `namespace`.

    Empty MACs are left to VPP, as are `host_mtu` 0 and `instance` None. With `initial_mac`, `host_mac` counts only when
    VPP makes the TAP or attaches to it: others may have changed it since.
    """

    kind: ClassVar[str] = "vpp/tap"
    name: str
    host_name: str
    namespace: Namespace = Namespace()
    host_mac: str = ""
    mac: str = ""
    host_mtu: int = 0
    instance: int | None = None
    initial_mac: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name)
        force_setattr(self, "host_mac", canonical_mac(self.host_mac))
        force_setattr(self, "mac", canonical_mac(self.mac))

    @property
    def key(self) -> str:
        return f"vpp/tap/{self.name}"


class AfPacket(Item, frozen=True, kw_only=True):
    """An interface on top of the Linux interface `host_name` in VPP's own namespace."""

    kind: ClassVar[str] = "vpp/afpacket"
    name: str
    host_name: str
    mac: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name)
        force_setattr(self, "mac", canonical_mac(self.mac))

    @property
    def key(self) -> str:
        return f"vpp/afpacket/{self.name}"


class Loopback(Item, frozen=True, kw_only=True):
    """A loopback interface; `instance` is reserved for it (VPP calls it `loop<instance>`)."""

    kind: ClassVar[str] = "vpp/loopback"
    name: str
    instance: int
    mac: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name)
        force_setattr(self, "mac", canonical_mac(self.mac))

    @property
    def key(self) -> str:
        return f"vpp/loopback/{self.name}"


class PhysicalInterface(Item, frozen=True, kw_only=True):
    """An interface that VPP has by itself (a NIC): found by `device`, VPP's name for it; never made or deleted."""

    kind: ClassVar[str] = "vpp/physical"
    name: str
    device: str

    def __post_init__(self) -> None:
        checked_name(self.name)

    @property
    def key(self) -> str:
        return f"vpp/physical/{self.name}"


class SubInterface(Item, frozen=True, kw_only=True):
    """The frames of `parent` with exactly one 802.1Q tag, `vlan`, as an interface of their own.

    VPP sets it up only while the parent is: its `LinkUp` requires that of the parent.
    """

    kind: ClassVar[str] = "vpp/sub-interface"
    name: str
    parent: str
    vlan: int

    def __post_init__(self) -> None:
        checked_name(self.name)
        if not 1 <= self.vlan <= 4094:
            raise ValueError(f"sub-interface {self.name}: VLAN {self.vlan} is not between 1 and 4094 (IEEE 802.1Q)")

    @property
    def key(self) -> str:
        return f"vpp/sub-interface/{self.name}"


# --- what is set on an interface


class Tag(Item, frozen=True, kw_only=True):
    """The tag of an interface that we did not make; our own interfaces are tagged when they are made."""

    kind: ClassVar[str] = "vpp/tag"
    interface: str
    tag: str

    def __post_init__(self) -> None:
        if not 0 < len(self.tag.encode()) <= 63:
            raise ValueError(f"tag {self.tag!r} must have 1 to 63 bytes: VPP keeps no more")

    @property
    def key(self) -> str:
        return f"vpp/tag/{self.interface}"


class LinkUp(Item, frozen=True, kw_only=True):
    """The interface is administratively up, once every key of `requires` is applied.

    A merged kind: any plugin may add keys that must be there before the interface's first packet.
    """

    kind: ClassVar[str] = "vpp/link-up"
    interface: str
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        force_setattr(self, "requires", tuple(sorted(set(self.requires))))

    @property
    def key(self) -> str:
        return f"vpp/link-up/{self.interface}"


class InterfaceVrf(Item, frozen=True, kw_only=True):
    """The interface is in VRF `vrf` (both address families), which is not 0: that is where interfaces begin."""

    kind: ClassVar[str] = "vpp/interface-vrf"
    interface: str
    vrf: int

    def __post_init__(self) -> None:
        if self.vrf == 0:
            raise ValueError(f"interface {self.interface} is in VRF 0 without an item: leave InterfaceVrf out")

    @property
    def key(self) -> str:
        return f"vpp/interface-vrf/{self.interface}"


class Address(Item, frozen=True, kw_only=True):
    """An address with its prefix length on an interface that is in VRF `vrf`."""

    kind: ClassVar[str] = "vpp/address"
    interface: str
    address: str
    vrf: int = 0

    def __post_init__(self) -> None:
        force_setattr(self, "address", canonical_interface_address(self.address))

    @property
    def key(self) -> str:
        return f"vpp/address/{self.interface}/{self.address}"


class Unnumbered(Item, frozen=True, kw_only=True):
    """The interface borrows the addresses of `donor`; both are in VRF `vrf`."""

    kind: ClassVar[str] = "vpp/unnumbered"
    interface: str
    donor: str
    vrf: int = 0

    @property
    def key(self) -> str:
        return f"vpp/unnumbered/{self.interface}"


class Mac(Item, frozen=True, kw_only=True):
    """The MAC address of an interface that was made without one. Deletion leaves it as it is."""

    kind: ClassVar[str] = "vpp/mac"
    interface: str
    mac: str

    def __post_init__(self) -> None:
        if not self.mac:
            raise ValueError(f"interface {self.interface}: a MAC address is needed")
        force_setattr(self, "mac", canonical_mac(self.mac))

    @property
    def key(self) -> str:
        return f"vpp/mac/{self.interface}"


class Mtu(Item, frozen=True, kw_only=True):
    """The L3 MTU of an interface. Deletion leaves it as it is."""

    kind: ClassVar[str] = "vpp/mtu"
    interface: str
    mtu: int

    def __post_init__(self) -> None:
        if not 68 <= self.mtu <= 65535:
            raise ValueError(f"MTU {self.mtu} of interface {self.interface} is not between 68 (RFC 791) and 65535")

    @property
    def key(self) -> str:
        return f"vpp/mtu/{self.interface}"


class Neighbour(Item, frozen=True, kw_only=True):
    """A static neighbour entry."""

    kind: ClassVar[str] = "vpp/neighbour"
    interface: str
    address: str
    mac: str

    def __post_init__(self) -> None:
        force_setattr(self, "address", canonical_address(self.address))
        force_setattr(self, "mac", canonical_mac(self.mac))

    @property
    def key(self) -> str:
        return f"vpp/neighbour/{self.interface}/{self.address}"


class NeighbourSettings(Item, frozen=True, kw_only=True):
    """What VPP does with the neighbours of a family that it learned; deletion restores VPP's own settings.

    At most `max_number` are kept (0: any number); with `recycle` the oldest makes room for a new one. One that was not
    used for `max_age_seconds` is asked for again, and forgotten without an answer (0: never).
    """

    kind: ClassVar[str] = "vpp/neighbour-settings"
    family: Literal["ip4", "ip6"]
    max_number: int = 50_000
    max_age_seconds: int = 0
    recycle: bool = False

    @property
    def key(self) -> str:
        return f"vpp/neighbour-settings/{self.family}"


# --- tables and routes


class VrfTable(Item, frozen=True, kw_only=True):
    """A VRF: the IPv4 and IPv6 tables `vrf`, which is not 0: that one is always there."""

    kind: ClassVar[str] = "vpp/vrf"
    vrf: int
    label: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.vrf < 0xFFFFFFFF:
            raise ValueError(f"VRF {self.vrf}: tables are made for 1 to 4294967294; VRF 0 is always there")
        if len(self.label.encode()) > 52:
            raise ValueError(f"VRF {self.vrf}: label {self.label!r} is longer than the 52 bytes that VPP's name leaves")

    @property
    def key(self) -> str:
        return f"vpp/vrf/{self.vrf}"


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """One way of a route.

    `forward`: out of `interface`, to `next_hop` (empty: the destination is on the link); without an interface the next
    hop is looked up in `via_vrf` (None: the route's own). `lookup`: the destination is looked up again in `via_vrf`.
    """

    interface: str = ""
    next_hop: str = ""
    via_vrf: int | None = None
    kind: Literal["forward", "lookup", "drop"] = "forward"
    weight: int = 1

    def __post_init__(self) -> None:
        force_setattr(self, "next_hop", canonical_address(self.next_hop))
        if fault := self._fault():
            raise ValueError(f"path {self.kind} {self.interface} {self.next_hop}: {fault}")

    def _fault(self) -> str:
        if not 1 <= self.weight <= 255:
            return f"weight {self.weight} is not between 1 and 255"
        match self.kind:
            case "forward":
                return "" if self.interface or self.next_hop else "it needs an interface or a next hop"
            case "lookup":
                if self.via_vrf is None:
                    return "it needs via_vrf"
        return "only a forwarding path has an interface or a next hop" if self.interface or self.next_hop else ""

    def order(self) -> tuple[str, str, str, int, int]:
        """Return what paths are sorted by."""
        return self.kind, self.interface, self.next_hop, -1 if self.via_vrf is None else self.via_vrf, self.weight


class Route(Item, frozen=True, kw_only=True):
    """A route of our own FIB source."""

    kind: ClassVar[str] = "vpp/route"
    vrf: int = 0
    prefix: str
    paths: tuple[Path, ...]

    def __post_init__(self) -> None:
        force_setattr(self, "prefix", canonical_prefix(self.prefix))
        if not self.paths:
            raise ValueError(f"route {self.prefix} in VRF {self.vrf} has no path: say drop if that is meant")
        paths = {_canonical_path(path, self.vrf) for path in self.paths}
        force_setattr(self, "paths", tuple(sorted(paths, key=Path.order)))

    @property
    def key(self) -> str:
        return f"vpp/route/{self.vrf}/{self.prefix}"


def _canonical_path(path: Path, vrf: int) -> Path:
    """A table matters only where something is looked up, and the route's own one goes without saying."""
    if path.kind == "forward" and path.via_vrf is not None and (path.interface or path.via_vrf == vrf):
        return msgspec.structs.replace(path, via_vrf=None)
    return msgspec.structs.replace(path, via_vrf=None) if path.kind == "drop" else path
