# SPDX-License-Identifier: Apache-2.0
"""Interfaces of every kind: dump, state, MTU, MAC address, tag, events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..dataplane import Interface
from .errors import INVALID_REGISTRATION, INVALID_VALUE, UNIMPLEMENTED, UNSPECIFIED, UNSUPPORTED, Refusal

if TYPE_CHECKING:
    from ..dataplane.sub_interfaces import SubInterface
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
UNSET = 0xFFFFFFFF
ADMIN_UP = 1
TYPE_SUB = 1


def details(interface: Interface) -> Fields:
    """What sw_interface_details says."""
    ethernet = interface.device_class != "local" and interface.sub is None
    parent = interface.sub.parent if interface.sub is not None else interface
    return {
        "sw_if_index": interface.sw_if_index, "sup_sw_if_index": parent.sw_if_index,
        "l2_address": interface.mac if ethernet else bytes(6), "flags": interface.flags,
        "link_mtu": interface.hardware_mtu, "mtu": interface.mtu,
        "interface_name": interface.name, "interface_dev_type": interface.device_class,
        "tag": interface.tag, **(_sub_interface(interface.sub) if interface.sub is not None else {}),
    }  # fmt: skip


def _sub_interface(sub: SubInterface) -> Fields:
    return {
        "type": TYPE_SUB, "sub_id": sub.id, "sub_number_of_tags": 1, "sub_outer_vlan_id": sub.vlan,
        "sub_if_flags": sub.flags,
    }  # fmt: skip


def sw_interface_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """All, those with a part of the name, or one; index 0 means all, as in VPP."""
    pool = vpp.dataplane.interfaces
    if not request.name_filter_valid and request.sw_if_index not in (0, UNSET):
        found = pool.find(request.sw_if_index)
        return iter([details(found)] if found else [])
    wanted = request.name_filter.rstrip("\0").lower() if request.name_filter_valid else ""
    return (details(interface) for interface in list(pool) if wanted in interface.name.lower())


def sw_interface_set_flags(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Admin state."""
    vpp.dataplane.set_admin_state(request.sw_if_index, up=bool(request.flags & ADMIN_UP))


def sw_interface_set_promisc(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Accept all frames."""
    _ethernet(vpp, request.sw_if_index, INVALID_VALUE)
    _no_sub(vpp, request.sw_if_index, INVALID_VALUE)
    if vpp.dataplane.interfaces.get(request.sw_if_index).device_class in ("Loopback", "af-packet"):
        raise Refusal(UNSPECIFIED, "the device cannot do that")
    vpp.dataplane.set_promiscuous(request.sw_if_index, on=request.promisc_on)


def sw_interface_set_mtu(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """The four software MTUs."""
    vpp.dataplane.set_mtu(request.sw_if_index, request.mtu)


def hw_interface_set_mtu(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """The hardware MTU."""
    _ethernet(vpp, request.sw_if_index, -30)  # FEATURE_DISABLED
    _no_sub(vpp, request.sw_if_index, INVALID_VALUE)
    _no_loopback(vpp, request.sw_if_index, UNSUPPORTED)
    vpp.dataplane.set_hardware_mtu(request.sw_if_index, request.mtu)


def sw_interface_set_mac_address(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """A new MAC address."""
    _ethernet(vpp, request.sw_if_index, UNIMPLEMENTED)
    _no_sub(vpp, request.sw_if_index, UNIMPLEMENTED)
    vpp.dataplane.set_mac(request.sw_if_index, request.mac_address)


def sw_interface_get_mac_address(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """The MAC address, zeros for an interface without."""
    interface = vpp.dataplane.interfaces.get(request.sw_if_index)
    parent = interface.sub.parent if interface.sub is not None else interface
    return {"mac_address": details(parent)["l2_address"]}


def sw_interface_tag_add_del(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Set or clear the tag; VPP refuses an empty one."""
    vpp.dataplane.interfaces.get(request.sw_if_index)
    if request.is_add and not request.tag:
        raise Refusal(INVALID_VALUE, "the tag is empty")
    vpp.dataplane.set_tag(request.sw_if_index, request.tag if request.is_add else "")


def sw_interface_set_rx_mode(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """No interface here has receive queues with a mode: as in VPP, that is success without effect."""
    _no_sub(vpp, request.sw_if_index, INVALID_VALUE)


def want_interface_events(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Subscribe or unsubscribe; VPP refuses to do either twice."""
    known = request.client_index in vpp.interface_subscribers
    if known == bool(request.enable_disable):
        raise Refusal(INVALID_REGISTRATION, "the client is already in that state")
    if known:
        del vpp.interface_subscribers[request.client_index]
    else:
        vpp.interface_subscribers[request.client_index] = request.pid


def _ethernet(vpp: Vpp, sw_if_index: int, retval: int) -> None:
    if vpp.dataplane.interfaces.get(sw_if_index).device_class == "local":
        raise Refusal(retval, "local0 is no Ethernet interface")


def _no_sub(vpp: Vpp, sw_if_index: int, retval: int) -> None:
    if vpp.dataplane.interfaces.get(sw_if_index).sub is not None:
        raise Refusal(retval, "a sub-interface cannot do that")


def _no_loopback(vpp: Vpp, sw_if_index: int, retval: int) -> None:
    if vpp.dataplane.interfaces.get(sw_if_index).device_class == "Loopback":
        raise Refusal(retval, "a loopback interface cannot do that")


HANDLERS = {
    found.__name__: found
    for found in (
        sw_interface_dump, sw_interface_set_flags, sw_interface_set_promisc, sw_interface_set_mtu,
        hw_interface_set_mtu, sw_interface_set_mac_address, sw_interface_get_mac_address,
        sw_interface_tag_add_del, sw_interface_set_rx_mode, want_interface_events,
    )
}  # fmt: skip
