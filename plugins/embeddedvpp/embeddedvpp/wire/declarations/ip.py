# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``ip`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module ip 3.2.0 c55aec44
import vnet/interface_types.api
import vnet/fib/fib_types.api
import vnet/ip/ip_types.api
import vnet/ethernet/ethernet_types.api
import vnet/fib/fib_types.api
import vnet/ip/ip_types.api
import vnet/ip/ip_types.api
import vnet/interface_types.api
enum ip_reass_type u32: IP_REASS_TYPE_FULL=0; IP_REASS_TYPE_SHALLOW_VIRTUAL=1
flags ip_flow_hash_config u32: IP_API_FLOW_HASH_SRC_IP=1; IP_API_FLOW_HASH_DST_IP=2;
    IP_API_FLOW_HASH_SRC_PORT=4; IP_API_FLOW_HASH_DST_PORT=8; IP_API_FLOW_HASH_PROTO=16;
    IP_API_FLOW_HASH_REVERSE=32; IP_API_FLOW_HASH_SYMETRIC=64; IP_API_FLOW_HASH_FLOW_LABEL=128
flags ip_flow_hash_config_v2 u32: IP_API_V2_FLOW_HASH_SRC_IP=1; IP_API_V2_FLOW_HASH_DST_IP=2;
    IP_API_V2_FLOW_HASH_SRC_PORT=4; IP_API_V2_FLOW_HASH_DST_PORT=8; IP_API_V2_FLOW_HASH_PROTO=16;
    IP_API_V2_FLOW_HASH_REVERSE=32; IP_API_V2_FLOW_HASH_SYMETRIC=64; IP_API_V2_FLOW_HASH_FLOW_LABEL=128;
    IP_API_V2_FLOW_HASH_GTPV1_TEID=256
type ip_table: u32 table_id; bool is_ip6; string name[64]
type ip_route: u32 table_id; u32 stats_index; prefix prefix; u8 n_paths; fib_path paths[n_paths]
struct ip_route_v2: u32 table_id; u32 stats_index; prefix prefix; u8 n_paths; u8 src;
    fib_path paths[n_paths]
request ip_table_add_del 0ffdaec0: bool is_add {"default":"true"}; ip_table table
reply ip_table_add_del_reply e8d4e804: i32 retval
request ip_table_add_del_v2 14e5081f: ip_table table; bool create_mfib {"default":"true"};
    bool is_add {"default":"true"}
reply ip_table_add_del_v2_reply e8d4e804: i32 retval
request ip_table_allocate b9d2e09e: ip_table table
reply ip_table_allocate_reply 1728303a: i32 retval; ip_table table
request ip_table_dump 51077d14:
reply ip_table_details c79fca0f: ip_table table
request ip_route_add_del b8ecfe0d: bool is_add {"default":"true"}; bool is_multipath; ip_route route
request ip_route_add_del_v2 521ef330 @in_progress: bool is_add {"default":"true"}; bool is_multipath;
    ip_route_v2 route
reply ip_route_add_del_reply 1992deab: i32 retval; u32 stats_index
reply ip_route_add_del_v2_reply 1992deab @in_progress: i32 retval; u32 stats_index
request ip_route_dump b9d2e09e: ip_table table
request ip_route_v2_dump d16f72e6 @in_progress: u8 src; ip_table table
reply ip_route_details bda8f315: ip_route route
reply ip_route_v2_details b09aa6c0 @in_progress: ip_route_v2 route
request ip_route_lookup 710d6471: u32 table_id; u8 exact; prefix prefix
request ip_route_lookup_v2 710d6471 @in_progress: u32 table_id; u8 exact; prefix prefix
reply ip_route_lookup_reply 5d8febcb: i32 retval; ip_route route
reply ip_route_lookup_v2_reply 84cc9e03 @in_progress: i32 retval; ip_route_v2 route
reply ip_address_details ee29b797: interface_index sw_if_index; address_with_prefix prefix
request ip_address_dump 2d033de4: interface_index sw_if_index; bool is_ipv6
reply ip_unnumbered_details cc59bd42: interface_index sw_if_index; interface_index ip_sw_if_index
request ip_unnumbered_dump f9e6675e: interface_index sw_if_index {"default":4294967295}
reply ip_details eb152d07: interface_index sw_if_index; bool is_ipv6
request ip_dump 98d231ca: bool is_ipv6
service ip_table_add_del ip_table_add_del_reply
service ip_table_add_del_v2 ip_table_add_del_v2_reply
service ip_table_allocate ip_table_allocate_reply
service ip_table_dump ip_table_details stream
service ip_route_add_del ip_route_add_del_reply
service ip_route_add_del_v2 ip_route_add_del_v2_reply
service ip_route_dump ip_route_details stream
service ip_route_v2_dump ip_route_v2_details stream
service ip_route_lookup ip_route_lookup_reply
service ip_route_lookup_v2 ip_route_lookup_v2_reply
service ip_address_dump ip_address_details stream
service ip_unnumbered_dump ip_unnumbered_details stream
service ip_dump ip_details stream
"""
