# SPDX-License-Identifier: Apache-2.0
"""Addresses of links.

The kernel's own (link-local, autoconfigured, those of `lo`) are not ours; in the host's namespace, every other address
of a link of ours is. In a pod's namespace others may add addresses: there, those with our protocol number are ours.
When a link goes down, its IPv4 addresses stay and its IPv6 addresses go. When a link loses its last IPv4 address, it
loses its IPv4 routes and neighbours, too; those that do not stand on the address are told anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Known
from contivpp_core.namespaces import HOST, Namespace
from contivpp_linux.batcher import Phase, reference
from contivpp_linux.descriptors.base import LinuxDescriptor, inside, inside_up, read_all
from contivpp_linux.descriptors.route import is_ours
from contivpp_linux.errors import NamespaceVanished
from contivpp_linux.items import Address, source_key
from contivpp_linux.kernel import values
from contivpp_linux.kernel.operations import Add, Delete, Replace
from contivpp_linux.kernel.protocol import raise_errors

__all__ = ["AddressDescriptor"]

_KERNEL_PROTOCOLS = frozenset({1, 2, 3})  # loopback, router advertisement, link-local (if_addr.h)


class AddressDescriptor(LinuxDescriptor[Address]):
    """Adds and removes addresses."""

    kind: ClassVar[str] = Address.kind
    item = Address

    def dependencies(self, item: Address) -> Iterable[Dependency]:
        """The link, and for IPv6 its being up."""
        return (inside_up if ":" in item.address else inside)(item.namespace, item.link)

    def provides(self, item: Address) -> Iterable[str]:
        """What routes with this source wait for."""
        return (source_key(item.namespace, item.address.partition("/")[0]),)

    async def create(self, item: Address, handles: Mapping[str, Any]) -> None:
        """Add the address."""
        await self._set(item.namespace, Replace(_value(item)), phase=Phase.ADDRESS)

    async def delete(self, item: Address, handle: Any, handles: Mapping[str, Any]) -> None:
        """Remove the address, and nothing else."""
        if ":" in item.address:
            await self._unset(item.namespace, Delete(_value(item)))
            return
        with contextlib.suppress(NamespaceVanished):
            await self._edge.alone(item.namespace, lambda: self._remove(item))

    async def _remove(self, item: Address) -> None:
        kernel, namespace, value = self._edge.kernel, reference(item.namespace), _value(item)
        kept: list[values.Route | values.Neighbour] = []
        for route in await kernel.routes(namespace):
            if route.link == item.link and route.source != value.address.ip and is_ours(route):
                kept.append(route)
        for neighbour in await kernel.neighbours(namespace):
            if neighbour.link == item.link and neighbour.address.version == 4:
                kept.append(neighbour)
        removed, *told = await kernel.apply(namespace, [Delete(value), *map(Add, kept)])
        raise_errors([removed], absent_is_done=True)
        raise_errors((error for error in told if error is None or not error.exists), absent_is_done=True)

    async def dump(self, known: Known) -> list[Found]:
        """Find the wanted addresses, and all others of links of ours."""
        wanted = self._wanted(known)
        namespaces = {HOST, *(item.namespace for item in wanted.values())}
        found: list[Found] = []
        for namespace, address in await read_all(namespaces, self._edge.listings(known).addresses):
            item = Address(namespace=namespace, link=address.link, address=str(address.address))
            if item.key in wanted or (self._edge.ours(namespace, address.link) and _is_ours(namespace, address)):
                found.append(Found(item.key, item))
        return found


def _is_ours(namespace: Namespace, address: values.Address) -> bool:
    if namespace != HOST:
        return address.protocol == values.OWN_PROTOCOL
    return not _of_kernel(address)


def _value(item: Address) -> values.Address:
    interface = ip_interface(item.address)
    if str(interface) != item.address:
        raise ValueError(f"write the address {item.address!r} as {interface}")
    return values.Address(item.link, interface)


def _of_kernel(address: values.Address) -> bool:
    if address.protocol == values.OWN_PROTOCOL:
        return False
    ipv6_link_local = address.address.version == 6 and address.address.is_link_local
    return address.protocol in _KERNEL_PROTOCOLS or address.scope == values.Scope.HOST or ipv6_link_local
