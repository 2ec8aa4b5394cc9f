# SPDX-License-Identifier: Apache-2.0
"""Drift: what others change in the dataplanes behind the agent's back is found, and repaired.

One kind after the other is checked (`scheduler.check`), once in each round of `drift.intervalSeconds`, each in its
part of the round and there at a random moment. A dump stops VPP for as long as it takes, and has no cursor: so after
a check that took some time, the next one waits for at least that time divided by `drift.share`, however long the
round then takes; the longest dump of each kind is shown. While a domain is down nothing of it is checked: it is read
as a whole when it is back.

Checks that plugins ask for, because they were told of a change, are counted as well, but keep no round waiting.

A difference is counted when it is found, and as repaired when its item is seen to be as wanted again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable

import msgspec

from contivpp_core.clock import Clock
from contivpp_core.config import DriftSettings
from contivpp_core.items import Item, Unavailable
from contivpp_core.journal import Journal
from contivpp_core.scheduler import Scheduler
from contivpp_core.scheduler.check import CheckReport, Difference
from contivpp_core.scheduler.graph import ItemState
from contivpp_core.tasks import end

__all__ = ["Drift", "DriftReport", "KindReport", "words"]

log = logging.getLogger(__name__)

LOG_SECONDS = 60.0
"""Drift of one kind is logged at most so often, however often it is repaired."""
TOLD = 3
"""So many differences of one check are put into words in the journal."""
LONGEST_VALUE = 160


class LastDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The newest difference of a kind: when, at which key, and what in words."""

    time: float
    key: str
    words: str


class KindReport(msgspec.Struct, kw_only=True):
    """What the checks of one kind have found since the start. Times are seconds since 1970."""

    kind: str
    checks: int = 0
    unchanged: int = 0
    """Checks for which a fingerprint was enough."""
    broken_off: int = 0
    """Checks that said nothing, because the domain was lost meanwhile."""
    failed: int = 0
    error: str = ""
    """Why the last check failed, if it did."""
    last_check: float | None = None
    seconds: float = 0.0
    """How long the last check took."""
    seconds_total: float = 0.0
    longest_dump_seconds: float = 0.0
    compared: int = 0
    """How many items the last check compared."""
    foreign: int = 0
    """How many objects of others it saw in places that items could have; they are left alone."""
    differences: int = 0
    repaired: int = 0
    open: int = 0
    """Differences that are not repaired yet: the operation failed, or somebody else's object is in the place."""
    last: LastDifference | None = None


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """All kinds. `share` is the share of time that the newest checks of the rounds took, as many as there are kinds."""

    state: str
    interval_seconds: float
    limit: float
    share: float
    kinds: tuple[KindReport, ...]


class Drift:
    """Checks kinds in turn, and keeps count. `note` is told of every check (`Scheduler.on_checked`)."""

    def __init__(
        self,
        scheduler: Scheduler,
        settings: DriftSettings,
        journal: Journal,
        *,
        clock: Clock,
        revision: Callable[[], int] = lambda: 0,
        seed: int | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._revision = revision
        self._random = random.Random(seed)
        self._kinds: dict[str, KindReport] = {}
        self._open: dict[str, str] = {}  # key -> kind, of differences that are not repaired yet
        self._spent: deque[tuple[float, float]] = deque(maxlen=256)  # begin and seconds of the newest checks
        self._not_before = 0.0
        self._logged: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the rounds, if there are to be any."""
        if self._settings.interval_seconds > 0:
            self._task = asyncio.create_task(self._run(), name="drift")

    async def stop(self) -> None:
        """End the rounds; a check in hand is broken off."""
        await end(self._task)

    # --- rounds

    async def _run(self) -> None:
        while True:
            begin = self._clock.time()
            kinds = sorted(self._scheduler.descriptors)
            for number, kind in enumerate(kinds):
                part = self._settings.interval_seconds / len(kinds)
                await self._until(begin + (number + self._random.random()) * part)
                if not self._scheduler.domain_state()[self._scheduler.descriptors[kind].domain]:
                    await self._check(kind)
            await self._until(begin + self._settings.interval_seconds)

    async def _until(self, moment: float) -> None:
        """Sleep until a moment, and until the pause after the last check is over."""
        while (seconds := max(moment, self._not_before) - self._clock.time()) > 0:
            await self._clock.sleep(seconds)

    async def _check(self, kind: str) -> None:
        begin = self._clock.time()
        try:
            await self._scheduler.check(kind)
            self._pause(self._entry(kind).seconds)
        except Unavailable as error:  # the connection is lost, which others tell
            self._broke_off(kind, begin, str(error), failed=False)
        except Exception as error:  # a dump is foreign code
            self._broke_off(kind, begin, f"{type(error).__name__}: {error}", failed=True)

    def _broke_off(self, kind: str, begin: float, error: str, *, failed: bool) -> None:
        entry = self._entry(kind)
        entry.error = error
        entry.failed += failed
        entry.broken_off += not failed
        self._spend(entry, self._clock.time() - begin)
        self._pause(entry.seconds)
        if failed and self._may_log(f"{kind} failed"):
            log.exception("a kind could not be checked for drift", extra={"kind": kind})

    def _spend(self, entry: KindReport, seconds: float) -> None:
        entry.last_check, entry.seconds = self._clock.now(), seconds
        entry.seconds_total += seconds

    def _pause(self, seconds: float) -> None:
        """A check of a round took so long: the next one must wait."""
        now = self._clock.time()
        self._spent.append((now - seconds, seconds))
        self._not_before = now + seconds / self._settings.share

    # --- counting

    def _entry(self, kind: str) -> KindReport:
        if kind not in self._kinds:
            self._kinds[kind] = KindReport(kind=kind)
        return self._kinds[kind]

    def note(self, report: CheckReport) -> None:
        """Count a check, and tell what it found."""
        self._count_repaired()
        entry = self._entry(report.kind)
        self._spend(entry, report.seconds)
        entry.error = report.broken_off
        entry.longest_dump_seconds = max(entry.longest_dump_seconds, report.dump_seconds)
        if report.broken_off:
            entry.broken_off += 1
            return
        entry.checks += 1
        entry.unchanged += report.unchanged
        if not report.unchanged:
            entry.compared, entry.foreign = report.compared, report.foreign
        if report.differing:
            self._tell(entry, report)

    def _tell(self, entry: KindReport, report: CheckReport) -> None:
        entry.differences += report.differing
        self._open |= dict.fromkeys(report.keys, report.kind)
        newest = report.differences[-1]
        entry.last = LastDifference(time=self._clock.now(), key=newest.key, words=words(newest))
        told = [f"{each.key} {words(each)}" for each in report.differences[:TOLD]]
        if report.differing > len(told):
            told.append(f"and {report.differing - len(told)} more")
        cause = f"drift of {report.kind}: {'; '.join(told)}"
        self._journal.record(revision=self._revision(), cause=cause, changed=report.keys)
        if self._may_log(report.kind):
            log.warning(
                "drift is repaired",
                extra={"kind": report.kind, "count": report.differing, "first": told[0], "total": entry.differences},
            )

    def _may_log(self, what: str) -> bool:
        now = self._clock.time()
        if what in self._logged and now - self._logged[what] < LOG_SECONDS:
            return False
        self._logged[what] = now
        return True

    def _count_repaired(self) -> None:
        for key, kind in list(self._open.items()):
            node = self._scheduler.graph.nodes.get(key)
            if node is None or node.state in (ItemState.APPLIED, ItemState.SHADOWED):
                del self._open[key]
                self._entry(kind).repaired += 1

    # --- telling

    def report(self) -> DriftReport:
        """Return how the checks stand."""
        self._count_repaired()
        still: dict[str, int] = {}
        for kind in self._open.values():
            still[kind] = still.get(kind, 0) + 1
        kinds = sorted({*self._scheduler.descriptors, *self._kinds})
        for kind in kinds:
            self._entry(kind).open = still.get(kind, 0)
        return DriftReport(
            state=self._state(),
            interval_seconds=self._settings.interval_seconds,
            limit=self._settings.share,
            share=self.share(),
            kinds=tuple(msgspec.structs.replace(self._entry(kind)) for kind in kinds),
        )

    def share(self) -> float:
        """Return the share of time that the newest checks took, with the pause that must follow the last."""
        newest = list(self._spent)[-max(1, len(self._scheduler.descriptors)) :]
        if not newest:
            return 0.0
        seconds = max(self._clock.time(), self._not_before) - newest[0][0]
        return sum(each for _, each in newest) / seconds if seconds > 0 else 0.0

    def _state(self) -> str:
        if self._settings.interval_seconds <= 0:
            return "off"
        if self._task is None or self._task.done():
            return "not running"
        down = [f"{name}: {reason}" for name, reason in sorted(self._scheduler.domain_state().items()) if reason]
        return f"waits for {'; '.join(down)}" if down else "running"


def words(difference: Difference) -> str:
    """Say what was there instead of what was wanted."""
    wanted, found = difference.wanted, difference.found
    if difference.foreign:
        return f"has somebody else's object in its place, which is left alone: {_text(found)}"
    if found is None:
        return "was gone" if wanted is None else f"was gone, wanted: {_text(wanted)}"
    if wanted is None:
        return f"was there, and nobody wants it: {_text(found)}"
    fields = [name for name in wanted.__struct_fields__ if getattr(wanted, name) != getattr(found, name, None)]
    if not fields:
        return f"was made anew by somebody: {_text(found)}"
    return f"had {_text(found, fields)}, wanted {_text(wanted, fields)}"


def _text(item: Item | None, fields: list[str] | None = None) -> str:
    """Return fields of an item as text of a bounded length; those that say nothing are left out, unless named."""
    names = item.__struct_fields__ if item is not None else ()
    shown = [
        f"{name}={_value(getattr(item, name, None))}"
        for name in (fields or names)
        if fields or getattr(item, name) not in (None, "", (), False)
    ]
    text = " ".join(shown)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _value(value: object) -> str:
    if isinstance(value, msgspec.Struct) and type(value).__str__ is object.__str__:
        shown = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return "(" + " ".join(f"{name}={_value(each)}" for name, each in shown if each not in (None, "", (), 0)) + ")"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
