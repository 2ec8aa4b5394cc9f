# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: ip.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/ip.messages`: change that, not this.
"""

from enum import KEEP, IntEnum, IntFlag

from contivpp_vpp.messages.types import Prefix
from contivpp_vpp.wire.base import Details, Dump, Reply, Request, Structure

__all__ = [
    "FibMplsLabel",
    "FibPath",
    "FibPathFlags",
    "FibPathNhProto",
    "FibPathType",
    "FibSource",
    "FibSourceAdd",
    "FibSourceAddReply",
    "FibSourceDetails",
    "FibSourceDump",
    "IpAddressDetails",
    "IpAddressDump",
    "IpRouteAddDelV2",
    "IpRouteAddDelV2Reply",
    "IpRouteV2",
    "IpRouteV2Details",
    "IpRouteV2Dump",
    "IpTable",
    "IpTableAddDel",
    "IpTableAddDelReply",
    "IpTableDetails",
    "IpTableDump",
    "IpUnnumberedDetails",
    "IpUnnumberedDump",
]


class IpTable(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "ip_table"

    table_id: int = 0
    is_ip6: bool = False
    name: str = ""


class FibPathNhProto(IntEnum):
    IP4 = 0
    IP6 = 1
    MPLS = 2
    ETHERNET = 3
    BIER = 4


class FibPathFlags(IntFlag, boundary=KEEP):
    NONE = 0
    RESOLVE_VIA_ATTACHED = 1
    RESOLVE_VIA_HOST = 2
    POP_PW_CW = 4


class FibPathType(IntEnum):
    NORMAL = 0
    LOCAL = 1
    DROP = 2
    UDP_ENCAP = 3
    BIER_IMP = 4
    ICMP_UNREACH = 5
    ICMP_PROHIBIT = 6
    SOURCE_LOOKUP = 7
    DVR = 8
    INTERFACE_RX = 9
    CLASSIFY = 10


class FibMplsLabel(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "fib_mpls_label"

    is_uniform: int = 0
    label: int = 0
    ttl: int = 0
    exp: int = 0


class FibPath(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "fib_path"

    sw_if_index: int = 0xffffffff
    table_id: int = 0
    rpf_id: int = 0
    weight: int = 1
    preference: int = 0
    type: FibPathType | int = FibPathType.NORMAL
    flags: FibPathFlags = FibPathFlags.NONE
    proto: FibPathNhProto | int = FibPathNhProto.IP4
    address: bytes = bytes(4)
    via_label: int = 0
    obj_id: int = 0
    classify_table_index: int = 0
    label_stack: tuple[FibMplsLabel, ...] = ()


class IpRouteV2(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "ip_route_v2"

    table_id: int = 0
    stats_index: int = 0
    prefix: Prefix = Prefix()
    src: int = 0
    paths: tuple[FibPath, ...] = ()


class FibSource(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "fib_source"

    priority: int = 0
    id: int = 0
    name: str = ""


class IpTableAddDelReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_table_add_del_reply"
    CRC = 0xe8d4e804


class IpTableAddDel(Request[IpTableAddDelReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_table_add_del"
    CRC = 0x0ffdaec0
    REPLY = IpTableAddDelReply

    is_add: bool = True
    table: IpTable = IpTable()


class IpTableDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_table_details"
    CRC = 0xc79fca0f

    table: IpTable = IpTable()


class IpTableDump(Dump[IpTableDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_table_dump"
    CRC = 0x51077d14
    DETAILS = IpTableDetails


class IpRouteAddDelV2Reply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_route_add_del_v2_reply"
    CRC = 0x1992deab

    stats_index: int = 0


class IpRouteAddDelV2(Request[IpRouteAddDelV2Reply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_route_add_del_v2"
    CRC = 0x521ef330
    REPLY = IpRouteAddDelV2Reply

    is_add: bool = True
    is_multipath: bool = False
    route: IpRouteV2 = IpRouteV2()


class IpRouteV2Details(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_route_v2_details"
    CRC = 0xb09aa6c0

    route: IpRouteV2 = IpRouteV2()


class IpRouteV2Dump(Dump[IpRouteV2Details], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_route_v2_dump"
    CRC = 0xd16f72e6
    DETAILS = IpRouteV2Details

    src: int = 0
    table: IpTable = IpTable()


class IpAddressDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_address_details"
    CRC = 0xee29b797

    sw_if_index: int = 0
    prefix: Prefix = Prefix()


class IpAddressDump(Dump[IpAddressDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_address_dump"
    CRC = 0x2d033de4
    DETAILS = IpAddressDetails

    sw_if_index: int = 0xffffffff
    is_ipv6: bool = False


class IpUnnumberedDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_unnumbered_details"
    CRC = 0xcc59bd42

    sw_if_index: int = 0
    ip_sw_if_index: int = 0


class IpUnnumberedDump(Dump[IpUnnumberedDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "ip_unnumbered_dump"
    CRC = 0xf9e6675e
    DETAILS = IpUnnumberedDetails

    sw_if_index: int = 0xffffffff


class FibSourceAddReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "fib_source_add_reply"
    CRC = 0x604fd6f1

    id: int = 0


class FibSourceAdd(Request[FibSourceAddReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "fib_source_add"
    CRC = 0xb3ac2aec
    REPLY = FibSourceAddReply

    src: FibSource = FibSource()


class FibSourceDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "fib_source_details"
    CRC = 0x8668acdb

    src: FibSource = FibSource()


class FibSourceDump(Dump[FibSourceDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "fib_source_dump"
    CRC = 0x51077d14
    DETAILS = FibSourceDetails
