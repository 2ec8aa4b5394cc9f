# SPDX-License-Identifier: Apache-2.0
"""Items of VPP's layer 2: tunnels to other nodes, bridge domains, their members and their static MAC entries.

They are exported by `contivpp_vpp.items`, which says what items have in common.
"""

from __future__ import annotations

import ipaddress
from typing import ClassVar

from msgspec.structs import force_setattr

from contivpp_core.items import Item
from contivpp_vpp.values import TAG_PREFIX, canonical_address, canonical_mac, is_ipv6

__all__ = ["BridgeDomain", "BridgeMember", "L2FibEntry", "VxlanTunnel"]

_LONGEST_LABEL = 63 - len(TAG_PREFIX)


class VxlanTunnel(Item, frozen=True, kw_only=True):
    """A VXLAN tunnel (RFC 7348) over IPv4, UDP port 4789, whose packets go to layer 2: an interface called `name`.

    Its end points, VNI and the VRF of its outer packets are its identity in VPP: another end point is another tunnel.
    """

    kind: ClassVar[str] = "vpp/vxlan"
    source: str
    destination: str
    vni: int
    encap_vrf: int = 0

    def __post_init__(self) -> None:
        for field in ("source", "destination"):
            address = canonical_address(getattr(self, field))
            if not address or is_ipv6(address) or not _is_unicast(address):
                raise ValueError(f"VXLAN tunnel: {field} {address!r} is not the IPv4 address of a machine")
            force_setattr(self, field, address)
        if self.source == self.destination:
            raise ValueError(f"VXLAN tunnel: both ends are {self.source}")
        if not 0 <= self.vni < 1 << 24:
            raise ValueError(f"VXLAN tunnel to {self.destination}: VNI {self.vni} is not between 0 and 16777215")

    @property
    def name(self) -> str:
        """The name of the tunnel's interface."""
        return f"vxlan-{self.source}-{self.destination}-{self.vni}"

    @property
    def key(self) -> str:
        return f"vpp/vxlan/{self.encap_vrf}/{self.source}/{self.destination}/{self.vni}"


def _is_unicast(address: str) -> bool:
    value = ipaddress.ip_address(address)
    return not (value.is_multicast or value.is_unspecified)


class BridgeDomain(Item, frozen=True, kw_only=True):
    """A bridge domain and what it does with frames; the flags can change while it is in use."""

    kind: ClassVar[str] = "vpp/bridge-domain"
    bd_id: int
    name: str = ""
    learn: bool = False
    flood: bool = False
    unknown_unicast_flood: bool = False
    forward: bool = True
    arp_termination: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.bd_id < 1 << 24:
            raise ValueError(f"bridge domain {self.bd_id}: numbers are 1 to 16777215; 0 is VPP's own")
        if len(self.name.encode()) > _LONGEST_LABEL or "\0" in self.name:
            raise ValueError(f"bridge domain {self.bd_id}: name {self.name!r} has more than {_LONGEST_LABEL} bytes")

    @property
    def key(self) -> str:
        return f"vpp/bridge-domain/{self.bd_id}"


class BridgeMember(Item, frozen=True, kw_only=True):
    """The interface is in a bridge domain; with `bvi` it is how the domain reaches layer 3.

    Frames from a member are not sent to members of the same `split_horizon_group`, unless that is 0.
    """

    kind: ClassVar[str] = "vpp/bridge-member"
    bridge_domain: int
    interface: str
    bvi: bool = False
    split_horizon_group: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.split_horizon_group <= 255:
            group = self.split_horizon_group
            raise ValueError(f"interface {self.interface}: split-horizon group {group} is not between 0 and 255")

    @property
    def key(self) -> str:
        return f"vpp/bridge-member/{self.interface}"


class L2FibEntry(Item, frozen=True, kw_only=True):
    """Frames to `mac` leave a bridge domain by `interface`, one of its members; static: never learned over."""

    kind: ClassVar[str] = "vpp/l2fib"
    bridge_domain: int
    mac: str
    interface: str

    def __post_init__(self) -> None:
        if not self.mac:
            raise ValueError(f"entry of bridge domain {self.bridge_domain}: a MAC address is needed")
        force_setattr(self, "mac", canonical_mac(self.mac))

    @property
    def key(self) -> str:
        return f"vpp/l2fib/{self.bridge_domain}/{self.mac}"
