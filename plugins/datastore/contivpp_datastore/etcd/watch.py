# SPDX-License-Identifier: Apache-2.0
"""A watch of etcd: one stream, whose events become batches of whole revisions.

What comes while the reader is busy is handed over as one batch, up to a limit, then etcd has to wait. A response that
etcd has cut into fragments is put together first. A batch's revision is that of its last event: the one in the header
of a response may be ahead of events that are still to come.

A member of a cluster may lag behind the revision that a watch begins with. When it gets a snapshot then, it tells
events from before that revision (etcd's issue 20221; in 3.4, 3.5 and 3.6): these are dropped.

A quiet watch learns how far it is from etcd's own notifications (`--experimental-watch-progress-notify-interval`, ten
minutes by default). Asking for one is safe only since 3.4.25 and 3.5.8: before, the answer could overtake events
(etcd's pull requests 15695 and 15697).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc

from contivpp_core.kvstore import (
    Compacted,
    KVStoreError,
    StoreReplaced,
    StoreUnavailable,
    WatchBatch,
    WatchEvent,
)
from contivpp_core.tasks import end
from contivpp_datastore.etcd import rpc
from contivpp_datastore.etcd.connection import Connection, Link, undropped
from contivpp_datastore.etcd.faults import from_reason, from_rpc

__all__ = ["Watch", "asks_for_progress", "key_range"]

log = logging.getLogger(__name__)

MOST_EVENTS = 5000
"""So many events may wait for a reader that is busy."""
CHECK_SECONDS = 5.0
DELETE = 1
CREATE, ASK = rpc.message("WatchCreateRequest"), rpc.message("WatchProgressRequest")


def key_range(prefix: str) -> tuple[bytes, bytes]:
    """Return begin and end of the keys with a prefix, as etcd wants them."""
    begin = prefix.encode()
    if not begin:
        return b"\0", b"\0"  # all keys
    stem = begin.rstrip(b"\xff")
    return begin, stem[:-1] + bytes([stem[-1] + 1])


def asks_for_progress(version: tuple[int, ...]) -> bool:
    """Tell whether an etcd of this version may be asked how far a watch is."""
    return version >= (3, 5, 8) or (3, 4, 25) <= version < (3, 5)


class Watch:
    """One watch on a link. Open it, iterate, close it."""

    def __init__(self, connection: Connection, link: Link, prefix: str, from_revision: int, cluster: int) -> None:
        self._connection = connection
        self._link = link
        self._prefix = prefix
        self._from = max(from_revision, 1)
        self._cluster = cluster
        self._stream: Any = None
        self._events: list[WatchEvent] = []
        self._fragments: list[WatchEvent] = []
        self._revision = 0  # progress that is not told yet
        self._known = self._from - 1  # what is not newer was told, or was not asked for
        self._error: KVStoreError | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin; return when etcd has accepted it and has all the history that it needs."""
        try:
            async with asyncio.timeout(self._connection.options.timeout):
                with undropped(self._link.endpoint):
                    await self._begin()
        except TimeoutError:
            await self._connection.late(self._link)
            endpoint = self._link.endpoint
            raise StoreUnavailable(f"{endpoint}: etcd gives no answer in time: check that it runs") from None
        except grpc.aio.AioRpcError as error:
            await self._connection.lost(self._link, error)
            raise from_rpc(self._link.endpoint, error) from None
        self._pump = asyncio.create_task(self._read(), name=f"watch of {self._prefix}")

    async def _begin(self) -> None:
        call = self._link.channel.stream_stream(
            rpc.WATCH.path, rpc.WATCH.request.SerializeToString, rpc.WATCH.response.FromString
        )
        self._stream = call(metadata=self._link.metadata())
        begin, end = key_range(self._prefix)
        create = CREATE(key=begin, range_end=end, start_revision=self._from, progress_notify=True, fragment=True)
        await self._stream.write(rpc.WATCH.request(create_request=create))
        created = await self._next()
        self._check(created)
        await self._reached(created.header.revision, begin)
        if created.header.revision >= self._from and await self._forgotten(begin):
            while True:  # etcd tells it a moment later, and which revision it still has
                self._take(await self._next())

    async def _next(self) -> Any:
        response = await self._stream.read()
        if response is grpc.aio.EOF:
            raise StoreUnavailable(f"{self._link.endpoint}: etcd ended the watch")
        return response

    async def _forgotten(self, key: bytes) -> bool:
        """Tell whether etcd has compacted the first revision that is watched."""
        try:
            await self._link.call(rpc.RANGE, rpc.RANGE.request(key=key, revision=self._from), CHECK_SECONDS)
        except grpc.aio.AioRpcError as error:
            if isinstance(from_rpc(self._link.endpoint, error), Compacted):
                return True
            raise
        return False

    def _check(self, created: Any) -> None:
        if created.canceled:
            raise self._cancelled(created)
        if self._cluster and created.header.cluster_id != self._cluster:
            raise StoreReplaced(f"{self._link.endpoint}: this is another cluster of etcd than before")

    async def _reached(self, now: int, key: bytes) -> None:
        """Raise StoreReplaced if etcd is behind the revision that is known; a member that lags asks its leader here."""
        if now < self._from - 1:
            found = await self._link.call(rpc.RANGE, rpc.RANGE.request(key=key), CHECK_SECONDS)
            now = found.header.revision
        if now < self._from - 1:
            raise StoreReplaced(
                f"{self._link.endpoint}: etcd is at revision {now}, and was at {self._from - 1}: it has lost its data, "
                "or was put back to an older state"
            )

    def _cancelled(self, response: Any) -> KVStoreError:
        if response.compact_revision:
            return Compacted(response.compact_revision)
        return from_reason(self._link.endpoint, response.cancel_reason)

    async def close(self) -> None:
        """End the stream."""
        await end(self._pump)
        if self._stream is not None:
            self._stream.cancel()

    async def batches(self) -> AsyncIterator[WatchBatch]:
        """Yield batches: one at once, then each time that something has come."""
        yield WatchBatch(self._from - 1)
        while True:
            if not self._news.is_set() and not await self._wait():
                continue
            self._news.clear()
            events, self._events = tuple(self._events), []
            self._room.set()
            revision, self._revision = max(self._revision, events[-1].revision if events else 0), 0
            if revision:
                yield WatchBatch(revision, events)
            if self._error is not None and not self._events:
                raise self._error

    async def _wait(self) -> bool:
        """Wait for news; in a long silence, ask how far the watch is."""
        try:
            async with asyncio.timeout(self._connection.options.progress):
                await self._news.wait()
        except TimeoutError:
            if asks_for_progress(self._link.version) and self._error is None:
                with undropped(self._link.endpoint):
                    try:
                        await self._stream.write(rpc.WATCH.request(progress_request=ASK()))
                    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        return False  # the pump tells it
            return False
        return True

    # --- the pump

    async def _read(self) -> None:
        try:
            with undropped(self._link.endpoint):
                while True:
                    self._take(await self._next())
                    self._news.set()
                    while len(self._events) >= MOST_EVENTS:
                        self._room.clear()
                        await self._room.wait()
        except KVStoreError as error:
            self._error = error
        except grpc.aio.AioRpcError as error:
            self._error = from_rpc(self._link.endpoint, error)
            await self._connection.lost(self._link, error)
        except Exception as error:  # a reader that waits must hear of it
            log.exception("a watch of etcd fails")
            self._error = StoreUnavailable(f"{self._link.endpoint}: the watch fails: {type(error).__name__}: {error}")
        finally:
            self._news.set()

    def _take(self, response: Any) -> None:
        if response.canceled:
            raise self._cancelled(response)
        self._fragments += [_event(event) for event in response.events]
        if response.fragment:
            return
        if self._fragments:
            events = [event for event in self._fragments if event.revision > self._known]
            self._fragments = []
            self._events += events
            self._known = events[-1].revision if events else self._known
        elif not response.created and response.header.revision >= self._known:
            self._revision = response.header.revision  # progress: etcd sends it behind all events up to it


def _event(event: Any) -> WatchEvent:
    kv = event.kv
    value = None if event.type == DELETE else kv.value
    return WatchEvent(kv.key.decode("utf-8", "surrogateescape"), value, kv.mod_revision)
