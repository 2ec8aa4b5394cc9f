# SPDX-License-Identifier: Apache-2.0
"""Notes the writes that reach dataplanes, and checks that they come in an order that dependencies allow.

The check keeps a model of what is there, so it holds only as long as no operation fails; what it finds is written to
`violations`, as an error in the middle of an operation would be the operation's.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from contivpp_core.items import AnyDescriptor, Dependency, Item

__all__ = ["Noting", "Order"]

D = TypeVar("D", bound=AnyDescriptor)


class Order:
    """What is there, and what was done too early or too late for it."""

    def __init__(self, descriptors: Mapping[str, AnyDescriptor]) -> None:
        self.there: dict[str, Item] = {}
        self.violations: list[str] = []
        self._descriptors = descriptors

    def before(self, verb: str, item: Item) -> None:
        """An operation is about to begin."""
        if verb == "delete":
            if standing := self._standing(item):
                self.violations.append(f"delete {item.key}, with {standing} on it")
            return
        for need in self._needs(item):
            if not self._is_met(need):
                self.violations.append(f"{verb} {item.key} without {need}")

    def after(self, verb: str, item: Item) -> None:
        """An operation has succeeded."""
        if verb != "delete":
            self.there[item.key] = item
            return
        self.there.pop(item.key, None)
        if not self._descriptors[item.kind].found_only:
            for key in self._inside(item):
                self.there.pop(key, None)

    def _standing(self, item: Item) -> list[str]:
        """Return what still needs an item and would not vanish with it; nothing vanishes with what is only found."""
        inside = set() if self._descriptors[item.kind].found_only else self._inside(item)
        gone = inside | {item.key}
        left = {key for key in self._provided(gone) if not any(key in self._provides(each) for each in self._but(gone))}

        def loses(each: Item) -> bool:
            return any(need.keys and left.issuperset(need.keys) for need in self._needs(each))

        return [each.key for each in self._but(gone) if loses(each)]

    def _inside(self, item: Item) -> set[str]:
        """Return the keys of what lives in an item, and in that."""
        inside: set[str] = set()
        hosts = [item]
        while hosts:
            keys = self._provides(hosts.pop())
            for each in self.there.values():
                bound = any(need.bound and keys & set(need.keys) for need in self._needs(each))
                if bound and each.key not in inside:
                    inside.add(each.key)
                    hosts.append(each)
        return inside

    def _but(self, gone: set[str]) -> Iterator[Item]:
        return (each for key, each in self.there.items() if key not in gone)

    def _provided(self, keys: set[str]) -> set[str]:
        return {key for each in keys if each in self.there for key in self._provides(self.there[each])}

    def _is_met(self, need: Dependency) -> bool:
        if need.without:
            return not any(need.without in self._provides(each) for each in self.there.values())
        return need.fact is not None or any(self._satisfies(key, need) for key in need.keys)

    def _satisfies(self, key: str, need: Dependency) -> bool:
        for each in self.there.values():
            if key in self._provides(each):
                return need.value is None or self._descriptors[each.kind].equal(need.value, each)
        return False

    def _needs(self, item: Item) -> list[Dependency]:
        return list(self._descriptors[item.kind].dependencies(item))

    def _provides(self, item: Item) -> set[str]:
        return {item.key, *self._descriptors[item.kind].provides(item)}


class Noting:
    """Notes writes as `create KEY`, `update KEY` and `delete KEY` in `wrote`; with `order`, checks that, too."""

    def __init__(self) -> None:
        self.wrote: list[str] = []
        self.order: Order | None = None

    def around(self, descriptor: D) -> D:
        """Return a descriptor that does the same, and is noted."""
        noted = copy.copy(descriptor)

        async def create(item: Any, handles: Any) -> Any:
            return await self._noted("create", item, lambda: descriptor.create(item, handles))

        async def update(old: Any, new: Any, handle: Any, handles: Any) -> Any:
            return await self._noted("update", new, lambda: descriptor.update(old, new, handle, handles))

        async def delete(item: Any, handle: Any, handles: Any) -> None:
            if item is None:
                self.wrote.append(f"delete {descriptor.kind}/?")
                await descriptor.delete(item, handle, handles)
            else:
                await self._noted("delete", item, lambda: descriptor.delete(item, handle, handles))

        def begin_create(item: Any, handles: Any, ended: Callable[[Any, Exception | None], None]) -> bool:
            order = self.order

            def told(handle: Any, error: Exception | None) -> None:
                if order is not None and error is None:
                    order.after("create", item)
                ended(handle, error)

            if not descriptor.begin_create(item, handles, told):
                return False
            self._note("create", item)
            return True

        for method in (create, begin_create, update, delete):
            setattr(noted, method.__name__, method)
        return noted

    def _note(self, verb: str, item: Item) -> None:
        self.wrote.append(f"{verb} {item.key}")
        if self.order is not None:
            self.order.before(verb, item)

    async def _noted(self, verb: str, item: Item, work: Callable[[], Awaitable[Any]]) -> Any:
        order = self.order
        self._note(verb, item)
        result = await work()
        if order is not None:
            order.after(verb, item)
        return result
