# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: ip_neighbor.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/ip_neighbor.messages`: change that, not this.
"""

from enum import KEEP, IntFlag

from contivpp_vpp.messages.types import AddressFamily
from contivpp_vpp.wire.base import Details, Dump, Reply, Request, Structure

__all__ = [
    "IpNeighbor",
    "IpNeighborAddDel",
    "IpNeighborAddDelReply",
    "IpNeighborConfig",
    "IpNeighborConfigGet",
    "IpNeighborConfigGetReply",
    "IpNeighborConfigReply",
    "IpNeighborDetails",
    "IpNeighborDump",
    "IpNeighborFlags",
]


class IpNeighborFlags(IntFlag, boundary=KEEP):
    NONE = 0
    STATIC = 1
    NO_FIB_ENTRY = 2


class IpNeighbor(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "ip_neighbor"

    sw_if_index: int = 0xFFFFFFFF
    flags: IpNeighborFlags = IpNeighborFlags.NONE
    mac_address: bytes = bytes(6)
    ip_address: bytes = bytes(4)


class IpNeighborAddDelReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_add_del_reply"
    CRC = 0x1992DEAB

    stats_index: int = 0


class IpNeighborAddDel(Request[IpNeighborAddDelReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_add_del"
    CRC = 0x0607C257
    REPLY = IpNeighborAddDelReply

    is_add: bool = True
    neighbor: IpNeighbor = IpNeighbor()


class IpNeighborDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_details"
    CRC = 0xE29D79F0

    age: float = 0.0
    neighbor: IpNeighbor = IpNeighbor()


class IpNeighborDump(Dump[IpNeighborDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_dump"
    CRC = 0xD817A484
    DETAILS = IpNeighborDetails

    sw_if_index: int = 0xFFFFFFFF
    af: AddressFamily | int = AddressFamily.IP4


class IpNeighborConfigReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config_reply"
    CRC = 0xE8D4E804


class IpNeighborConfig(Request[IpNeighborConfigReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config"
    CRC = 0xF4A5CF44
    REPLY = IpNeighborConfigReply

    af: AddressFamily | int = AddressFamily.IP4
    max_number: int = 0
    max_age: int = 0
    recycle: bool = False


class IpNeighborConfigGetReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config_get_reply"
    CRC = 0x798E6FDD

    af: AddressFamily | int = AddressFamily.IP4
    max_number: int = 0
    max_age: int = 0
    recycle: bool = False


class IpNeighborConfigGet(Request[IpNeighborConfigGetReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config_get"
    CRC = 0xA5DB7BF7
    REPLY = IpNeighborConfigGetReply

    af: AddressFamily | int = AddressFamily.IP4
