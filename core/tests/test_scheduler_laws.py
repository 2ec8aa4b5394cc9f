# SPDX-License-Identifier: Apache-2.0
"""Laws of the scheduler, over random wishes and random faults of an unforgiving dataplane in simulated time."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from contivpp_core.clock import run_simulated
from contivpp_core.items import Item, Owner
from contivpp_core.scheduler import Scheduler
from contivpp_core.testing.dataplane import (
    FakeAddress,
    FakeDataplane,
    FakeFilter,
    FakeLink,
    FakePort,
    FakeRoute,
    FakeVrf,
)
from contivpp_core.testing.faults import Fault

PORTS = ("p", "q", "r")

ports = st.fixed_dictionaries(
    {
        "model": st.sampled_from("ab"),
        "vrf": st.sampled_from((1, 2)),
        "addresses": st.sets(st.sampled_from((1, 2)), max_size=2),
        "rules": st.none() | st.sampled_from((10, 11, 20)),
        "link": st.booleans(),
        "rival": st.sampled_from(("", "", "earlier", "zlater")),
        "routes": st.sets(st.sampled_from((1, 2, 3)), max_size=3),
        "over": st.sampled_from(("", "", "p", "nobody")),  # the port of its routes, if it is another one
    }
)
slices = st.sampled_from((1000, 1, 3))  # how many keys are decided in one turn of the event loop
wishes = st.dictionaries(st.sampled_from(PORTS), ports, max_size=3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), wishes),
        st.tuples(st.just("sleep"), st.sampled_from((0.0, 0.005, 0.015, 0.03, 1.0))),
        st.tuples(st.just("faults"), st.integers(0, 2**16)),
        st.tuples(st.just("calm"), st.none()),
        st.tuples(st.just("disconnect"), st.booleans()),
        st.tuples(st.just("agent restart"), st.none()),
        st.tuples(st.just("vandalise"), st.sampled_from(PORTS)),
        st.tuples(st.just("unplug"), st.sampled_from(PORTS)),
        st.tuples(st.just("drift"), st.sampled_from(PORTS)),
    ),
    max_size=14,
)


def items_of(wish: dict[str, Any]) -> dict[str, dict[Owner, Item]]:
    """Return the items of a wish; a route that two ports want belongs to both."""
    owners: dict[str, dict[Owner, Item]] = {}
    for name, port in wish.items():
        if port["rival"]:  # a second owner with another value; `expected` takes the smallest
            rival = FakePort(name=name, model="c")
            owners.setdefault(rival.key, {})[Owner(port["rival"], name)] = rival
        wanted: list[Item] = [FakePort(name=name, model=port["model"]), FakeVrf(port=name, vrf=port["vrf"])]
        wanted += [FakeAddress(port=name, address=a, vrf=port["vrf"]) for a in port["addresses"]]
        wanted += [FakeRoute(prefix=prefix, port=port["over"] or name) for prefix in port["routes"]]
        if port["rules"] is not None:
            wanted.append(FakeFilter(port=name, rules=port["rules"]))
        if port["link"]:
            requires = [f"fake/filter/{name}"] if port["rules"] is not None else []
            requires += [f"fake/route/{prefix}" for prefix in sorted(port["routes"])]
            wanted.append(FakeLink(port=name, requires=tuple(requires)))
        for item in wanted:
            owners.setdefault(item.key, {})[Owner("test", name)] = item
    return owners


def expected(owners: dict[str, dict[Owner, Item]]) -> dict[str, Item]:
    """Return what the dataplane must hold in the end: what can be, of the values that are in force."""
    chosen = {key: parts[min(parts)] for key, parts in owners.items()}
    routes = {key: item for key, item in chosen.items() if isinstance(item, FakeRoute)}
    lost = {key for key, route in routes.items() if f"fake/port/{route.port}" not in chosen}
    possible = {key: item for key, item in chosen.items() if key not in lost}
    return {
        key: FakeLink(port=item.port) if isinstance(item, FakeLink) else item
        for key, item in possible.items()
        if not isinstance(item, FakeLink) or possible.keys() >= {*item.requires}
    }


def check(run: Run) -> None:
    """The dataplane holds what can be, and of what cannot be at most a former value, where that is in nobody's way."""
    found, wanted = run.world.dump(), expected(run.owners)
    states = {status.key: status.state for status in run.scheduler.items()}
    extra = found.keys() - wanted.keys()
    # A link is not brought up before what it requires is as wanted, but not taken down for it either.
    former = {key for key in extra if key.startswith("fake/link/")}
    former |= {key for key in extra if key.startswith("fake/route/") and states[key] == "pending"}
    assert former <= run.owners.keys()
    assert {key: item for key, item in found.items() if key not in former} == wanted
    assert wanted.keys() <= {key for key, state in states.items() if state == "applied"} <= found.keys(), states
    assert {*states.values()} <= {"applied", "pending"}, states


class Run:
    """One run: a dataplane, and an agent that may be killed."""

    def __init__(self, decisions: int = 1000, *, short: bool = False) -> None:
        self.decisions = decisions
        self.world = FakeDataplane()
        self.world.short = short
        self.owners: dict[str, dict[Owner, Item]] = {}
        self.incarnation = 1
        self.scheduler = self.agent()

    def agent(self) -> Scheduler:
        scheduler = Scheduler(seed=1, decisions=self.decisions)
        for descriptor in self.world.descriptors():
            scheduler.register(descriptor)
        return scheduler

    async def connect(self) -> None:
        self.world.reachable = True
        for _ in range(100):
            try:
                await self.scheduler.domain_up("fake", str(self.incarnation))
                return
            except Exception as error:
                note(f"resync failed: {error}")
                await asyncio.sleep(0.1)
        raise AssertionError("the resync never succeeded")

    def wish(self, wish: dict[str, Any]) -> None:
        new = items_of(wish)
        changed = {key for key in self.owners.keys() | new.keys() if self.owners.get(key) != new.get(key)}
        self.owners = new
        self.world.wanted = {key for key in new if key.startswith("fake/filter/")}
        self.scheduler.submit(changed, new)

    async def step(self, verb: str, argument: Any) -> None:
        match verb:
            case "wish":
                self.wish(argument)
            case "sleep":
                await asyncio.sleep(argument)
            case "faults":
                self.world.faults.random.seed(argument)
                for fault, chance in ((Fault.REFUSE, 1 / 6), (Fault.LOSE, 1 / 5), (Fault.LOSE_ANSWER, 1 / 4)):
                    self.world.faults.plan(fault, "^(create|update|delete) ", times=None, chance=chance)
            case "calm":
                self.world.faults.calm()
            case "disconnect":
                await self.disconnect(restart=argument)
            case "agent restart":
                await self.scheduler.stop()
                self.world.cut()
                self.scheduler = self.agent()
                self.scheduler.submit(set(self.owners), self.owners)
                await self.connect()
            case "unplug":
                await self.unplug(argument)
            case "drift" | "vandalise":
                self.alter(argument, verb)

    def alter(self, name: str, how: str) -> None:
        """Somebody changes the VRF of a port, or takes it down, and tells nobody."""
        index = self.world.index(name)
        if how == "drift" and (index, "vrf") in self.world.facets:
            self.world.facets[index, "vrf"] = 3  # type: ignore[index]
        elif how == "vandalise":
            self.world.facets.pop((index, "link"), None)  # type: ignore[arg-type]

    async def unplug(self, name: str) -> None:
        """A port vanishes behind the agent's back, which hears of it at once."""
        self.world.faults.calm()
        await asyncio.sleep(60)
        await self.scheduler.settled()
        index = self.world.index(name)
        if index is not None:
            self.world.remove_port(index)
        await self.scheduler.check("fake/port")

    async def disconnect(self, *, restart: bool) -> None:
        self.world.reachable = False
        self.scheduler.domain_down("fake", "the fake dataplane is away")
        if restart:
            self.world.restart()
            self.incarnation += 1
        await asyncio.sleep(0.02)
        await self.connect()

    async def end(self) -> None:
        self.world.faults.calm()
        await self.scheduler.settled()
        await asyncio.sleep(120)  # every back-off has ended
        await self.scheduler.settled()
        for kind in list(self.scheduler.descriptors):
            await self.scheduler.check(kind)
        await self.scheduler.settled()
        await asyncio.sleep(120)
        await self.scheduler.settled()


@settings(max_examples=200, deadline=None)
@given(steps, slices, st.booleans())
def test_after_any_changes_and_faults_the_dataplane_holds_what_is_wanted(
    script: list[tuple[str, Any]], decisions: int, short: bool
) -> None:
    async def main() -> None:
        run = Run(decisions, short=short)
        await run.connect()
        for verb, argument in script:
            await run.step(verb, argument)
        await run.end()
        assert run.world.violations == []
        check(run)
        run.world.calls.clear()
        await run.scheduler.resync("fake")
        await run.scheduler.settled()
        assert [call for call in run.world.calls if call[0] != "dump"] == []
        check(run)
        await run.scheduler.stop()

    run_simulated(main())


@settings(max_examples=60, deadline=None)
@given(wishes, wishes, slices, st.booleans())
def test_an_agent_restart_with_the_same_wishes_only_reads(
    first: dict[str, Any], second: dict[str, Any], decisions: int, short: bool
) -> None:
    async def main() -> None:
        run = Run(decisions, short=short)
        await run.connect()
        run.wish(first)
        await run.scheduler.settled()
        run.wish(second)
        await run.scheduler.settled()
        run.world.calls.clear()
        await run.step("agent restart", None)
        await run.scheduler.settled()
        assert [call for call in run.world.calls if call[0] != "dump"] == []
        check(run)
        await run.scheduler.stop()

    run_simulated(main())


@settings(max_examples=60, deadline=None)
@given(wishes, slices, st.booleans())
def test_with_unchanged_wishes_every_item_is_created_once(wish: dict[str, Any], decisions: int, short: bool) -> None:
    async def main() -> None:
        run = Run(decisions, short=short)
        await run.connect()
        run.world.calls.clear()
        run.wish(wish)
        await run.scheduler.settled()
        verbs = [call for call in run.world.calls if call[0] != "dump"]
        assert len(verbs) == len(set(verbs)) == len(expected(run.owners))
        assert all(verb == "create" for verb, _ in verbs)
        await run.scheduler.stop()

    run_simulated(main())
