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

    sw_if_index: int = 0xffffffff
    flags: IpNeighborFlags = IpNeighborFlags.NONE
    mac_address: bytes = bytes(6)
    ip_address: bytes = bytes(4)


class IpNeighborAddDelReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_add_del_reply"
    CRC = 0x1992deab

    stats_index: int = 0


class IpNeighborAddDel(Request[IpNeighborAddDelReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_add_del"
    CRC = 0x0607c257
    REPLY = IpNeighborAddDelReply

    is_add: bool = True
    neighbor: IpNeighbor = IpNeighbor()


class IpNeighborDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_details"
    CRC = 0xe29d79f0

    age: float = 0.0
    neighbor: IpNeighbor = IpNeighbor()


class IpNeighborDump(Dump[IpNeighborDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_dump"
    CRC = 0xd817a484
    DETAILS = IpNeighborDetails

    sw_if_index: int = 0xffffffff
    af: AddressFamily | int = AddressFamily.IP4


class IpNeighborConfigReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config_reply"
    CRC = 0xe8d4e804


class IpNeighborConfig(Request[IpNeighborConfigReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config"
    CRC = 0xf4a5cf44
    REPLY = IpNeighborConfigReply

    af: AddressFamily | int = AddressFamily.IP4
    max_number: int = 0
    max_age: int = 0
    recycle: bool = False


class IpNeighborConfigGetReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config_get_reply"
    CRC = 0x798e6fdd

    af: AddressFamily | int = AddressFamily.IP4
    max_number: int = 0
    max_age: int = 0
    recycle: bool = False


class IpNeighborConfigGet(Request[IpNeighborConfigGetReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_neighbor_config_get"
    CRC = 0xa5db7bf7
    REPLY = IpNeighborConfigGetReply

    af: AddressFamily | int = AddressFamily.IP4
