# SPDX-License-Identifier: Apache-2.0
"""The server of the embedded store: `python -m contivpp_datastore.embedded.server --socket PATH [--file PATH]`.

Whoever may open the socket may do everything, so only its owner may (mode 0600). A connection that sends something that
is no request is ended, with a line in the log; so is one that does not read its answers. Requests of a connection are
served at the same time, a bounded number of them; beyond it the server does not read on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import struct
import sys
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from contivpp_core import logs
from contivpp_core.errors import ContivError
from contivpp_core.kvstore import Compacted, KVStore, KVStoreError, LeaseLost, StoreUnavailable
from contivpp_core.sockets import private, take_over
from contivpp_core.tasks import end
from contivpp_datastore.embedded import protocol
from contivpp_datastore.embedded.database import HistoryLimit
from contivpp_datastore.embedded.engine import SqliteStore

__all__ = ["StoreServer", "main"]

log = logging.getLogger(__name__)

REQUESTS_AT_ONCE = 256
CHUNK_BYTES = 1 << 18
LIST_CHUNK_BYTES = 1 << 20
STALL_SECONDS = 60.0
"""How long a reader may leave its answers unread before its connection is ended."""
BACKLOG = 1024


class StoreServer:
    """Serves a store on a unix socket."""

    def __init__(self, store: KVStore, path: Path, *, stall: float = STALL_SECONDS) -> None:
        self._store = store
        self._path = path
        self._stall = stall
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket; one that is left over is taken over, one that is in use is an error."""
        try:
            await take_over(self._path, another="another store serves it", cure="name another one by --socket")
            with private():
                self._server = await asyncio.start_unix_server(self._connected, str(self._path), backlog=BACKLOG)
        except OSError as error:
            raise ContivError(f"{self._path}: the store's socket cannot be opened: {error}") from error
        log.info("the store serves", extra={"socket": str(self._path)})

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        await end(*self._connections)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._store, reader, writer, self._stall)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)


class _Connection:
    """One client."""

    def __init__(
        self, store: KVStore, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stall: float
    ) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._stall = stall
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._sending = asyncio.Lock()
        self._greeted = False
        self._peer = _peer(writer)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the client goes."""
        try:
            await self._read()
        except protocol.Malformed as error:
            log.warning("connection ended: what came is no request", extra={"peer": self._peer, "reason": str(error)})
        except ConnectionError as error:
            log.info("connection lost", extra={"peer": self._peer, "reason": str(error)})
        finally:
            await end(*self._tasks)
            self._writer.transport.abort()  # unread answers are of no use to anybody
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _read(self) -> None:
        frames = protocol.Frames(protocol.REQUEST_BYTES)
        while data := await self._reader.read(CHUNK_BYTES):
            for frame in frames.feed(data):
                request = protocol.decode_request(frame)
                if not self._greeted:
                    await self._greet(request)
                    continue
                await self._slots.acquire()
                task = asyncio.create_task(self._guarded(self._serve(request), request.id))
                self._tasks.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()

    async def _greet(self, request: protocol.Request) -> None:
        if not isinstance(request, protocol.Hello):
            raise protocol.Malformed("the first request must be a greeting")
        if request.version != protocol.VERSION:
            reason = f"version {request.version} of the protocol is not spoken here, only {protocol.VERSION}"
            await self._send(protocol.Failed(request.id, "refused", reason))
            raise protocol.Malformed(reason)
        self._greeted = True
        await self._send(protocol.Done(request.id, protocol.VERSION))

    async def _guarded(self, serving: Coroutine[Any, Any, None], number: int) -> None:
        """Turn errors into answers; no request ends the server."""
        try:
            await serving
        except TimeoutError:
            log.warning("connection ended: it does not read its answers", extra={"peer": self._peer})
            self._writer.transport.abort()
        except ConnectionError:
            return  # the reader of the connection sees it, too
        except Exception as error:
            if not isinstance(error, KVStoreError):
                log.exception("a request failed", extra={"peer": self._peer})
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._send(_failure(number, error))

    async def _serve(self, request: protocol.Request) -> None:
        store = self._store
        done = protocol.Done(request.id)
        match request:
            case protocol.Get(number, key):
                item = await store.get(key)
                await self._send(protocol.Items(number, 0, (item,) if item else ()))
                return
            case protocol.List():
                await self._list(request)
                return
            case protocol.Watch(number, prefix, begin):
                async with aclosing(store.watch(prefix, begin)) as watch:
                    async for batch in watch:
                        await self._send(protocol.Batch(number, batch.revision, batch.events))
                return
            case protocol.Put(number, key, value, lease):
                done = protocol.Done(number, await store.put(key, value, lease=lease))
            case protocol.Delete(number, key):
                done = protocol.Done(number, 0, await store.delete(key))
            case protocol.Transaction():
                done = await self._transaction(request)
            case protocol.Grant(number, ttl):
                done = protocol.Done(number, await store.grant(ttl))
            case protocol.KeepAlive(_, lease):
                await store.keep_alive(lease)
            case protocol.Revoke(_, lease):
                await store.revoke(lease)
        await self._send(done)

    async def _transaction(self, request: protocol.Transaction) -> protocol.Done:
        result = await self._store.transaction(
            request.compares,
            tuple(protocol.unwrapped(each) for each in request.success),
            tuple(protocol.unwrapped(each) for each in request.failure),
        )
        return protocol.Done(request.id, result.revision, result.succeeded)

    async def _list(self, request: protocol.List) -> None:
        """Answer in chunks: all of one view, which is complete before the first is sent."""
        listing = await self._store.list(request.prefix)
        begin = size = 0
        for index, item in enumerate(listing.items):
            size += len(item.key) + len(item.value)
            if size > LIST_CHUNK_BYTES:
                chunk = listing.items[begin : index + 1]
                await self._send(protocol.Items(request.id, listing.revision, chunk, more=True))
                begin, size = index + 1, 0
        await self._send(protocol.Items(request.id, listing.revision, listing.items[begin:]))

    async def _send(self, answer: protocol.Answer) -> None:
        async with asyncio.timeout(self._stall), self._sending:
            if self._writer.transport.is_closing():
                raise ConnectionResetError("the client is gone")
            self._writer.write(protocol.encode(answer))
            await self._writer.drain()


def _failure(number: int, error: Exception) -> protocol.Failed:
    match error:
        case Compacted():
            return protocol.Failed(number, "compacted", str(error), error.oldest)
        case LeaseLost():
            return protocol.Failed(number, "lease_lost", str(error))
        case StoreUnavailable():
            return protocol.Failed(number, "unavailable", str(error))
        case KVStoreError():
            return protocol.Failed(number, "refused", str(error))
    return protocol.Failed(number, "refused", f"unexpected {type(error).__name__}: {error}")


def _peer(writer: asyncio.StreamWriter) -> str:
    """Name the process at the other end (`SO_PEERCRED`, unix(7))."""
    try:
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return "unknown"
    process, user, _ = struct.unpack("3i", raw)
    return f"process {process} of user {user}"


async def _run(arguments: argparse.Namespace) -> None:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    store = await SqliteStore.open(arguments.file, history=HistoryLimit(events=arguments.history))
    try:
        server = StoreServer(store, arguments.socket)
        await server.start()
        try:
            await asked.wait()
        finally:
            await server.stop()
    finally:
        await store.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code (1: it could not start)."""
    parser = argparse.ArgumentParser(
        prog="python -m contivpp_datastore.embedded.server",
        description="Serve the embedded store of the cluster on a unix socket.",
    )
    parser.add_argument("--socket", type=Path, required=True, help="the socket; made with mode 0600")
    parser.add_argument("--file", type=Path, default=None, help="the SQLite file (default: in memory)")
    parser.add_argument(
        "--history",
        type=int,
        default=HistoryLimit().events,
        help="how many changes are kept for those who come back (default: %(default)s)",
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", default="text", choices=("json", "text"))
    arguments = parser.parse_args(argv)
    logs.set_up(arguments.log_level, arguments.log_format)
    try:
        asyncio.run(_run(arguments))
    except ContivError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
