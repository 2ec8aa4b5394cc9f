# SPDX-License-Identifier: Apache-2.0
"""Addresses and prefixes between the wire and the dataplane, which holds addresses as integers."""

from __future__ import annotations

from typing import Any

from ..wire.codec import types

IP4, IP6 = 0, 1


def version(family: int) -> int:
    """4 or 6; like VPP, every family that is not IPv6 is IPv4."""
    return 6 if family == IP6 else 4


def integer(address: Any) -> int:
    """An ``address`` as an integer."""
    return int.from_bytes(address.un[:16] if address.af == IP6 else address.un[:4], "big")


def union(value: int, version: int) -> bytes:
    """The bytes of an address union."""
    return value.to_bytes(16, "big") if version == 6 else value.to_bytes(4, "big")


def address(value: int, version: int = 4) -> Any:
    """An ``address``."""
    return types()["address"](IP6 if version == 6 else IP4, union(value, version))


def prefix(value: int, length: int, version: int = 4) -> Any:
    """A ``prefix``."""
    return types()["prefix"](address(value, version), length)
