# SPDX-License-Identifier: Apache-2.0
"""What the host's network namespace has by itself, as records: addresses and routes that no plugin of ours made.

Both tables are read at the start, and again soon after events; a reading that fails is tried again, and the last
records stand. Left out are loopback and link-local addresses, links of ours or of container runtimes and hypervisors
(by their names, and by the items that stand for them), and routes with our protocol number. Routes are those of the
main table, of one path.

Pods that come and go make many events and change nothing here: while readings find nothing new, they become rarer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from contivpp_core.namespaces import HOST
from contivpp_core.node import HOST_ADDRESS, HOST_ROUTE, HostAddress, HostRoute
from contivpp_core.records import AnyTable
from contivpp_core.state import Delete, Put, Ready
from contivpp_core.tasks import end
from contivpp_linux.items import link_key
from contivpp_linux.kernel.protocol import Kernel
from contivpp_linux.kernel.values import OWN_PROTOCOL, TABLE_MAIN, Address, Route, RouteType
from contivpp_linux.marks import PREFIX

if TYPE_CHECKING:
    from contivpp_core.agent import Agent

__all__ = ["HostTables", "host_addresses", "host_routes", "is_hosts_own"]

log = logging.getLogger(__name__)

COLLECT_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
QUIET_SECONDS = 5.0
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 30.0

_FOREIGN_PREFIXES = ("lo", "docker", "virbr", "vpp", "cvpp", "cvp-")


def is_hosts_own(link: str) -> bool:
    """Tell by its name whether a link is the host's own."""
    return not link.startswith(_FOREIGN_PREFIXES)


def host_addresses(addresses: Iterable[Address], others: set[str]) -> Mapping[str, HostAddress]:
    """Return the records for addresses, by key; `others` are links that are not the host's own."""
    records = (
        HostAddress(link=each.link, address=str(each.address))
        for each in addresses
        if each.link not in others
        and is_hosts_own(each.link)
        and not (each.address.ip.is_loopback or each.address.ip.is_link_local)
    )
    return {HOST_ADDRESS.key(record): record for record in records}


def host_routes(routes: Iterable[Route], others: set[str]) -> Mapping[str, HostRoute]:
    """Return the records for routes, by key; `others` are links that are not the host's own."""
    records = (
        HostRoute(destination=str(each.destination), link=each.link, gateway=str(each.gateway) if each.gateway else "")
        for each in routes
        if each.table == TABLE_MAIN
        and each.type == RouteType.UNICAST
        and each.protocol != OWN_PROTOCOL
        and each.link is not None
        and each.link not in others
        and is_hosts_own(each.link)
        and not (each.destination.is_link_local or each.destination.is_multicast)
    )
    return {HOST_ROUTE.key(record): record for record in records}


class HostTables:
    """Keeps both tables."""

    def __init__(self, agent: Agent, kernel: Kernel) -> None:
        self._agent = agent
        self._kernel = kernel
        self._written: dict[str, Mapping[str, Any]] = {}
        self._due = asyncio.Event()
        self._due.set()
        self._unwatch: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch and read."""
        self._unwatch = self._kernel.watch_network(self._due.set)
        self._task = asyncio.create_task(self._work(), name="linux host tables")

    async def stop(self) -> None:
        """End it."""
        self._unwatch()
        await end(self._task)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        pause, delay, last = 0.0, FIRST_RETRY_SECONDS, loop.time()
        while True:
            await self._due.wait()
            if loop.time() - last > QUIET_SECONDS:
                pause = COLLECT_SECONDS
            await asyncio.sleep(pause)
            self._due.clear()
            try:
                found = await self.read()
            except Exception:  # the last records stand
                log.exception("addresses and routes of the host could not be read; it is tried again")
                self._due.set()
                await asyncio.sleep(delay)
                delay = min(2 * delay, LAST_RETRY_SECONDS)
            else:
                delay, last = FIRST_RETRY_SECONDS, loop.time()
                pause = COLLECT_SECONDS if found else min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def read(self) -> bool:
        """Read the namespace and write what is new; tell whether there was something."""
        links = await self._kernel.links(None)
        addresses, routes = await self._kernel.addresses(None), await self._kernel.routes(None)
        others = {link.name for link in links if link.alias.startswith(PREFIX) or self._stands(link.name)}
        tables: list[tuple[AnyTable, Mapping[str, Any]]] = [
            (HOST_ADDRESS, host_addresses(addresses, others)),
            (HOST_ROUTE, host_routes(routes, others)),
        ]
        writes: list[Any] = []
        for table, records in tables:
            before = self._written.get(table.name)
            writes += [Put(table.name, each) for key, each in records.items() if (before or {}).get(key) != each]
            writes += [Delete(table.name, key) for key in before or () if key not in records]
            if before is None:
                writes.append(Ready(table.name))
        if writes:
            await self._agent.controller.write("addresses and routes of the host", writes)
        self._written = {table.name: records for table, records in tables}
        return bool(writes)

    def _stands(self, link: str) -> bool:
        """Tell whether an item stands for a link."""
        return self._agent.scheduler.graph.provider(link_key(HOST, link)) is not None
