# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``interface`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module interface 3.2.4 cf7004cc
import vnet/interface_types.api
import vnet/ethernet/ethernet_types.api
import vnet/ip/ip_types.api
request sw_interface_set_flags f5aec1b8: interface_index sw_if_index; if_status_flags flags
reply sw_interface_set_flags_reply e8d4e804: i32 retval
request sw_interface_set_promisc d40860d4: interface_index sw_if_index; bool promisc_on
reply sw_interface_set_promisc_reply e8d4e804: i32 retval
request hw_interface_set_mtu e6746899: interface_index sw_if_index; u16 mtu
reply hw_interface_set_mtu_reply e8d4e804: i32 retval
request sw_interface_set_mtu 5cbe85e5: interface_index sw_if_index; u32 mtu[4]
reply sw_interface_set_mtu_reply e8d4e804: i32 retval
message sw_interface_event 2d3d95a7: u32 client_index; u32 pid; interface_index sw_if_index;
    if_status_flags flags; bool deleted
request want_interface_events 476f5a08: u32 enable_disable; u32 pid
reply want_interface_events_reply e8d4e804: i32 retval
reply sw_interface_details 6c221fc7: interface_index sw_if_index; u32 sup_sw_if_index;
    mac_address l2_address; if_status_flags flags; if_type type; link_duplex link_duplex; u32 link_speed;
    u16 link_mtu; u32 mtu[4]; u32 sub_id; u8 sub_number_of_tags; u16 sub_outer_vlan_id;
    u16 sub_inner_vlan_id; sub_if_flags sub_if_flags; u32 vtr_op; u32 vtr_push_dot1q; u32 vtr_tag1;
    u32 vtr_tag2; u16 outer_tag; mac_address b_dmac; mac_address b_smac; u16 b_vlanid; u32 i_sid;
    string interface_name[64]; string interface_dev_type[64]; string tag[64]
request sw_interface_dump aa610c27: interface_index sw_if_index {"default":4294967295};
    bool name_filter_valid; string name_filter[]
request sw_interface_add_del_address 5463d73b: interface_index sw_if_index; bool is_add; bool del_all;
    address_with_prefix prefix
reply sw_interface_add_del_address_reply e8d4e804: i32 retval
request sw_interface_set_table df42a577: interface_index sw_if_index; bool is_ipv6; u32 vrf_id
reply sw_interface_set_table_reply e8d4e804: i32 retval
request sw_interface_get_table 2d033de4: interface_index sw_if_index; bool is_ipv6
reply sw_interface_get_table_reply a6eb0109: i32 retval; u32 vrf_id
request sw_interface_set_unnumbered 154a6439: interface_index sw_if_index;
    interface_index unnumbered_sw_if_index; bool is_add
reply sw_interface_set_unnumbered_reply e8d4e804: i32 retval
request sw_interface_tag_add_del 426f8bc1: bool is_add; interface_index sw_if_index; string tag[64]
reply sw_interface_tag_add_del_reply e8d4e804: i32 retval
request sw_interface_set_mac_address c536e7eb: interface_index sw_if_index; mac_address mac_address
reply sw_interface_set_mac_address_reply e8d4e804: i32 retval
request sw_interface_get_mac_address f9e6675e: interface_index sw_if_index
reply sw_interface_get_mac_address_reply 40ef2c08: i32 retval; mac_address mac_address
request sw_interface_set_rx_mode b04d1cfe: interface_index sw_if_index; bool queue_id_valid; u32 queue_id;
    rx_mode mode
reply sw_interface_set_rx_mode_reply e8d4e804: i32 retval
request create_subif 790ca755: interface_index sw_if_index; u32 sub_id; sub_if_flags sub_if_flags;
    u16 outer_vlan_id; u16 inner_vlan_id
reply create_subif_reply 5383d31f: i32 retval; interface_index sw_if_index
request create_vlan_subif af34ac8b: interface_index sw_if_index; u32 vlan_id
reply create_vlan_subif_reply 5383d31f: i32 retval; interface_index sw_if_index
request delete_subif f9e6675e: interface_index sw_if_index
reply delete_subif_reply e8d4e804: i32 retval
request create_loopback 42bb5d22: mac_address mac_address
reply create_loopback_reply 5383d31f: i32 retval; interface_index sw_if_index
request create_loopback_instance d36a3ee2: mac_address mac_address; bool is_specified; u32 user_instance
reply create_loopback_instance_reply 5383d31f: i32 retval; interface_index sw_if_index
request delete_loopback f9e6675e: interface_index sw_if_index
reply delete_loopback_reply e8d4e804: i32 retval
service sw_interface_set_flags sw_interface_set_flags_reply
service sw_interface_set_promisc sw_interface_set_promisc_reply
service hw_interface_set_mtu hw_interface_set_mtu_reply
service sw_interface_set_mtu sw_interface_set_mtu_reply
service want_interface_events want_interface_events_reply events sw_interface_event
service sw_interface_dump sw_interface_details stream
service sw_interface_add_del_address sw_interface_add_del_address_reply
service sw_interface_set_table sw_interface_set_table_reply
service sw_interface_get_table sw_interface_get_table_reply
service sw_interface_set_unnumbered sw_interface_set_unnumbered_reply
service sw_interface_tag_add_del sw_interface_tag_add_del_reply
service sw_interface_set_mac_address sw_interface_set_mac_address_reply
service sw_interface_get_mac_address sw_interface_get_mac_address_reply
service sw_interface_set_rx_mode sw_interface_set_rx_mode_reply
service create_subif create_subif_reply
service create_vlan_subif create_vlan_subif_reply
service delete_subif delete_subif_reply
service create_loopback create_loopback_reply
service create_loopback_instance create_loopback_instance_reply
service delete_loopback delete_loopback_reply
"""
