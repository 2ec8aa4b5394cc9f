# SPDX-License-Identifier: Apache-2.0
"""The client of the embedded store: `KVStore` over a unix socket.

All calls share one connection, which is made when it is needed and made again after it was lost; a call that was
under way then, or cannot reach the server, raises `StoreUnavailable`. Each watch has a connection of its own: a watcher
that is busy lets its socket fill up, and the server waits for it. What has come meanwhile is handed over as one batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from contivpp_core import kvstore_lock
from contivpp_core.kvstore import (
    Compacted,
    Compare,
    DeleteKey,
    KeyValue,
    KVStoreError,
    LeaseLost,
    Listing,
    PutKey,
    StoreUnavailable,
    TransactionResult,
    WatchBatch,
    WatchEvent,
)
from contivpp_core.tasks import end
from contivpp_datastore.embedded import protocol

__all__ = ["EmbeddedStore"]

Answers = list[protocol.Answer]

CALL_SECONDS = 10.0
QUIET_SECONDS = 10.0
"""After so long without news, a watch asks whether the server is still there."""
CHUNK_BYTES = 1 << 18


class EmbeddedStore:
    """Implements `contivpp_core.kvstore.KVStore`; `timeout` in seconds is for each call."""

    def __init__(self, socket_path: Path | str, *, timeout: float = CALL_SECONDS) -> None:
        self._path = Path(socket_path)
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._calls: _Calls | None = None
        self._connecting = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        """The server's socket."""
        return str(self._path)

    async def close(self) -> None:
        """Close the connection of the calls; watches end with their generators."""
        if self._calls is not None:
            await self._calls.close()
            self._calls = None

    # --- KVStore

    async def get(self, key: str) -> KeyValue | None:
        items = (await self._items(protocol.Get(next(self._numbers), key))).items
        return items[0] if items else None

    async def list(self, prefix: str) -> Listing:
        return await self._items(protocol.List(next(self._numbers), prefix))

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        return (await self._do(protocol.Put(next(self._numbers), key, value, lease))).revision

    async def delete(self, key: str) -> bool:
        return (await self._do(protocol.Delete(next(self._numbers), key))).succeeded

    async def transaction(
        self,
        compares: tuple[Compare, ...],
        success: tuple[PutKey | DeleteKey, ...],
        failure: tuple[PutKey | DeleteKey, ...] = (),
    ) -> TransactionResult:
        done = await self._do(
            protocol.Transaction(
                next(self._numbers),
                compares,
                tuple(protocol.operation(each) for each in success),
                tuple(protocol.operation(each) for each in failure),
            )
        )
        return TransactionResult(done.succeeded, done.revision)

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        link = await self._connect()
        try:
            link.send(protocol.Watch(1, prefix, from_revision))
            while True:
                try:
                    async with asyncio.timeout(QUIET_SECONDS):
                        answers = await link.receive()
                except TimeoutError:
                    await self.get("")  # nothing has happened, or the server hangs: then this raises
                    continue
                batches = [answer for answer in answers if isinstance(answer, protocol.Batch)]
                if batches:
                    events: Iterable[WatchEvent] = itertools.chain.from_iterable(b.events for b in batches)
                    yield WatchBatch(batches[-1].revision, tuple(events))
                for answer in answers:
                    if isinstance(answer, protocol.Failed):
                        raise _error(answer)
        finally:
            await link.close()

    async def grant(self, ttl: float) -> int:
        if not (math.isfinite(ttl) and ttl > 0):
            raise KVStoreError(f"a lease of {ttl} s: the time must be more than 0")
        return (await self._do(protocol.Grant(next(self._numbers), ttl))).revision

    async def keep_alive(self, lease: int) -> None:
        await self._do(protocol.KeepAlive(next(self._numbers), lease))

    async def revoke(self, lease: int) -> None:
        await self._do(protocol.Revoke(next(self._numbers), lease))

    def lock(self, name: str, *, ttl: float = 10.0) -> AbstractAsyncContextManager[int]:
        return kvstore_lock.lock(self, name, ttl=ttl)

    # --- calls

    async def _do(self, request: protocol.Request) -> protocol.Done:
        answer = (await self._call(request))[-1]
        if not isinstance(answer, protocol.Done):
            raise StoreUnavailable(f"{self._path}: the store gave an answer to another question")
        return answer

    async def _items(self, request: protocol.Request) -> Listing:
        answers = await self._call(request)
        parts = [answer for answer in answers if isinstance(answer, protocol.Items)]
        if len(parts) != len(answers):
            raise StoreUnavailable(f"{self._path}: the store gave an answer to another question")
        items = tuple(itertools.chain.from_iterable(part.items for part in parts))
        return Listing(parts[-1].revision, items)

    async def _call(self, request: protocol.Request) -> Answers:
        try:
            async with asyncio.timeout(self._timeout):
                async with self._connecting:
                    if self._calls is None or self._calls.ended:
                        await self.close()
                        self._calls = _Calls(await self._connect())
                    calls = self._calls
                return await calls.call(request)
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._path}: no answer within {self._timeout:g} s") from error

    async def _connect(self) -> _Link:
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_unix_connection(str(self._path))
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable(f"{self._path}: the store does not answer: {error}") from error
        link = _Link(self._path, reader, writer)
        try:
            async with asyncio.timeout(self._timeout):
                link.send(protocol.Hello(0, protocol.VERSION))
                answers = await link.receive()
        except TimeoutError as error:
            await link.close()
            raise StoreUnavailable(f"{self._path}: no answer within {self._timeout:g} s") from error
        except BaseException:
            await link.close()
            raise
        if isinstance(answers[0], protocol.Failed):
            await link.close()
            raise StoreUnavailable(f"{self._path}: {answers[0].message}")
        return link


class _Link:
    """A connection to the server."""

    def __init__(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._frames = protocol.Frames(protocol.ANSWER_BYTES)

    def send(self, request: protocol.Request) -> None:
        frame = protocol.encode(request)
        if len(frame) - 4 > protocol.REQUEST_BYTES:
            raise KVStoreError(f"a request of {len(frame)} bytes: at most {protocol.REQUEST_BYTES} are taken")
        self._writer.write(frame)

    async def receive(self) -> Answers:
        """Return the answers that have come, at least one."""
        while True:
            try:
                data = await self._reader.read(CHUNK_BYTES)
                if not data:
                    raise StoreUnavailable(f"{self._path}: the connection to the store is lost")
                if frames := self._frames.feed(data):
                    return protocol.decode_answers(frames)
            except OSError as error:
                raise StoreUnavailable(f"{self._path}: the connection to the store is lost: {error}") from error
            except protocol.Malformed as error:
                raise StoreUnavailable(f"{self._path}: what answers is no store: {error}") from error

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class _Calls:
    """The connection of the calls: many at a time, each waits for the answer with its number."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._parts: dict[int, Answers] = {}
        self._open: dict[int, asyncio.Future[Answers]] = {}
        self._error = StoreUnavailable("the connection to the store is closed")
        self._task = asyncio.create_task(self._read(), name="store's answers")

    @property
    def ended(self) -> bool:
        return self._task.done()

    async def call(self, request: protocol.Request) -> Answers:
        if self.ended:
            raise self._error
        future: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        self._link.send(request)
        self._open[request.id] = future
        try:
            answers = await future
        finally:
            self._open.pop(request.id, None)
            self._parts.pop(request.id, None)
        if isinstance(answers[-1], protocol.Failed):
            raise _error(answers[-1])
        return answers

    async def close(self) -> None:
        await end(self._task)

    async def _read(self) -> None:
        try:
            while True:
                for answer in await self._link.receive():
                    self._take(answer)
        except StoreUnavailable as error:
            self._error = error
        finally:
            for future in self._open.values():
                if not future.done():
                    future.set_exception(StoreUnavailable(str(self._error)))
            await self._link.close()

    def _take(self, answer: protocol.Answer) -> None:
        future = self._open.get(answer.id)
        if future is None or future.done():
            return  # its caller was cancelled
        parts = self._parts.setdefault(answer.id, [])
        parts.append(answer)
        if not (isinstance(answer, protocol.Items) and answer.more):
            future.set_result(parts)


def _error(failed: protocol.Failed) -> KVStoreError:
    match failed.error:
        case "compacted":
            return Compacted(failed.oldest)
        case "lease_lost":
            return LeaseLost(failed.message)
        case "unavailable":
            return StoreUnavailable(failed.message)
    return KVStoreError(failed.message)
