# SPDX-License-Identifier: Apache-2.0
"""Objects without a mark of ours: noted in the ledger before they are made, known after a death, then forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from contivpp_core.clock import run_simulated
from contivpp_core.items import Dependency, Descriptor, Found, Item, Known, Owner
from contivpp_core.ledger import Ledger, LedgerError, LedgerWrite
from contivpp_core.scheduler import Scheduler
from contivpp_core.testing.simulated import simulated

ME = Owner("test", "all")
SPACE = "bare/unmarked"


class Place(Item, frozen=True, kw_only=True):
    """Something that the dataplane has by itself."""

    kind: ClassVar[str] = "bare/place"
    name: str

    @property
    def key(self) -> str:
        return f"bare/place/{self.name}"


class Box(Item, frozen=True, kw_only=True):
    """Something of ours, which shows it."""

    kind: ClassVar[str] = "bare/box"
    name: str

    @property
    def key(self) -> str:
        return f"bare/box/{self.name}"


class Thing(Item, frozen=True, kw_only=True):
    """Something in a place or a box; both at once, if it is to be."""

    kind: ClassVar[str] = "bare/thing"
    name: str
    inside: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"bare/thing/{self.name}"


class World:
    """What is there; things of others among it."""

    def __init__(self) -> None:
        self.there: dict[str, Item] = {}
        self.ledger = Ledger.open(None)
        self.commits: list[LedgerWrite] = []
        self.broken = self.full = False
        commit = self.ledger.commit

        async def noted(*writes: LedgerWrite) -> None:
            if self.broken:
                raise LedgerError("the disk is full")
            self.commits.extend(writes)
            await commit(*writes)

        vars(self.ledger)["commit"] = noted

    def notes(self) -> set[str]:
        return self.ledger.items(SPACE).keys() - {""}

    def inside(self, key: str) -> list[str]:
        return [each.key for each in self.there.values() if isinstance(each, Thing) and key in each.inside]

    async def agent(self, *items: Item, incarnation: str = "1") -> Scheduler:
        """An agent begins, and wants these."""
        scheduler = Scheduler(seed=1)
        scheduler.notes.ledger = self.ledger
        for kind in (Places, Boxes, Things):
            scheduler.register(kind(self))
        want(scheduler, *items)
        await scheduler.domain_up("bare", incarnation)
        await scheduler.settled()
        return scheduler


class Bare(Descriptor[Any]):
    domain: ClassVar[str] = "bare"
    short: ClassVar[list[str]] = []

    def __init__(self, world: World) -> None:
        self.world = world

    async def create(self, item: Any, handles: Mapping[str, Any]) -> None:
        if self.world.full:
            raise ValueError("there is no room")
        self.world.there[item.key] = item

    def begin_create(self, item: Any, handles: Mapping[str, Any], ended: Any) -> bool:
        self.short.append(item.key)
        return False

    async def delete(self, item: Any, handle: Any, handles: Mapping[str, Any]) -> None:
        """It goes, with what is inside, unless it stays whatever we do."""
        gone = {item.key} if self.found_only else {item.key, *self.world.inside(item.key)}
        for key in gone:
            self.world.there.pop(key, None)

    async def dump(self, known: Known) -> list[Found]:
        some = [item for item in self.world.there.values() if item.kind == self.kind]
        return [Found(item.key, item, ours=self.ours(item, known)) for item in some]

    def ours(self, item: Item, known: Known) -> bool:
        boxed = isinstance(item, Thing) and any(key.startswith(Box.kind) for key in item.inside)
        return not self.unmarked or boxed or item.key in {each.key for each in known.items(self.kind)}


class Places(Bare):
    kind: ClassVar[str] = Place.kind
    item: ClassVar[type[Item]] = Place
    unmarked: ClassVar[bool] = True
    found_only: ClassVar[bool] = True


class Boxes(Bare):
    kind: ClassVar[str] = Box.kind
    item: ClassVar[type[Item]] = Box


class Things(Bare):
    kind: ClassVar[str] = Thing.kind
    item: ClassVar[type[Item]] = Thing
    unmarked: ClassVar[bool] = True

    def dependencies(self, item: Thing) -> Iterable[Dependency]:
        return [Dependency.inside(key) for key in item.inside]


PLACE, BOX = Place(name="p"), Box(name="b")
IN_PLACE = Thing(name="bare", inside=(PLACE.key,))
IN_BOX = Thing(name="boxed", inside=(BOX.key,))
IN_BOTH = Thing(name="both", inside=(PLACE.key, BOX.key))
ALL: Sequence[Item] = (PLACE, BOX, IN_PLACE, IN_BOX, IN_BOTH)


def want(scheduler: Scheduler, *items: Item) -> None:
    keys = {node.key for node in scheduler.graph} | {item.key for item in items}
    scheduler.submit(sorted(keys), {item.key: {ME: item} for item in items})


@simulated
async def test_only_what_nothing_marks_is_noted() -> None:
    world = World()
    scheduler = await world.agent()
    Bare.short.clear()
    want(scheduler, *ALL)
    await scheduler.settled()
    assert world.notes() == {PLACE.key, IN_PLACE.key}
    assert set(Bare.short) == {BOX.key, IN_BOX.key, IN_BOTH.key}  # the others wait for the ledger
    want(scheduler)
    await scheduler.settled()
    assert world.there == {} == dict.fromkeys(world.notes())
    forgotten = [write.key for write in world.commits if write.value is None]
    assert forgotten == [IN_PLACE.key, PLACE.key]


@simulated
async def test_what_an_agent_noted_its_successor_takes_down() -> None:
    world = World()
    await world.agent(*ALL)
    theirs = Thing(name="theirs", inside=(PLACE.key,))
    world.there[theirs.key] = theirs
    await world.agent(PLACE)
    assert set(world.there) == {PLACE.key, theirs.key}
    assert world.notes() == {PLACE.key}


@simulated
async def test_what_was_there_when_it_was_wanted_is_noted() -> None:
    world = World()
    world.there = {item.key: item for item in (PLACE, IN_PLACE)}
    await world.agent(PLACE, IN_PLACE)
    assert world.notes() == {PLACE.key, IN_PLACE.key}
    world.commits.clear()
    await world.agent(PLACE, IN_PLACE)
    assert world.commits == []


@simulated
async def test_what_is_gone_is_not_taken_for_ours_later() -> None:
    world = World()
    await world.agent(PLACE, IN_PLACE)
    del world.there[IN_PLACE.key]
    await world.agent(PLACE)
    world.there[IN_PLACE.key] = IN_PLACE  # somebody else's now
    await world.agent(PLACE)
    assert IN_PLACE.key in world.there


@simulated
async def test_what_could_not_be_made_is_forgotten_with_the_wish() -> None:
    world = World()
    scheduler = await world.agent(PLACE)
    world.full = True
    want(scheduler, PLACE, IN_PLACE)
    await scheduler.settled()
    assert world.notes() == {PLACE.key, IN_PLACE.key}
    want(scheduler, PLACE)
    await scheduler.settled()
    assert world.notes() == {PLACE.key}
    world.there[IN_PLACE.key] = IN_PLACE  # somebody else's
    assert await scheduler.check(Thing.kind) == {}


@simulated
async def test_another_incarnation_has_nothing_of_what_is_noted() -> None:
    world = World()
    await world.agent(PLACE, IN_PLACE)
    scheduler = await world.agent(PLACE, incarnation="2")
    assert IN_PLACE.key in world.there
    assert world.notes() == {PLACE.key}
    assert scheduler.notes.incarnation("bare") == "2"


@simulated
async def test_notes_without_an_incarnation_count() -> None:
    world = World()
    await world.agent(PLACE, IN_PLACE)
    await world.ledger.commit(LedgerWrite(SPACE, "", None))
    await world.agent(PLACE)
    assert IN_PLACE.key not in world.there


@simulated
async def test_what_cannot_be_noted_is_not_made() -> None:
    world = World()
    scheduler = await world.agent()
    world.broken = True
    want(scheduler, *ALL)
    await scheduler.settled()
    assert set(world.there) == {BOX.key, IN_BOX.key}
    assert {each.key: each.reason for each in scheduler.items()}[PLACE.key] == "the disk is full"
    world.broken = False
    await scheduler.waiters.until_applied([item.key for item in ALL], 60)


@simulated
async def test_what_cannot_be_forgotten_is_deleted_again() -> None:
    world = World()
    scheduler = await world.agent(PLACE, IN_PLACE)
    world.broken = True
    want(scheduler, PLACE)
    await scheduler.settled()
    assert IN_PLACE.key in world.notes()
    world.broken = False
    await scheduler.waiters.until_gone([IN_PLACE.key])
    assert world.notes() == {PLACE.key}


@simulated
async def test_without_a_ledger_nothing_is_kept() -> None:
    world = World()
    scheduler = await world.agent()
    scheduler.notes.ledger = None
    want(scheduler, PLACE, IN_PLACE)
    await scheduler.settled()
    await scheduler.resync("bare")
    assert set(world.there) == {PLACE.key, IN_PLACE.key}
    assert scheduler.notes.of_kind(Thing.kind) == [] == world.commits[1:]
    want(scheduler)
    await scheduler.settled()
    assert world.there == {}


def test_what_another_version_noted_is_passed_over_and_goes(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        world = World()
        await world.agent(PLACE)
        for key, value in ((Thing.kind + "/a", b"{"), ("bare/old/b", b'["bare/old",{}]'), (IN_PLACE.key, b'["x",{}]')):
            await world.ledger.commit(LedgerWrite(SPACE, key, value))
        world.there[IN_PLACE.key] = IN_PLACE
        await world.agent(PLACE)
        assert IN_PLACE.key in world.there
        assert world.notes() == {PLACE.key}

    run_simulated(scenario())
    assert {record.message for record in caplog.records} == {"what another version of the agent noted cannot be read"}
