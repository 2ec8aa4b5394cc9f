# SPDX-License-Identifier: Apache-2.0
"""A dataplane in memory that is as unforgiving as VPP, for tests of the scheduler and of renderers.

It hands out indexes and uses them again at once, keeps routes of a deleted port with the dead index, refuses another
VRF while there is an address, and drops what lives in a port with the port. What must never happen is written to
`violations`: a new port that gets routes of an old one, a filter that leaves a live port. Faults are planned
(`faults`; a point is `create KEY`, `update KEY`, `delete KEY` or `dump KIND`).

With `far`, a second dataplane (the domain `far`) holds what is at the far ends of ports, as a pod's namespace does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from contivpp_core.items import AnyDescriptor, Item, Unavailable
from contivpp_core.testing.fake_descriptors import descriptors_of
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
from contivpp_core.testing.faults import Fault, Faults

__all__ = [
    "FakeAddress",
    "FakeDataplane",
    "FakeEnd",
    "FakeFilter",
    "FakeLink",
    "FakePair",
    "FakePort",
    "FakeRoute",
    "FakeVrf",
    "Refused",
]


class FakeDataplane:
    """The world: ports by index, facets by (index, facet), routes by prefix."""

    def __init__(self, faults: Faults | None = None, *, far: bool = False) -> None:
        self.ports: dict[int, FakePort] = {}
        self.facets: dict[tuple[int, str], Any] = {}
        self.routes: dict[int, int] = {}
        self.foreign: set[str] = set()
        self.wanted: set[str] = set()  # filters that must not leave a live port, told by the test
        self.calls: list[tuple[str, str]] = []
        self.violations: list[str] = []
        self.reachable = True
        self.far = far
        self.faults = faults or Faults()
        self.delay = 0.01
        self.short = False
        """Whether objects are made the short way (`begin_create`): then nobody waits in a task for the answer."""
        self._in_flight: set[asyncio.Task[Any]] = set()

    # --- faults

    def fail(self, pattern: str, times: int = 1) -> None:
        """Refuse the next operations whose `verb key` matches."""
        self.faults.plan(Fault.REFUSE, pattern, times=times)

    def lose(self, pattern: str, times: int = 1) -> None:
        """Carry the next matching operations out, but lose the answer."""
        self.faults.plan(Fault.LOSE_ANSWER, pattern, times=times)

    def restart(self) -> None:
        """Everything is gone."""
        self.ports.clear()
        self.facets.clear()
        self.routes.clear()

    async def operate(self, verb: str, key: str, action: Callable[[], Any]) -> Any:
        """Carry out one operation after the usual delay, with the fault that is planned for it."""
        self.calls.append((verb, key))
        await asyncio.sleep(self.delay)

        async def act() -> Any:
            if not self.reachable:
                raise Unavailable(f"no answer to {verb} {key}")
            return action()

        return await self.faults.operate(f"{verb} {key}", act)

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
        return descriptors_of(self)


def _facet_item(port: str, facet: str, value: Any) -> Item:
    if facet == "vrf":
        return FakeVrf(port=port, vrf=value)
    if facet == "filter":
        return FakeFilter(port=port, rules=value)
    if facet == "link":
        return FakeLink(port=port)
    if facet == "pair":
        return FakePair(port=port, values=value)
    if facet == "end":
        return FakeEnd(port=port, value=value)
    return FakeAddress(port=port, address=int(facet.removeprefix("address/")), vrf=value)
