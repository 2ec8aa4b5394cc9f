# SPDX-License-Identifier: Apache-2.0
"""Sockets for an embedded VPP on asyncio: the API socket, the CLI socket, and that of the statistics (``statseg``).

A path where somebody answers is refused, one that was left behind is taken over. Sockets have mode 0600. Dumps go on
in slices of a few milliseconds and stop while the client does not read.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress
from types import TracebackType

from .api import ApiSession, Vpp
from .cli_socket import serve_client
from .statseg import StatisticsServer

SLICE = 0.003  # seconds of API work before packets get their turn


class SocketInUse(OSError):
    """A live server has this path."""


def listen(path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A listening unix socket, mode 0600; raises SocketInUse, or OSError with the path."""
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise SocketInUse(f"{path} exists and is not a socket: choose another path, or remove it")
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.settimeout(1)
            try:
                probe.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                os.unlink(path)
            else:
                raise SocketInUse(f"another server answers at {path}: stop it, or choose another path")
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(64)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen at {path}: {error.strerror}") from error
    return listener


class ApiProtocol(asyncio.Protocol):
    """Moves bytes between one connection and its session."""

    def __init__(self, vpp: Vpp, connections: set[ApiProtocol]) -> None:
        self.vpp = vpp
        self.connections = connections
        self.transport: asyncio.Transport
        self.session: ApiSession
        self._paused = False
        self._scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.session = ApiSession(self.vpp, transport.write, on_close=transport.close, on_work=self.schedule)
        self.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._paused:
            self.session.feed(data, budget=0)
        elif self.session.feed(data, budget=SLICE):
            self.schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        self.connections.discard(self)
        self.session.close()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        self.transport.resume_reading()
        self.schedule()

    def schedule(self) -> None:
        """Go on with the session when the loop has looked after everything else."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._continue)

    def _continue(self) -> None:
        self._scheduled = False
        if not self._paused and not self.session.closed and self.session.run(budget=SLICE):
            self.schedule()


class Server:
    """The sockets of one embedded VPP; an async context manager."""

    def __init__(
        self, vpp: Vpp, *, api_socket: str, cli_socket: str | None = None, stats_socket: str | None = None
    ) -> None:
        self.vpp = vpp
        self.api_socket = api_socket
        self.cli_socket = cli_socket
        self.stats_socket = stats_socket
        self._statistics: StatisticsServer | None = None
        self._servers: list[tuple[asyncio.Server, str]] = []
        self._connections: set[ApiProtocol] = set()
        self._cli: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the sockets."""
        try:
            loop = asyncio.get_running_loop()
            listener = listen(self.api_socket)
            server = await loop.create_unix_server(
                lambda: ApiProtocol(self.vpp, self._connections), sock=listener
            )
            self._servers.append((server, self.api_socket))
            if self.cli_socket is not None:
                listener = listen(self.cli_socket)
                server = await asyncio.start_unix_server(self._serve_cli, sock=listener)
                self._servers.append((server, self.cli_socket))
            if self.stats_socket is not None:
                listener = listen(self.stats_socket, socket.SOCK_SEQPACKET)
                self._statistics = StatisticsServer(self.vpp, listener)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close sockets and connections, and remove the paths."""
        for server, path in self._servers:
            server.close()
            with suppress(FileNotFoundError):
                os.unlink(path)
        if self._statistics is not None and self.stats_socket is not None:
            self._statistics.close()
            self._statistics = None
            with suppress(FileNotFoundError):
                os.unlink(self.stats_socket)
        for connection in list(self._connections):
            connection.session.close()
        for task in list(self._cli):
            task.cancel()
        await asyncio.gather(*self._cli, return_exceptions=True)
        self._servers.clear()
        await self.vpp.dataplane.close()

    async def _serve_cli(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._cli.add(task)
        try:
            await serve_client(self.vpp, reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            self._cli.discard(task)

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
