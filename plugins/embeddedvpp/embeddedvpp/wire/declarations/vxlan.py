# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``vxlan`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module vxlan 2.1.0 95381587
import vnet/interface_types.api
import vnet/ip/ip_types.api
request vxlan_add_del_tunnel_v3 0072b037: bool is_add {"default":"true"};
    u32 instance {"default":4294967295}; address src_address; address dst_address; u16 src_port;
    u16 dst_port; interface_index mcast_sw_if_index; u32 encap_vrf_id; u32 decap_next_index; u32 vni;
    bool is_l3 {"default":false}
reply vxlan_add_del_tunnel_v3_reply 5383d31f: i32 retval; interface_index sw_if_index
request vxlan_tunnel_v2_dump f9e6675e: interface_index sw_if_index
reply vxlan_tunnel_v2_details d3bdd4d9: interface_index sw_if_index; u32 instance; address src_address;
    address dst_address; u16 src_port; u16 dst_port; interface_index mcast_sw_if_index; u32 encap_vrf_id;
    u32 decap_next_index; u32 vni
service vxlan_add_del_tunnel_v3 vxlan_add_del_tunnel_v3_reply
service vxlan_tunnel_v2_dump vxlan_tunnel_v2_details stream
"""
