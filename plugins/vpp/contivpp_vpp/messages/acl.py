# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: acl.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/acl.messages`: change that, not this.
"""

from enum import IntEnum

from contivpp_vpp.messages.types import Prefix
from contivpp_vpp.wire.base import Details, Dump, Reply, Request, Structure

__all__ = [
    "AclAction",
    "AclAddReplace",
    "AclAddReplaceReply",
    "AclDel",
    "AclDelReply",
    "AclDetails",
    "AclDump",
    "AclInterfaceListDetails",
    "AclInterfaceListDump",
    "AclInterfaceSetAclList",
    "AclInterfaceSetAclListReply",
    "AclRule",
    "IpProto",
]


class AclAction(IntEnum):
    DENY = 0
    PERMIT = 1
    PERMIT_REFLECT = 2


class IpProto(IntEnum):
    HOPOPT = 0
    ICMP = 1
    IGMP = 2
    TCP = 6
    UDP = 17
    GRE = 47
    ESP = 50
    AH = 51
    ICMP6 = 58
    EIGRP = 88
    OSPF = 89
    SCTP = 132
    RESERVED = 255


class AclRule(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "acl_rule"

    is_permit: AclAction | int = AclAction.DENY
    src_prefix: Prefix = Prefix()
    dst_prefix: Prefix = Prefix()
    proto: IpProto | int = IpProto.HOPOPT
    srcport_or_icmptype_first: int = 0
    srcport_or_icmptype_last: int = 65535
    dstport_or_icmpcode_first: int = 0
    dstport_or_icmpcode_last: int = 65535
    tcp_flags_mask: int = 0
    tcp_flags_value: int = 0


class AclAddReplaceReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_add_replace_reply"
    CRC = 0xac407b0c

    acl_index: int = 0


class AclAddReplace(Request[AclAddReplaceReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_add_replace"
    CRC = 0xee5c2f18
    REPLY = AclAddReplaceReply

    acl_index: int = 0xffffffff
    tag: str = ""
    r: tuple[AclRule, ...] = ()


class AclDelReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_del_reply"
    CRC = 0xe8d4e804


class AclDel(Request[AclDelReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_del"
    CRC = 0xef34fea4
    REPLY = AclDelReply

    acl_index: int = 0xffffffff


class AclDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_details"
    CRC = 0x95babae0

    acl_index: int = 0
    tag: str = ""
    r: tuple[AclRule, ...] = ()


class AclDump(Dump[AclDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_dump"
    CRC = 0xef34fea4
    DETAILS = AclDetails

    acl_index: int = 0xffffffff


class AclInterfaceSetAclListReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_interface_set_acl_list_reply"
    CRC = 0xe8d4e804


class AclInterfaceSetAclList(Request[AclInterfaceSetAclListReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_interface_set_acl_list"
    CRC = 0x473982bd
    REPLY = AclInterfaceSetAclListReply

    sw_if_index: int = 0xffffffff
    n_input: int = 0
    acls: tuple[int, ...] = ()


class AclInterfaceListDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_interface_list_details"
    CRC = 0xe695d256

    sw_if_index: int = 0
    n_input: int = 0
    acls: tuple[int, ...] = ()


class AclInterfaceListDump(Dump[AclInterfaceListDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "acl_interface_list_dump"
    CRC = 0xf9e6675e
    DETAILS = AclInterfaceListDetails

    sw_if_index: int = 0xffffffff
