# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: l2.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/l2.messages`: change that, not this.
"""

from enum import KEEP, IntEnum, IntFlag

from contivpp_vpp.wire.base import Details, Dump, Reply, Request, Structure

__all__ = [
    "BdFlags",
    "BridgeDomainAddDelV2",
    "BridgeDomainAddDelV2Reply",
    "BridgeDomainDetails",
    "BridgeDomainDump",
    "BridgeDomainSwIf",
    "BridgeFlags",
    "BridgeFlagsReply",
    "L2FibTableDetails",
    "L2FibTableDump",
    "L2PortType",
    "L2fibAddDel",
    "L2fibAddDelReply",
    "SwInterfaceSetL2Bridge",
    "SwInterfaceSetL2BridgeReply",
]


class BdFlags(IntFlag, boundary=KEEP):
    NONE = 0
    LEARN = 1
    FWD = 2
    FLOOD = 4
    UU_FLOOD = 8
    ARP_TERM = 16
    ARP_UFWD = 32


class L2PortType(IntEnum):
    NORMAL = 0
    BVI = 1
    UU_FWD = 2


class BridgeDomainSwIf(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "bridge_domain_sw_if"

    context: int = 0
    sw_if_index: int = 0
    shg: int = 0


class BridgeDomainAddDelV2Reply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "bridge_domain_add_del_v2_reply"
    CRC = 0xfcb1e980

    bd_id: int = 0


class BridgeDomainAddDelV2(Request[BridgeDomainAddDelV2Reply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "bridge_domain_add_del_v2"
    CRC = 0x600b7170
    REPLY = BridgeDomainAddDelV2Reply

    bd_id: int = 0
    flood: bool = False
    uu_flood: bool = False
    forward: bool = False
    learn: bool = False
    arp_term: bool = False
    arp_ufwd: bool = False
    mac_age: int = 0
    bd_tag: str = ""
    is_add: bool = True


class BridgeFlagsReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "bridge_flags_reply"
    CRC = 0x29b2a2b3

    resulting_feature_bitmap: int = 0


class BridgeFlags(Request[BridgeFlagsReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "bridge_flags"
    CRC = 0x1b0c5fbd
    REPLY = BridgeFlagsReply

    bd_id: int = 0
    is_set: bool = False
    flags: BdFlags = BdFlags.NONE


class BridgeDomainDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "bridge_domain_details"
    CRC = 0x0fa506fd

    bd_id: int = 0
    flood: bool = False
    uu_flood: bool = False
    forward: bool = False
    learn: bool = False
    arp_term: bool = False
    arp_ufwd: bool = False
    mac_age: int = 0
    bd_tag: str = ""
    bvi_sw_if_index: int = 0
    uu_fwd_sw_if_index: int = 0
    sw_if_details: tuple[BridgeDomainSwIf, ...] = ()


class BridgeDomainDump(Dump[BridgeDomainDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "bridge_domain_dump"
    CRC = 0x74396a43
    DETAILS = BridgeDomainDetails

    bd_id: int = 0xffffffff
    sw_if_index: int = 0xffffffff


class SwInterfaceSetL2BridgeReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_l2_bridge_reply"
    CRC = 0xe8d4e804


class SwInterfaceSetL2Bridge(Request[SwInterfaceSetL2BridgeReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_l2_bridge"
    CRC = 0xd0678b13
    REPLY = SwInterfaceSetL2BridgeReply

    rx_sw_if_index: int = 0xffffffff
    bd_id: int = 0
    port_type: L2PortType | int = L2PortType.NORMAL
    shg: int = 0
    enable: bool = True


class L2fibAddDelReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "l2fib_add_del_reply"
    CRC = 0xe8d4e804


class L2fibAddDel(Request[L2fibAddDelReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "l2fib_add_del"
    CRC = 0xeddda487
    REPLY = L2fibAddDelReply

    mac: bytes = bytes(6)
    bd_id: int = 0
    sw_if_index: int = 0xffffffff
    is_add: bool = True
    static_mac: bool = False
    filter_mac: bool = False
    bvi_mac: bool = False


class L2FibTableDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "l2_fib_table_details"
    CRC = 0xa44ef6b8

    bd_id: int = 0
    mac: bytes = bytes(6)
    sw_if_index: int = 0
    static_mac: bool = False
    filter_mac: bool = False
    bvi_mac: bool = False


class L2FibTableDump(Dump[L2FibTableDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "l2_fib_table_dump"
    CRC = 0xc25fdce6
    DETAILS = L2FibTableDetails

    bd_id: int = 0xffffffff
