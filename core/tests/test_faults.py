# SPDX-License-Identifier: Apache-2.0
"""Faults by plan, around descriptors; and the laws under faults, for descriptors and for the fake dataplane."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
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
from contivpp_core.testing.trial import Trial, check_descriptors

SEEDS = range(int(os.environ.get("CONTIVPP_LAW_SEEDS", "30")))


def simulated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def run(*arguments: Any) -> None:
        run_simulated(test(*arguments))  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


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
