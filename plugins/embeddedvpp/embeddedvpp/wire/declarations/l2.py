# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``l2`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module l2 3.3.0 1a53d6cc
import vnet/ip/ip_types.api
import vnet/ethernet/ethernet_types.api
import vnet/interface_types.api
enum bd_flags u32: BRIDGE_API_FLAG_NONE=0; BRIDGE_API_FLAG_LEARN=1; BRIDGE_API_FLAG_FWD=2;
    BRIDGE_API_FLAG_FLOOD=4; BRIDGE_API_FLAG_UU_FLOOD=8; BRIDGE_API_FLAG_ARP_TERM=16;
    BRIDGE_API_FLAG_ARP_UFWD=32
enum l2_port_type u32: L2_API_PORT_TYPE_NORMAL=0; L2_API_PORT_TYPE_BVI=1; L2_API_PORT_TYPE_UU_FWD=2
type bridge_domain_sw_if: u32 context; interface_index sw_if_index; u8 shg
reply l2_fib_table_details a44ef6b8: u32 bd_id; mac_address mac; interface_index sw_if_index;
    bool static_mac; bool filter_mac; bool bvi_mac
request l2_fib_table_dump c25fdce6: u32 bd_id
request l2fib_add_del eddda487: mac_address mac; u32 bd_id; interface_index sw_if_index;
    bool is_add {"default":"true"}; bool static_mac; bool filter_mac; bool bvi_mac
reply l2fib_add_del_reply e8d4e804: i32 retval
request bridge_domain_add_del_v2 600b7170: u32 bd_id; bool flood; bool uu_flood; bool forward; bool learn;
    bool arp_term; bool arp_ufwd; u8 mac_age; string bd_tag[64]; bool is_add {"default":"true"}
reply bridge_domain_add_del_v2_reply fcb1e980: i32 retval; u32 bd_id
request bridge_domain_dump 74396a43: u32 bd_id {"default":4294967295};
    interface_index sw_if_index {"default":4294967295}
reply bridge_domain_details 0fa506fd: u32 bd_id; bool flood; bool uu_flood; bool forward; bool learn;
    bool arp_term; bool arp_ufwd; u8 mac_age; string bd_tag[64]; interface_index bvi_sw_if_index;
    interface_index uu_fwd_sw_if_index; u32 n_sw_ifs; bridge_domain_sw_if sw_if_details[n_sw_ifs]
request bridge_flags 1b0c5fbd: u32 bd_id; bool is_set; bd_flags flags
reply bridge_flags_reply 29b2a2b3: i32 retval; u32 resulting_feature_bitmap
request sw_interface_set_l2_bridge d0678b13: interface_index rx_sw_if_index; u32 bd_id;
    l2_port_type port_type; u8 shg; bool enable {"default":"true"}
reply sw_interface_set_l2_bridge_reply e8d4e804: i32 retval
service l2_fib_table_dump l2_fib_table_details stream
service l2fib_add_del l2fib_add_del_reply
service bridge_domain_add_del_v2 bridge_domain_add_del_v2_reply
service bridge_domain_dump bridge_domain_details stream
service bridge_flags bridge_flags_reply
service sw_interface_set_l2_bridge sw_interface_set_l2_bridge_reply
"""
