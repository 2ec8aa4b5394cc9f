# SPDX-License-Identifier: Apache-2.0
"""Faults by plan, around descriptors; and the laws under faults, for descriptors and for the fake dataplane."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from contivpp_core.clock import run_simulated
from contivpp_core.items import Item, Outcome, Unavailable
from contivpp_core.testing.dataplane import (
    FakeAddress,
    FakeDataplane,
    FakeEnd,
    FakeFilter,
    FakeLink,
    FakePair,
    FakePort,
    FakeRoute,
    FakeVrf,
)
from contivpp_core.testing.faults import Fault, Faults, InjectedFault
from contivpp_core.testing.simulated import simulated
from contivpp_core.testing.trial import Trial, check_descriptors

SEEDS = range(int(os.environ.get("CONTIVPP_LAW_SEEDS", "30")))


# --- the plan


def test_rules_strike_by_number_pattern_and_count() -> None:
    faults = Faults()
    faults.plan(Fault.REFUSE, "^create ", nth=2, times=2)
    faults.plan(Fault.LOSE, "route", times=None)
    points = ["create a", "delete a", "create b", "delete route", "create c", "create route", "create d"]
    struck = [rule.fault if (rule := faults.strike(point)) else None for point in points]
    assert struck == [None, None, Fault.REFUSE, Fault.LOSE, Fault.REFUSE, Fault.LOSE, None]
    assert [str(each) for each in faults.struck][:2] == ["3 create b: refused", "4 delete route: lost"]
    faults.calm()
    assert faults.strike("create route") is None


def test_the_same_seed_gives_the_same_faults() -> None:
    def struck(seed: int) -> list[int]:
        faults = Faults(seed)
        faults.plan(Fault.REFUSE, times=None, chance=0.3)
        for number in range(100):
            faults.strike(f"create {number}")
        return [each.number for each in faults.struck]

    assert struck(1) == struck(1) != struck(2)
    assert 15 < len(struck(1)) < 45


# --- what they do to an operation


async def outcome(fault: Fault, **more: Any) -> tuple[str, int]:
    """Return what an operation with the fault says, and how often it was done."""
    faults, done = Faults(), []
    faults.plan(fault, "create x", **more)

    async def act() -> str:
        done.append(1)
        return "handle"

    try:
        async with asyncio.timeout(60):
            return await faults.operate("create x", act), len(done)
    except InjectedFault as error:
        return error.outcome.value, len(done)
    except (Unavailable, TimeoutError) as error:
        return type(error).__name__, len(done)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.REFUSE, (Outcome.RETRY.value, 0)),
        (Fault.REJECT, (Outcome.CHANGE.value, 0)),
        (Fault.LOSE, ("Unavailable", 0)),
        (Fault.LOSE_ANSWER, ("Unavailable", 1)),
        (Fault.TWICE, ("handle", 2)),
        (Fault.SLOW, ("handle", 1)),
        (Fault.CUT, ("Unavailable", 0)),
        (Fault.CUT_AFTER, ("Unavailable", 1)),
        (Fault.CALL, ("TimeoutError", 0)),
        (Fault.CALL_AFTER, ("TimeoutError", 1)),
    ],
)
def test_what_a_fault_does_to_an_operation(fault: Fault, expected: tuple[str, int]) -> None:
    assert run_simulated(outcome(fault)) == expected


@simulated
async def test_an_agent_killed_at_an_operation_is_followed_by_one_that_ends_the_work() -> None:
    for fault, creates in ((Fault.CALL, 1), (Fault.CALL_AFTER, 1)):
        world = FakeDataplane()
        trial = Trial(world.descriptors)
        trial.faults.plan(fault, "create fake/port/q", call=trial.kill_soon)
        await trial.start()
        trial.want([FakePort(name="p"), FakePort(name="q")])
        await trial.rest()
        assert trial.lives == 2
        assert world.calls.count(("create", "fake/port/q")) == creates
        await trial.check_laws()
        await trial.scheduler.stop()


# --- what is left of operations that ended half-way, or whose answers were lost


def pair(one: int, two: int) -> list[Item]:
    return [FakePort(name="p"), FakePair(port="p", values=(one, two))]


@simulated
async def test_an_update_that_ended_half_way_is_not_forgotten_when_the_old_value_is_wanted_again() -> None:
    world = FakeDataplane(far=True)
    trial = Trial(world.descriptors)
    await trial.start()
    trial.want(pair(1, 1))
    await trial.rest()
    world.fail("update fake/pair/p part 2")
    trial.want(pair(2, 2))
    await trial.scheduler.settled()
    assert world.dump()["fake/pair/p"] == FakePair(port="p", values=(2, 1))
    trial.want(pair(1, 1))
    await trial.check_laws()
    assert world.dump()["fake/pair/p"] == FakePair(port="p", values=(1, 1))
    await trial.scheduler.stop()


@simulated
async def test_an_update_that_ended_half_way_is_tried_again_from_what_is_there() -> None:
    world = FakeDataplane(far=True)
    trial = Trial(world.descriptors)
    descriptor = trial.scheduler.descriptors[FakePair.kind]
    olds: list[Any] = []
    update = descriptor.update

    async def noting(old: Any, new: Any, handle: Any, handles: Any) -> Any:
        olds.append(old.values)
        return await update(old, new, handle, handles)

    vars(descriptor)["update"] = noting
    await trial.start()
    trial.want(pair(1, 1))
    await trial.rest()
    world.fail("update fake/pair/p part 2", times=2)
    trial.want(pair(2, 2))
    await trial.check_laws()
    assert olds == [(1, 1), (2, 1), (2, 1)]
    await trial.scheduler.stop()


@simulated
async def test_what_a_creation_that_ended_half_way_has_left_goes_when_nobody_wants_it_any_more() -> None:
    world = FakeDataplane(far=True)
    trial = Trial(world.descriptors)
    await trial.start()
    world.fail("create fake/pair/p part 2")
    trial.want(pair(1, 1))
    await trial.scheduler.settled()
    assert "fake/pair/p" in world.dump()
    trial.want([FakePort(name="p")])
    await trial.check_laws()
    assert "fake/pair/p" not in world.dump()
    await trial.scheduler.stop()


@simulated
async def test_what_a_creation_that_ended_half_way_has_left_is_read_before_another_value_is_made() -> None:
    world = FakeDataplane(far=True)
    trial = Trial(world.descriptors)
    await trial.start()
    world.fail("create fake/pair/p part 2")
    trial.want(pair(1, 1))
    await trial.scheduler.settled()
    trial.want(pair(2, 2))
    await trial.check_laws()
    assert world.calls.count(("create", "fake/pair/p part 1")) == 1
    assert ("update", "fake/pair/p part 1") in world.calls
    await trial.scheduler.stop()


@simulated
async def test_a_lost_answer_to_a_reading_back_is_asked_for_again_while_the_domain_is_there() -> None:
    world = FakeDataplane()
    trial = Trial(world.descriptors)
    await trial.start()
    world.lose("create fake/port/p")
    world.lose("dump fake/port", times=3)
    trial.want([FakePort(name="p")])
    await trial.check_laws()
    assert world.calls.count(("create", "fake/port/p")) == 1
    await trial.scheduler.stop()


@pytest.mark.parametrize("new", [False, True])
@simulated
async def test_a_domain_that_is_lost_while_it_is_read_is_read_again_from_the_beginning(new: bool) -> None:
    world = FakeDataplane(far=True)
    trial = Trial(world.descriptors, restart=lambda domain: world.restart())
    await trial.start()
    trial.want(port("p", 1, 1, FakeRoute(prefix=1, port="p")))
    await trial.rest()
    reading = asyncio.ensure_future(trial.lose("fake"))
    await asyncio.sleep(0.05)  # some kinds have been read, and operations must not begin
    world.calls.clear()
    await trial.lose("fake", new=new)
    await asyncio.wait((reading,))
    assert ("dump", "fake/port") in world.calls  # which the first reading had read already
    await trial.check_laws()
    await trial.scheduler.stop()


@simulated
async def test_what_another_domain_provides_goes_and_comes_back_with_its_provider() -> None:
    world = FakeDataplane(far=True)
    trial = Trial(world.descriptors, restart=lambda domain: world.restart())
    await trial.start()
    trial.want([FakePort(name="p", model="a"), FakeEnd(port="p", value=1)])
    await trial.rest()
    for model in "bab":
        trial.faults.plan(Fault.LOSE_ANSWER, "delete fake/port/p")
        trial.faults.plan(Fault.LOSE, "create far/end/p")
        trial.want([FakePort(name="p", model=model), FakeEnd(port="p", value=1)])
        await trial.check_laws()
    await trial.lose("fake", new=True)
    await trial.check_laws()
    assert world.violations == []
    assert world.calls.count(("create", "far/end/p")) == 5
    await trial.scheduler.stop()


# --- the laws, under faults


def port(name: str, vrf: int, value: int, *more: Item) -> list[Item]:
    return [
        FakePort(name=name, model="ab"[value % 2]),
        FakeVrf(port=name, vrf=vrf),
        FakeAddress(port=name, address=value, vrf=vrf),
        FakePair(port=name, values=(value, -value)),
        FakeEnd(port=name, value=value),
        *more,
    ]


WISHES = [
    [],
    [FakePort(name="p", model="b"), FakeVrf(port="p", vrf=1)],
    [FakePort(name="p", model="b"), FakeVrf(port="p", vrf=1), FakePair(port="p", values=(1, 1))],
    [FakePort(name="p", model="b"), FakeVrf(port="p", vrf=1), FakePair(port="p", values=(2, 2))],
    port("p", 1, 1, FakeRoute(prefix=1, port="p"), FakeFilter(port="p", rules=10)),
    port("p", 2, 1, FakeRoute(prefix=1, port="p"), FakeLink(port="p", requires=("fake/route/1",))),
    port("p", 1, 3) + port("q", 1, 1, FakeRoute(prefix=1, port="q"), FakeRoute(prefix=2, port="q")),
    port("q", 1, 2, FakeFilter(port="q", rules=11), FakeLink(port="q", requires=("fake/filter/q",))),
    port("q", 1, 2, FakeFilter(port="q", rules=20), FakeLink(port="q", requires=("fake/filter/q",)))
    + port("p", 2, 2, FakeRoute(prefix=2, port="p")),
]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_faults_the_dataplanes_hold_what_is_wanted(seed: int) -> None:
    world = FakeDataplane(far=True)

    def told(owners: Any) -> None:
        world.wanted = {key for key in owners if key.startswith("fake/filter/")}

    def restart(domain: str) -> None:
        if domain == "fake":
            world.restart()

    faults = check_descriptors(world.descriptors, WISHES, seed=seed, restart=restart, told=told)
    assert world.violations == []
    assert faults.struck
