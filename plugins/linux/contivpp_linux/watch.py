# SPDX-License-Identifier: Apache-2.0
"""Link events of the host's namespace: which kinds have to be read back.

The agent's own work makes events, too. An event asks for a check only where the link is not as the scheduler believes
it to be and no operation for it is under way. Checks are put together for a moment: a link that goes makes many events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from contivpp_core.namespaces import HOST
from contivpp_core.scheduler import Scheduler
from contivpp_core.scheduler.graph import Node
from contivpp_core.tasks import end
from contivpp_linux.items import (
    Address,
    LinkUp,
    Mac,
    Mtu,
    Neighbour,
    Offload,
    Route,
    Settled,
    Sysctl,
    Veth,
    link_key,
    link_up_key,
)
from contivpp_linux.kernel.values import Link, LinkChanged, LinkEvent, LinkEventsLost, LinkGone

__all__ = ["LinkGuard"]

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05

_ALL = tuple(item.kind for item in (Veth, LinkUp, Mtu, Mac, Address, Route, Neighbour, Sysctl, Offload, Settled))
_UP = (LinkUp.kind, Address.kind, Route.kind, Neighbour.kind)


class LinkGuard:
    """Turns link events into checks by the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._kinds: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def take(self, event: LinkEvent) -> None:
        """Judge an event."""
        match event:
            case LinkEventsLost():
                self._check(_ALL)
            case LinkGone(link=link):
                if self._at_rest(link_key(HOST, link.name)) is not None:
                    self._check(_ALL)
            case LinkChanged(link=link):
                self._check(self._changed(link))

    async def stop(self) -> None:
        """End what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        await end(self._task)

    def _at_rest(self, key: str) -> Node | None:
        """Return who provides a key, if no operation for it is under way and it is to stay."""
        node = self._scheduler.graph.provider(key)
        return None if node is None or node.running or node.desired is None else node

    def _changed(self, link: Link) -> Iterable[str]:
        if self._at_rest(link_up_key(HOST, link.name)) is not None and not link.up:
            yield from _UP
        for kind, value in ((Mtu.kind, link.mtu), (Mac.kind, link.mac)):
            node = self._at_rest(f"{kind}/{HOST}/{link.name}")
            if node is not None and node.actual is not None:
                item = node.actual.item
                if (isinstance(item, Mtu) and item.mtu != value) or (isinstance(item, Mac) and item.mac != value):
                    yield kind

    def _check(self, kinds: Iterable[str]) -> None:
        self._kinds.update(dict.fromkeys(kinds))
        if self._kinds and self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._run(), name="linux-link-check")

    async def _run(self) -> None:
        try:
            while self._kinds:
                kinds, self._kinds = [kind for kind in _ALL if kind in self._kinds], {}
                for kind in kinds:
                    await self._one(kind)
        finally:
            self._task = None
            self._scheduler.pump()  # who waits for quiet is told: a check that finds nothing wakes nobody

    async def _one(self, kind: str) -> None:
        if self._scheduler.domain_state().get("linux", "unknown"):
            return  # it is about to be read as a whole
        try:
            await self._scheduler.check(kind)
        except Exception:  # the next event or resync sees it again
            log.exception("a kind could not be checked after a link event", extra={"kind": kind})
