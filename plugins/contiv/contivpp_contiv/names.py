# SPDX-License-Identifier: Apache-2.0
"""Names and MAC addresses: pure functions of container ID and interface name, or of the node's ID.

They are the same after every restart, so whatever is found can be told apart, and a pod keeps its MAC when VPP is
started anew.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

__all__ = [
    "BVI_INTERFACE",
    "GATEWAY_INTERFACE",
    "HOST_INTERFACE",
    "HOST_PEER_LINK",
    "HOST_SIDE_LINK",
    "LOOPBACK_UPLINK",
    "UPLINK_INTERFACE",
    "bvi_mac",
    "host_interface_mac",
    "host_link",
    "pod_mac",
    "uplink_mac",
    "vpp_interface",
    "vpp_mac",
]

GATEWAY_INTERFACE = "podGwLoop"
"""The loopback that holds the gateway address of the node's pods."""
UPLINK_INTERFACE = "uplink"
"""The NIC that reaches the other nodes."""
LOOPBACK_UPLINK = "loopbackNIC"
"""The loopback that has the node's address where VPP has no NIC."""
BVI_INTERFACE = "vxlanBVI"
"""The loopback by which the node takes part in the overlay's bridge domain."""
HOST_INTERFACE = "tap-vpp2"
"""VPP's end of the link to the host's stack, whatever it is made of."""
HOST_SIDE_LINK = "vpp1"
"""The host's end of that link."""
HOST_PEER_LINK = "vpp2"
"""The end of the veth pair that VPP reads from, where the link is one."""

LINK_NAME_BYTES = 15  # IFNAMSIZ - 1


@lru_cache(maxsize=4096)  # an attachment's names are asked for at each step of its life
def _fnv1a(text: str, *, bits: int) -> int:
    """Return the FNV-1a hash (RFC 9923)."""
    offset, prime = {32: (0x811C9DC5, 0x01000193), 64: (0xCBF29CE484222325, 0x100000001B3)}[bits]
    value = offset
    for byte in text.encode():
        value = (value ^ byte) * prime % (1 << bits)
    return value


def _identity(container_id: str, interface: str) -> str:
    return f"{container_id}/{interface}"


def vpp_interface(container_id: str, interface: str) -> str:
    """Return the logical name of a pod's interface in VPP: readable, and unique by its hash."""
    return f"pod-{container_id[:12]}-{_fnv1a(_identity(container_id, interface), bits=64):016x}"


def host_link(container_id: str, interface: str) -> str:
    """Return the name of the host's end of a pod's veth pair."""
    return f"cvpp{_fnv1a(_identity(container_id, interface), bits=64):016x}"[:LINK_NAME_BYTES]


def pod_mac(container_id: str, interface: str) -> str:
    """Return the MAC of the pod's end: 02:fe, then the hash, least significant byte first."""
    return _mac(_fnv1a(_identity(container_id, interface), bits=32))


def vpp_mac(container_id: str, interface: str) -> str:
    """Return the MAC of VPP's end: the bitwise complement of the pod's hash."""
    return _mac(_fnv1a(_identity(container_id, interface), bits=32) ^ 0xFFFFFFFF)


def _mac(value: int) -> str:
    return ":".join(f"{byte:02x}" for byte in (0x02, 0xFE, *value.to_bytes(4, "little")))


def bvi_mac(node_id: int) -> str:
    """Return the MAC by which a node is known in the overlay: 12:2b, then the node's ID."""
    return _node_mac(0x12, 0x2B, node_id)


def host_interface_mac(node_id: int) -> str:
    """Return the MAC of VPP's end of the link to the host: 36:3c, then the node's ID."""
    return _node_mac(0x36, 0x3C, node_id)  # the original's 34:3c is not a local address (IEEE 802)


def uplink_mac(address: str) -> str:
    """Return the MAC of an uplink without one of its own: 12:2d, then the IPv4 address that the node's ID gives it."""
    return ":".join(f"{byte:02x}" for byte in (0x12, 0x2D, *ipaddress.IPv4Address(address).packed))


def _node_mac(first: int, second: int, node_id: int) -> str:
    return ":".join(f"{byte:02x}" for byte in (first, second, *node_id.to_bytes(4, "big")))
