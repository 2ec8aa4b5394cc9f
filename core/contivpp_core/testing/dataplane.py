# SPDX-License-Identifier: Apache-2.0
"""A dataplane in memory that is as unforgiving as VPP, for tests of the scheduler and of renderers.

It hands out indexes and uses them again at once, keeps routes of a deleted port with the dead index, refuses another
VRF while there is an address, and drops what lives in a port with the port. What must never happen is written to
`violations`: a new port that gets routes of an old one, a filter that leaves a live port. Faults are planned
(`fail`, `lose`) or thrown by a chooser, as a Hypothesis test does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from contivpp_core.items import AnyDescriptor, Dependency, Descriptor, Found, Item, Known, Outcome, Owner, Unavailable

__all__ = [
    "FakeAddress",
    "FakeDataplane",
    "FakeFilter",
    "FakeLink",
    "FakePort",
    "FakeRoute",
    "FakeVrf",
    "Refused",
]


class Refused(Exception):
    """The fake dataplane refuses an operation."""


class FakePort(Item, frozen=True, kw_only=True):
    """A port; another model means another port."""

    kind: ClassVar[str] = "fake/port"
    name: str
    model: str = "a"

    @property
    def key(self) -> str:
        return f"fake/port/{self.name}"


class FakeVrf(Item, frozen=True, kw_only=True):
    """The VRF of a port: cannot be changed while the port has an address."""

    kind: ClassVar[str] = "fake/vrf"
    port: str
    vrf: int

    @property
    def key(self) -> str:
        return f"fake/vrf/{self.port}"


class FakeAddress(Item, frozen=True, kw_only=True):
    """An address of a port, in a VRF."""

    kind: ClassVar[str] = "fake/address"
    port: str
    address: int
    vrf: int

    @property
    def key(self) -> str:
        return f"fake/address/{self.port}/{self.address}"


class FakeRoute(Item, frozen=True, kw_only=True):
    """A route over a port; the dataplane keeps it when the port goes."""

    kind: ClassVar[str] = "fake/route"
    prefix: int
    port: str

    @property
    def key(self) -> str:
        return f"fake/route/{self.prefix}"


class FakeFilter(Item, frozen=True, kw_only=True):
    """A filter on a port; it may only be taken off while the port is down, unless nobody wants it any more."""

    kind: ClassVar[str] = "fake/filter"
    port: str
    rules: int

    @property
    def key(self) -> str:
        return f"fake/filter/{self.port}"


class FakeLink(Item, frozen=True, kw_only=True):
    """A port is up; whatever `requires` names is applied before."""

    kind: ClassVar[str] = "fake/link"
    port: str
    requires: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"fake/link/{self.port}"


Chooser = Callable[[str, str], str]


class FakeDataplane:
    """The world: ports by index, facets by (index, facet), routes by prefix."""

    def __init__(self) -> None:
        self.ports: dict[int, FakePort] = {}
        self.facets: dict[tuple[int, str], Any] = {}
        self.routes: dict[int, int] = {}
        self.foreign: set[str] = set()
        self.wanted: set[str] = set()  # filters that must not leave a live port, told by the test
        self.calls: list[tuple[str, str]] = []
        self.violations: list[str] = []
        self.reachable = True
        self.chooser: Chooser = lambda verb, key: ""
        self.delay = 0.01
        self.short = False
        """Whether objects are made the short way (`begin_create`): then nobody waits in a task for the answer."""
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._planned: list[tuple[str, re.Pattern[str], int]] = []

    # --- faults

    def fail(self, pattern: str, times: int = 1) -> None:
        """Refuse the next operations whose `verb key` matches."""
        self._planned.append(("fail", re.compile(pattern), times))

    def lose(self, pattern: str, times: int = 1) -> None:
        """Carry the next matching operations out, but lose the answer."""
        self._planned.append(("lose", re.compile(pattern), times))

    def restart(self) -> None:
        """Everything is gone."""
        self.ports.clear()
        self.facets.clear()
        self.routes.clear()

    def _fault(self, verb: str, key: str) -> str:
        for index, (fault, pattern, times) in enumerate(self._planned):
            if pattern.search(f"{verb} {key}"):
                if times == 1:
                    del self._planned[index]
                else:
                    self._planned[index] = (fault, pattern, times - 1)
                return fault
        return self.chooser(verb, key)

    async def operate(self, verb: str, key: str, action: Callable[[], Any]) -> Any:
        """Carry out one operation after the usual delay, with the fault that is planned for it."""
        self.calls.append((verb, key))
        await asyncio.sleep(self.delay)
        fault = self._fault(verb, key)
        if not self.reachable or fault == "drop":
            raise Unavailable(f"no answer to {verb} {key}")
        if fault == "fail":
            raise Refused(f"{verb} {key} is refused by plan")
        result = action()
        if fault == "lose":
            raise Unavailable(f"the answer to {verb} {key} was lost")
        return result

    def post(self, operation: Coroutine[Any, Any, Any], ended: Callable[[Any, Exception | None], None]) -> None:
        """Carry an operation out whose answer is a callback."""

        def done(task: asyncio.Task[Any]) -> None:
            self._in_flight.discard(task)
            if task.cancelled():
                return
            error = task.exception()
            if error is None or isinstance(error, Exception):
                ended(None if error else task.result(), error)

        task = asyncio.get_running_loop().create_task(operation)
        self._in_flight.add(task)
        task.add_done_callback(done)

    def cut(self) -> None:
        """Whoever asked the short way is gone: what is in flight is not carried out, and nobody is told."""
        for task in self._in_flight:
            task.cancel()

    # --- rules

    def index(self, name: str) -> int | None:
        """Return the index of a port."""
        return next((index for index, port in self.ports.items() if port.name == name), None)

    def add_port(self, port: FakePort) -> int:
        """Add a port under the lowest free index."""
        if self.index(port.name) is not None:
            raise Refused(f"port {port.name} exists")
        index = next(i for i in range(len(self.ports) + 1) if i not in self.ports)
        stale = [prefix for prefix, over in self.routes.items() if over == index]
        if stale:
            self.violations.append(f"new port {port.name} inherits routes {stale} of a dead port")
        self.ports[index] = port
        return index

    def remove_port(self, index: int) -> None:
        """Remove a port and what lives in it; routes stay."""
        self.ports.pop(index, None)
        for key in [key for key in self.facets if key[0] == index]:
            del self.facets[key]

    def set_facet(self, index: int, facet: str, value: Any) -> None:
        """Set a facet of a port."""
        if index not in self.ports:
            raise Refused(f"no port {index}")
        if facet == "vrf" and any(key[0] == index and key[1].startswith("address/") for key in self.facets):
            raise Refused("the port has an address (-114)")
        self.facets[index, facet] = value

    def remove_facet(self, index: int, facet: str, *, live: bool = True) -> None:
        """Remove a facet; one that is gone is success. `live`: it may go while the port is up."""
        if not live and (index, "link") in self.facets and (index, facet) in self.facets:
            self.violations.append(f"{facet} leaves the live port {self.ports[index].name}")
        if facet == "vrf" and any(key[0] == index and key[1].startswith("address/") for key in self.facets):
            raise Refused("the port has an address (-114)")
        self.facets.pop((index, facet), None)

    def dump(self) -> dict[str, Any]:
        """Return everything by item key, as the items would have it; dangling routes have port None."""
        found: dict[str, Any] = {}
        for index, port in self.ports.items():
            found[port.key] = port
            for (at, facet), value in self.facets.items():
                if at == index:
                    item = _facet_item(port.name, facet, value)
                    found[item.key] = item
        for prefix, index in self.routes.items():
            port_item = self.ports.get(index)
            found[f"fake/route/{prefix}"] = FakeRoute(prefix=prefix, port=port_item.name) if port_item else None
        return found

    def descriptors(self) -> list[AnyDescriptor]:
        """Return the descriptors of every fake kind."""
        return [kind(self) for kind in (_Port, _Vrf, _Address, _Route, _Filter, _Link)]


def _facet_item(port: str, facet: str, value: Any) -> Item:
    if facet == "vrf":
        return FakeVrf(port=port, vrf=value)
    if facet == "filter":
        return FakeFilter(port=port, rules=value)
    if facet == "link":
        return FakeLink(port=port)
    return FakeAddress(port=port, address=int(facet.removeprefix("address/")), vrf=value)


class _Fake(Descriptor[Any]):
    domain = "fake"

    def __init__(self, world: FakeDataplane) -> None:
        self.world = world

    async def dump(self, known: Known) -> list[Found]:
        self.world.calls.append(("dump", self.kind))
        await asyncio.sleep(self.world.delay)
        if not self.world.reachable:
            raise Unavailable(f"no answer to dump {self.kind}")
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
        return Outcome.UNKNOWN if isinstance(error, Unavailable) else Outcome.RETRY


class _Port(_Fake):
    kind = "fake/port"
    item = FakePort
    space = "fake/if"

    def provides(self, item: FakePort) -> Iterable[str]:
        return (f"fake/if/{item.name}",)

    def _found(self, key: str, item: Any) -> Found:
        return Found(key, item, self.world.index(item.name), key not in self.world.foreign)

    async def create(self, item: FakePort, handles: Mapping[str, Any]) -> Any:
        return await self.world.operate("create", item.key, lambda: self.world.add_port(item))

    async def delete(self, item: FakePort, handle: Any, handles: Mapping[str, Any]) -> None:
        await self.world.operate("delete", item.key, lambda: self.world.remove_port(handle))


class _Facet(_Fake):
    dumps_after = ("fake/if",)

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
