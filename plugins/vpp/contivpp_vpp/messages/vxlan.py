# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: vxlan.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/vxlan.messages`: change that, not this.
"""

from contivpp_vpp.wire.base import Details, Dump, Reply, Request

__all__ = [
    "VxlanAddDelTunnelV3",
    "VxlanAddDelTunnelV3Reply",
    "VxlanTunnelV2Details",
    "VxlanTunnelV2Dump",
]


class VxlanAddDelTunnelV3Reply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "vxlan_add_del_tunnel_v3_reply"
    CRC = 0x5383d31f

    sw_if_index: int = 0


class VxlanAddDelTunnelV3(Request[VxlanAddDelTunnelV3Reply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "vxlan_add_del_tunnel_v3"
    CRC = 0x0072b037
    REPLY = VxlanAddDelTunnelV3Reply

    is_add: bool = True
    instance: int = 0xffffffff
    src_address: bytes = bytes(4)
    dst_address: bytes = bytes(4)
    src_port: int = 0
    dst_port: int = 0
    mcast_sw_if_index: int = 0xffffffff
    encap_vrf_id: int = 0
    decap_next_index: int = 0xffffffff
    vni: int = 0
    is_l3: bool = False


class VxlanTunnelV2Details(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "vxlan_tunnel_v2_details"
    CRC = 0xd3bdd4d9

    sw_if_index: int = 0
    instance: int = 0
    src_address: bytes = bytes(4)
    dst_address: bytes = bytes(4)
    src_port: int = 0
    dst_port: int = 0
    mcast_sw_if_index: int = 0
    encap_vrf_id: int = 0
    decap_next_index: int = 0
    vni: int = 0


class VxlanTunnelV2Dump(Dump[VxlanTunnelV2Details], frozen=True, kw_only=True, gc=False):
    MESSAGE = "vxlan_tunnel_v2_dump"
    CRC = 0xf9e6675e
    DETAILS = VxlanTunnelV2Details

    sw_if_index: int = 0xffffffff
