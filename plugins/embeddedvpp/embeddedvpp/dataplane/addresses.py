# SPDX-License-Identifier: Apache-2.0
"""IPv4 and MAC addresses as the packet path wants them.

An IPv4 address is a plain ``int`` and a MAC address is ``bytes`` everywhere in the dataplane: both are what
a packet holds, hash fast and need no objects. These helpers convert at the edge.
"""

from __future__ import annotations

import os
import socket

BROADCAST_MAC = b"\xff" * 6
MASKS = tuple((0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF for length in range(33))


def ip4(text: str) -> int:
    """``"10.0.0.1"`` as an int; ValueError when it is no IPv4 address."""
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except OSError:
        raise ValueError(f"not an IPv4 address: {text!r}") from None


def format_ip4(address: int) -> str:
    """An int as dotted decimal text."""
    return f"{address >> 24}.{(address >> 16) & 255}.{(address >> 8) & 255}.{address & 255}"


def format_mac(mac: bytes) -> str:
    """Six bytes as ``02:fe:…``."""
    return mac.hex(":")


def random_mac() -> bytes:
    """A locally administered MAC address in the range that VPP generates (02:fe)."""
    return b"\x02\xfe" + os.urandom(4)
