# SPDX-License-Identifier: Apache-2.0
"""Descriptors: how each kind of item is made, changed, removed and found in VPP. One noun, one file."""

from __future__ import annotations

from contivpp_core.items import AnyDescriptor
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors.address import AddressDescriptor
from contivpp_vpp.descriptors.af_packet import AfPacketDescriptor
from contivpp_vpp.descriptors.bridge_domain import BridgeDomainDescriptor
from contivpp_vpp.descriptors.bridge_member import BridgeMemberDescriptor
from contivpp_vpp.descriptors.interface_vrf import InterfaceVrfDescriptor
from contivpp_vpp.descriptors.l2fib_entry import L2FibEntryDescriptor
from contivpp_vpp.descriptors.link_up import LinkUpDescriptor
from contivpp_vpp.descriptors.loopback import LoopbackDescriptor
from contivpp_vpp.descriptors.mac import MacDescriptor
from contivpp_vpp.descriptors.mtu import MtuDescriptor
from contivpp_vpp.descriptors.nat44 import Nat44Descriptor
from contivpp_vpp.descriptors.nat44_address import Nat44AddressDescriptor
from contivpp_vpp.descriptors.nat44_interface import Nat44InterfaceDescriptor
from contivpp_vpp.descriptors.nat44_mapping import Nat44MappingDescriptor
from contivpp_vpp.descriptors.neighbour import NeighbourDescriptor
from contivpp_vpp.descriptors.neighbour_settings import NeighbourSettingsDescriptor
from contivpp_vpp.descriptors.physical import PhysicalInterfaceDescriptor
from contivpp_vpp.descriptors.route import RouteDescriptor
from contivpp_vpp.descriptors.sub_interface import SubInterfaceDescriptor
from contivpp_vpp.descriptors.tag import TagDescriptor
from contivpp_vpp.descriptors.tap import TapDescriptor
from contivpp_vpp.descriptors.unnumbered import UnnumberedDescriptor
from contivpp_vpp.descriptors.vrf_table import VrfTableDescriptor
from contivpp_vpp.descriptors.vxlan_tunnel import VxlanTunnelDescriptor
from contivpp_vpp.fib_source import FibSourceNumber
from contivpp_vpp.short_paths import ShortPaths

__all__ = ["all_descriptors"]


def all_descriptors(
    vpp: VppAccess,
    *,
    persistent_taps: bool = False,
    paths: ShortPaths | None = None,
) -> list[AnyDescriptor]:
    """Return a descriptor for every kind of this plugin."""
    return [
        TapDescriptor(vpp, persistent=persistent_taps, paths=paths),
        AfPacketDescriptor(vpp),
        LoopbackDescriptor(vpp),
        PhysicalInterfaceDescriptor(vpp),
        SubInterfaceDescriptor(vpp),
        VxlanTunnelDescriptor(vpp),
        TagDescriptor(vpp),
        LinkUpDescriptor(vpp),
        VrfTableDescriptor(vpp),
        InterfaceVrfDescriptor(vpp),
        AddressDescriptor(vpp),
        UnnumberedDescriptor(vpp),
        MacDescriptor(vpp),
        MtuDescriptor(vpp),
        RouteDescriptor(vpp, FibSourceNumber(vpp)),
        NeighbourDescriptor(vpp),
        NeighbourSettingsDescriptor(vpp),
        BridgeDomainDescriptor(vpp),
        BridgeMemberDescriptor(vpp),
        L2FibEntryDescriptor(vpp),
        Nat44Descriptor(vpp),
        Nat44InterfaceDescriptor(vpp),
        Nat44AddressDescriptor(vpp),
        Nat44MappingDescriptor(vpp),
    ]
