# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``ip_neighbor`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module ip_neighbor 1.0.1 36db39bd
import vnet/ip/ip_types.api
import vnet/ethernet/ethernet_types.api
import vnet/interface_types.api
enum ip_neighbor_flags u8: IP_API_NEIGHBOR_FLAG_NONE=0; IP_API_NEIGHBOR_FLAG_STATIC=1;
    IP_API_NEIGHBOR_FLAG_NO_FIB_ENTRY=2
enum ip_neighbor_event_flags u32: IP_NEIGHBOR_API_EVENT_FLAG_ADDED=1; IP_NEIGHBOR_API_EVENT_FLAG_REMOVED=2
type ip_neighbor: interface_index sw_if_index; ip_neighbor_flags flags; mac_address mac_address;
    address ip_address
request ip_neighbor_add_del 0607c257: bool is_add; ip_neighbor neighbor
reply ip_neighbor_add_del_reply 1992deab: i32 retval; u32 stats_index
request ip_neighbor_dump d817a484: interface_index sw_if_index {"default":4294967295}; address_family af
reply ip_neighbor_details e29d79f0: f64 age; ip_neighbor neighbor
request ip_neighbor_config f4a5cf44: address_family af; u32 max_number; u32 max_age; bool recycle
reply ip_neighbor_config_reply e8d4e804: i32 retval
request ip_neighbor_config_get a5db7bf7 @in_progress: address_family af
reply ip_neighbor_config_get_reply 798e6fdd @in_progress: i32 retval; address_family af; u32 max_number;
    u32 max_age; bool recycle
request ip_neighbor_flush 16aa35d2: address_family af; interface_index sw_if_index {"default":4294967295}
reply ip_neighbor_flush_reply e8d4e804: i32 retval
service ip_neighbor_add_del ip_neighbor_add_del_reply
service ip_neighbor_dump ip_neighbor_details stream
service ip_neighbor_flush ip_neighbor_flush_reply
service ip_neighbor_config ip_neighbor_config_reply
service ip_neighbor_config_get ip_neighbor_config_get_reply
"""
