# SPDX-License-Identifier: Apache-2.0
"""The protocol of the cluster's key-value store: what the agent needs of one, in etcd's terms.

Every change of the store has a revision, counted over all keys. Who lists a prefix and then watches it from the
next revision misses nothing and sees nothing twice. Drivers are in the datastore plugin; an implementation in
memory is in `contivpp_core.testing.kvstore`, and the contract that every driver's tests run in
`contivpp_core.testing.kvstore_contract`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from contivpp_core.errors import ContivError

__all__ = [
    "Compacted",
    "Compare",
    "DeleteKey",
    "KVStore",
    "KVStoreError",
    "KeyValue",
    "LeaseLost",
    "Listing",
    "PutKey",
    "StoreReplaced",
    "StoreUnavailable",
    "TransactionResult",
    "WatchBatch",
    "WatchEvent",
]


class KVStoreError(ContivError):
    """Base of the store's errors."""


class Compacted(KVStoreError):
    """The revisions that were asked for are forgotten: list again. `oldest` is the first one still known."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"revisions before {oldest} are compacted: list again, and watch from there")
        self.oldest = oldest


class StoreReplaced(Compacted):
    """The store is not the one before: wiped, put back to an older state, or another one."""

    def __init__(self, reason: str) -> None:
        ContivError.__init__(self, f"{reason}: list again")
        self.oldest = 1


class StoreUnavailable(KVStoreError):
    """The store does not answer. Whether a write was carried out is unknown."""


class LeaseLost(KVStoreError):
    """The lease has expired or was revoked; its keys are gone."""


class KeyValue(msgspec.Struct, frozen=True):
    """A key's value, the revision of its last change, and of its creation."""

    key: str
    value: bytes
    revision: int
    created: int


class Listing(msgspec.Struct, frozen=True):
    """The keys of a prefix, sorted, as of one `revision` of the store."""

    revision: int
    items: tuple[KeyValue, ...]


class Compare(msgspec.Struct, frozen=True):
    """A condition: the key's last change has `revision`; 0 stands for a key that is not there."""

    key: str
    revision: int


class PutKey(msgspec.Struct, frozen=True):
    """Store a value, bound to a lease if there is one (0: none)."""

    key: str
    value: bytes
    lease: int = 0


class DeleteKey(msgspec.Struct, frozen=True):
    """Delete a key; one that is not there is no change."""

    key: str


class TransactionResult(msgspec.Struct, frozen=True):
    """Whether all conditions held, and the store's revision afterwards."""

    succeeded: bool
    revision: int


class WatchEvent(msgspec.Struct, frozen=True):
    """A change of one key: its new value, or None for a deletion."""

    key: str
    value: bytes | None
    revision: int


class WatchBatch(msgspec.Struct, frozen=True):
    """All watched changes up to `revision`, in order; without events it is progress: nothing was missed so far."""

    revision: int
    events: tuple[WatchEvent, ...] = ()


class KVStore(Protocol):
    """A store. Every method may raise `StoreUnavailable`."""

    async def get(self, key: str) -> KeyValue | None:
        """Return a key's value, or None."""

    async def list(self, prefix: str) -> Listing:
        """Return all keys that begin with the prefix, and the revision of this view."""

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Store a value; return its revision. An unknown lease is `LeaseLost`."""

    async def delete(self, key: str) -> bool:
        """Delete a key; tell whether it was there."""

    async def transaction(
        self,
        compares: tuple[Compare, ...],
        success: tuple[PutKey | DeleteKey, ...],
        failure: tuple[PutKey | DeleteKey, ...] = (),
    ) -> TransactionResult:
        """If all conditions hold, do all of `success`, else all of `failure`, as one revision."""

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield every change of the prefix from a revision on (inclusive), without end.

        All changes of one revision are in one batch. The first batch comes at once, as progress if nothing has
        changed, so that a watcher knows when it has caught up; `Compacted` is raised where history is missing, and
        `StoreUnavailable` when the connection is lost: the caller goes on from the revision after its last batch.
        Where a driver can tell, a store that is not the one before is `StoreReplaced`; else the first batch's revision
        may be lower than what was asked for.
        """

    async def grant(self, ttl: float) -> int:
        """Make a lease that lives `ttl` seconds, and return its ID."""

    async def keep_alive(self, lease: int) -> None:
        """Give a lease its full time again, or raise `LeaseLost`."""

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; one that is gone is no error."""

    def lock(self, name: str, *, ttl: float = 10.0) -> AbstractAsyncContextManager[int]:
        """Hold a lock of the cluster inside the block; yields the lease, which is kept alive.

        The lock is lost when the lease is; whatever must not happen twice compares a revision in its transaction.
        """
