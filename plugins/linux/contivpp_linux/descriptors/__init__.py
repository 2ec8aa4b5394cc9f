# SPDX-License-Identifier: Apache-2.0
"""One descriptor for each kind of item (`contivpp_linux.items`)."""

from __future__ import annotations

from contivpp_core.items import AnyDescriptor
from contivpp_linux.descriptors.address import AddressDescriptor
from contivpp_linux.descriptors.link_up import LinkUpDescriptor
from contivpp_linux.descriptors.mac import MacDescriptor
from contivpp_linux.descriptors.mtu import MtuDescriptor
from contivpp_linux.descriptors.neighbour import NeighbourDescriptor
from contivpp_linux.descriptors.offload import OffloadDescriptor
from contivpp_linux.descriptors.route import RouteDescriptor
from contivpp_linux.descriptors.settled import SettledDescriptor
from contivpp_linux.descriptors.sysctl import SysctlDescriptor
from contivpp_linux.descriptors.veth import VethDescriptor
from contivpp_linux.edge import Edge

__all__ = ["all_descriptors"]


def all_descriptors(edge: Edge) -> list[AnyDescriptor]:
    """Return a descriptor of each kind, over one edge."""
    return [
        VethDescriptor(edge),
        LinkUpDescriptor(edge),
        MtuDescriptor(edge),
        MacDescriptor(edge),
        AddressDescriptor(edge),
        RouteDescriptor(edge),
        NeighbourDescriptor(edge),
        SysctlDescriptor(edge),
        OffloadDescriptor(edge),
        SettledDescriptor(edge),
    ]
