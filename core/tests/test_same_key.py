# SPDX-License-Identifier: Apache-2.0
"""Objects of two kinds that provide the same key, as an interface that was a veth and becomes a TAP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pytest

from contivpp_core.clock import run_simulated
from contivpp_core.items import Dependency, Descriptor, Found, Item, Known
from contivpp_core.testing.trial import Trial


class Old(Item, frozen=True, kw_only=True):
    """One way to have the interface."""

    kind: ClassVar[str] = "same/old"

    @property
    def key(self) -> str:
        return "same/old/i"


class New(Item, frozen=True, kw_only=True):
    """Another way to have it."""

    kind: ClassVar[str] = "same/new"

    @property
    def key(self) -> str:
        return "same/new/i"


class Above(Item, frozen=True, kw_only=True):
    """What is on the interface, whatever that is."""

    kind: ClassVar[str] = "same/above"

    @property
    def key(self) -> str:
        return "same/above/i"


class Alone(Item, frozen=True, kw_only=True):
    """What must not be made while the first way is there."""

    kind: ClassVar[str] = "same/alone"

    @property
    def key(self) -> str:
        return "same/alone/i"


class Same(Descriptor[Any]):
    """All of them, by kind; each creation takes as long as it is told."""

    domain = "same"

    def __init__(self, item: type[Item], there: dict[str, Item], seconds: Mapping[type[Item], float]) -> None:
        self.kind = item.kind  # type: ignore[misc]
        self.item = item  # type: ignore[misc]
        self.there, self.seconds = there, seconds

    def provides(self, item: Item) -> Iterable[str]:
        return ("same/interface/i",) if isinstance(item, Old | New) else ()

    def dependencies(self, item: Item) -> Iterable[Dependency]:
        if isinstance(item, Alone):
            return (Dependency.absent(Old().key),)
        return (Dependency.on("same/interface/i"),) if isinstance(item, Above) else ()

    async def create(self, item: Item, handles: Any) -> str:
        assert not (isinstance(item, Alone) and Old().key in self.there)
        await asyncio.sleep(self.seconds.get(type(item), 0.0))
        self.there[item.key] = item
        return item.key

    async def delete(self, item: Item, handle: Any, handles: Any) -> None:
        self.there.pop(item.key, None)

    async def dump(self, known: Known) -> list[Found]:
        return [Found(key, item, key) for key, item in self.there.items() if item.kind == self.kind]


def test_what_one_object_provides_is_still_there_when_another_that_did_so_goes() -> None:
    async def main() -> None:
        there: dict[str, Item] = {}
        seconds = {Old: 1.0}  # so that it comes after its successor
        trial = Trial(lambda: [Same(item, there, seconds) for item in (Old, New, Above)])
        await trial.start()
        trial.want([Old()])
        await asyncio.sleep(0.5)
        trial.want([New(), Above()])
        await trial.check_laws()
        assert set(there) == {New().key, Above().key}
        await trial.scheduler.stop()

    run_simulated(main())


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_what_waits_for_an_absence_waits_also_for_what_is_still_being_made(seconds: float) -> None:
    async def main() -> None:
        there: dict[str, Item] = {}
        trial = Trial(lambda: [Same(item, there, {Old: 1.0}) for item in (Old, Alone)])
        await trial.start()
        trial.want([Old()])
        await asyncio.sleep(seconds)
        trial.want([Alone()])
        await trial.rest()
        assert set(there) == {Alone().key}
        assert trial.scheduler.counters.failed == {}
        assert trial.noting.wrote == [f"create {Old().key}", f"delete {Old().key}", f"create {Alone().key}"]
        await trial.scheduler.stop()

    run_simulated(main())
