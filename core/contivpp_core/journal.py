# SPDX-License-Identifier: Apache-2.0
"""The journal: what happened, for people who ask later.

A bounded ring in memory, appended in batches to a file whose size is capped. Nobody ever waits for it, and losing
its tail in a crash is no harm: what must not be lost is in the ledger (`contivpp_core.ledger`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from contivpp_core.clock import Clock
from contivpp_core.tasks import end

__all__ = ["Entry", "Journal"]

log = logging.getLogger(__name__)

SHOWN_KEYS = 32
"""How many keys of changed records and failed items one entry names."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One write of the state and what came of it. Times are seconds; `durations` maps a phase to its seconds."""

    revision: int
    time: float
    cause: str
    changed: tuple[str, ...] = ()
    changed_total: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0
    failed: Mapping[str, str] = {}
    failed_total: int = 0
    durations: Mapping[str, float] = {}


class Journal:
    """The ring, and its file if there is a path. `size` bounds the file; one older file (`.1`) is kept beside it."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: Clock | None = None,
        capacity: int = 2048,
        size: int = 8 << 20,
        flush_seconds: float = 1.0,
    ) -> None:
        self._path = path
        self._clock = clock or Clock()
        self._ring: deque[Entry] = deque(maxlen=capacity)
        self._unwritten: deque[Entry] = deque(maxlen=capacity)
        self._size = size
        self._flush_seconds = flush_seconds
        self._writer: asyncio.Task[None] | None = None
        self._failing = False

    def record(
        self,
        *,
        revision: int,
        cause: str,
        changed: Sequence[str] = (),
        changed_total: int | None = None,
        created: int = 0,
        updated: int = 0,
        deleted: int = 0,
        failed: Mapping[str, str] | None = None,
        durations: Mapping[str, float] | None = None,
    ) -> Entry:
        """Add an entry; long lists of keys are cut, their length is kept (`changed_total` where it is cut already)."""
        failed = failed or {}
        entry = Entry(
            revision=revision,
            time=self._clock.now(),
            cause=cause,
            changed=tuple(changed[:SHOWN_KEYS]),
            changed_total=len(changed) if changed_total is None else changed_total,
            created=created,
            updated=updated,
            deleted=deleted,
            failed={key: failed[key] for key in sorted(failed)[:SHOWN_KEYS]},
            failed_total=len(failed),
            durations=dict(durations or {}),
        )
        self._ring.append(entry)
        if self._path is not None:
            self._unwritten.append(entry)
            if self._writer is None or self._writer.done():
                self._writer = asyncio.create_task(self._write_later(), name="journal")
        return entry

    def entries(self, limit: int | None = None, since: int | None = None) -> list[Entry]:
        """Return entries in the order of time: those after revision `since`, and of these the newest `limit`."""
        found = [entry for entry in self._ring if since is None or entry.revision > since]
        return found if limit is None else found[max(0, len(found) - max(0, limit)) :]

    async def close(self) -> None:
        """Write what has not been written yet."""
        await end(self._writer)
        await self._write_now()

    async def _write_later(self) -> None:
        while self._unwritten:
            await self._clock.sleep(self._flush_seconds)
            await self._write_now()

    async def _write_now(self) -> None:
        if self._path is None or not self._unwritten:
            return
        batch, self._unwritten = list(self._unwritten), deque(maxlen=self._unwritten.maxlen)
        try:
            # Not interrupted by `close`: a batch is written once, and before the next one.
            await asyncio.shield(asyncio.to_thread(_append, self._path, batch, self._size))
        except OSError as error:
            if not self._failing:
                log.warning(
                    "journal %s cannot be written: %s; its entries stay in memory only", self._path, error
                )
            self._failing = True
        else:
            self._failing = False


def _append(path: Path, entries: Iterable[Entry], size: int) -> None:
    """Append lines of JSON; when the file would outgrow half of `size`, it becomes the older file."""
    data = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    if path.exists() and path.stat().st_size + len(data) > size // 2:
        path.replace(path.with_name(path.name + ".1"))
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(file, "ab") as stream:
        stream.write(data)
