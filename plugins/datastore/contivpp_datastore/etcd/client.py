# SPDX-License-Identifier: Apache-2.0
"""`KVStore` over etcd's v3 API: what each call becomes there."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc

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
)
from contivpp_datastore.etcd import rpc
from contivpp_datastore.etcd.connection import Connection
from contivpp_datastore.etcd.faults import Refused, from_rpc
from contivpp_datastore.etcd.options import EtcdOptions
from contivpp_datastore.etcd.watch import Watch, key_range

__all__ = ["MOST_OPERATIONS", "EtcdStore"]

MOST_OPERATIONS = 128
"""etcd's default limit (`--max-txn-ops`) of conditions, and of operations in each branch of a transaction."""
LIST_TRIES = 3

_Compare, _Op, _Put, _Delete = (
    rpc.message(name) for name in ("Compare", "RequestOp", "PutRequest", "DeleteRangeRequest")
)
MOD = 2


class EtcdStore:
    """Implements `contivpp_core.kvstore.KVStore`. Nothing is connected before the first call."""

    def __init__(self, options: EtcdOptions) -> None:
        self.connection = Connection(options)
        self._options = options
        self._cluster = 0

    @property
    def endpoint(self) -> str:
        """The endpoint in use, or the one that is tried next."""
        return self.connection.endpoint

    async def close(self) -> None:
        """Close the connection; calls and watches end with `StoreUnavailable`."""
        await self.connection.close()

    # --- reading

    async def get(self, key: str) -> KeyValue | None:
        response = await self.connection.call(rpc.RANGE, rpc.RANGE.request(key=_key(key)))
        return _key_value(response.kvs[0]) if response.kvs else None

    async def list(self, prefix: str) -> Listing:
        """Return all keys of a prefix, read in pages at one revision.

        etcd may compact the revision while it is read: then everything is read again, a few times.
        """
        for left in reversed(range(LIST_TRIES)):
            try:
                return await self._list(prefix)
            except Compacted:
                if not left:
                    break
        raise StoreUnavailable(f"{self.endpoint}: etcd is compacted faster than it can be read: try again")

    async def _list(self, prefix: str) -> Listing:
        begin, end = key_range(prefix)
        revision, items = 0, []
        while True:
            request = rpc.RANGE.request(key=begin, range_end=end, limit=self._options.page, revision=revision)
            response = await self.connection.call(rpc.RANGE, request)
            revision = revision or response.header.revision
            items += [_key_value(kv) for kv in response.kvs]
            if not response.more:
                return Listing(revision, tuple(items))
            begin = response.kvs[-1].key + b"\0"

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        watch = await self._open(prefix, from_revision)
        try:
            async for batch in watch.batches():
                yield batch
        finally:
            await watch.close()

    async def _open(self, prefix: str, from_revision: int) -> Watch:
        """Open a watch; one that is refused is tried again after a new login: etcd does not say that a token is old."""
        for again in (True, False):
            link = await self.connection.link()
            token, before = link.token, self._cluster
            self._cluster = link.cluster or before
            watch = Watch(self.connection, link, prefix, from_revision, before)
            try:
                await watch.open()
            except BaseException as error:
                await watch.close()
                if not (again and isinstance(error, Refused) and self._options.user):
                    raise
                await self._renew(link, token)
            else:
                return watch
        raise AssertionError("unreachable")

    async def _renew(self, link: Any, token: str) -> None:
        try:
            await self.connection.renew(link, token)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(link.endpoint, error) from None

    # --- writing

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        request = rpc.PUT.request(key=_key(key), value=value, lease=lease)
        return int((await self.connection.call(rpc.PUT, request)).header.revision)

    async def delete(self, key: str) -> bool:
        return bool((await self.connection.call(rpc.DELETE, rpc.DELETE.request(key=_key(key)))).deleted)

    async def transaction(
        self,
        compares: tuple[Compare, ...],
        success: tuple[PutKey | DeleteKey, ...],
        failure: tuple[PutKey | DeleteKey, ...] = (),
    ) -> TransactionResult:
        if (most := max(len(compares), len(success), len(failure))) > MOST_OPERATIONS:
            raise KVStoreError(f"a transaction of {most} operations: etcd takes at most {MOST_OPERATIONS}: split it")
        request = rpc.TXN.request(
            compare=[_Compare(target=MOD, key=_key(each.key), mod_revision=each.revision) for each in compares],
            success=_operations(success),
            failure=_operations(failure),
        )
        response = await self.connection.call(rpc.TXN, request)
        return TransactionResult(response.succeeded, response.header.revision)

    # --- leases

    async def grant(self, ttl: float) -> int:
        """Make a lease; etcd counts in whole seconds, and has a least time of its own."""
        if not (math.isfinite(ttl) and ttl > 0):
            raise KVStoreError(f"a lease of {ttl} s: the time must be more than 0")
        return int((await self.connection.call(rpc.GRANT, rpc.GRANT.request(TTL=math.ceil(ttl)))).ID)

    async def keep_alive(self, lease: int) -> None:
        response = await self.connection.call(rpc.KEEP_ALIVE, rpc.KEEP_ALIVE.request(ID=lease))
        if response.TTL <= 0:
            raise LeaseLost(f"{self.endpoint}: lease {lease} is gone: grant another one")

    async def revoke(self, lease: int) -> None:
        try:
            await self.connection.call(rpc.REVOKE, rpc.REVOKE.request(ID=lease))
        except LeaseLost:
            return

    def lock(self, name: str, *, ttl: float = 10.0) -> AbstractAsyncContextManager[int]:
        return kvstore_lock.lock(self, name, ttl=ttl)

    # --- care

    async def compact(self, revision: int) -> None:
        """Forget all history before a revision; for rigs: operators let etcd do it (`--auto-compaction-retention`)."""
        await self.connection.call(rpc.COMPACT, rpc.COMPACT.request(revision=revision, physical=True))


def _key(key: str) -> bytes:
    if not key:
        raise KVStoreError("a key must not be empty")
    return key.encode(errors="surrogateescape")


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(kv.key.decode("utf-8", "surrogateescape"), kv.value, kv.mod_revision, kv.create_revision)


def _operations(operations: Iterable[PutKey | DeleteKey]) -> list[Any]:
    return [
        _Op(request_put=_Put(key=_key(each.key), value=each.value, lease=each.lease))
        if isinstance(each, PutKey)
        else _Op(request_delete_range=_Delete(key=_key(each.key)))
        for each in operations
    ]
