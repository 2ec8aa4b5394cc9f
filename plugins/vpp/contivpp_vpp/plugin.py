# SPDX-License-Identifier: Apache-2.0
"""The plugin: one connection to VPP for the whole agent, and the descriptors that use it.

Whenever VPP is connected, everything in it is read and compared, then work begins; when the connection is lost,
work stops. If it is lost in the middle of reading, the next connection starts again. Other plugins use the same
connection: `client` (state the messages you need by `client.require`), `tap_support()`. VPP's own NICs are records in
the table `NetworkInterface`.

Rigs hand over a way to connect instead of a socket: `VppPlugin(connect=in_memory(peer))`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from contivpp_core.config import ConfigSection
from contivpp_core.events import VppConnected, VppLost
from contivpp_core.items import AnyDescriptor, Unavailable
from contivpp_core.metrics import Metric
from contivpp_core.node import NETWORK_INTERFACE
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.tasks import end
from contivpp_vpp import messages as m
from contivpp_vpp.access import VppAccess
from contivpp_vpp.client import Connected, VppClient
from contivpp_vpp.connection import Connection, ConnectionSettings
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.drift import InterfaceWatch
from contivpp_vpp.errors import NotConnected
from contivpp_vpp.incarnation import Incarnation
from contivpp_vpp.nics import Nics
from contivpp_vpp.own_metrics import connection_metrics
from contivpp_vpp.probe import TapSupport, probe_tap, recall, remember
from contivpp_vpp.settings import VppSettings
from contivpp_vpp.short_paths import ShortPaths
from contivpp_vpp.transports import Connect, ProtocolFactory, unix_socket

if TYPE_CHECKING:
    from contivpp_core.agent import Agent

__all__ = ["REQUIRED", "VppPlugin", "plugin"]

log = logging.getLogger(__name__)

DOMAIN = "vpp"
NAMESPACE_LINKS = "netns"  # beside the API socket
_SUBSCRIBED = -31  # INVALID_REGISTRATION: this connection asked for the events before
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 30.0

REQUIRED = (
    m.ControlPing, m.CliInband, m.WantInterfaceEvents, m.SwInterfaceEvent, m.SwInterfaceDump, m.SwInterfaceSetFlags,
    m.SwInterfaceSetMtu, m.SwInterfaceSetMacAddress, m.SwInterfaceAddDelAddress, m.SwInterfaceSetUnnumbered,
    m.SwInterfaceSetTable, m.SwInterfaceGetTable, m.SwInterfaceTagAddDel, m.CreateLoopbackInstance, m.DeleteLoopback,
    m.TapCreateV3, m.TapDeleteV2, m.SwInterfaceTapV2Dump, m.AfPacketCreateV3, m.AfPacketDelete, m.AfPacketDump,
    m.IpTableAddDel, m.IpTableDump, m.IpRouteAddDelV2, m.IpRouteV2Dump, m.IpAddressDump, m.IpUnnumberedDump,
    m.FibSourceAdd, m.FibSourceDump, m.IpNeighborAddDel, m.IpNeighborDump, m.IpNeighborConfig, m.IpNeighborConfigGet,
    m.CreateSubif, m.DeleteSubif, m.VxlanAddDelTunnelV3, m.VxlanTunnelV2Dump, m.BridgeDomainAddDelV2, m.BridgeFlags,
    m.BridgeDomainDump, m.SwInterfaceSetL2Bridge, m.L2fibAddDel, m.L2FibTableDump,
)  # fmt: skip
"""Every message of this plugin: a VPP that lacks one counts as not there, before anything is programmed."""


class VppPlugin(Plugin):
    """Connects, reads, repairs. `connect` replaces the API socket of the configuration."""

    name = "vpp"
    sources: ClassVar[tuple[str, ...]] = (NETWORK_INTERFACE.name,)

    def __init__(self, connect: Connect | None = None) -> None:
        self._connect = connect
        self._access = VppAccess()
        self._client: VppClient | None = None
        self._agent: Agent | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[TapSupport] | None = None
        self._identity: tuple[Incarnation, str] | None = None
        self._watch: InterfaceWatch | None = None
        self._nics: Nics | None = None
        self._all_started = asyncio.Event()

    # --- for other plugins

    @property
    def client(self) -> VppClient:
        """The shared client, from this plugin's start on."""
        if self._client is None:
            raise NotConnected("the vpp plugin has not started: put 'vpp' into 'requires'")
        return self._client

    async def tap_support(self) -> TapSupport:
        """Tell whether this VPP can make TAPs; tried once for each VPP. Raises VppConnectionError without a VPP."""
        assert self._agent is not None
        incarnation = self.client.connection.incarnation
        if known := recall(self._agent.ledger, incarnation):
            return known
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._try_tap(incarnation), name="vpp tap probe")
            self._probe.add_done_callback(lambda task: task.cancelled() or task.exception())  # maybe nobody waits
        return await asyncio.shield(self._probe)  # it goes to its end, whoever gives up: the TAP must go again

    async def _try_tap(self, incarnation: Incarnation) -> TapSupport:
        assert self._agent is not None
        support = await probe_tap(self.client.connection)
        await remember(self._agent.ledger, incarnation, support)
        log.info("VPP %s TAPs", "can make" if support.usable else "cannot make", extra={"reason": support.reason})
        return support

    # --- contributions

    @hookimpl
    def config_section(self) -> ConfigSection:
        unplanned = ("apiSocket", "statsSocket", "cliSocket", "requestTimeout", "persistentTaps")
        return ConfigSection("vpp", VppSettings, unplanned)

    @hookimpl
    def descriptors(self, agent: Agent) -> Iterable[AnyDescriptor]:
        settings = agent.config.section("vpp", VppSettings)
        paths = ShortPaths(Path(settings.api_socket).parent / NAMESPACE_LINKS)
        return all_descriptors(self._access, persistent_taps=settings.persistent_taps, paths=paths)

    @hookimpl
    def metrics(self) -> list[Metric]:
        return connection_metrics(self._connection)

    def _connection(self) -> Connection | None:
        client = self._access.client
        return client if isinstance(client, Connection) and client.alive else None

    # --- life

    async def start(self, agent: Agent) -> None:
        """Begin to connect; nothing waits for VPP here."""
        settings = agent.config.section("vpp", VppSettings)
        self._agent = agent
        agent.set_condition("vpp", False, "has not been connected yet")
        way = self._connect or unix_socket(settings.api_socket)
        where = "the given transport" if self._connect else settings.api_socket
        limits = ConnectionSettings(timeout=settings.request_timeout)
        self._client = VppClient(self._telling(way, where), settings=limits)
        self._client.require(*REQUIRED)
        self._watch = InterfaceWatch(agent.scheduler, self._access, self._reread)
        self._nics = Nics(agent, self._access)
        self._client.subscribe(m.SwInterfaceEvent, self._watch.note)
        self._client.subscribe(m.SwInterfaceEvent, self._nics.note)
        self._client.listen(connected=self._connected, lost=self._lost)
        self._spawn(self._client.run(), "vpp client")

    @hookimpl
    def agent_started(self) -> None:
        """Every plugin has started, and what was stored is rendered: VPP may be read."""
        self._all_started.set()

    async def stop(self) -> None:
        """End the connection; what is in VPP stays."""
        self._access.client = None
        for helper in (self._watch, self._nics):
            if helper is not None:
                await helper.stop()
        await end(*self._tasks, self._probe)

    def _spawn(self, work: asyncio._CoroutineLike[None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _telling(self, connect: Connect, where: str) -> Connect:
        """Return the way to connect, which tells in the readiness why it is not possible now."""

        async def telling(factory: ProtocolFactory) -> asyncio.Transport:
            assert self._agent is not None
            try:
                return await connect(factory)
            except OSError as error:
                self._agent.set_condition("vpp", False, f"cannot connect to {where}: {error.strerror or error}")
                raise

        return telling

    # --- coming and going

    def _connected(self, news: Connected) -> None:
        assert self._agent is not None
        self._access.client = news.connection
        identity = self._identify(news.incarnation)
        self._agent.set_condition("vpp", True)
        version = news.connection.version
        self._agent.hooks.emit("vpp_connected", VppConnected(version=version, incarnation=identity))
        self._read(identity, "VPP restarted" if news.restarted else "connected")

    def _identify(self, incarnation: Incarnation) -> str:
        """Return the same text as long as it is the same VPP, also where its start is only nearly known."""
        assert self._agent is not None
        if self._identity is None:
            noted = self._agent.scheduler.notes.incarnation(DOMAIN)
            same = incarnation.as_noted(noted, asyncio.get_running_loop().time())
            self._identity = incarnation, noted if same else incarnation.identity
        elif not self._identity[0].same(incarnation):
            self._identity = incarnation, incarnation.identity
        return self._identity[1]

    def _lost(self, error: Exception) -> None:
        assert self._agent is not None
        was_connected, self._access.client = self._access.client is not None, None
        if self._reading is not None:
            self._reading.cancel()
        self._agent.set_condition("vpp", False, str(error))
        self._agent.scheduler.domain_down(DOMAIN, f"VPP is not connected: {error}")
        if was_connected:
            self._agent.hooks.emit("vpp_lost", VppLost(reason=str(error)))

    def _reread(self, reason: str) -> None:
        """Something of ours vanished: read everything, so that what dangles goes before an index is used again."""
        if self._identity is not None and self._access.client is not None:
            self._read(self._identity[1], reason)

    def _read(self, identity: str, reason: str) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = self._spawn(self._read_until_done(identity, reason), "vpp resync")

    async def _read_until_done(self, identity: str, reason: str) -> None:
        """Read VPP; a connection that is lost meanwhile ends this, and its successor begins anew."""
        assert self._agent is not None
        assert self._nics is not None
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                await self._access.ensure(m.WantInterfaceEvents(pid=os.getpid()), _SUBSCRIBED)
                await self._nics.connected(self.client.connection.incarnation)
                await self._all_started.wait()  # settings are found only if it is known who wants them
                await self._agent.scheduler.domain_up(DOMAIN, identity, reason)
            except Exception as error:  # whatever it is: without a reading nothing may be sent
                if isinstance(error, Unavailable) and self._access.client is None:
                    log.info("the connection to VPP was lost while it was read")
                    return
                log.exception("VPP could not be read; it is tried again")
                self._agent.set_condition("vpp", False, f"VPP could not be read: {error}")
                await asyncio.sleep(delay)
                delay = min(2 * delay, LAST_RETRY_SECONDS)
            else:
                self._agent.set_condition("vpp", True)
                return


plugin = VppPlugin
