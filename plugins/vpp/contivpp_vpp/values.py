# SPDX-License-Identifier: Apache-2.0
"""Canonical values: the one spelling of each address, prefix, MAC and tag that items hold and dumps give back.

What is wanted and what is found are compared as values, so both go through these functions: MACs in lower case,
IPv6 in its short form, prefixes without host bits. Between text and the bytes of messages there is nothing else in
this plugin.
"""

from __future__ import annotations

import functools
import ipaddress
import socket

__all__ = [
    "LONGEST_NAME",
    "TAG_PREFIX",
    "address_bytes",
    "address_text",
    "canonical_address",
    "canonical_interface_address",
    "canonical_mac",
    "canonical_prefix",
    "checked_name",
    "ipv4_bytes",
    "is_ipv6",
    "mac_bytes",
    "mac_text",
    "name_of_tag",
    "prefix_parts",
    "tag_of",
]

TAG_PREFIX = "contivpp/1/"
"""What every tag of ours begins with: the owner, and the version of this convention."""

LONGEST_NAME = 63 - len(TAG_PREFIX)
"""The longest name of an interface in bytes: VPP keeps 63 bytes of a tag, and the dump must give the name back."""


def checked_name(name: str) -> str:
    """Return an interface's name, or raise ValueError when VPP's tag cannot carry it."""
    size = len(name.encode())
    if not 0 < size <= LONGEST_NAME or "\0" in name:
        raise ValueError(f"interface name {name!r} must have 1 to {LONGEST_NAME} bytes, no NUL: VPP's tag carries it")
    return name


def tag_of(name: str) -> str:
    """Return the tag that marks an interface as ours and keeps its name."""
    return TAG_PREFIX + name


def name_of_tag(tag: str) -> str | None:
    """Return the name of an interface of ours, or None for a foreign tag."""
    return tag.removeprefix(TAG_PREFIX) if tag.startswith(TAG_PREFIX) and tag != TAG_PREFIX else None


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of a MAC address; "" is all zero."""
    if not mac:
        return bytes(6)
    parts = mac.replace("-", ":").split(":")
    if len(parts) != 6:
        raise ValueError(f"{mac!r} is not a MAC address: six pairs of hexadecimal digits are needed")
    try:
        return bytes(int(part, 16) for part in parts)
    except ValueError:
        raise ValueError(f"{mac!r} is not a MAC address: six pairs of hexadecimal digits are needed") from None


def mac_text(mac: bytes) -> str:
    """Return a MAC address as text."""
    return mac.hex(":")


def canonical_mac(mac: str) -> str:
    """Return a MAC address in lower case; "" (any) stays."""
    return mac_text(mac_bytes(mac)) if mac else ""


def canonical_address(address: str) -> str:
    """Return an address in its short form; "" stays."""
    return str(ipaddress.ip_address(address)) if address else ""


def canonical_interface_address(address: str) -> str:
    """Return an address with its prefix length, host bits kept."""
    return ipaddress.ip_interface(address).with_prefixlen


def canonical_prefix(prefix: str) -> str:
    """Return a prefix with its host bits cleared."""
    return str(ipaddress.ip_network(prefix, strict=False))


def prefix_parts(prefix: str) -> tuple[bytes, int]:
    """Return bytes and length of a canonical `address/length`."""
    address, _, length = prefix.partition("/")
    return address_bytes(address), int(length)


def address_bytes(address: str) -> bytes:
    """Return the bytes of a canonical address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


@functools.lru_cache(1 << 14)
def ipv4_bytes(address: str) -> bytes:
    """Return the bytes of an IPv4 address; raise OSError for what is none. A pod is a backend of many services."""
    return socket.inet_pton(socket.AF_INET, address)


def address_text(address: bytes) -> str:
    """Return an address of 4 or 16 bytes as text."""
    return str(ipaddress.ip_address(address))


def is_ipv6(address: str) -> bool:
    """Tell whether an address or prefix is IPv6."""
    return ":" in address
