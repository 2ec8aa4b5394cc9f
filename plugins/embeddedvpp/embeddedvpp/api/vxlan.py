# SPDX-License-Identifier: Apache-2.0
"""VXLAN tunnels over IPv4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..dataplane import VxlanTunnel
from ..dataplane.vxlan import DECAP_L2, PORT
from . import values
from .errors import INVALID_VALUE, SAME_SRC_DST, UNIMPLEMENTED, Refusal

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
UNSET = 0xFFFFFFFF


def vxlan_add_del_tunnel_v3(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Create or remove a tunnel; it is removed by what makes it one, not by its interface."""
    tunnel = _tunnel(vpp, request)
    vxlan = vpp.dataplane.graph.vxlan
    if request.is_add:
        return {"sw_if_index": vxlan.add(tunnel).sw_if_index}
    return {"sw_if_index": vxlan.delete(tunnel)}


def _tunnel(vpp: Vpp, request: Any) -> VxlanTunnel:
    """Checks in VPP's order."""
    source, destination = request.src_address, request.dst_address
    version = values.version(source.af)
    table = vpp.dataplane.fibs.get(request.encap_vrf_id, version)
    if values.version(destination.af) != version:
        raise Refusal(INVALID_VALUE, "the addresses are of different families")
    if values.integer(source) == values.integer(destination):
        raise Refusal(SAME_SRC_DST, "both ends of the tunnel have the same address")
    multicast = version == 4 and values.integer(destination) >> 28 == 14
    if multicast:
        vpp.dataplane.interfaces.get(request.mcast_sw_if_index)
    if version == 6 or multicast or request.is_l3:
        raise Refusal(UNIMPLEMENTED, "tunnels over IPv6, to groups, and of layer 3 are not supported")
    return VxlanTunnel(
        source=values.integer(source), destination=values.integer(destination), vni=request.vni, table=table,
        source_port=request.src_port or PORT, destination_port=request.dst_port or PORT,
        instance=request.instance, mcast_sw_if_index=request.mcast_sw_if_index,
        decap_next=DECAP_L2 if request.decap_next_index == UNSET else request.decap_next_index,
    )  # fmt: skip


def vxlan_tunnel_v2_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """All tunnels, or the one with an interface."""
    return (
        {
            "sw_if_index": found.interface.sw_if_index, "instance": found.instance,
            "src_address": values.address(found.source), "dst_address": values.address(found.destination),
            "src_port": found.source_port, "dst_port": found.destination_port,
            "mcast_sw_if_index": found.mcast_sw_if_index, "encap_vrf_id": found.table.table_id,
            "decap_next_index": found.decap_next, "vni": found.vni,
        }
        for found in vpp.dataplane.graph.vxlan.tunnels()
        if request.sw_if_index in (UNSET, found.interface.sw_if_index)
    )  # fmt: skip


HANDLERS = {found.__name__: found for found in (vxlan_add_del_tunnel_v3, vxlan_tunnel_v2_dump)}
