# SPDX-License-Identifier: Apache-2.0
"""What the tests of descriptors and plugin share: a VPP of either kind, and a bench that applies items one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from contivpp_core.items import AnyDescriptor, Found, Item, Known
from contivpp_vpp.access import VppAccess
from contivpp_vpp.connection import Connection
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.testing import real_vpp
from contivpp_vpp.transports import Connect, in_memory, unix_socket

BACKENDS = [
    pytest.param("embedded", id="embedded"),
    pytest.param("real", id="real", marks=pytest.mark.realvpp),
]


class EmbeddedPeer(asyncio.Protocol):
    """The embedded VPP's end of a connection in memory."""

    def __init__(self, vpp: Any, session: Callable[..., Any]) -> None:
        self._vpp, self._make = vpp, session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._session = self._make(self._vpp, transport.write)

    def data_received(self, data: bytes) -> None:
        self._session.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.close()


def embedded() -> Connect:
    """A new embedded VPP in this process."""
    api = pytest.importorskip("embeddedvpp.api")
    vpp = api.Vpp()
    return in_memory(lambda: EmbeddedPeer(vpp, api.ApiSession))


@asynccontextmanager
async def a_vpp(backend: str) -> AsyncIterator[Connect]:
    """A fresh VPP, as a way to connect to it."""
    if backend == "embedded":
        yield embedded()
        return
    async with real_vpp() as vpp:
        yield unix_socket(vpp.api_socket)


class Bench:
    """Applies items by their descriptors, and dumps as a resync does."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        access = self.access = VppAccess()
        access.client = connection
        self.descriptors: dict[str, AnyDescriptor] = {each.kind: each for each in all_descriptors(access)}
        self.handles: dict[str, Any] = {}
        self.wanted: dict[str, Item] = {}

    async def create(self, item: Item) -> None:
        descriptor = self.descriptors[item.kind]
        handle = await descriptor.create(item, self.handles)
        for key in (item.key, *descriptor.provides(item)):
            self.handles[key] = handle
        self.wanted[item.key] = item

    async def change(self, old: Item, new: Item) -> None:
        descriptor = self.descriptors[old.kind]
        if descriptor.recreates(old, new):
            await self.delete(old)
            await self.create(new)
            return
        self.handles[new.key] = await descriptor.update(old, new, self.handles[old.key], self.handles)
        self.wanted[new.key] = new

    async def delete(self, item: Item) -> None:
        await self.descriptors[item.kind].delete(item, self.handles[item.key], self.handles)
        self.wanted.pop(item.key, None)

    async def known(self, wanted: Iterable[Item] | None = None) -> Known:
        """What dumps may look up, after those of all interfaces."""
        items: dict[str, list[Item]] = {}
        for item in self.wanted.values() if wanted is None else wanted:
            items.setdefault(item.kind, []).append(item)
        known = Known(items)
        for descriptor in self.descriptors.values():
            if descriptor.space:
                for found in await descriptor.dump(known):
                    if found.item is None:
                        continue
                    key = next(key for key in descriptor.provides(found.item) if key.startswith(descriptor.space))
                    known.add(descriptor.space, found.handle, key)
        return known

    async def dump(self, kind: str) -> dict[str, Found]:
        return {found.key: found for found in await self.descriptors[kind].dump(await self.known())}


@asynccontextmanager
async def a_bench(backend: str) -> AsyncIterator[Bench]:
    """A bench on a fresh VPP."""
    async with a_vpp(backend) as connect:
        connection = await Connection.open(connect, name="bench")
        try:
            yield Bench(connection)
        finally:
            connection.close()
