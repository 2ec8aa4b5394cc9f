# SPDX-License-Identifier: Apache-2.0
"""What others have made of settled links: seen at each reading of the domain, and soon after events.

The agent's own work makes events, too. So a link is read only when an event shows it otherwise than the one before, and
its initial values are all applied, or somebody is keen on it. A sighting tells what is there; what it means is for
whoever wants the link to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from contivpp_core.errors import RequestError
from contivpp_core.namespaces import Namespace
from contivpp_core.scheduler import Scheduler
from contivpp_core.scheduler.graph import Node
from contivpp_core.tasks import end
from contivpp_linux.batcher import reference
from contivpp_linux.items import Mtu, Route, Settled, Sysctl, settled_key
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.kernel.operations import sysctl_path
from contivpp_linux.kernel.protocol import Kernel
from contivpp_linux.kernel.values import (
    TABLE_MAIN,
    FollowedEvent,
    FollowedLink,
    Link,
    LinkEventsLost,
    NetworkNamespace,
    RouteGone,
)
from contivpp_linux.kernel.values import Route as RouteThere
from contivpp_linux.settled import applied_of

__all__ = ["Sighting", "Sightings", "sighting_of"]

log = logging.getLogger(__name__)

SETTLE_SECONDS = 60.0  # how long a link that is made anew may take
MOST_STALE = 64

Looks = tuple[int, str, int, bool, bool]


class Sighting(NamedTuple):
    """A settled link as it is there, and the initial values that were applied to it and are not there any more.

    `sysctls` are those of the link, by path, that neither new links get nor this agent gave it; None: not read.
    """

    namespace: Namespace
    link: Link
    changed: tuple[Mtu | Route, ...]
    sysctls: Mapping[str, str] | None = None


def sighting_of(item: Settled, link: Link, routes: Iterable[RouteThere]) -> Sighting:
    """Compare a link, and the routes of its namespace, with its initial values."""
    applied = applied_of(link.alias)
    main = {_place(route) for route in routes if route.table == TABLE_MAIN and route.link == link.name}
    changed = (
        each
        for each in item.initial
        if not isinstance(each, Sysctl)
        and applied is not None
        and applied.has(each)
        and (each.mtu != link.mtu if isinstance(each, Mtu) else _place_of(each) not in main)
    )
    return Sighting(item.namespace, link, tuple(changed))


def _place(route: RouteThere) -> tuple[str, str, int]:
    return str(route.destination), str(route.gateway or ""), route.metric


def _place_of(item: Route) -> tuple[str, str, int]:
    return item.destination, item.gateway, item.metric


class Sightings:
    """Reads links after events, and tells of them."""

    def __init__(self, scheduler: Scheduler, kernel: Kernel) -> None:
        self._scheduler = scheduler
        self._kernel = kernel
        self._callback: Callable[[Sighting], None] = lambda sighting: None
        self._keen: Callable[[Namespace, str], bool] = lambda namespace, link: False
        self._last: dict[str, Looks] = {}
        self._again: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def watch(self, callback: Callable[[Sighting], None], keen: Callable[[Namespace, str], bool]) -> None:
        """Tell of sightings; `keen` says which links are to be read when they are made anew, too."""
        self._callback, self._keen = callback, keen

    def look(self, namespace: Namespace, link: str) -> None:
        """Read a settled link soon: the kernel does not tell of everything that others may have set."""
        self._look(settled_key(namespace, link))

    async def stop(self) -> None:
        """End what is under way."""
        await end(*self._tasks.values())

    def tell(self, sighting: Sighting) -> None:
        """Pass a sighting on."""
        link = sighting.link
        self._last[settled_key(sighting.namespace, link.name)] = _looks(link)
        self._callback(sighting)

    def take(self, event: FollowedEvent) -> None:
        """Judge an event."""
        match event:
            case FollowedLink():
                self._link(event)
            case RouteGone(namespace=namespace):
                self._look_at(lambda item: item.namespace == _namespace(namespace))
            case LinkEventsLost():
                self._look_at(lambda item: True)

    def _link(self, event: FollowedLink) -> None:
        namespace = _namespace(event.namespace)
        key = settled_key(namespace, event.name)
        node = self._scheduler.graph.nodes.get(key)
        before = self._last.pop(key, None)
        if event.gone or node is None or node.desired is None:
            return
        now = self._last[key] = _looks(event)
        if len(self._last) > 2 * len(self._scheduler.graph.nodes) + MOST_STALE:
            self._last = {key: looks for key, looks in self._last.items() if key in self._scheduler.graph.nodes}
        if self._keen(namespace, event.name):
            if now != before:
                self._look(key)
        elif before is not None and now != before and _at_rest(node):
            self._look(key)

    def _look_at(self, which: Callable[[Settled], bool]) -> None:
        for node in list(self._scheduler.graph):
            if isinstance(node.desired, Settled) and which(node.desired) and _at_rest(node):
                self._look(node.key)

    def _look(self, key: str) -> None:
        if key in self._tasks:
            self._again.add(key)
        else:
            self._tasks[key] = asyncio.get_running_loop().create_task(self._read_until_quiet(key))

    async def _read_until_quiet(self, key: str) -> None:
        try:
            self._again.add(key)
            while key in self._again:
                self._again.discard(key)
                await self._read(key)
        except (KernelError, RequestError) as error:  # it is being deleted, or the next event or reading sees it
            log.info("a link could not be read", extra={"key": key, "error": str(error)})
        finally:
            self._again.discard(key)
            del self._tasks[key]

    async def _read(self, key: str) -> None:
        await self._scheduler.waiters.until_applied([key], SETTLE_SECONDS)
        node = self._scheduler.graph.nodes.get(key)
        if node is None or not isinstance(node.desired, Settled):
            return
        item = node.desired
        links = await self._kernel.links(reference(item.namespace))
        routes = await self._kernel.routes(reference(item.namespace))
        sysctls = await self._kernel.link_sysctls(reference(item.namespace), item.link)
        own = {(sysctl_path(each.name), each.value) for each in item.initial if isinstance(each, Sysctl)}
        of_others = {path: value for path, value in sysctls.items() if (path, value) not in own}
        for link in links:
            if link.name == item.link and applied_of(link.alias) is not None:
                self.tell(sighting_of(item, link, routes)._replace(sysctls=of_others))


def _at_rest(node: Node) -> bool:
    return node.actual is not None and not node.running and node.desired is not None


def _namespace(namespace: NetworkNamespace) -> Namespace:
    return Namespace(namespace.path, namespace.device, namespace.inode)


def _looks(link: Link | FollowedLink) -> Looks:
    return link.index, link.mac, link.mtu, link.promiscuous, link.all_multicast
