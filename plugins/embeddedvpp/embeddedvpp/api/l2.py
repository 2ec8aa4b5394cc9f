# SPDX-License-Identifier: Apache-2.0
"""Bridge domains, their members, and the layer 2 FIB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..dataplane import DataplaneError, Feature, PortType
from ..dataplane.l2_fib import L2FibEntry
from ..wire.codec import types
from .errors import INVALID_VALUE, Refusal

if TYPE_CHECKING:
    from ..dataplane.bridge import BridgeDomain
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
UNSET = 0xFFFFFFFF
FLAGS = {
    1: Feature.LEARN, 2: Feature.FWD, 4: Feature.FLOOD, 8: Feature.UU_FLOOD, 16: Feature.ARP_TERM,
    32: Feature.ARP_UFWD,
}  # fmt: skip
FIELDS = {
    "learn": Feature.LEARN, "forward": Feature.FWD, "flood": Feature.FLOOD, "uu_flood": Feature.UU_FLOOD,
    "arp_term": Feature.ARP_TERM, "arp_ufwd": Feature.ARP_UFWD,
}  # fmt: skip


def bridge_domain_add_del_v2(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Create or remove a bridge domain; the reply repeats its id, also with an error."""
    bridges = vpp.dataplane.bridges
    bd_id = bridges.unused_id() if request.bd_id == UNSET and request.is_add else request.bd_id
    retval = 0
    try:
        if not request.is_add:
            bridges.delete(bd_id)
        else:
            features = sum(bit for name, bit in FIELDS.items() if getattr(request, name))
            bridges.add(bd_id, features=features, mac_age=request.mac_age, tag=request.bd_tag)
    except DataplaneError as error:
        retval = int(error.retval)
    return {"retval": retval, "bd_id": bd_id}


def bridge_flags(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Switch features of a bridge domain; the reply has all that are on."""
    features = sum(bit for flag, bit in FLAGS.items() if request.flags & flag)
    return {
        "resulting_feature_bitmap": vpp.dataplane.bridges.set_features(
            request.bd_id, features, on=request.is_set
        )
    }


def bridge_domain_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """All bridge domains, or one; nothing with a filter by interface, which VPP does not have."""
    if request.sw_if_index != UNSET:
        return iter(())
    return (
        _domain(found) for found in vpp.dataplane.bridges if request.bd_id in (UNSET, found.bd_id)
    )


def _domain(found: BridgeDomain) -> Fields:
    make = types()["bridge_domain_sw_if"]
    members = [(each.sw_if_index, each.l2.shg if each.l2 is not None else 0) for each in found.members]
    return {
        **{name: bool(found.features & bit) for name, bit in FIELDS.items()},
        "bd_id": found.bd_id, "mac_age": found.mac_age, "bd_tag": found.tag,
        "bvi_sw_if_index": found.bvi.sw_if_index if found.bvi else UNSET,
        "uu_fwd_sw_if_index": found.uu_fwd.sw_if_index if found.uu_fwd else UNSET,
        "sw_if_details": [make(0, index, shg) for index, shg in members],
    }  # fmt: skip


def sw_interface_set_l2_bridge(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Put an interface into a bridge domain, or back to layer 3."""
    interface = vpp.dataplane.interfaces.get(request.rx_sw_if_index)
    if request.port_type not in tuple(PortType):
        raise Refusal(INVALID_VALUE, f"there is no port type {request.port_type}")
    if request.enable:
        vpp.dataplane.bridges.join(interface, request.bd_id, PortType(request.port_type), request.shg)
    else:
        vpp.dataplane.bridges.leave(interface)


def l2fib_add_del(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Add or remove an entry; one without ``static_mac`` may be moved by learning, but is not flushed."""
    bridges = vpp.dataplane.bridges
    domain, mac = bridges.get(request.bd_id).index, request.mac
    if not request.is_add:
        bridges.delete_entry(domain, mac, request.sw_if_index)
    elif request.filter_mac:
        bridges.fib.add_filter(domain, mac)
    else:
        bridges.add_entry(
            L2FibEntry(domain, mac, request.sw_if_index, static=request.static_mac, bvi=request.bvi_mac)
        )


def l2_fib_table_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """The entries of one bridge domain, or all, with those that dangle."""
    bridges = vpp.dataplane.bridges
    wanted = bridges.by_id.get(request.bd_id)
    if wanted is None and request.bd_id != UNSET:
        return iter(())
    return (
        {
            "bd_id": bridges.id_of(found.domain), "mac": found.mac, "sw_if_index": found.sw_if_index,
            "static_mac": found.static, "filter_mac": found.filter, "bvi_mac": found.bvi,
        }
        for found in bridges.fib
        if wanted is None or found.domain == wanted.index
    )  # fmt: skip


HANDLERS = {
    found.__name__: found
    for found in (
        bridge_domain_add_del_v2, bridge_flags, bridge_domain_dump, sw_interface_set_l2_bridge, l2fib_add_del,
        l2_fib_table_dump,
    )
}  # fmt: skip
