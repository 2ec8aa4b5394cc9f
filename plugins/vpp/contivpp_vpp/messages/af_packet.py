# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: af_packet.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/af_packet.messages`: change that, not this.
"""

from enum import KEEP, IntEnum, IntFlag

from contivpp_vpp.wire.base import Details, Dump, Reply, Request

__all__ = [
    "AfPacketCreateV3",
    "AfPacketCreateV3Reply",
    "AfPacketDelete",
    "AfPacketDeleteReply",
    "AfPacketDetails",
    "AfPacketDump",
    "AfPacketFlags",
    "AfPacketMode",
]


class AfPacketMode(IntEnum):
    ETHERNET = 1
    IP = 2


class AfPacketFlags(IntFlag, boundary=KEEP):
    QDISC_BYPASS = 1
    CKSUM_GSO = 2
    VERSION_2 = 8


class AfPacketCreateV3Reply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "af_packet_create_v3_reply"
    CRC = 0x5383d31f

    sw_if_index: int = 0


class AfPacketCreateV3(Request[AfPacketCreateV3Reply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "af_packet_create_v3"
    CRC = 0xb3a809d4
    REPLY = AfPacketCreateV3Reply

    mode: AfPacketMode | int = AfPacketMode.ETHERNET
    hw_addr: bytes = bytes(6)
    use_random_hw_addr: bool = True
    host_if_name: str = ""
    rx_frame_size: int = 0
    tx_frame_size: int = 0
    rx_frames_per_block: int = 0
    tx_frames_per_block: int = 0
    flags: AfPacketFlags = AfPacketFlags(0)
    num_rx_queues: int = 1
    num_tx_queues: int = 1


class AfPacketDeleteReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "af_packet_delete_reply"
    CRC = 0xe8d4e804


class AfPacketDelete(Request[AfPacketDeleteReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "af_packet_delete"
    CRC = 0x863fa648
    REPLY = AfPacketDeleteReply

    host_if_name: str = ""


class AfPacketDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "af_packet_details"
    CRC = 0x58c7c042

    sw_if_index: int = 0
    host_if_name: str = ""


class AfPacketDump(Dump[AfPacketDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "af_packet_dump"
    CRC = 0x51077d14
    DETAILS = AfPacketDetails
