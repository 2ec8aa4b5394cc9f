# SPDX-License-Identifier: Apache-2.0
"""How long the scheduler keeps the event loop from everything else; prints one line of JSON.

    python core/tests/bench_scheduler.py --items 24000

`turn_ms` is the CPU time of the longest turn of the event loop while so many items are wanted at once and made (the
descriptor does nothing, so all of it is the scheduler's; the garbage collector is off), `urgent_turns` after how many
turns an urgent item that is wanted meanwhile is begun. `check_turn_ms` is the longest turn while as many items are
compared with a dump that takes no time itself, `check_ms` the CPU time of the whole check.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from contivpp_core.items import Descriptor, Found, Item, Known, Owner
from contivpp_core.scheduler import Scheduler

ME = Owner("bench", "one")


class Cell(Item, frozen=True, kw_only=True):
    """One of very many."""

    kind: ClassVar[str] = "bench/cell"
    number: int

    @property
    def key(self) -> str:
        return f"bench/cell/{self.number}"


class CellDescriptor(Descriptor[Cell]):
    """Does nothing."""

    kind = "bench/cell"
    item = Cell
    domain = "bench"

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.begun: dict[str, int] = {}
        self.turns = Turns()

    async def create(self, item: Cell, handles: Mapping[str, Any]) -> int:
        self.begun[item.key] = self.turns.count
        await asyncio.sleep(0)
        return item.number

    async def dump(self, known: Known) -> list[Found]:
        return self.found


class Turns:
    """Counts the turns of the event loop, and measures the CPU time of the longest."""

    def __init__(self) -> None:
        self.count, self.longest = 0, 0.0
        self._last: float | None = None

    def begin(self) -> None:
        """Count from now on."""
        self.count, self.longest, self._last = 0, 0.0, time.thread_time()
        asyncio.get_running_loop().call_soon(self._tick)

    def end(self) -> None:
        """Count no more."""
        self._last = None

    def _tick(self) -> None:
        if self._last is None:
            return
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self.count, self._last = self.count + 1, now
        asyncio.get_running_loop().call_soon(self._tick)


async def measure(number: int) -> dict[str, object]:
    """Want items, check them; return what it took."""
    scheduler, descriptor = Scheduler(seed=1), CellDescriptor()
    scheduler.register(descriptor)
    await scheduler.domain_up("bench", "one")
    items = [Cell(number=each) for each in range(number)]
    owners: dict[str, Mapping[Owner, Item]] = {item.key: {ME: item} for item in items}
    urgent = Cell(number=number)
    turns = descriptor.turns
    gc.disable()
    begin = time.thread_time()
    turns.begin()
    await want(scheduler, owners)
    asked = turns.count
    await want(scheduler, {urgent.key: {ME: urgent}}, urgent=True)
    await scheduler.settled()
    await asyncio.sleep(0)
    made, longest = time.thread_time() - begin, turns.longest
    turns.end()
    descriptor.found = [Found(item.key, item, item.number) for item in (*items, urgent)]
    await asyncio.sleep(0)
    begin = time.thread_time()
    turns.begin()
    repaired = await scheduler.check(Cell.kind)
    await asyncio.sleep(0)
    checked = time.thread_time() - begin
    turns.end()
    assert repaired == {}
    assert scheduler.counts()["applied"] == number + 1
    await scheduler.stop()
    return {
        "benchmark": "scheduler-turns",
        "items": number,
        "made_ms": round(made * 1e3, 1),
        "turn_ms": round(longest * 1e3, 1),
        "urgent_turns": descriptor.begun[urgent.key] - asked,
        "check_ms": round(checked * 1e3, 1),
        "check_turn_ms": round(turns.longest * 1e3, 1),
    }


async def want(scheduler: Scheduler, owners: Mapping[str, Mapping[Owner, Item]], *, urgent: bool = False) -> None:
    """Want items as the controller does."""
    await scheduler.submit_gently(owners.keys(), owners, urgent=urgent)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=24000)
    print(json.dumps(asyncio.run(measure(parser.parse_args().items))))


if __name__ == "__main__":
    main()
