# SPDX-License-Identifier: Apache-2.0
"""The descriptors of the dataplane in memory (`contivpp_core.testing.dataplane`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from contivpp_core.items import AnyDescriptor, Dependency, Descriptor, Found, Known, Outcome, Owner
from contivpp_core.testing.fake_items import (
    FakeAddress,
    FakeEnd,
    FakeFilter,
    FakeLink,
    FakePair,
    FakePort,
    FakeRoute,
    FakeVrf,
    Refused,
)
from contivpp_core.testing.faults import InjectedFault

if TYPE_CHECKING:
    from contivpp_core.testing.dataplane import FakeDataplane

__all__ = ["descriptors_of"]


def descriptors_of(world: FakeDataplane) -> list[AnyDescriptor]:
    """Return the descriptors of every kind of the domain `fake`, and those of `far` if the world has it."""
    kinds = [_Port, _Vrf, _Address, _Route, _Filter, _Link, *((_Pair, _End) if world.far else ())]
    return [kind(world) for kind in kinds]


class _Fake(Descriptor[Any]):
    domain = "fake"

    def __init__(self, world: FakeDataplane) -> None:
        self.world = world

    async def dump(self, known: Known) -> list[Found]:
        return list(await self.world.operate("dump", self.kind, self._dump))

    def _dump(self) -> list[Found]:
        return [self._found(key, item) for key, item in self.world.dump().items() if key.startswith(f"{self.kind}/")]

    def _found(self, key: str, item: Any) -> Found:
        handle = self.world.index(item.port)
        return Found(key, item, handle, key not in self.world.foreign)

    def begin_create(
        self, item: Any, handles: Mapping[str, Any], ended: Callable[[Any, Exception | None], None]
    ) -> bool:
        if self.world.short:
            self.world.post(self.create(item, handles), ended)
        return self.world.short

    def classify(self, error: Exception) -> Outcome:
        return error.outcome if isinstance(error, InjectedFault) else super().classify(error)


class _Port(_Fake):
    kind = "fake/port"
    item = FakePort
    space = "fake/if"

    def provides(self, item: FakePort) -> Iterable[str]:
        return (f"fake/if/{item.name}", f"far/port/{item.name}")

    def _found(self, key: str, item: Any) -> Found:
        return Found(key, item, self.world.index(item.name), key not in self.world.foreign)

    async def create(self, item: FakePort, handles: Mapping[str, Any]) -> Any:
        return await self.world.operate("create", item.key, lambda: self.world.add_port(item))

    async def delete(self, item: FakePort, handle: Any, handles: Mapping[str, Any]) -> None:
        await self.world.operate("delete", item.key, lambda: self.world.remove_port(handle))


class _Facet(_Fake):
    dumps_after: ClassVar[tuple[str, ...]] = ("fake/if",)

    def facet(self, item: Any) -> tuple[str, Any]:
        raise NotImplementedError

    def dependencies(self, item: Any) -> Iterable[Dependency]:
        return (Dependency.inside(f"fake/if/{item.port}"),)

    async def create(self, item: Any, handles: Mapping[str, Any]) -> Any:
        index = handles[f"fake/if/{item.port}"]
        facet, value = self.facet(item)
        await self.world.operate("create", item.key, lambda: self.world.set_facet(index, facet, value))
        return index

    async def update(self, old: Any, new: Any, handle: Any, handles: Mapping[str, Any]) -> Any:
        facet, value = self.facet(new)
        await self.world.operate("update", new.key, lambda: self.world.set_facet(handle, facet, value))
        return handle

    async def delete(self, item: Any, handle: Any, handles: Mapping[str, Any]) -> None:
        facet, _ = self.facet(item)
        await self.world.operate("delete", item.key, lambda: self.world.remove_facet(handle, facet))


class _Vrf(_Facet):
    kind = "fake/vrf"
    item = FakeVrf

    def facet(self, item: FakeVrf) -> tuple[str, Any]:
        return "vrf", item.vrf

    def recreates(self, old: FakeVrf, new: FakeVrf) -> bool:
        return False


class _Address(_Facet):
    kind = "fake/address"
    item = FakeAddress

    def facet(self, item: FakeAddress) -> tuple[str, Any]:
        return f"address/{item.address}", item.vrf

    def dependencies(self, item: FakeAddress) -> Iterable[Dependency]:
        vrf = FakeVrf(port=item.port, vrf=item.vrf)
        return (Dependency.inside(f"fake/if/{item.port}"), Dependency((vrf.key,), vrf))


class _Filter(_Facet):
    kind = "fake/filter"
    item = FakeFilter

    def facet(self, item: FakeFilter) -> tuple[str, Any]:
        return "filter", item.rules

    def gate(self, item: FakeFilter) -> str | None:
        return f"fake/link/{item.port}"

    def recreates(self, old: FakeFilter, new: FakeFilter) -> bool:
        return old.rules // 10 != new.rules // 10  # small changes in place, others by another filter

    async def delete(self, item: FakeFilter, handle: Any, handles: Mapping[str, Any]) -> None:
        live = item.key not in self.world.wanted
        await self.world.operate("delete", item.key, lambda: self.world.remove_facet(handle, "filter", live=live))


class _Link(_Facet):
    kind = "fake/link"
    item = FakeLink
    merged = True

    def facet(self, item: FakeLink) -> tuple[str, Any]:
        return "link", True

    def merge(self, parts: Sequence[tuple[Owner, FakeLink]]) -> FakeLink:
        requires = {key for _, part in parts for key in part.requires}
        return FakeLink(port=parts[0][1].port, requires=tuple(sorted(requires)))

    def equal(self, wanted: FakeLink, found: FakeLink) -> bool:
        return wanted.port == found.port  # what it requires is between the scheduler and the plugins

    def dependencies(self, item: FakeLink) -> Iterable[Dependency]:
        return (Dependency.inside(f"fake/if/{item.port}"), *map(Dependency.on_applied, item.requires))


class _Pair(_Facet):
    kind = "fake/pair"
    item = FakePair

    def recreates(self, old: FakePair, new: FakePair) -> bool:
        return False

    async def create(self, item: FakePair, handles: Mapping[str, Any]) -> Any:
        return await self._set("create", item, handles[f"fake/if/{item.port}"])

    async def update(self, old: FakePair, new: FakePair, handle: Any, handles: Mapping[str, Any]) -> Any:
        return await self._set("update", new, handle)

    async def delete(self, item: FakePair, handle: Any, handles: Mapping[str, Any]) -> None:
        await self.world.operate("delete", item.key, lambda: self.world.remove_facet(handle, "pair"))

    async def _set(self, verb: str, item: FakePair, index: int) -> int:
        for part in (0, 1):
            put = functools.partial(self._put, index, part, item.values[part])
            await self.world.operate(verb, f"{item.key} part {part + 1}", put)
        return index

    def _put(self, index: int, part: int, value: int) -> None:
        values = list(self.world.facets.get((index, "pair"), (0, 0)))
        values[part] = value
        self.world.set_facet(index, "pair", tuple(values))


class _End(_Facet):
    kind = "far/end"
    item = FakeEnd
    domain = "far"
    dumps_after = ()

    def dependencies(self, item: FakeEnd) -> Iterable[Dependency]:
        return (Dependency.inside(f"far/port/{item.port}"),)

    def recreates(self, old: FakeEnd, new: FakeEnd) -> bool:
        return False

    async def create(self, item: FakeEnd, handles: Mapping[str, Any]) -> Any:
        index = handles[f"far/port/{item.port}"]
        await self.world.operate("create", item.key, lambda: self.world.set_facet(index, "end", item.value))
        return index

    def facet(self, item: FakeEnd) -> tuple[str, Any]:
        return "end", item.value


class _Route(_Fake):
    kind = "fake/route"
    item = FakeRoute
    dumps_after = ("fake/if",)

    def dependencies(self, item: FakeRoute) -> Iterable[Dependency]:
        return (Dependency.on(f"fake/if/{item.port}"),)

    def recreates(self, old: FakeRoute, new: FakeRoute) -> bool:
        return False

    def _found(self, key: str, item: Any) -> Found:
        return Found(key, item, int(key.rsplit("/", 1)[1]), key not in self.world.foreign)

    def _put(self, item: FakeRoute, index: int) -> int:
        if index not in self.world.ports:
            raise Refused(f"no port {index}")
        if self.world.ports[index].name != item.port:
            self.world.violations.append(f"{item.key} is put over {self.world.ports[index].name}")
        self.world.routes[item.prefix] = index
        return item.prefix

    async def create(self, item: FakeRoute, handles: Mapping[str, Any]) -> Any:
        index = handles[f"fake/if/{item.port}"]
        return await self.world.operate("create", item.key, lambda: self._put(item, index))

    async def update(self, old: FakeRoute, new: FakeRoute, handle: Any, handles: Mapping[str, Any]) -> Any:
        index = handles[f"fake/if/{new.port}"]
        return await self.world.operate("update", new.key, lambda: self._put(new, index))

    async def delete(self, item: FakeRoute | None, handle: Any, handles: Mapping[str, Any]) -> None:
        await self.world.operate("delete", f"fake/route/{handle}", lambda: self.world.routes.pop(handle, None))
