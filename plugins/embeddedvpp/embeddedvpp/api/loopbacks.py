# SPDX-License-Identifier: Apache-2.0
"""Loopback interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import INVALID_SW_IF_INDEX, Refusal

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]


def create_loopback(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """loopN with the first free number."""
    return {"sw_if_index": vpp.dataplane.create_loopback(mac=request.mac_address).sw_if_index}


def create_loopback_instance(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """loopN with a chosen number."""
    instance = request.user_instance if request.is_specified else None
    return {
        "sw_if_index": vpp.dataplane.create_loopback(mac=request.mac_address, instance=instance).sw_if_index
    }


def delete_loopback(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Remove it; routes over its index stay."""
    if vpp.dataplane.interfaces.get(request.sw_if_index).device_class != "Loopback":
        raise Refusal(INVALID_SW_IF_INDEX, "not a loopback interface")
    vpp.dataplane.delete_interface(request.sw_if_index)


HANDLERS = {found.__name__: found for found in (create_loopback, create_loopback_instance, delete_loopback)}
