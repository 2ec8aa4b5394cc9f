# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: tapv2.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/tapv2.messages`: change that, not this.
"""

from enum import KEEP, IntFlag

from contivpp_vpp.messages.types import Ip4Prefix, Ip6Prefix
from contivpp_vpp.wire.base import Details, Dump, Reply, Request

__all__ = [
    "SwInterfaceTapV2Details",
    "SwInterfaceTapV2Dump",
    "TapCreateV3",
    "TapCreateV3Reply",
    "TapDeleteV2",
    "TapDeleteV2Reply",
    "TapFlags",
]


class TapFlags(IntFlag, boundary=KEEP):
    GSO = 1
    CSUM_OFFLOAD = 2
    PERSIST = 4
    ATTACH = 8
    TUN = 16
    GRO_COALESCE = 32
    PACKED = 64
    IN_ORDER = 128
    CONSISTENT_QP = 256


class TapCreateV3Reply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "tap_create_v3_reply"
    CRC = 0x5383d31f

    sw_if_index: int = 0


class TapCreateV3(Request[TapCreateV3Reply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "tap_create_v3"
    CRC = 0x3f3fd1df
    REPLY = TapCreateV3Reply

    id: int = 0xffffffff
    use_random_mac: bool = True
    mac_address: bytes = bytes(6)
    num_rx_queues: int = 1
    num_tx_queues: int = 1
    tx_ring_sz: int = 256
    rx_ring_sz: int = 256
    host_mtu_set: bool = False
    host_mtu_size: int = 0
    host_mac_addr_set: bool = False
    host_mac_addr: bytes = bytes(6)
    host_ip4_prefix_set: bool = False
    host_ip4_prefix: Ip4Prefix = Ip4Prefix()
    host_ip6_prefix_set: bool = False
    host_ip6_prefix: Ip6Prefix = Ip6Prefix()
    host_ip4_gw_set: bool = False
    host_ip4_gw: bytes = bytes(4)
    host_ip6_gw_set: bool = False
    host_ip6_gw: bytes = bytes(16)
    tap_flags: TapFlags = TapFlags(0)
    host_namespace_set: bool = False
    host_namespace: str = ""
    host_if_name_set: bool = False
    host_if_name: str = ""
    host_bridge_set: bool = False
    host_bridge: str = ""
    tag: str = ""


class TapDeleteV2Reply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "tap_delete_v2_reply"
    CRC = 0xe8d4e804


class TapDeleteV2(Request[TapDeleteV2Reply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "tap_delete_v2"
    CRC = 0xf9e6675e
    REPLY = TapDeleteV2Reply

    sw_if_index: int = 0xffffffff


class SwInterfaceTapV2Details(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_tap_v2_details"
    CRC = 0x1e2b2a47

    sw_if_index: int = 0
    id: int = 0
    tx_ring_sz: int = 0
    rx_ring_sz: int = 0
    host_mtu_size: int = 0
    host_mac_addr: bytes = bytes(6)
    host_ip4_prefix: Ip4Prefix = Ip4Prefix()
    host_ip6_prefix: Ip6Prefix = Ip6Prefix()
    tap_flags: TapFlags = TapFlags(0)
    dev_name: str = ""
    host_if_name: str = ""
    host_namespace: str = ""
    host_bridge: str = ""


class SwInterfaceTapV2Dump(Dump[SwInterfaceTapV2Details], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sw_interface_tap_v2_dump"
    CRC = 0xf9e6675e
    DETAILS = SwInterfaceTapV2Details

    sw_if_index: int = 0xffffffff
