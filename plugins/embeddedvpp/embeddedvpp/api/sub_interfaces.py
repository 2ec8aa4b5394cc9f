# SPDX-License-Identifier: Apache-2.0
"""Sub-interfaces with exactly one 802.1Q tag."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..dataplane.sub_interfaces import VlanInUse, create_sub, create_vlan, delete_sub

if TYPE_CHECKING:
    from ..dataplane import Interface
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]


def create_vlan_subif(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """PARENT.VLAN."""
    parent = vpp.dataplane.interfaces.get(request.sw_if_index)
    return _answer(vpp, lambda: create_vlan(vpp.dataplane, parent, request.vlan_id))


def create_subif(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """PARENT.ID for the outer VLAN."""
    parent = vpp.dataplane.interfaces.get(request.sw_if_index)
    vlan, flags = request.outer_vlan_id, request.sub_if_flags
    return _answer(vpp, lambda: create_sub(vpp.dataplane, parent, request.sub_id, vlan, flags))


def _answer(vpp: Vpp, create: Callable[[], Interface]) -> Fields:
    """When the tag is in use, VPP's reply has the index of the interface that was unmade."""
    unmade = vpp.dataplane.interfaces.next_index()
    try:
        return {"sw_if_index": create().sw_if_index}
    except VlanInUse as error:
        return {"retval": int(error.retval), "sw_if_index": unmade}


def delete_subif(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Remove it."""
    delete_sub(vpp.dataplane, vpp.dataplane.interfaces.get(request.sw_if_index))


HANDLERS = {found.__name__: found for found in (create_vlan_subif, create_subif, delete_subif)}
