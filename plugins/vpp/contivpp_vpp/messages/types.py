# SPDX-License-Identifier: Apache-2.0
"""Types that messages share.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/types.messages`: change that, not this.
"""

from enum import KEEP, IntEnum, IntFlag

from contivpp_vpp.wire.base import Structure

__all__ = [
    "AddressFamily",
    "IfStatusFlags",
    "IfType",
    "Ip4Prefix",
    "Ip6Prefix",
    "LinkDuplex",
    "Prefix",
    "SubIfFlags",
]


class AddressFamily(IntEnum):
    IP4 = 0
    IP6 = 1


class Prefix(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "prefix"

    address: bytes = bytes(4)
    len: int = 0


class Ip4Prefix(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "ip4_prefix"

    address: bytes = bytes(4)
    len: int = 0


class Ip6Prefix(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "ip6_prefix"

    address: bytes = bytes(16)
    len: int = 0


class IfStatusFlags(IntFlag, boundary=KEEP):
    ADMIN_UP = 1
    LINK_UP = 2


class LinkDuplex(IntEnum):
    UNKNOWN = 0
    HALF = 1
    FULL = 2


class SubIfFlags(IntFlag, boundary=KEEP):
    NO_TAGS = 1
    ONE_TAG = 2
    TWO_TAGS = 4
    DOT1AD = 8
    EXACT_MATCH = 16
    DEFAULT = 32
    OUTER_VLAN_ID_ANY = 64
    INNER_VLAN_ID_ANY = 128
    MASK_VNET = 254
    DOT1AH = 256


class IfType(IntEnum):
    HARDWARE = 0
    SUB = 1
    P2P = 2
    PIPE = 3
