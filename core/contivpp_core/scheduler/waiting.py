# SPDX-License-Identifier: Apache-2.0
"""Those who wait for items: a request until its items are applied, a tombstone until they are gone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable

from contivpp_core.errors import RequestError
from contivpp_core.scheduler.graph import Graph, ItemState, Node

__all__ = ["ItemRefused", "Waiters"]


class ItemRefused(RequestError):
    """An item of the request failed, and no retry will help before something changes."""


class _Waiter:
    __slots__ = ("future", "keys")

    def __init__(self, keys: set[str]) -> None:
        self.keys = keys
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Waiters:
    """Wakes whoever waits for keys; costs nothing for keys that nobody waits for."""

    def __init__(self, graph: Graph, *, undecided: Callable[[str], bool]) -> None:
        self._graph = graph
        self._undecided = undecided
        self._applied: dict[str, set[_Waiter]] = defaultdict(set)
        self._gone: dict[str, set[_Waiter]] = defaultdict(set)

    async def until_applied(self, keys: Iterable[str], seconds: float) -> None:
        """Wait until every item is as wanted. What they depend on is then applied as well.

        Raises ItemRefused when one fails for good, and RequestError that names what is missing at the deadline.
        """
        missing = {key for key in keys if not self._is_applied(key)}
        for key in missing:
            node = self._graph.nodes.get(key)
            if node is not None and node.refused:
                raise ItemRefused(_refusal(node))
        await self._wait(self._applied, missing, seconds)

    async def until_gone(self, keys: Iterable[str]) -> None:
        """Wait until none of the items is wanted or there any more."""
        await self._wait(self._gone, {key for key in keys if key in self._graph.nodes}, None)

    async def _wait(self, index: dict[str, set[_Waiter]], keys: set[str], seconds: float | None) -> None:
        if not keys:
            return
        waiter = _Waiter(set(keys))
        for key in keys:
            index[key].add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter.future
        except TimeoutError:
            raise RequestError(self._overdue(waiter, seconds or 0.0), code=11) from None
        finally:
            for key in keys:
                if waiters := index.get(key):
                    waiters.discard(waiter)
                    if not waiters:
                        del index[key]

    def _overdue(self, waiter: _Waiter, seconds: float) -> str:
        nodes = {key: self._graph.nodes.get(key) for key in waiter.keys}
        # Who only waits for others comes last: what these others suffer from is the cause.
        causes_first = sorted(nodes.items(), key=lambda pair: (_waits_for_others(pair[1]), pair[0]))
        lines = [
            f"{key} is {node.state.value}: {node.reason}" if node else f"{key} is not known"
            for key, node in causes_first
        ]
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        return f"not done within {seconds:.3g} s: " + "; ".join(lines[:3]) + more

    def _is_applied(self, key: str) -> bool:
        node = self._graph.nodes.get(key)
        if node is None or node.running or self._undecided(key):  # its state is that of a former wish
            return False
        return node.state in (ItemState.APPLIED, ItemState.SHADOWED)

    def applied(self, node: Node) -> None:
        """An item is as wanted."""
        self._strike(self._applied, node.key)

    def gone(self, key: str) -> None:
        """An item is neither wanted nor there; whoever waits for it to be applied waits for nothing more."""
        self._strike(self._gone, key)
        self._strike(self._applied, key)

    def failed(self, node: Node, *, final: bool) -> None:
        """An operation failed; with `final`, nobody will try again before something changes."""
        if final:
            for waiter in list(self._applied.get(node.key, ())):
                if not waiter.future.done():
                    waiter.future.set_exception(ItemRefused(_refusal(node)))

    def _strike(self, index: dict[str, set[_Waiter]], key: str) -> None:
        for waiter in list(index.get(key, ())):
            waiter.keys.discard(key)
            if not waiter.keys and not waiter.future.done():
                waiter.future.set_result(None)


def _refusal(node: Node) -> str:
    return f"{node.key} cannot be applied: {node.error or node.reason}"


def _waits_for_others(node: Node | None) -> bool:
    return node is not None and node.state is ItemState.PENDING and bool(node.waits)
