# SPDX-License-Identifier: Apache-2.0
"""Addresses of interfaces, unnumbered interfaces, and the table that an interface is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import values
from .errors import INVALID_SW_IF_INDEX_2, UNIMPLEMENTED, UNSUPPORTED, Refusal

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]


def sw_interface_add_del_address(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Add or remove one IPv4 address, or remove all."""
    plane = vpp.dataplane
    plane.interfaces.get(request.sw_if_index)
    if request.sw_if_index == 0:
        raise Refusal(UNSUPPORTED, "local0 has no addresses")
    if request.del_all:
        plane.del_all_addresses(request.sw_if_index)
        return
    if request.prefix.address.af == values.IP6:
        raise Refusal(UNIMPLEMENTED, "the dataplane has no IPv6 addresses")
    change = plane.add_address if request.is_add else plane.del_address
    change(request.sw_if_index, values.integer(request.prefix.address), request.prefix.len)


def sw_interface_set_unnumbered(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """``unnumbered_sw_if_index`` borrows the addresses of ``sw_if_index``: the names are VPP's."""
    pool = vpp.dataplane.interfaces
    pool.get(request.unnumbered_sw_if_index)
    if not request.is_add:
        vpp.dataplane.clear_unnumbered(request.unnumbered_sw_if_index)
        return
    if pool.find(request.sw_if_index) is None:
        raise Refusal(INVALID_SW_IF_INDEX_2, f"no interface has sw_if_index {request.sw_if_index}")
    vpp.dataplane.set_unnumbered(request.unnumbered_sw_if_index, request.sw_if_index)


def sw_interface_set_table(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Bind an interface to a table."""
    vpp.dataplane.set_table(request.sw_if_index, request.vrf_id, version=6 if request.is_ipv6 else 4)


def sw_interface_get_table(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """The table that an interface is in."""
    interface = vpp.dataplane.interfaces.get(request.sw_if_index)
    return {"vrf_id": (interface.fib6 if request.is_ipv6 else interface.fib4).table_id}


def ip_address_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """Own addresses only: those of an unnumbered interface belong to the lender."""
    interface = vpp.dataplane.interfaces.find(request.sw_if_index)
    found = list(interface.addresses) if interface and not request.is_ipv6 else []
    return ({"sw_if_index": request.sw_if_index, "prefix": values.prefix(*each)} for each in found)


def ip_unnumbered_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """Unnumbered interfaces, all or one."""
    wanted = None if request.sw_if_index == 0xFFFFFFFF else request.sw_if_index
    pairs = [
        (i.sw_if_index, i.unnumbered_to.sw_if_index) for i in vpp.dataplane.interfaces if i.unnumbered_to
    ]
    return ({"sw_if_index": a, "ip_sw_if_index": b} for a, b in pairs if wanted in (None, a))


def ip_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """Every interface that is not unnumbered, with or without an address, as VPP does."""
    found = [i.sw_if_index for i in vpp.dataplane.interfaces if i.unnumbered_to is None]
    return ({"sw_if_index": index, "is_ipv6": request.is_ipv6} for index in found)


HANDLERS = {
    found.__name__: found
    for found in (
        sw_interface_add_del_address, sw_interface_set_unnumbered, sw_interface_set_table, sw_interface_get_table,
        ip_address_dump, ip_unnumbered_dump, ip_dump,
    )
}  # fmt: skip
