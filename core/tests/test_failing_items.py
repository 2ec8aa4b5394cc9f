# SPDX-License-Identifier: Apache-2.0
"""Failing items: tried again with a jittered back-off up to a maximum, delaying nobody, told in status and metrics."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from contivpp_core.clock import Clock, run_simulated
from contivpp_core.config import DriftSettings
from contivpp_core.drift import Drift
from contivpp_core.items import Item, Known, Owner
from contivpp_core.journal import Journal
from contivpp_core.metrics import read
from contivpp_core.own_metrics import own_metrics
from contivpp_core.scheduler import Scheduler
from contivpp_core.testing.dataplane import FakeDataplane, FakePort, FakeVrf
from contivpp_core.testing.faults import Fault


async def up(world: FakeDataplane) -> Scheduler:
    scheduler = Scheduler(seed=1)
    for descriptor in world.descriptors():
        scheduler.register(descriptor)
    await scheduler.domain_up("fake", "1")
    return scheduler


def want(scheduler: Scheduler, *items: Item) -> None:
    scheduler.submit([item.key for item in items], {item.key: {Owner("a", "me"): item} for item in items})


def test_retries_wait_longer_each_time_up_to_thirty_seconds_with_jitter_and_delay_nobody() -> None:
    async def main() -> None:
        world = FakeDataplane()
        scheduler = await up(world)
        tries: list[float] = []
        world.faults.plan(Fault.REFUSE, "create fake/port/bad", times=None)
        strike = world.faults.strike

        def noted(point: str) -> Any:
            if point == "create fake/port/bad0":
                tries.append(asyncio.get_running_loop().time())
            return strike(point)

        vars(world.faults)["strike"] = noted
        bad, good = [FakePort(name=f"bad{n}") for n in range(2)], FakePort(name="good")
        want(scheduler, *bad, FakeVrf(port="bad0", vrf=1), good)
        await scheduler.waiters.until_applied([good.key], 0.1)
        await asyncio.sleep(600)
        pauses = [later - earlier for earlier, later in pairwise(tries)]
        for number, pause in enumerate(pauses):
            longest = min(30.0, 0.1 * 2**number)
            assert longest / 2 <= pause - world.delay <= longest
        assert len({round(pause, 3) for pause in pauses[10:]}) > 5  # not all at the same time
        groups = [(g.kind, g.state, g.count, g.key, g.retried) for g in scheduler.not_applied()]
        assert groups == [
            ("fake/port", "failed", 2, "fake/port/bad0", 2),
            ("fake/vrf", "pending", 1, "fake/vrf/bad0", 0),
        ]
        assert "refused by plan" in scheduler.not_applied()[0].reason
        assert scheduler.not_applied()[1].reason == "waits for fake/if/bad0"
        (status,) = [item for item in scheduler.items() if item.key == "fake/port/bad0"]
        assert status.retry_seconds is not None
        assert 0 < status.retry_seconds <= 30
        drift = Drift(scheduler, DriftSettings(), Journal(), clock=Clock())
        samples = {
            (s.metric.name, *s.labels.values()): s.value for s in read(own_metrics(scheduler, drift))
        }
        assert samples["contivpp_items", "fake/port", "applied"] == 1
        assert samples["contivpp_items", "fake/port", "failed"] == 2
        assert samples["contivpp_items", "fake/vrf", "pending"] == 1
        assert samples["contivpp_items_to_retry", "fake/port"] == 2
        assert samples["contivpp_operation_failures_total", "fake/port"] > 40
        assert samples["contivpp_operations_total", "fake/port", "create"] == 1
        await scheduler.stop()

    run_simulated(main())


def test_during_a_retry_an_item_is_still_told_as_failed_with_its_reason() -> None:
    async def main() -> None:
        world = FakeDataplane()
        world.delay = 0.05
        scheduler = await up(world)
        world.faults.plan(Fault.REFUSE, "create fake/port/p", times=2)
        want(scheduler, FakePort(name="p"))
        seen: set[tuple[str, str]] = set()
        for _ in range(200):
            await asyncio.sleep(0.01)
            (status,) = scheduler.items()
            seen.add((status.state, status.reason))
        assert sorted(state for state, _ in seen) == ["applied", "failed", "in progress"]
        assert any("refused by plan" in reason for state, reason in seen if state == "failed")
        await scheduler.stop()

    run_simulated(main())


def test_a_kind_that_cannot_be_read_back_is_asked_less_and_less_often() -> None:
    async def main() -> None:
        world = FakeDataplane()
        scheduler = await up(world)
        descriptor = scheduler.descriptors["fake/port"]
        dump = descriptor.dump
        asked: list[float] = []

        async def broken(known: Known) -> Any:
            asked.append(asyncio.get_running_loop().time())
            raise ValueError("broken")

        descriptor.dump = broken  # type: ignore[method-assign]
        world.lose("create fake/port/p")
        want(scheduler, FakePort(name="p"))
        await asyncio.sleep(600)
        pauses = [later - earlier for earlier, later in pairwise(asked)]
        assert pauses[0] <= 0.2
        assert all(15 <= pause <= 30 for pause in pauses[8:])
        descriptor.dump = dump  # type: ignore[method-assign]
        await scheduler.settled()
        assert scheduler.counts()["applied"] == 1
        await scheduler.stop()

    run_simulated(main())
