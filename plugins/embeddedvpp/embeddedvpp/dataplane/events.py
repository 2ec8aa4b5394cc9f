# SPDX-License-Identifier: Apache-2.0
"""Who hears of interfaces and neighbours that come, change and go."""

from __future__ import annotations

from collections.abc import Callable

from .interfaces import Interface, InterfaceEvent, InterfaceSubscriber
from .neighbors import Neighbor, NeighborEvent, NeighborSubscriber


class Events:
    """Subscribers, called at once and in the order in which they came."""

    def __init__(self) -> None:
        self._interface_subscribers: list[InterfaceSubscriber] = []
        self._neighbor_subscribers: list[NeighborSubscriber] = []

    def subscribe_interfaces(self, subscriber: InterfaceSubscriber) -> Callable[[], None]:
        """Call on every interface event; returns the function that ends the subscription."""
        self._interface_subscribers.append(subscriber)
        return lambda: self._interface_subscribers.remove(subscriber)

    def subscribe_neighbors(self, subscriber: NeighborSubscriber) -> Callable[[], None]:
        """Call on every neighbour added, confirmed or removed; returns the function that ends it."""
        self._neighbor_subscribers.append(subscriber)
        return lambda: self._neighbor_subscribers.remove(subscriber)

    def _tell(self, event: InterfaceEvent, interface: Interface) -> None:
        for subscriber in list(self._interface_subscribers):
            subscriber(event, interface)

    def _tell_of(self, event: NeighborEvent, neighbor: Neighbor) -> None:
        for subscriber in list(self._neighbor_subscribers):
            subscriber(event, neighbor)
