# SPDX-License-Identifier: Apache-2.0
"""Single cases of the scheduler: conflicts, holds, refusals, what people see."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contivpp_core.errors import ContivError, RequestError
from contivpp_core.items import AnyDescriptor, Found, Item, Known, Outcome, Owner
from contivpp_core.scheduler import ItemRefused, Scheduler
from contivpp_core.testing.dataplane import FakeDataplane, FakeFilter, FakeLink, FakePort, FakeRoute, FakeVrf
from contivpp_core.testing.faults import Fault, InjectedFault
from contivpp_core.testing.simulated import simulated

ME, YOU = Owner("a", "me"), Owner("b", "you")


def scheduler_of(world: FakeDataplane, **options: Any) -> Scheduler:
    scheduler = Scheduler(seed=1, **options)
    for descriptor in world.descriptors():
        scheduler.register(descriptor)
    return scheduler


def want(scheduler: Scheduler, *items: Item, owner: Owner = ME) -> None:
    scheduler.submit([item.key for item in items], {item.key: {owner: item} for item in items})


def state(scheduler: Scheduler, key: str) -> tuple[str, str]:
    return next((s.state, s.reason) for s in scheduler.items() if s.key == key)


async def up(world: FakeDataplane, **options: Any) -> Scheduler:
    scheduler = scheduler_of(world, **options)
    await scheduler.domain_up("fake", "1")
    return scheduler


@simulated
async def test_of_two_values_the_smallest_owners_is_in_force() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    mine, yours = FakePort(name="p", model="a"), FakePort(name="p", model="b")
    scheduler.submit([mine.key], {mine.key: {YOU: yours, ME: mine}})
    await scheduler.settled()
    assert world.dump() == {mine.key: mine}
    (status,) = scheduler.items()
    assert status.conflicts == ("b:you",)
    assert status.state == "applied"
    scheduler.submit([mine.key], {mine.key: {YOU: yours}})
    await scheduler.settled()
    assert world.dump() == {mine.key: yours}


@simulated
async def test_a_foreign_object_on_our_key_is_left_alone_until_it_goes() -> None:
    world = FakeDataplane()
    world.add_port(FakePort(name="p", model="foreign"))
    world.foreign.add("fake/port/p")
    scheduler = scheduler_of(world)
    want(scheduler, FakePort(name="p"))
    await scheduler.domain_up("fake", "1")
    await scheduler.settled()
    assert state(scheduler, "fake/port/p")[0] == "conflict"
    assert world.ports[0].model == "foreign"
    world.remove_port(0)
    world.foreign.clear()
    await scheduler.check("fake/port")
    await scheduler.settled()
    assert state(scheduler, "fake/port/p")[0] == "applied"


@simulated
async def test_an_object_of_ours_that_is_replaced_by_a_foreign_one_is_a_conflict() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    want(scheduler, FakePort(name="p"))
    await scheduler.settled()
    world.foreign.add("fake/port/p")
    await scheduler.check("fake/port")
    await scheduler.settled()
    assert state(scheduler, "fake/port/p")[0] == "conflict"
    assert world.calls[-1][0] == "dump"


@simulated
async def test_a_check_without_differences_leaves_the_scheduler_settled() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    want(scheduler, FakePort(name="p"))
    checking = asyncio.create_task(scheduler.check("fake/port"))
    await asyncio.sleep(0.001)
    want(scheduler, FakePort(name="q"))
    assert await checking == {}
    async with asyncio.timeout(10):
        await scheduler.settled()
    assert set(world.dump()) == {"fake/port/p", "fake/port/q"}


@simulated
async def test_nothing_is_changed_or_deleted_while_tables_are_not_complete() -> None:
    world = FakeDataplane()
    complete = False
    scheduler = await up(world, complete=lambda renderer: complete)
    want(scheduler, FakePort(name="p", model="a"))
    await scheduler.settled()
    assert "fake/port/p" in world.dump()  # creation is not held
    want(scheduler, FakePort(name="p", model="b"))
    await scheduler.settled()
    assert state(scheduler, "fake/port/p")[0] == "held"
    scheduler.submit(["fake/port/p"], {})
    await scheduler.settled()
    assert "fake/port/p" in world.dump()
    complete = True
    scheduler.touch_all()
    await scheduler.settled()
    assert world.dump() == {}


@simulated
async def test_orphans_stay_while_a_producer_of_their_kind_is_not_healthy() -> None:
    world = FakeDataplane()
    world.add_port(FakePort(name="orphan"))
    healthy = False
    scheduler = scheduler_of(world, healthy=lambda renderer: healthy)
    scheduler.producers["fake/port"].add("a")
    await scheduler.domain_up("fake", "1")
    await scheduler.settled()
    assert state(scheduler, "fake/port/orphan") == ("held", "renderer a failed: it may want this item")
    healthy = True
    scheduler.touch_all()
    await scheduler.settled()
    assert world.dump() == {}


@simulated
async def test_a_failing_item_is_tried_again_and_delays_nobody_else() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    world.fail("create fake/port/p", times=3)
    routes = FakeRoute(prefix=1, port="q"), FakeRoute(prefix=2, port="p")
    want(scheduler, FakePort(name="p"), FakePort(name="q"), *routes)
    await scheduler.settled()
    assert state(scheduler, "fake/port/p")[0] == "failed"
    assert "is refused by plan" in state(scheduler, "fake/port/p")[1]
    assert state(scheduler, "fake/route/2") == ("pending", "waits for fake/if/p")
    assert state(scheduler, "fake/route/1")[0] == "applied"
    await asyncio.sleep(5)
    await scheduler.settled()
    assert {s.state for s in scheduler.items()} == {"applied"}
    assert scheduler.counters.failed["fake/port"] == 3


@simulated
async def test_a_request_hears_of_its_failed_item() -> None:
    world = FakeDataplane()
    scheduler = scheduler_of(world)
    _refuse_for_good(scheduler.descriptors["fake/port"])
    await scheduler.domain_up("fake", "1")
    world.fail("create fake/port/p")
    want(scheduler, FakePort(name="p"))
    with pytest.raises(ItemRefused, match="fake/port/p cannot be applied: create fake/port/p is refused by plan"):
        await scheduler.waiters.until_applied(["fake/port/p"], 10)
    want(scheduler, FakeRoute(prefix=1, port="p"))
    with pytest.raises(RequestError, match=r"not done within 3 s: fake/route/1 is pending: waits for fake/if/p"):
        await scheduler.waiters.until_applied(["fake/route/1"], 3)
    scheduler.submit(["fake/port/p"], {"fake/port/p": {ME: FakePort(name="p", model="b")}})
    await scheduler.waiters.until_applied(["fake/route/1"], 10)


def _refuse_for_good(descriptor: AnyDescriptor) -> None:
    vars(descriptor)["classify"] = lambda error: Outcome.CHANGE if isinstance(error, InjectedFault) else Outcome.UNKNOWN


@simulated
async def test_any_plugin_may_hold_a_link_down_until_its_item_is_there() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    port, link = FakePort(name="p"), FakeLink(port="p")
    wish = FakeLink(port="p", requires=("fake/route/1",))
    scheduler.submit([port.key, link.key], {port.key: {ME: port}, link.key: {ME: link, YOU: wish}})
    await scheduler.settled()
    assert link.key not in world.dump()
    want(scheduler, FakeRoute(prefix=1, port="p"))
    await scheduler.settled()
    assert link.key in world.dump()
    assert world.calls.index(("create", "fake/route/1")) < world.calls.index(("create", link.key))


@simulated
async def test_what_is_unknown_to_the_scheduler_is_refused_clearly() -> None:
    world = FakeDataplane()
    scheduler = scheduler_of(world)
    with pytest.raises(ContivError, match="two descriptors are registered for kind fake/port"):
        scheduler.register(world.descriptors()[0])

    class Strange(FakePort, frozen=True, kw_only=True):
        kind = "strange/port"

    with pytest.raises(ContivError, match="no descriptor is registered for kind strange/port"):
        want(scheduler, Strange(name="p"))


@simulated
async def test_dumps_know_what_nobody_wants_but_may_be_there() -> None:
    scheduler = scheduler_of(FakeDataplane())
    asked: list[list[Item]] = []
    descriptor = scheduler.descriptors["fake/port"]
    original = descriptor.dump

    async def dump(known: Known) -> list[Found]:
        asked.append(sorted(known.items("fake/port"), key=lambda item: item.key))
        return await original(known)

    vars(descriptor)["dump"] = dump
    former, early, wanted = (FakePort(name=name) for name in ("a", "b", "c"))
    scheduler.expect([former, wanted])
    want(scheduler, early, wanted)
    scheduler.submit([early.key], {})  # given up before anything was read
    await scheduler.domain_up("fake", "1")
    await scheduler.settled()
    assert asked == [[former, early, wanted]]
    assert [status.key for status in scheduler.items()] == [wanted.key]


@simulated
async def test_a_deadline_names_the_cause_before_those_who_wait_for_it() -> None:
    world = FakeDataplane()
    world.fail("create fake/port/p", times=1000)
    scheduler = await up(world)
    items = [FakePort(name="p"), FakeLink(port="p"), *(FakeRoute(prefix=number, port="p") for number in range(5))]
    want(scheduler, *items)
    with pytest.raises(RequestError, match=r"not done within 3 s: fake/port/p is failed: .*; fake/.* \(and 4 more\)"):
        await scheduler.waiters.until_applied([item.key for item in items], 3)


@simulated
async def test_what_lived_in_an_object_comes_back_when_only_a_reading_told_that_it_is_gone() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    vrf = FakeVrf(port="p", vrf=1)
    want(scheduler, FakePort(name="p", model="a"), vrf)
    await scheduler.settled()
    world.lose("delete fake/port/p")
    want(scheduler, FakePort(name="p", model="b"))
    await scheduler.settled()
    assert world.dump() == {"fake/port/p": FakePort(name="p", model="b"), vrf.key: vrf}


@simulated
async def test_answers_that_are_always_lost_are_asked_for_with_growing_pauses() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    world.faults.plan(Fault.LOSE, "create ", times=None)
    port = FakePort(name="p")
    want(scheduler, port)
    await asyncio.sleep(600)
    assert len([call for call in world.calls if call[0] == "create"]) < 50
    world.faults.calm()
    await asyncio.sleep(40)
    assert world.dump() == {port.key: port}
    await scheduler.stop()


@simulated
async def test_an_answer_lost_while_its_kind_is_read_back_is_read_back_again() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    first, second = FakePort(name="p"), FakePort(name="q")
    world.lose("create fake/port/p")
    world.lose("create fake/port/q")
    dump = scheduler.descriptors["fake/port"].dump

    async def slow(known: Known) -> list[Found]:
        found = await dump(known)
        await asyncio.sleep(0.1)  # the answer was made before the second object was
        return found

    scheduler.descriptors["fake/port"].dump = slow  # type: ignore[method-assign]
    want(scheduler, first)
    await asyncio.sleep(0.025)
    want(scheduler, second)
    await scheduler.settled()
    assert [call for call in world.calls if call == ("create", second.key)] == [("create", second.key)]
    assert {s.state for s in scheduler.items()} == {"applied"}


@simulated
async def test_a_descriptor_that_raises_fails_its_item_alone() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    routes = scheduler.descriptors["fake/route"]
    good = routes.dependencies

    def broken(item: FakeRoute) -> Any:
        if item.prefix == 1:
            raise KeyError("a bug")
        return good(item)

    routes.dependencies = broken  # type: ignore[method-assign]
    port = FakePort(name="p")
    bad, fine = FakeRoute(prefix=1, port="p"), FakeRoute(prefix=2, port="p")
    items = (bad, port, fine)
    scheduler.submit([item.key for item in items], {item.key: {ME: item} for item in items})
    await scheduler.settled()
    assert world.dump() == {port.key: port, fine.key: fine}
    assert state(scheduler, bad.key) == ("failed", "KeyError: 'a bug'")
    routes.dependencies = good  # type: ignore[method-assign]
    want(scheduler, bad)
    await scheduler.settled()
    assert state(scheduler, bad.key)[0] == "applied"


@simulated
async def test_a_merge_that_raises_leaves_the_others_of_the_batch_alone() -> None:
    world = FakeDataplane()
    scheduler = await up(world)

    def broken(parts: Any) -> Any:
        raise ValueError("a bug")

    scheduler.descriptors["fake/link"].merge = broken  # type: ignore[method-assign]
    port, link = FakePort(name="p"), FakeLink(port="p")
    scheduler.submit([link.key, port.key], {item.key: {ME: item} for item in (link, port)})
    await scheduler.settled()
    assert world.dump() == {port.key: port}
    assert state(scheduler, link.key) == ("failed", "ValueError: a bug")


@simulated
async def test_a_failure_after_a_lost_answer_is_told() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    told: list[str] = []
    scheduler.on_failed = lambda node: told.append(node.error)
    world.faults.plan(Fault.LOSE, "create ")
    world.faults.plan(Fault.REFUSE, "create ")
    want(scheduler, FakePort(name="p"))
    await asyncio.sleep(10)
    assert told == ["create fake/port/p is refused by plan"]


@simulated
async def test_what_dangles_goes_before_another_object_gets_its_handle() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    items = (FakePort(name="p"), FakeRoute(prefix=1, port="p"))
    scheduler.submit([item.key for item in items], {item.key: {ME: item} for item in items})
    await scheduler.settled()
    world.remove_port(0)  # behind the agent's back
    await scheduler.check("fake/port")
    want(scheduler, FakePort(name="q"))
    await scheduler.settled()
    assert world.violations == []
    assert {s.state for s in scheduler.items()} == {"applied"}


@simulated
async def test_a_port_stays_until_what_is_just_made_over_it_is_there() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    port, route = FakePort(name="q"), FakeRoute(prefix=1, port="q")
    want(scheduler, port, route)
    await asyncio.sleep(0.015)  # the port is there, the route is under way
    scheduler.submit([port.key, route.key], {})
    want(scheduler, FakePort(name="p"))
    await scheduler.settled()
    assert world.violations == []
    assert set(world.dump()) == {"fake/port/p"}


@simulated
async def test_whoever_waits_for_an_object_that_was_to_leave_hears_that_it_stays() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    old, new, facet = FakePort(name="q", model="a"), FakePort(name="q", model="b"), FakeVrf(port="q", vrf=1)
    want(scheduler, old, facet)
    await asyncio.sleep(0.015)  # the port is there, the facet is under way
    want(scheduler, new, FakeLink(port="q"))
    want(scheduler, old)
    await scheduler.settled()
    assert {status.state for status in scheduler.items()} == {"applied"}
    assert len(world.dump()) == 3


@simulated
async def test_routes_that_change_places_between_two_ports_made_again_do_not_wait_for_each_other() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    for one, other in (("a", "b"), ("b", "a")):
        want(
            scheduler,
            FakePort(name="p", model=one),
            FakePort(name="q", model=other),
            FakeRoute(prefix=1, port="p" if one == "a" else "q"),
            FakeRoute(prefix=2, port="q" if one == "a" else "p"),
        )
        await scheduler.settled()
        assert {status.state for status in scheduler.items()} == {"applied"}
    assert world.violations == []


@simulated
async def test_who_waits_for_what_never_comes_leaves_what_has_to_be_made_again() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    vrf = FakeVrf(port="p", vrf=1)
    link = FakeLink(port="p", requires=(vrf.key,))
    want(scheduler, FakePort(name="p"), vrf, link, FakeRoute(prefix=1, port="p"))
    await scheduler.settled()
    want(scheduler, FakePort(name="p", model="b"), FakeRoute(prefix=1, port="nobody"))
    await scheduler.settled()
    assert set(world.dump()) == {"fake/port/p", vrf.key, link.key}
    assert state(scheduler, "fake/route/1") == ("pending", "waits for fake/if/nobody")


@simulated
async def test_who_waits_for_what_is_on_its_way_stays_until_it_fails() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    p, q, moved = FakePort(name="p", model="b"), FakePort(name="q"), FakeRoute(prefix=1, port="q")
    for failing in (False, True):
        want(scheduler, FakePort(name="p"), FakeRoute(prefix=1, port="p"))
        scheduler.submit([q.key], {})
        await scheduler.settled()
        world.calls.clear()
        if failing:
            world.fail(f"create {q.key}", times=3)
        want(scheduler, p, q, moved)
        await scheduler.settled()
        if failing:
            assert set(world.dump()) == {p.key}
            await asyncio.sleep(100)
        assert {(s.key, s.state) for s in scheduler.items()} == {(i.key, "applied") for i in (p, q, moved)}
        assert (("delete", moved.key) in world.calls) is failing
        assert (("update", moved.key) in world.calls) is not failing


@simulated
async def test_a_link_stays_up_while_what_it_requires_moves_away_from_what_leaves() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    p, q = FakePort(name="p"), FakePort(name="q")
    want(scheduler, p, q, FakeLink(port="p"), FakeRoute(prefix=1, port="q"))
    await scheduler.settled()
    await scheduler.stop()
    world.calls.clear()
    complete = [False]
    scheduler = Scheduler(complete=lambda renderer: complete[0], seed=1)  # an agent starts: q is gone meanwhile
    for descriptor in world.descriptors():
        scheduler.register(descriptor)
        scheduler.producers[descriptor.kind].add("test")
    await scheduler.domain_up("fake", "1")
    want(scheduler, p, FakeLink(port="p", requires=("fake/route/1",)), FakeRoute(prefix=1, port="p"))
    complete[0] = True
    scheduler.touch_all()
    await scheduler.settled()
    done = [call for call in world.calls if call[0] != "dump"]
    assert done == [("update", "fake/route/1"), ("delete", "fake/port/q")]


@simulated
async def test_a_failure_with_what_has_gone_does_not_delay_what_comes_instead() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    port, vrf = FakePort(name="p"), FakeVrf(port="p", vrf=7)
    world.fail(f"create {vrf.key}", times=1000)
    want(scheduler, port, vrf)
    await asyncio.sleep(100)  # by now the next try is far away
    assert state(scheduler, vrf.key)[0] == "failed"
    loop = asyncio.get_running_loop()
    scheduler.submit([port.key], {})
    await scheduler.settled()
    assert state(scheduler, vrf.key)[0] == "pending"
    world.faults.calm()
    want(scheduler, port)
    begin = loop.time()
    await scheduler.settled()
    assert state(scheduler, vrf.key) == ("applied", "")
    assert loop.time() - begin < 1


@simulated
async def test_an_operation_that_has_to_wait_for_its_next_try_is_shown_as_failed() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    port, vrf = FakePort(name="p"), FakeVrf(port="p", vrf=7)
    world.fail("create fake/vrf/p", times=3)
    want(scheduler, port, vrf)
    await asyncio.sleep(0.1)
    scheduler.touch_all()
    assert state(scheduler, vrf.key)[0] == "failed"
    await asyncio.sleep(60)
    assert state(scheduler, vrf.key) == ("applied", "")


@simulated
async def test_a_link_waits_until_what_it_requires_is_as_wanted_and_not_only_there() -> None:
    world = FakeDataplane()
    index = world.add_port(FakePort(name="p"))
    world.set_facet(index, "filter", 1)  # what a new interface has by itself, or is left of a former life
    wanted = FakeFilter(port="p", rules=2)
    scheduler = scheduler_of(world)
    want(scheduler, FakePort(name="p"), wanted, FakeLink(port="p", requires=(wanted.key,)))
    world.fail("update ", times=1000)
    await scheduler.domain_up("fake", "1")
    await scheduler.settled()
    assert "fake/link/p" not in world.dump()
    world.faults.calm()
    scheduler.relent(scheduler.graph.nodes[wanted.key])
    scheduler.touch_all()
    await scheduler.settled()
    assert world.dump()["fake/filter/p"] == wanted
    assert state(scheduler, "fake/link/p") == ("applied", "")


@simulated
async def test_nothing_is_made_on_an_object_of_a_dataplane_that_is_away() -> None:
    world = FakeDataplane()
    scheduler = await up(world)
    port, vrf = FakePort(name="p"), FakeVrf(port="p", vrf=7)
    want(scheduler, port)
    await scheduler.settled()
    node = scheduler.graph.nodes[port.key]
    node.descriptor.domain = "elsewhere"  # type: ignore[misc]
    scheduler.domain_down("elsewhere", "elsewhere is not connected")
    want(scheduler, vrf)
    await scheduler.settled()
    assert state(scheduler, vrf.key)[0] == "pending"
    scheduler.domain_usable("elsewhere")
    await scheduler.settled()
    assert state(scheduler, vrf.key) == ("applied", "")
