# SPDX-License-Identifier: Apache-2.0
"""Objects that are made the short way: one message, a callback, no task."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from typing import Any

from contivpp_core import collector
from contivpp_core.clock import run_simulated
from contivpp_core.items import Descriptor, Found, Item, Known, Outcome, Owner, Unavailable
from contivpp_core.kubernetes import NODE, Node
from contivpp_core.scheduler import Scheduler
from contivpp_core.state import Delete, Put, Ready, State
from contivpp_core.testing.dataplane import FakePort

ME = Owner("a", "me")
PORT = FakePort(name="p")

Ended = Callable[[Any, Exception | None], None]


class Ports(Descriptor[FakePort]):
    """Notes what is asked; the test answers."""

    kind = FakePort.kind
    item = FakePort
    domain = "fake"

    def __init__(self) -> None:
        self.short = True
        self.broken = False
        self.asked: list[Ended] = []
        self.created = 0
        self.there: list[Found] = []
        self.dumps = 0

    def begin_create(self, item: FakePort, handles: Mapping[str, Any], ended: Ended) -> bool:
        if self.broken:
            raise KeyError("broken")
        if self.short:
            self.asked.append(ended)
        return self.short

    async def create(self, item: FakePort, handles: Mapping[str, Any]) -> int:
        if self.broken:
            raise KeyError("broken")
        self.created += 1
        return 5

    async def dump(self, known: Known) -> list[Found]:
        self.dumps += 1
        return self.there

    def classify(self, error: Exception) -> Outcome:
        return Outcome.RETRY


class Rig:
    """A scheduler that wants one port."""

    def __init__(self) -> None:
        self.ports = Ports()
        self.scheduler = Scheduler(seed=1)
        self.scheduler.register(self.ports)

    async def want(self, item: Item = PORT) -> None:
        await self.scheduler.domain_up("fake", "1")
        self.scheduler.submit([item.key], {item.key: {ME: item}})
        await asyncio.sleep(0)

    def state(self) -> str:
        (status,) = self.scheduler.items()
        return status.state


def rigged(test: Any) -> Any:
    def run() -> None:
        async def main() -> None:
            rig = Rig()
            await test(rig)
            await rig.scheduler.stop()

        run_simulated(main())

    run.__name__ = test.__name__
    return run


@rigged
async def test_no_task_waits_for_the_answer(rig: Rig) -> None:
    before = asyncio.all_tasks()
    await rig.want()
    assert (rig.state(), len(rig.ports.asked)) == ("in progress", 1)
    assert asyncio.all_tasks() == before
    assert not rig.scheduler.idle()
    rig.ports.asked[0](7, None)
    await rig.scheduler.settled()
    assert rig.state() == "applied"
    assert rig.scheduler.graph.nodes[PORT.key].actual.handle == 7  # type: ignore[union-attr]
    assert (rig.scheduler.counters.created, rig.ports.created) == ({FakePort.kind: 1}, 0)


@rigged
async def test_who_cannot_now_is_asked_the_long_way(rig: Rig) -> None:
    rig.ports.short = False
    await rig.want()
    await rig.scheduler.settled()
    assert (rig.state(), rig.ports.created) == ("applied", 1)


@rigged
async def test_a_failure_is_tried_again_after_a_while(rig: Rig) -> None:
    await rig.want()
    rig.ports.asked[0](None, KeyError("no"))
    assert rig.state() == "failed"
    await asyncio.sleep(0.2)
    assert len(rig.ports.asked) == 2
    rig.ports.asked[1](7, None)
    await rig.scheduler.settled()
    assert (rig.state(), rig.scheduler.counters.failed) == ("applied", {FakePort.kind: 1})


@rigged
async def test_a_lost_answer_is_read_back(rig: Rig) -> None:
    await rig.want()
    rig.ports.there = [Found(PORT.key, PORT, 9)]
    rig.ports.asked[0](None, Unavailable("lost"))
    await rig.scheduler.settled()
    assert (rig.state(), rig.ports.dumps, len(rig.ports.asked)) == ("applied", 2, 1)


@rigged
async def test_an_error_of_the_short_way_is_that_of_the_long_way(rig: Rig) -> None:
    rig.ports.broken = True
    await rig.want()
    await asyncio.sleep(0.01)
    assert rig.state() == "failed"
    rig.ports.broken = False
    await asyncio.sleep(0.2)
    rig.ports.asked[0](7, None)
    await rig.scheduler.settled()
    assert rig.state() == "applied"


@rigged
async def test_a_second_answer_changes_nothing(rig: Rig) -> None:
    await rig.want()
    rig.ports.asked[0](7, None)
    rig.ports.asked[0](8, None)
    rig.ports.asked[0](None, KeyError("late"))
    await rig.scheduler.settled()
    assert rig.state() == "applied"
    assert rig.scheduler.graph.nodes[PORT.key].actual.handle == 7  # type: ignore[union-attr]
    assert rig.scheduler.counters.created == {FakePort.kind: 1}


@rigged
async def test_a_reading_waits_for_what_is_in_flight(rig: Rig) -> None:
    await rig.want()
    reading = asyncio.ensure_future(rig.scheduler.resync("fake"))
    await asyncio.sleep(0.01)
    assert rig.ports.dumps == 1  # that of `domain_up`
    rig.ports.there = [Found(PORT.key, PORT, 7)]
    rig.ports.asked[0](7, None)
    await reading
    await rig.scheduler.settled()
    assert (rig.state(), rig.ports.dumps, len(rig.ports.asked)) == ("applied", 2, 1)


@rigged
async def test_an_answer_after_the_end_changes_nothing(rig: Rig) -> None:
    await rig.want()
    await rig.scheduler.stop()
    rig.ports.asked[0](7, None)
    node = rig.scheduler.graph.nodes[PORT.key]
    assert (node.actual, node.unknown, node.running) == (None, True, False)


def test_a_large_batch_is_one_change_and_gives_way_to_others() -> None:
    async def main() -> tuple[int, Any]:
        state = State([NODE])
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.ensure_future(count())
        writes = [Put("Node", Node(name=f"n{number}")) for number in range(5000)]
        result = await state.apply_gently([*writes, Delete("Node", "n3"), writes[7], Ready("Node")])
        counting.cancel()
        assert state.revision == 1
        assert len(state.table("Node")) == 4999
        return turns, result

    turns, (changes, flips) = run_simulated(main())
    assert turns >= 4
    assert ([change.key for change in changes[:4]], len(changes), flips) == (["n0", "n1", "n2", "n4"], 4999, ["Node"])


def test_the_garbage_collector_is_spared_but_not_off() -> None:
    before = gc.get_threshold()
    try:
        collector.spare()
        assert gc.isenabled()
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > 0
        assert not gc.is_tracked(PORT)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
