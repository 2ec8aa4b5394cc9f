# SPDX-License-Identifier: Apache-2.0
"""Ways to reach VPP: a Unix socket, or a peer in the same process.

A way is any `connect(protocol_factory)` that makes the protocol, connects it and returns the transport. The
pair in memory knows no sockets, files or threads: it runs under any event loop, also one with a simulated
clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

ProtocolFactory = Callable[[], asyncio.Protocol]
Connect = Callable[[ProtocolFactory], Awaitable[asyncio.Transport]]


def unix_socket(path: str) -> Connect:
    """Connect to VPP's API socket."""

    async def connect(factory: ProtocolFactory) -> asyncio.Transport:
        transport, _ = await asyncio.get_running_loop().create_unix_connection(factory, path)
        return transport

    return connect


def in_memory(peer: ProtocolFactory) -> Connect:
    """Connect to a peer in this process; each connection gets a protocol of its own from the factory."""

    async def connect(factory: ProtocolFactory) -> asyncio.Transport:
        near, far = MemoryTransport(factory()), MemoryTransport(peer())
        near.other, far.other = far, near
        far.start()
        near.start()
        await asyncio.sleep(0)
        return near

    return connect


class MemoryTransport(asyncio.Transport):
    """One end of a pair. What is written arrives in the next turn of the loop, in order."""

    other: MemoryTransport

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closing = False

    def start(self) -> None:
        self._protocol.connection_made(self)

    def write(self, data: Any) -> None:
        if not self._closing:
            self._loop.call_soon(self.other.deliver, bytes(data))

    def deliver(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Both ends learn of it, each in a turn of its own."""
        self._end(None)
        self._loop.call_soon(self.other._end, None)

    def abort(self) -> None:
        self.close()

    def _end(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, error)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol
