# SPDX-License-Identifier: Apache-2.0
"""What VPP tells about interfaces, against what is believed of them.

Most events are echoes of what the agent does itself. They are collected for a moment, and compared with the graph:
only what contradicts it is drift. An interface of ours that was deleted by hand needs everything to be read,
because what pointed to it dangles; a link that was set by hand needs a check of the link states. When somebody else's
interface goes, its place may be free for an item that found it taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from contivpp_core.items import Unavailable
from contivpp_core.scheduler import Scheduler
from contivpp_core.scheduler.graph import ItemState, Node
from contivpp_core.tasks import end
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors.base import SPACE
from contivpp_vpp.errors import VppConnectionError
from contivpp_vpp.items import LinkUp, VxlanTunnel, interface_key
from contivpp_vpp.messages import IfStatusFlags, SwInterfaceDump, SwInterfaceEvent

__all__ = ["InterfaceWatch"]

log = logging.getLogger(__name__)

COLLECT_SECONDS = 0.05


class InterfaceWatch:
    """Collects events and has drift repaired; `reread` reads all of VPP again."""

    def __init__(self, scheduler: Scheduler, vpp: VppAccess, reread: Callable[[str], None]) -> None:
        self._scheduler = scheduler
        self._vpp = vpp
        self._reread = reread
        self._deleted: set[int] = set()
        self._up: dict[int, bool] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, event: SwInterfaceEvent) -> None:
        """Take an event."""
        if event.deleted:
            self._deleted.add(event.sw_if_index)
            self._up.pop(event.sw_if_index, None)
        else:
            self._up[event.sw_if_index] = bool(event.flags & IfStatusFlags.ADMIN_UP)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="vpp interface events")

    async def stop(self) -> None:
        """End the work."""
        await end(self._task)

    async def _work(self) -> None:
        while self._deleted or self._up:
            await asyncio.sleep(COLLECT_SECONDS)
            deleted, self._deleted = self._deleted, set()
            up, self._up = self._up, {}
            try:
                await self._compare(deleted, up)
            except Unavailable:
                return  # all of it will be read when VPP is back
            except VppConnectionError:
                log.exception("interface events could not be compared with what is believed")

    async def _compare(self, deleted: set[int], up: dict[int, bool]) -> None:
        if self._scheduler.domain_state().get("vpp", ""):
            return  # it is being read, or will be
        believed = self._believed()
        if deleted - believed.keys():
            for kind in self._conflicts():
                await self._scheduler.check(kind)
        if suspects := [believed[index] for index in sorted(deleted) if index in believed]:
            there = {(each.sw_if_index, each.tag) for each in await self._vpp.dump(SwInterfaceDump())}
            tags = {index for index, tag in there if tag}
            gone = [node for node in suspects if node.actual and node.actual.handle not in tags]
            if gone:
                log.warning("an interface was deleted in VPP", extra={"keys": [node.key for node in gone]})
                self._reread(f"{gone[0].key} was deleted in VPP")
                return
        if any(self._contradicts(believed[index], state) for index, state in up.items() if index in believed):
            await self._scheduler.check(LinkUp.kind)

    def _believed(self) -> dict[int, Node]:
        """Return the interfaces that are there, and that no operation is changing, by index."""
        nodes = [node for node in self._scheduler.graph if node.descriptor.space == SPACE]
        return {node.actual.handle: node for node in nodes if node.actual is not None and not node.running}

    def _conflicts(self) -> list[str]:
        """Return the kinds of interfaces that found their place taken."""
        nodes = (node for node in self._scheduler.graph if node.state is ItemState.CONFLICT)
        return sorted({node.descriptor.kind for node in nodes if node.descriptor.space == SPACE})

    def _contradicts(self, interface: Node, up: bool) -> bool:
        assert interface.actual is not None
        prefix = interface_key("")
        name = next(key for key in interface.actual.provides if key.startswith(prefix)).removeprefix(prefix)
        link = self._scheduler.graph.nodes.get(f"{LinkUp.kind}/{name}")
        if link is None:
            return up and interface.descriptor.kind != VxlanTunnel.kind  # VPP makes those up
        if link.running or (link.actual is None and link.desired is not None):
            return False  # it is being set, or will be
        return (link.actual is not None) != up
