# SPDX-License-Identifier: Apache-2.0
"""Decisions in slices: short turns, urgent keys first, nobody sees the state of a former wish."""

from __future__ import annotations

import asyncio

import pytest

from contivpp_core.clock import LONGEST_SLICE, gently
from contivpp_core.errors import RequestError
from contivpp_core.items import Item, Owner
from contivpp_core.scheduler import Scheduler
from contivpp_core.testing.dataplane import FakeDataplane, FakePort, FakeRoute
from contivpp_core.testing.simulated import simulated

ME = Owner("a", "me")


async def up(world: FakeDataplane, *, decisions: int) -> Scheduler:
    scheduler = Scheduler(seed=1, decisions=decisions)
    for descriptor in world.descriptors():
        scheduler.register(descriptor)
    await scheduler.domain_up("fake", "1")
    return scheduler


def want(scheduler: Scheduler, *items: Item, urgent: bool = False) -> None:
    scheduler.submit([item.key for item in items], {item.key: {ME: item} for item in items}, urgent=urgent)


@simulated
async def test_a_turn_decides_a_bounded_number_and_urgent_keys_come_first() -> None:
    world = FakeDataplane()
    scheduler = await up(world, decisions=10)
    world.calls.clear()
    want(scheduler, *(FakePort(name=f"p{number}") for number in range(100)))
    want(scheduler, FakePort(name="urgent"), urgent=True)
    assert scheduler.counts()["in progress"] == 10
    begun = []
    for _ in range(12):
        await asyncio.sleep(0)
        begun.append(len(world.calls))
    assert begun == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 101, 101]
    assert world.calls.index(("create", "fake/port/urgent")) == 10
    await scheduler.settled()
    assert len(world.ports) == 101
    await scheduler.stop()


@simulated
async def test_what_an_urgent_item_waits_for_is_decided_first_as_well() -> None:
    world = FakeDataplane()
    scheduler = await up(world, decisions=1)
    want(scheduler, FakePort(name="p"), FakeRoute(prefix=1, port="p"))
    await scheduler.settled()
    world.calls.clear()
    want(scheduler, *(FakePort(name=f"q{number}") for number in range(50)))
    scheduler.submit(["fake/port/p", "fake/route/1"], {}, urgent=True)
    await scheduler.waiters.until_gone(["fake/port/p"])
    assert [key for verb, key in world.calls if verb == "delete"] == ["fake/route/1", "fake/port/p"]
    await scheduler.stop()


@simulated
async def test_whoever_waits_for_an_item_does_not_see_the_state_of_its_former_wish() -> None:
    world = FakeDataplane()
    scheduler = await up(world, decisions=1)
    want(scheduler, FakePort(name="p"))
    await scheduler.settled()
    want(scheduler, FakePort(name="a"), FakePort(name="p", model="b"))
    await scheduler.waiters.until_applied(["fake/port/p"], 1.0)
    assert {port.model for port in world.ports.values() if port.name == "p"} == {"b"}
    world.delay = 5.0
    want(scheduler, FakePort(name="a", model="b"), FakePort(name="p", model="a"))
    with pytest.raises(RequestError):
        await scheduler.waiters.until_applied(["fake/port/p"], 1.0)
    await scheduler.stop()


@simulated
async def test_a_large_change_is_taken_over_as_a_whole_before_any_of_it_is_decided() -> None:
    world = FakeDataplane()
    world.delay = 0.0
    scheduler = await up(world, decisions=10_000)
    ports = [FakePort(name=f"p{number:04}") for number in range(LONGEST_SLICE)]
    routes = [FakeRoute(prefix=number, port=port.name) for number, port in enumerate(ports)]
    await scheduler.submit_gently(
        [item.key for item in (*ports, *routes)], {item.key: {ME: item} for item in (*ports, *routes)}
    )
    await scheduler.settled()
    moved = [FakeRoute(prefix=route.prefix, port="p0000") for route in routes]
    world.calls.clear()
    # The ports are given up in an earlier slice than the routes move: no route may be taken down for that.
    await scheduler.submit_gently(
        [item.key for item in (*ports[1:], *moved)], {item.key: {ME: item} for item in moved}
    )
    await scheduler.settled()
    assert not [call for call in world.calls if call[0] == "delete" and call[1].startswith("fake/route/")]
    assert len(world.ports) == 1
    assert scheduler.counts()["applied"] == LONGEST_SLICE + 1
    assert world.violations == []
    await scheduler.stop()


@simulated
async def test_a_scheduler_that_is_stopped_decides_nothing_more() -> None:
    world = FakeDataplane()
    scheduler = await up(world, decisions=1)
    world.calls.clear()
    want(scheduler, *(FakePort(name=f"p{number}") for number in range(10)))
    await scheduler.stop()
    want(scheduler, FakePort(name="late"))
    await asyncio.sleep(100)
    assert world.calls == []


@simulated
async def test_an_operation_that_has_not_taken_its_first_step_keeps_what_it_is_made_with() -> None:
    world = FakeDataplane()
    scheduler = await up(world, decisions=1000)
    want(scheduler, FakePort(name="p"))
    await scheduler.settled()
    want(scheduler, FakeRoute(prefix=1, port="p"))
    # Before the route's operation has its first turn, the port is to go, and another one may get its index.
    scheduler.submit(["fake/route/1", "fake/port/p"], {})
    want(scheduler, FakePort(name="q"))
    await scheduler.settled()
    await asyncio.sleep(60)
    await scheduler.settled()
    assert world.violations == []
    assert set(world.dump()) == {"fake/port/q"}
    await scheduler.stop()


@simulated
async def test_what_an_operation_with_a_lost_answer_was_made_with_stays_until_it_is_read_back() -> None:
    world = FakeDataplane()
    scheduler = await up(world, decisions=1000)
    want(scheduler, FakePort(name="p"), FakeRoute(prefix=1, port="p"))
    world.lose("create fake/route/1")
    await asyncio.sleep(0.015)
    scheduler.submit(["fake/route/1", "fake/port/p"], {})
    want(scheduler, FakePort(name="q"))
    await asyncio.sleep(0.1)
    await scheduler.settled()
    verbs = [call for call in world.calls if call[0] == "delete"]
    assert verbs == [("delete", "fake/route/1"), ("delete", "fake/port/p")]
    assert world.violations == []
    await scheduler.stop()


@simulated
async def test_long_work_gives_way() -> None:
    seen: list[int] = []
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async for piece in gently(range(3 * LONGEST_SLICE)):
        seen.append(piece)
    assert seen == list(range(3 * LONGEST_SLICE))
    assert ticks == 2
    ticking.cancel()
