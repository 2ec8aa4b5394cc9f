# SPDX-License-Identifier: Apache-2.0
"""A lock of the cluster over any key-value store: a key bound to a lease, made only if it is not there.

Drivers whose store has no better one use this for `KVStore.lock`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from contivpp_core.kvstore import (
    Compacted,
    Compare,
    KVStore,
    KVStoreError,
    LeaseLost,
    PutKey,
    StoreUnavailable,
)
from contivpp_core.tasks import end

__all__ = ["LOCK_PREFIX", "lock"]

log = logging.getLogger(__name__)

LOCK_PREFIX = "/contivpp/lock/"
FAREWELL_SECONDS = 0.5
"""Who ends does not wait longer for a store that does not answer."""


@asynccontextmanager
async def lock(store: KVStore, name: str, *, ttl: float) -> AsyncIterator[int]:
    """Hold the lock `name`; yields the lease that holds it, kept alive until the block ends."""
    lease = await store.grant(ttl)
    keeper = asyncio.create_task(_keep_alive(store, lease, ttl), name=f"lock {name}")
    try:
        await _acquire(store, LOCK_PREFIX + name, lease)
        yield lease
    finally:
        await end(keeper)
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await store.revoke(lease)
        except (KVStoreError, TimeoutError) as error:
            reason = str(error) or "the store does not answer"
            log.warning("lock %s is released only in %g s, when its lease ends: %s", name, ttl, reason)


async def _acquire(store: KVStore, key: str, lease: int) -> None:
    while True:
        result = await store.transaction((Compare(key, 0),), (PutKey(key, b"", lease),))
        if result.succeeded:
            return
        try:
            async with aclosing(store.watch(key, result.revision + 1)) as watch:
                async for batch in watch:
                    if any(event.key == key and event.value is None for event in batch.events):
                        break
        except Compacted:
            continue  # so much has happened meanwhile that it is worth another try


async def _keep_alive(store: KVStore, lease: int, ttl: float) -> None:
    while True:
        await asyncio.sleep(ttl / 3)
        try:
            await store.keep_alive(lease)
        except StoreUnavailable:
            continue  # the lease may outlive the outage
        except LeaseLost:
            log.error("the lease %d of a lock is lost: somebody else may hold it now", lease)
            return
