# SPDX-License-Identifier: Apache-2.0
"""Which kinds of items this node's agents have applied, kept in the ledger.

When a plugin is no longer enabled, its descriptors are gone, and nobody reads its kinds any more: what it left in the
dataplane would stay for ever, silently. The census remembers the kinds and about how many there were, so that an
agent can name what it can no longer see. It is written when a domain was read, and when a kind is applied for the
first time.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_core.scheduler import Scheduler

__all__ = ["Census"]

SPACE = "core.kinds"


class Census:
    """Counts applied kinds, and names those that no plugin knows any more."""

    def __init__(self, scheduler: Scheduler, ledger: Ledger) -> None:
        self._scheduler = scheduler
        self._ledger = ledger
        self._noted = {kind: int(count) for kind, count in ledger.items(SPACE).items()}
        self._writing: asyncio.Task[None] | None = None

    def leftovers(self) -> dict[str, int]:
        """Return kind -> number, of kinds that were applied once and have no descriptor now."""
        return {k: n for k, n in self._noted.items() if n and k not in self._scheduler.descriptors}

    def note_new(self) -> None:
        """A write was carried out: look for kinds that were never applied before."""
        if any(not self._noted.get(kind) for kind in self._scheduler.counters.created):
            self.count()

    def count(self) -> None:
        """Count what is there, and store it where it differs."""
        applied = Counter(node.descriptor.kind for node in self._scheduler.graph if node.actual is not None)
        created = self._scheduler.counters.created
        now = {kind: applied[kind] or int(kind in created) for kind in self._scheduler.descriptors}
        changed = {kind: count for kind, count in now.items() if count != self._noted.get(kind, 0)}
        self._noted.update(changed)
        if changed:
            self._store([LedgerWrite(SPACE, kind, str(count).encode()) for kind, count in changed.items()])

    def _store(self, writes: list[LedgerWrite]) -> None:
        before = self._writing

        async def store() -> None:
            if before is not None:
                await asyncio.wait((before,))
            await self._ledger.commit(*writes)

        self._writing = asyncio.get_running_loop().create_task(store(), name="census")

    async def stop(self) -> None:
        """Wait until what was counted is stored."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))
