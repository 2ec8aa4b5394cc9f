# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``af_packet`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module af_packet 2.0.0 5b12de21
import vnet/interface_types.api
import vnet/ethernet/ethernet_types.api
enum af_packet_mode u32: AF_PACKET_API_MODE_ETHERNET=1; AF_PACKET_API_MODE_IP=2
enum af_packet_flags u32: AF_PACKET_API_FLAG_QDISC_BYPASS=1; AF_PACKET_API_FLAG_CKSUM_GSO=2;
    AF_PACKET_API_FLAG_VERSION_2=8
request af_packet_create_v3 b3a809d4: af_packet_mode mode; mac_address hw_addr; bool use_random_hw_addr;
    string host_if_name[64]; u32 rx_frame_size; u32 tx_frame_size; u32 rx_frames_per_block;
    u32 tx_frames_per_block; af_packet_flags flags; u16 num_rx_queues {"default":1};
    u16 num_tx_queues {"default":1}
reply af_packet_create_v3_reply 5383d31f: i32 retval; interface_index sw_if_index
request af_packet_delete 863fa648: string host_if_name[64]
reply af_packet_delete_reply e8d4e804: i32 retval
request af_packet_dump 51077d14:
reply af_packet_details 58c7c042: interface_index sw_if_index; string host_if_name[64]
service af_packet_create_v3 af_packet_create_v3_reply
service af_packet_delete af_packet_delete_reply
service af_packet_dump af_packet_details stream
"""
