# SPDX-License-Identifier: Apache-2.0
"""The plugin object: brings the kernel, the descriptors and the scheduler together.

The domain `linux` is read when every plugin has started, because only then it is known which namespaces to read: what
was stored is rendered by then. It is read again whenever VPP is a new process, as links that VPP made may have gone
with the old one, or stayed; the kernel has the last word. A reading that fails is tried again.

What the host has by itself is in the tables `HostAddress` and `HostRoute`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from contivpp_core.errors import ContivError
from contivpp_core.events import VppConnected
from contivpp_core.items import AnyDescriptor
from contivpp_core.namespaces import Namespace
from contivpp_core.node import HOST_ADDRESS, HOST_ROUTE
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.tasks import end
from contivpp_linux.descriptors import all_descriptors
from contivpp_linux.edge import Edge
from contivpp_linux.host import HostTables
from contivpp_linux.kernel.netlink import NetlinkKernel
from contivpp_linux.kernel.protocol import Kernel
from contivpp_linux.sightings import Sighting, Sightings
from contivpp_linux.watch import LinkGuard

if TYPE_CHECKING:
    from contivpp_core.agent import Agent

__all__ = ["LinuxPlugin", "plugin"]

log = logging.getLogger(__name__)

DOMAIN = "linux"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 30.0
VPP_SECONDS, POLL_SECONDS = 5.0, 0.005  # how long a new VPP may take to be read


class LinuxPlugin(Plugin):
    """Linux links, addresses, routes, neighbours, sysctls and offloads; with another kernel, in a rig."""

    name: ClassVar[str] = "linux"
    sources: ClassVar[tuple[str, ...]] = (HOST_ADDRESS.name, HOST_ROUTE.name)

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._given = kernel
        self._kernel: Kernel | None = None
        self._agent: Agent | None = None
        self._edge = Edge(self._provided, self._sighted)
        self._guard: LinkGuard | None = None
        self._host: HostTables | None = None
        self._sightings: Sightings | None = None
        self._unwatch: list[Callable[[], None]] = []
        self._reader: asyncio.Task[None] | None = None
        self._reasons: list[str] = []
        self._boot = ""
        self._vpp = ""
        self._after_vpp = False  # the domain is to be read after VPP's
        self._all_started = False

    @property
    def kernel(self) -> Kernel:
        """The kernel's edge, from this plugin's start on; for questions that other plugins have."""
        if self._kernel is None:
            raise ContivError("the linux plugin has not started: put 'linux' into 'requires'")
        return self._kernel

    def watch_settled(self, callback: Callable[[Sighting], None], keen: Callable[[Namespace, str], bool]) -> None:
        """Tell what is on settled links: at each reading of the domain, and soon after somebody changes one.

        `keen` says which links are to be read when they are made anew, too.
        """
        if self._sightings is None:
            raise ContivError("the linux plugin has not started: put 'linux' into 'requires'")
        self._sightings.watch(callback, keen)

    def look(self, namespace: Namespace, link: str) -> None:
        """Read a settled link soon, and tell."""
        if self._sightings is not None:
            self._sightings.look(namespace, link)

    @hookimpl
    def descriptors(self, agent: Agent) -> Iterable[AnyDescriptor]:
        """The kinds of `contivpp_linux.items`."""
        self._agent = agent
        return all_descriptors(self._edge)

    async def start(self, agent: Agent) -> None:
        """Open the kernel's edge, and begin to read what the host has by itself; nothing is sent yet."""
        self._agent = agent
        self._kernel = self._given if self._given is not None else NetlinkKernel()
        self._boot = "memory" if self._given is not None else await asyncio.to_thread(_boot_id)
        self._edge.open(self._kernel)
        self._guard = LinkGuard(agent.scheduler)
        self._sightings = Sightings(agent.scheduler, self._kernel)
        self._unwatch.append(self._kernel.watch_links(self._guard.take))
        self._unwatch.append(self._kernel.watch_followed(self._sightings.take))
        self._host = HostTables(agent, self._kernel)
        self._host.start()

    @hookimpl
    def agent_started(self) -> None:
        """Every plugin has started: read the domain."""
        self._all_started = True
        self._read("start")

    @hookimpl
    def vpp_connected(self, event: VppConnected) -> None:
        """VPP may be a new one, with or without the links of the old one."""
        if event.incarnation != self._vpp:
            self._after_vpp = self._vpp != ""
            self._vpp = event.incarnation
            if self._all_started:  # before, it is not known which namespaces to read
                self._read("VPP is connected")

    async def stop(self) -> None:
        """Wait for running calls; what is in the kernel stays."""
        for unwatch in self._unwatch:
            unwatch()
        if self._agent is not None:
            self._agent.scheduler.domain_down(DOMAIN, "the linux plugin is stopped")
        for helper in (self._guard, self._sightings, self._host):
            if helper is not None:
                await helper.stop()
        await end(self._reader)
        await self._edge.close()
        if self._kernel is not None and self._given is None:
            await self._kernel.close()
        self._kernel = None

    def _provided(self, key: str) -> bool:
        return self._agent is not None and self._agent.scheduler.graph.provider(key) is not None

    def _sighted(self, sighting: Sighting) -> None:
        if self._sightings is not None:
            self._sightings.tell(sighting)

    # --- reading the domain

    def _read(self, reason: str) -> None:
        self._reasons.append(reason)
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read_all(), name="linux-resync")

    async def _read_all(self) -> None:
        """Read the domain until a reading succeeds that began after the last reason."""
        attempt = 0
        try:
            while self._reasons:
                reasons, self._reasons = self._reasons, []
                if error := await self._read_once(", ".join(reasons)):
                    self._reasons = [*reasons, *self._reasons]
                    log.warning("linux could not be read", extra={"error": error, "attempt": attempt + 1})
                    await asyncio.sleep(min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2**attempt))
                    attempt = min(attempt + 1, 10)
                else:
                    attempt = 0
        finally:
            self._reader = None

    async def _read_once(self, reason: str) -> str:
        assert self._agent is not None
        try:
            if self._after_vpp:
                await self._until_vpp_is_read()
            await self._agent.scheduler.domain_up(DOMAIN, self._boot, reason)
        except Exception as failure:  # shown, and tried again: without a reading nothing may be sent
            error = str(failure) or type(failure).__name__
            self._agent.set_condition(DOMAIN, False, f"the kernel cannot be read: {error}")
            return error
        self._agent.set_condition(DOMAIN, True, "")
        return ""

    async def _until_vpp_is_read(self) -> None:
        """Let what went with the old VPP be forgotten before links that stayed (persistent TAPs) are found."""
        assert self._agent is not None
        scheduler, self._after_vpp = self._agent.scheduler, False
        scheduler.domain_down(DOMAIN, "a new VPP is being read first")
        for _ in range(round(VPP_SECONDS / POLL_SECONDS)):
            if not scheduler.domain_state().get("vpp"):
                return
            await asyncio.sleep(POLL_SECONDS)


def _boot_id() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()


plugin = LinuxPlugin
"""The entry point: a class, so that each agent of a process has its own object."""
