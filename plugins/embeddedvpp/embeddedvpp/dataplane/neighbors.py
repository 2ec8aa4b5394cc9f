# SPDX-License-Identifier: Apache-2.0
"""Neighbours: which MAC address an IPv4 address on an interface has.

A neighbour also contributes a /32 to the interface's table (an adj-fib), so that a more general route over
another interface does not take its traffic; ``no_adj_fib`` leaves that away. The contribution counts only
while the prefix that covers it is attached to the same interface, as in VPP: see
``Dataplane.refresh_adjacencies``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from .errors import DataplaneError, Retval


class NeighborEvent(Enum):
    """What subscribers hear about a neighbour."""

    ADDED = "added"
    REMOVED = "removed"


@dataclass(slots=True, eq=False)
class Neighbor:
    """One neighbour."""

    sw_if_index: int
    address: int
    mac: bytes
    static: bool
    no_adj_fib: bool
    updated: float
    adj_fib_active: bool | None = None  # None: it has no /32

    def age(self, now: float) -> float:
        """Seconds since it was last confirmed."""
        return max(0.0, now - self.updated)


NeighborSubscriber = Callable[[NeighborEvent, Neighbor], None]


class NeighborTable:
    """Neighbours by (sw_if_index, address)."""

    def __init__(self) -> None:
        self._neighbors: dict[tuple[int, int], Neighbor] = {}
        self._by_address: dict[int, list[Neighbor]] = {}
        self.max_number = 50_000  # 0: as many as there are
        self.max_age = 0
        self.recycle = False  # a new one may take the place of the oldest that was learnt

    def in_the_way(self) -> list[Neighbor]:
        """Who must go before one more can come: nobody, or the one learnt or confirmed longest ago, if that is allowed.

        Else DataplaneError -162.
        """
        if not 0 < self.max_number <= len(self):
            return []
        learnt = [found for found in self if not found.static]
        if not self.recycle or not learnt:
            raise DataplaneError(Retval.LIMIT_EXCEEDED, f"there are {len(self)} neighbours already")
        return [min(learnt, key=lambda found: found.updated)]

    def get(self, sw_if_index: int, address: int) -> Neighbor | None:
        """The neighbour, or None."""
        return self._neighbors.get((sw_if_index, address))

    def on_interface(self, sw_if_index: int | None = None) -> list[Neighbor]:
        """The neighbours of an interface, or all."""
        return [found for found in self if sw_if_index is None or found.sw_if_index == sw_if_index]

    def with_address(self, address: int) -> list[Neighbor]:
        """The neighbours with an address, on any interface."""
        return list(self._by_address.get(address, ()))

    def put(self, neighbor: Neighbor) -> None:
        """Store a new neighbour."""
        self._neighbors[(neighbor.sw_if_index, neighbor.address)] = neighbor
        self._by_address.setdefault(neighbor.address, []).append(neighbor)

    def pop(self, neighbor: Neighbor) -> None:
        """Forget a neighbour."""
        del self._neighbors[(neighbor.sw_if_index, neighbor.address)]
        left = self._by_address[neighbor.address]
        left.remove(neighbor)
        if not left:
            del self._by_address[neighbor.address]

    def __iter__(self) -> Iterator[Neighbor]:
        return iter(list(self._neighbors.values()))

    def __len__(self) -> int:
        return len(self._neighbors)
