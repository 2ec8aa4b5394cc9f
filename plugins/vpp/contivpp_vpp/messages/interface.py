# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: interface.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/interface.messages`: change that, not this.
"""

from contivpp_vpp.messages.types import IfStatusFlags, IfType, LinkDuplex, Prefix, SubIfFlags
from contivpp_vpp.wire.base import Details, Dump, Event, Reply, Request

__all__ = [
    "CreateLoopback",
    "CreateLoopbackInstance",
    "CreateLoopbackInstanceReply",
    "CreateLoopbackReply",
    "CreateSubif",
    "CreateSubifReply",
    "DeleteLoopback",
    "DeleteLoopbackReply",
    "DeleteSubif",
    "DeleteSubifReply",
    "HwInterfaceSetMtu",
    "HwInterfaceSetMtuReply",
    "SwInterfaceAddDelAddress",
    "SwInterfaceAddDelAddressReply",
    "SwInterfaceDetails",
    "SwInterfaceDump",
    "SwInterfaceEvent",
    "SwInterfaceGetMacAddress",
    "SwInterfaceGetMacAddressReply",
    "SwInterfaceGetTable",
    "SwInterfaceGetTableReply",
    "SwInterfaceSetFlags",
    "SwInterfaceSetFlagsReply",
    "SwInterfaceSetMacAddress",
    "SwInterfaceSetMacAddressReply",
    "SwInterfaceSetMtu",
    "SwInterfaceSetMtuReply",
    "SwInterfaceSetTable",
    "SwInterfaceSetTableReply",
    "SwInterfaceSetUnnumbered",
    "SwInterfaceSetUnnumberedReply",
    "SwInterfaceTagAddDel",
    "SwInterfaceTagAddDelReply",
    "WantInterfaceEvents",
    "WantInterfaceEventsReply",
]


class SwInterfaceDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_details"
    CRC = 0x6c221fc7

    sw_if_index: int = 0
    sup_sw_if_index: int = 0
    l2_address: bytes = bytes(6)
    flags: IfStatusFlags = IfStatusFlags(0)
    type: IfType | int = IfType.HARDWARE
    link_duplex: LinkDuplex | int = LinkDuplex.UNKNOWN
    link_speed: int = 0
    link_mtu: int = 0
    mtu: tuple[int, ...] = (0,) * 4
    sub_id: int = 0
    sub_number_of_tags: int = 0
    sub_outer_vlan_id: int = 0
    sub_inner_vlan_id: int = 0
    sub_if_flags: SubIfFlags = SubIfFlags(0)
    vtr_op: int = 0
    vtr_push_dot1q: int = 0
    vtr_tag1: int = 0
    vtr_tag2: int = 0
    outer_tag: int = 0
    b_dmac: bytes = bytes(6)
    b_smac: bytes = bytes(6)
    b_vlanid: int = 0
    i_sid: int = 0
    interface_name: str = ""
    interface_dev_type: str = ""
    tag: str = ""


class SwInterfaceDump(Dump[SwInterfaceDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_dump"
    CRC = 0xaa610c27
    DETAILS = SwInterfaceDetails

    sw_if_index: int = 0xffffffff
    name_filter_valid: bool = False
    name_filter: str = ""


class SwInterfaceSetFlagsReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_flags_reply"
    CRC = 0xe8d4e804


class SwInterfaceSetFlags(Request[SwInterfaceSetFlagsReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_flags"
    CRC = 0xf5aec1b8
    REPLY = SwInterfaceSetFlagsReply

    sw_if_index: int = 0xffffffff
    flags: IfStatusFlags = IfStatusFlags(0)


class SwInterfaceSetMtuReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_mtu_reply"
    CRC = 0xe8d4e804


class SwInterfaceSetMtu(Request[SwInterfaceSetMtuReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_mtu"
    CRC = 0x5cbe85e5
    REPLY = SwInterfaceSetMtuReply

    sw_if_index: int = 0xffffffff
    mtu: tuple[int, ...] = (0,) * 4


class HwInterfaceSetMtuReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "hw_interface_set_mtu_reply"
    CRC = 0xe8d4e804


class HwInterfaceSetMtu(Request[HwInterfaceSetMtuReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "hw_interface_set_mtu"
    CRC = 0xe6746899
    REPLY = HwInterfaceSetMtuReply

    sw_if_index: int = 0xffffffff
    mtu: int = 0


class SwInterfaceAddDelAddressReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_add_del_address_reply"
    CRC = 0xe8d4e804


class SwInterfaceAddDelAddress(Request[SwInterfaceAddDelAddressReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_add_del_address"
    CRC = 0x5463d73b
    REPLY = SwInterfaceAddDelAddressReply

    sw_if_index: int = 0xffffffff
    is_add: bool = True
    del_all: bool = False
    prefix: Prefix = Prefix()


class SwInterfaceSetUnnumberedReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_unnumbered_reply"
    CRC = 0xe8d4e804


class SwInterfaceSetUnnumbered(Request[SwInterfaceSetUnnumberedReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_unnumbered"
    CRC = 0x154a6439
    REPLY = SwInterfaceSetUnnumberedReply

    sw_if_index: int = 0xffffffff
    unnumbered_sw_if_index: int = 0xffffffff
    is_add: bool = True


class SwInterfaceSetTableReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_table_reply"
    CRC = 0xe8d4e804


class SwInterfaceSetTable(Request[SwInterfaceSetTableReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_table"
    CRC = 0xdf42a577
    REPLY = SwInterfaceSetTableReply

    sw_if_index: int = 0xffffffff
    is_ipv6: bool = False
    vrf_id: int = 0


class SwInterfaceGetTableReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_get_table_reply"
    CRC = 0xa6eb0109

    vrf_id: int = 0


class SwInterfaceGetTable(Request[SwInterfaceGetTableReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_get_table"
    CRC = 0x2d033de4
    REPLY = SwInterfaceGetTableReply

    sw_if_index: int = 0xffffffff
    is_ipv6: bool = False


class SwInterfaceSetMacAddressReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_mac_address_reply"
    CRC = 0xe8d4e804


class SwInterfaceSetMacAddress(Request[SwInterfaceSetMacAddressReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_set_mac_address"
    CRC = 0xc536e7eb
    REPLY = SwInterfaceSetMacAddressReply

    sw_if_index: int = 0xffffffff
    mac_address: bytes = bytes(6)


class SwInterfaceGetMacAddressReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_get_mac_address_reply"
    CRC = 0x40ef2c08

    mac_address: bytes = bytes(6)


class SwInterfaceGetMacAddress(Request[SwInterfaceGetMacAddressReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_get_mac_address"
    CRC = 0xf9e6675e
    REPLY = SwInterfaceGetMacAddressReply

    sw_if_index: int = 0xffffffff


class SwInterfaceTagAddDelReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_tag_add_del_reply"
    CRC = 0xe8d4e804


class SwInterfaceTagAddDel(Request[SwInterfaceTagAddDelReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_tag_add_del"
    CRC = 0x426f8bc1
    REPLY = SwInterfaceTagAddDelReply

    is_add: bool = True
    sw_if_index: int = 0xffffffff
    tag: str = ""


class WantInterfaceEventsReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "want_interface_events_reply"
    CRC = 0xe8d4e804


class WantInterfaceEvents(Request[WantInterfaceEventsReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "want_interface_events"
    CRC = 0x476f5a08
    REPLY = WantInterfaceEventsReply

    enable_disable: int = 1
    pid: int = 0


class SwInterfaceEvent(Event, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_event"
    CRC = 0x2d3d95a7

    pid: int = 0
    sw_if_index: int = 0
    flags: IfStatusFlags = IfStatusFlags(0)
    deleted: bool = False


class CreateLoopbackReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "create_loopback_reply"
    CRC = 0x5383d31f

    sw_if_index: int = 0


class CreateLoopback(Request[CreateLoopbackReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "create_loopback"
    CRC = 0x42bb5d22
    REPLY = CreateLoopbackReply

    mac_address: bytes = bytes(6)


class CreateLoopbackInstanceReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "create_loopback_instance_reply"
    CRC = 0x5383d31f

    sw_if_index: int = 0


class CreateLoopbackInstance(Request[CreateLoopbackInstanceReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "create_loopback_instance"
    CRC = 0xd36a3ee2
    REPLY = CreateLoopbackInstanceReply

    mac_address: bytes = bytes(6)
    is_specified: bool = False
    user_instance: int = 0


class DeleteLoopbackReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "delete_loopback_reply"
    CRC = 0xe8d4e804


class DeleteLoopback(Request[DeleteLoopbackReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "delete_loopback"
    CRC = 0xf9e6675e
    REPLY = DeleteLoopbackReply

    sw_if_index: int = 0xffffffff


class CreateSubifReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "create_subif_reply"
    CRC = 0x5383d31f

    sw_if_index: int = 0


class CreateSubif(Request[CreateSubifReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "create_subif"
    CRC = 0x790ca755
    REPLY = CreateSubifReply

    sw_if_index: int = 0xffffffff
    sub_id: int = 0
    sub_if_flags: SubIfFlags = SubIfFlags(0)
    outer_vlan_id: int = 0
    inner_vlan_id: int = 0


class DeleteSubifReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "delete_subif_reply"
    CRC = 0xe8d4e804


class DeleteSubif(Request[DeleteSubifReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "delete_subif"
    CRC = 0xf9e6675e
    REPLY = DeleteSubifReply

    sw_if_index: int = 0xffffffff
