# SPDX-License-Identifier: Apache-2.0
"""Drift: found, repaired, counted and told, at a bounded cost, in simulated time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.clock import Clock, run_simulated
from contivpp_core.config import DriftSettings
from contivpp_core.drift import Drift, KindReport, words
from contivpp_core.items import Item, Owner
from contivpp_core.journal import Journal
from contivpp_core.metrics import read
from contivpp_core.own_metrics import own_metrics
from contivpp_core.scheduler import Scheduler
from contivpp_core.scheduler.check import Difference
from contivpp_core.testing.dataplane import (
    FakeAddress,
    FakeDataplane,
    FakeFilter,
    FakeLink,
    FakePort,
    FakeRoute,
    FakeVrf,
)

ME = Owner("a", "me")
KINDS = ("address", "filter", "link", "port", "route", "vrf")


def simulated(test: Any) -> Any:
    def run(*arguments: Any, **named: Any) -> None:
        run_simulated(test(*arguments, **named))

    run.__name__ = test.__name__
    return run


class Trial:
    """A dataplane with two ports as wanted, and checks; `kinds` are the descriptors' class names, if not all."""

    def __init__(self, interval: float = 60.0, share: float = 0.01) -> None:
        self.world = FakeDataplane()
        self.scheduler = Scheduler(seed=1)
        for descriptor in self.world.descriptors():
            self.scheduler.register(descriptor)
        self.journal = Journal()
        self.interval = interval
        self.drift = Drift(
            self.scheduler,
            DriftSettings(intervalSeconds=interval, share=share),  # type: ignore[call-arg]
            self.journal,
            clock=Clock(),
            seed=1,
        )
        self.scheduler.on_checked = self.drift.note
        self.wanted: dict[str, Item] = {}

    async def start(self) -> None:
        for name in "pq":
            filter_ = FakeFilter(port=name, rules=10)
            self.want(
                FakePort(name=name),
                FakeVrf(port=name, vrf=1),
                FakeAddress(port=name, address=1, vrf=1),
                filter_,
                FakeRoute(prefix=ord(name), port=name),
                FakeLink(port=name, requires=(filter_.key,)),
            )
        await self.scheduler.domain_up("fake", "1")
        await self.scheduler.settled()
        self.world.calls.clear()
        self.drift.start()

    def want(self, *items: Item) -> None:
        self.wanted |= {item.key: item for item in items}
        self.scheduler.submit([item.key for item in items], {item.key: {ME: item} for item in items})

    async def round(self) -> None:
        """A whole round, and what it repairs."""
        await asyncio.sleep(2 * self.interval)
        await self.scheduler.settled()

    async def stop(self) -> None:
        await self.drift.stop()
        await self.scheduler.stop()

    def kind(self, noun: str) -> KindReport:
        return next(each for each in self.drift.report().kinds if each.kind == f"fake/{noun}")

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.world.calls if call[0] != "dump"]

    def right(self) -> dict[str, Item]:
        return {k: FakeLink(port=i.port) if isinstance(i, FakeLink) else i for k, i in self.wanted.items()}


@simulated
async def test_what_is_deleted_or_changed_by_hand_comes_back_within_a_round_and_is_told() -> None:
    trial = Trial()
    await trial.start()
    del trial.world.routes[ord("p")]
    trial.world.facets[1, "filter"] = 11
    await trial.round()
    assert trial.world.dump() == trial.right()
    assert sorted(trial.writes()) == [("create", "fake/route/112"), ("update", "fake/filter/q")]
    route, filter_ = trial.kind("route"), trial.kind("filter")
    assert (route.differences, route.repaired, route.open, route.compared) == (1, 1, 0, 2)
    assert route.last is not None
    assert (route.last.key, route.last.words) == ("fake/route/112", "was gone, wanted: prefix=112 port=p")
    assert filter_.last is not None
    assert filter_.last.words == "had rules=11, wanted rules=10"
    assert trial.kind("port").differences == 0
    causes = sorted(entry.cause for entry in trial.journal.entries())
    assert causes == [
        "drift of fake/filter: fake/filter/q had rules=11, wanted rules=10",
        "drift of fake/route: fake/route/112 was gone, wanted: prefix=112 port=p",
    ]
    samples = {
        (sample.metric.name, sample.labels.get("kind")): sample.value
        for sample in read(own_metrics(trial.scheduler, trial.drift))
    }
    assert samples["contivpp_drift_repaired_total", "fake/route"] == 1
    assert samples["contivpp_drift_dump_seconds_max", "fake/route"] == pytest.approx(0.01)
    assert samples["contivpp_drift_checks_total", "fake/vrf"] >= 1
    await trial.stop()


@simulated
async def test_every_kind_has_its_turn_once_in_each_round_and_no_two_checks_overlap() -> None:
    trial = Trial(interval=60)
    await trial.start()
    running = most = 0
    check = trial.scheduler._checks._check

    async def counted(*arguments: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await check(*arguments)
        running -= 1

    trial.scheduler._checks._check = counted  # type: ignore[method-assign]
    meddler = asyncio.create_task(meddle(trial))
    await asyncio.sleep(600)
    assert most == 1
    assert {trial.kind(noun).checks for noun in KINDS if noun != "vrf"} <= {9, 10, 11}
    dumps = [key for _, key in trial.world.calls if key != "fake/vrf"]
    assert [dumps[i : i + 5] for i in range(0, 45, 5)] == [[f"fake/{n}" for n in KINDS if n != "vrf"]] * 9
    meddler.cancel()
    await trial.stop()


async def meddle(trial: Trial) -> None:
    """Somebody else asks for checks of the VRFs, all the time."""
    while True:
        await asyncio.gather(trial.scheduler.check("fake/vrf"), trial.scheduler.check("fake/vrf"))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("share", [0.5, 0.01, 0.001])
def test_the_pause_after_a_check_keeps_the_share_of_time(share: float) -> None:
    async def main() -> None:
        trial = Trial(interval=0.001, share=share)
        await trial.start()
        trial.world.delay = 0.05
        loop = asyncio.get_running_loop()
        begins: list[float] = []
        check = trial.scheduler.check

        async def noted(kind: str) -> dict[str, int]:
            begins.append(loop.time())
            return await check(kind)

        trial.scheduler.check = noted  # type: ignore[method-assign]
        await asyncio.sleep(20 * 0.05 / share)
        pauses = [later - earlier - 0.05 for earlier, later in pairwise(begins)]
        assert len(pauses) >= 5
        assert min(pauses) >= 0.05 / share * 0.999
        assert max(pauses) <= 0.05 / share * 1.1  # it waits for nothing else
        assert 0.5 * share < trial.drift.share() <= share
        await trial.stop()

    run_simulated(main())


@simulated
async def test_nothing_is_checked_while_the_domain_is_down_and_a_check_meanwhile_says_nothing() -> None:
    trial = Trial(interval=6)
    await trial.start()
    await trial.round()
    trial.world.delay = 2.0
    before = len(trial.world.calls)
    while len(trial.world.calls) == before:
        await asyncio.sleep(0.5)
    trial.scheduler.domain_down("fake", "gone")
    trial.world.restart()  # the dump in flight will show nothing
    trial.world.calls.clear()
    await asyncio.sleep(60)
    assert trial.world.calls == []
    assert sum(trial.kind(noun).broken_off for noun in KINDS) == 1
    assert trial.drift.report().state == "waits for fake: gone"
    trial.world.delay = 0.01
    await trial.scheduler.domain_up("fake", "2")
    await trial.round()
    assert trial.world.dump() == trial.right()
    assert sum(trial.kind(noun).differences for noun in KINDS) == 0
    assert trial.drift.report().state == "running"
    await trial.stop()


@simulated
async def test_without_an_interval_nothing_is_checked() -> None:
    trial = Trial(interval=0)
    await trial.start()
    await asyncio.sleep(10000)
    assert trial.world.calls == []
    assert trial.drift.report().state == "off"
    await trial.stop()


def test_an_object_in_the_way_again_and_again_is_repaired_each_time_and_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        trial = Trial(interval=1, share=0.5)
        await trial.start()
        for _ in range(90):
            trial.world.routes.pop(ord("p"), None)
            await trial.round()
            assert ord("p") in trial.world.routes
        route = trial.kind("route")
        assert route.differences == route.repaired == 90
        assert len(trial.journal.entries()) == 90
        await trial.stop()

    with caplog.at_level(logging.WARNING):
        run_simulated(main())
    logged = [record for record in caplog.records if record.getMessage() == "drift is repaired"]
    assert len(logged) == 180 // 60


@simulated
async def test_somebody_elses_object_in_the_place_of_ours_is_counted_and_left_alone() -> None:
    trial = Trial()
    await trial.start()
    trial.world.facets[0, "filter"] = 99
    trial.world.foreign.add("fake/filter/p")
    await trial.round()
    assert trial.world.facets[0, "filter"] == 99
    entry = trial.kind("filter")
    assert (entry.foreign, entry.differences, entry.repaired, entry.open) == (1, 1, 0, 1)
    assert entry.last is not None
    assert entry.last.words == "has somebody else's object in its place, which is left alone: port=p rules=99"
    assert not [call for call in trial.writes() if call[1] == "fake/filter/p"]
    trial.world.facets.pop((0, "filter"))
    trial.world.foreign.clear()
    await trial.round()
    assert trial.world.dump() == trial.right()
    assert (trial.kind("filter").repaired, trial.kind("filter").open) == (1, 0)
    await trial.stop()


@simulated
async def test_an_object_that_is_made_again_by_hand_loses_what_lived_in_it_and_gets_it_back() -> None:
    trial = Trial()
    await trial.start()
    port = trial.world.ports[0]
    trial.world.remove_port(0)
    trial.world.routes.pop(ord("p"))
    trial.world.ports[7] = port  # the same name and model, with another index
    await trial.round()
    await trial.round()
    assert trial.world.dump() == trial.right()
    assert trial.world.violations == []
    last = trial.kind("port").last
    assert last is not None
    assert last.words == "was made anew by somebody: name=p model=a"
    await trial.stop()


@simulated
async def test_a_check_that_fails_is_told_and_others_go_on() -> None:
    trial = Trial(interval=10, share=0.5)
    await trial.start()
    descriptor = trial.scheduler.descriptors["fake/route"]
    dump = descriptor.dump

    async def broken(known: Any) -> Any:
        raise ValueError("no such message")

    descriptor.dump = broken  # type: ignore[method-assign]
    await asyncio.sleep(100)
    entry = trial.kind("route")
    assert (entry.failed, entry.checks, entry.error) == (10, 0, "ValueError: no such message")
    assert trial.kind("port").checks == 10
    descriptor.dump = dump  # type: ignore[method-assign]
    await trial.round()
    assert (trial.kind("route").error, trial.kind("route").failed) == ("", 10)
    await trial.stop()


@simulated
async def test_a_kind_with_a_fingerprint_is_read_only_when_that_has_changed() -> None:
    trial = Trial(interval=10, share=0.5)
    await trial.start()
    routes = trial.scheduler.descriptors["fake/route"]

    async def fingerprint() -> Hashable:
        return tuple(sorted(trial.world.routes.items()))

    routes.fingerprint = fingerprint  # type: ignore[method-assign]
    await asyncio.sleep(100)
    entry = trial.kind("route")
    assert (entry.checks, entry.unchanged, entry.compared) == (10, 9, 2)
    assert trial.world.calls.count(("dump", "fake/route")) == 1
    trial.world.routes.clear()
    await trial.round()
    assert trial.world.dump() == trial.right()
    assert trial.kind("route").repaired == 2
    trial.scheduler.domain_down("fake", "gone")
    await trial.scheduler.domain_up("fake", "1")
    trial.world.calls.clear()
    await trial.round()
    assert ("dump", "fake/route") in trial.world.calls
    await trial.stop()


@simulated
async def test_a_shadowed_object_is_told_without_being_sent_again() -> None:
    trial = Trial()
    await trial.start()
    routes = trial.scheduler.descriptors["fake/route"]
    dump = routes.dump

    async def shadowed(known: Any) -> Any:
        return [found._replace(shadowed=True) for found in await dump(known)]

    routes.dump = shadowed  # type: ignore[method-assign]
    await trial.round()
    states = {item.key: item.state for item in trial.scheduler.items()}
    assert states["fake/route/112"] == "shadowed"
    assert trial.writes() == []
    assert trial.kind("route").differences == 0
    await trial.stop()


def test_long_values_are_cut_in_words() -> None:
    item = FakePort(name="p" * 1000)
    told = words(Difference(key=item.key, wanted=item, believed=item, found=None))
    assert told.startswith("was gone, wanted: name=ppp")
    assert len(told) < 200


vandalism = st.lists(
    st.one_of(
        st.tuples(st.just("route"), st.sampled_from("pq")),
        st.tuples(st.just("move route"), st.sampled_from("pq")),
        st.tuples(st.just("port"), st.sampled_from("pq")),
        st.tuples(st.just("facet"), st.sampled_from(["vrf", "address/1", "filter", "link"])),
        st.tuples(st.just("change"), st.sampled_from([11, 20, 33])),
        st.tuples(st.just("foreign route"), st.integers(1, 3)),
        st.tuples(st.just("foreign port"), st.sampled_from("xyz")),
        st.tuples(st.just("ours, unwanted"), st.integers(10, 12)),
    ),
    max_size=6,
)


def move_route(world: FakeDataplane, name: str) -> None:
    if ord(name) in world.routes and world.ports:
        world.routes[ord(name)] = max(world.ports)


def remove_port(world: FakeDataplane, name: str) -> None:
    if (index := world.index(name)) is not None:
        world.remove_port(index)


def change_filter(world: FakeDataplane, rules: int) -> None:
    if (0, "filter") in world.facets:
        world.facets[0, "filter"] = rules


def add_foreign_route(world: FakeDataplane, prefix: int) -> None:
    if world.ports:
        world.routes[prefix] = max(world.ports)
        world.foreign.add(f"fake/route/{prefix}")


def add_foreign_port(world: FakeDataplane, name: str) -> None:
    if world.index(name) is None:
        world.ports[max(world.ports, default=0) + 100] = FakePort(name=name)
        world.foreign.add(f"fake/port/{name}")


def add_route_of_ours(world: FakeDataplane, prefix: int) -> None:
    if world.ports:
        world.routes[prefix] = max(world.ports)


ACTS: dict[str, Callable[[FakeDataplane, Any], object]] = {
    "route": lambda world, name: world.routes.pop(ord(name), None),
    "move route": move_route,
    "port": remove_port,
    "facet": lambda world, facet: world.facets.pop((0, facet), None),
    "change": change_filter,
    "foreign route": add_foreign_route,
    "foreign port": add_foreign_port,
    "ours, unwanted": add_route_of_ours,
}


def foreign_of(world: FakeDataplane) -> dict[str, Any]:
    return {key: item for key, item in world.dump().items() if key in world.foreign and item is not None}


@settings(max_examples=150, deadline=None)
@given(vandalism, st.sampled_from((0.0, 0.5, 70.0)))
def test_whatever_others_do_the_dataplane_is_as_wanted_after_a_round(acts: list[tuple[str, Any]], pause: float) -> None:
    async def main() -> None:
        trial = Trial(interval=600, share=0.5)
        await trial.start()
        for what, argument in acts:
            ACTS[what](trial.world, argument)
            await asyncio.sleep(pause)
        foreign = foreign_of(trial.world)
        await trial.round()
        await asyncio.sleep(60)  # what was tried before its port came back is tried again
        assert {key: trial.world.dump().get(key) for key in foreign} == foreign
        left = {key: item for key, item in trial.world.dump().items() if key not in trial.world.foreign}
        assert left == trial.right()
        trial.world.calls.clear()
        await trial.round()
        assert trial.writes() == []
        report = trial.drift.report()
        assert sum(kind.open for kind in report.kinds) == 0
        assert sum(kind.differences for kind in report.kinds) == sum(kind.repaired for kind in report.kinds)
        await trial.stop()

    run_simulated(main())
