# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: nat44_ed.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/nat44_ed.messages`: change that, not this.
"""

from enum import KEEP, IntEnum, IntFlag

from contivpp_vpp.wire.base import Details, Dump, Reply, Request, Structure

__all__ = [
    "Nat44AddDelAddressRange",
    "Nat44AddDelAddressRangeReply",
    "Nat44AddDelLbStaticMapping",
    "Nat44AddDelLbStaticMappingReply",
    "Nat44AddDelStaticMappingV2",
    "Nat44AddDelStaticMappingV2Reply",
    "Nat44AddressDetails",
    "Nat44AddressDump",
    "Nat44ConfigFlags",
    "Nat44EdAddDelOutputInterface",
    "Nat44EdAddDelOutputInterfaceReply",
    "Nat44EdOutputInterfaceDetails",
    "Nat44EdOutputInterfaceGet",
    "Nat44EdOutputInterfaceGetReply",
    "Nat44EdPluginEnableDisable",
    "Nat44EdPluginEnableDisableReply",
    "Nat44ForwardingEnableDisable",
    "Nat44ForwardingEnableDisableReply",
    "Nat44InterfaceAddDelFeature",
    "Nat44InterfaceAddDelFeatureReply",
    "Nat44InterfaceDetails",
    "Nat44InterfaceDump",
    "Nat44LbAddrPort",
    "Nat44LbStaticMappingAddDelLocal",
    "Nat44LbStaticMappingAddDelLocalReply",
    "Nat44LbStaticMappingDetails",
    "Nat44LbStaticMappingDump",
    "Nat44ShowRunningConfig",
    "Nat44ShowRunningConfigReply",
    "Nat44StaticMappingDetails",
    "Nat44StaticMappingDump",
    "NatConfigFlags",
    "NatLogLevel",
    "NatSetTimeouts",
    "NatSetTimeoutsReply",
    "NatTimeouts",
    "NatWorkerDetails",
    "NatWorkerDump",
]


class NatConfigFlags(IntFlag, boundary=KEEP):
    NONE = 0
    TWICE_NAT = 1
    SELF_TWICE_NAT = 2
    OUT2IN_ONLY = 4
    ADDR_ONLY = 8
    OUTSIDE = 16
    INSIDE = 32
    STATIC = 64
    EXT_HOST_VALID = 128


class Nat44ConfigFlags(IntFlag, boundary=KEEP):
    ENDPOINT_INDEPENDENT = 0
    ENDPOINT_DEPENDENT = 1
    STATIC_MAPPING_ONLY = 2
    CONNECTION_TRACKING = 4
    OUT2IN_DPO = 8


class NatLogLevel(IntEnum):
    NONE = 0
    ERROR = 1
    WARNING = 2
    NOTICE = 3
    INFO = 4
    DEBUG = 5


class NatTimeouts(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "nat_timeouts"

    udp: int = 0
    tcp_established: int = 0
    tcp_transitory: int = 0
    icmp: int = 0


class Nat44LbAddrPort(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "nat44_lb_addr_port"

    addr: bytes = bytes(4)
    port: int = 0
    probability: int = 0
    vrf_id: int = 0


class Nat44EdPluginEnableDisableReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_ed_plugin_enable_disable_reply"
    CRC = 0xe8d4e804


class Nat44EdPluginEnableDisable(Request[Nat44EdPluginEnableDisableReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_ed_plugin_enable_disable"
    CRC = 0xbe17f8dd
    REPLY = Nat44EdPluginEnableDisableReply

    inside_vrf: int = 0
    outside_vrf: int = 0
    sessions: int = 0
    session_memory: int = 0
    enable: bool = True
    flags: Nat44ConfigFlags = Nat44ConfigFlags.ENDPOINT_INDEPENDENT


class Nat44ForwardingEnableDisableReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_forwarding_enable_disable_reply"
    CRC = 0xe8d4e804


class Nat44ForwardingEnableDisable(Request[Nat44ForwardingEnableDisableReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_forwarding_enable_disable"
    CRC = 0xb3e225d2
    REPLY = Nat44ForwardingEnableDisableReply

    enable: bool = True


class NatSetTimeoutsReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat_set_timeouts_reply"
    CRC = 0xe8d4e804


class NatSetTimeouts(Request[NatSetTimeoutsReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat_set_timeouts"
    CRC = 0xd4746b16
    REPLY = NatSetTimeoutsReply

    udp: int = 300
    tcp_established: int = 7440
    tcp_transitory: int = 240
    icmp: int = 60


class Nat44ShowRunningConfigReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_show_running_config_reply"
    CRC = 0x93d8e267

    inside_vrf: int = 0
    outside_vrf: int = 0
    users: int = 0
    sessions: int = 0
    user_sessions: int = 0
    user_buckets: int = 0
    translation_buckets: int = 0
    forwarding_enabled: bool = False
    ipfix_logging_enabled: bool = False
    timeouts: NatTimeouts = NatTimeouts()
    log_level: NatLogLevel | int = NatLogLevel.NONE
    flags: Nat44ConfigFlags = Nat44ConfigFlags.ENDPOINT_INDEPENDENT


class Nat44ShowRunningConfig(Request[Nat44ShowRunningConfigReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_show_running_config"
    CRC = 0x51077d14
    REPLY = Nat44ShowRunningConfigReply


class NatWorkerDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat_worker_details"
    CRC = 0x84bf06fc

    worker_index: int = 0
    lcore_id: int = 0
    name: str = ""


class NatWorkerDump(Dump[NatWorkerDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat_worker_dump"
    CRC = 0x51077d14
    DETAILS = NatWorkerDetails


class Nat44AddDelAddressRangeReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_add_del_address_range_reply"
    CRC = 0xe8d4e804


class Nat44AddDelAddressRange(Request[Nat44AddDelAddressRangeReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_add_del_address_range"
    CRC = 0x6f2b8055
    REPLY = Nat44AddDelAddressRangeReply

    first_ip_address: bytes = bytes(4)
    last_ip_address: bytes = bytes(4)
    vrf_id: int = 0xffffffff
    is_add: bool = True
    flags: NatConfigFlags = NatConfigFlags.NONE


class Nat44AddressDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_address_details"
    CRC = 0x0d1beac1

    ip_address: bytes = bytes(4)
    flags: NatConfigFlags = NatConfigFlags.NONE
    vrf_id: int = 0


class Nat44AddressDump(Dump[Nat44AddressDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_address_dump"
    CRC = 0x51077d14
    DETAILS = Nat44AddressDetails


class Nat44InterfaceAddDelFeatureReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_interface_add_del_feature_reply"
    CRC = 0xe8d4e804


class Nat44InterfaceAddDelFeature(Request[Nat44InterfaceAddDelFeatureReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_interface_add_del_feature"
    CRC = 0xf3699b83
    REPLY = Nat44InterfaceAddDelFeatureReply

    is_add: bool = True
    flags: NatConfigFlags = NatConfigFlags.NONE
    sw_if_index: int = 0xffffffff


class Nat44InterfaceDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_interface_details"
    CRC = 0x5d286289

    flags: NatConfigFlags = NatConfigFlags.NONE
    sw_if_index: int = 0


class Nat44InterfaceDump(Dump[Nat44InterfaceDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_interface_dump"
    CRC = 0x51077d14
    DETAILS = Nat44InterfaceDetails


class Nat44EdAddDelOutputInterfaceReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_ed_add_del_output_interface_reply"
    CRC = 0xe8d4e804


class Nat44EdAddDelOutputInterface(Request[Nat44EdAddDelOutputInterfaceReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_ed_add_del_output_interface"
    CRC = 0x47d6e753
    REPLY = Nat44EdAddDelOutputInterfaceReply

    is_add: bool = True
    sw_if_index: int = 0xffffffff


class Nat44EdOutputInterfaceDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_ed_output_interface_details"
    CRC = 0x0b45011c

    sw_if_index: int = 0


class Nat44EdOutputInterfaceGet(Dump[Nat44EdOutputInterfaceDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_ed_output_interface_get"
    CRC = 0xf75ba505
    DETAILS = Nat44EdOutputInterfaceDetails

    cursor: int = 0


class Nat44EdOutputInterfaceGetReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_ed_output_interface_get_reply"
    CRC = 0x53b48f5d

    cursor: int = 0


class Nat44AddDelStaticMappingV2Reply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_add_del_static_mapping_v2_reply"
    CRC = 0xe8d4e804


class Nat44AddDelStaticMappingV2(Request[Nat44AddDelStaticMappingV2Reply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_add_del_static_mapping_v2"
    CRC = 0x5e205f1a
    REPLY = Nat44AddDelStaticMappingV2Reply

    is_add: bool = True
    match_pool: bool = False
    flags: NatConfigFlags = NatConfigFlags.NONE
    pool_ip_address: bytes = bytes(4)
    local_ip_address: bytes = bytes(4)
    external_ip_address: bytes = bytes(4)
    protocol: int = 0
    local_port: int = 0
    external_port: int = 0
    external_sw_if_index: int = 0xffffffff
    vrf_id: int = 0
    tag: str = ""


class Nat44StaticMappingDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_static_mapping_details"
    CRC = 0x06cb40b2

    flags: NatConfigFlags = NatConfigFlags.NONE
    local_ip_address: bytes = bytes(4)
    external_ip_address: bytes = bytes(4)
    protocol: int = 0
    local_port: int = 0
    external_port: int = 0
    external_sw_if_index: int = 0
    vrf_id: int = 0
    tag: str = ""


class Nat44StaticMappingDump(Dump[Nat44StaticMappingDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_static_mapping_dump"
    CRC = 0x51077d14
    DETAILS = Nat44StaticMappingDetails


class Nat44AddDelLbStaticMappingReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_add_del_lb_static_mapping_reply"
    CRC = 0xe8d4e804


class Nat44AddDelLbStaticMapping(Request[Nat44AddDelLbStaticMappingReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_add_del_lb_static_mapping"
    CRC = 0x4f68ee9d
    REPLY = Nat44AddDelLbStaticMappingReply

    is_add: bool = True
    flags: NatConfigFlags = NatConfigFlags.NONE
    external_addr: bytes = bytes(4)
    external_port: int = 0
    protocol: int = 0
    affinity: int = 0
    tag: str = ""
    locals: tuple[Nat44LbAddrPort, ...] = ()


class Nat44LbStaticMappingAddDelLocalReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_lb_static_mapping_add_del_local_reply"
    CRC = 0xe8d4e804


class Nat44LbStaticMappingAddDelLocal(
    Request[Nat44LbStaticMappingAddDelLocalReply], frozen=True, kw_only=True, gc=False
):
    MESSAGE = "nat44_lb_static_mapping_add_del_local"
    CRC = 0x7ca47547
    REPLY = Nat44LbStaticMappingAddDelLocalReply

    is_add: bool = True
    external_addr: bytes = bytes(4)
    external_port: int = 0
    protocol: int = 0
    local: Nat44LbAddrPort = Nat44LbAddrPort()


class Nat44LbStaticMappingDetails(Details, frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_lb_static_mapping_details"
    CRC = 0xed5ce876

    external_addr: bytes = bytes(4)
    external_port: int = 0
    protocol: int = 0
    flags: NatConfigFlags = NatConfigFlags.NONE
    affinity: int = 0
    tag: str = ""
    locals: tuple[Nat44LbAddrPort, ...] = ()


class Nat44LbStaticMappingDump(Dump[Nat44LbStaticMappingDetails], frozen=True, kw_only=True, gc=False):
    MESSAGE = "nat44_lb_static_mapping_dump"
    CRC = 0x51077d14
    DETAILS = Nat44LbStaticMappingDetails
