# SPDX-License-Identifier: Apache-2.0
"""One node in memory: a kernel, an embedded VPP, and an agent that reaches both as it would reach real ones.

The agent speaks VPP's binary API over a transport in memory. An agent that is killed says and stores nothing after
its death: its connections and its ledger are closed first, and its kernel refuses; only then are its tasks ended. The
next agent gets what was stored.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping
from typing import Any, cast

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.agent import Agent
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_ipam.plugin import IpamPlugin
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.plugin import LinuxPlugin
from contivpp_sandbox.plugin import SandboxPlugin
from contivpp_sandbox.rigs.memory.devices import MemoryDevices
from contivpp_sandbox.rigs.memory.gate import KernelGate
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_vpp.plugin import VppPlugin
from contivpp_vpp.transports import ProtocolFactory, in_memory
from embeddedvpp.api import ApiSession, Vpp
from embeddedvpp.dataplane import Dataplane

__all__ = ["MemoryNode"]

FIRST_PID = 1000


class StoredLedger(Ledger):
    """A ledger in memory, whose content outlives its agent."""

    def __init__(self) -> None:
        super().__init__(None, None, None)
        self.stored: dict[tuple[str, str], LedgerWrite] = {}

    async def commit(self, *writes: LedgerWrite) -> None:
        """Store all writes or none."""
        await super().commit(*writes)
        for write in writes:
            self.stored[write.space, write.key] = write


class _ApiPeer(asyncio.Protocol):
    """VPP's end of a connection. All that came is handled at once, however long it takes: every run is the same."""

    def __init__(self, vpp: Vpp, connections: set[_ApiPeer]) -> None:
        self._vpp = vpp
        self._connections = connections
        self._session: ApiSession | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast("asyncio.Transport", transport)
        self._session = ApiSession(self._vpp, self._transport.write, on_close=self._transport.close)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Requests came."""
        if self._session is not None:
            self._session.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection, from either side."""
        self._connections.discard(self)
        if self._session is not None:
            self._session.close()


class MemoryNode:
    """A node; `plugged` and `owner` are explained in `devices`."""

    def __init__(
        self,
        name: str,
        node_id: int,
        config: Mapping[str, Any],
        *,
        notes: Notes,
        plugged: Callable[[str], None],
        owner: Callable[[str], str],
    ) -> None:
        self.name = name
        self.kernel = MemoryKernel()
        self.agent: Agent | None = None
        self.vpp: Vpp | None = None
        self._config = _agent_config(name, node_id, config)
        self._notes = notes
        self._plugged = plugged
        self._owner = owner
        self._gate = KernelGate(self.kernel)
        self._ledger = StoredLedger()
        self._devices: MemoryDevices | None = None
        self._connections: set[_ApiPeer] = set()
        self._pid = FIRST_PID * node_id

    async def start(self) -> None:
        """Start VPP, then the agent."""
        self.start_vpp()
        await self.start_agent()

    async def stop(self) -> None:
        """Stop the agent, then VPP."""
        if self.agent is not None:
            agent, self.agent = self.agent, None
            await agent.stop()
        self.stop_vpp()

    # --- VPP

    def start_vpp(self) -> None:
        """Start a new VPP, which knows nothing."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        dataplane = Dataplane(time=clock)
        self._pid += 1
        self._devices = MemoryDevices(
            self.kernel, dataplane, notes=self._notes, node=self.name, plugged=self._plugged, owner=self._owner
        )
        self.vpp = Vpp(dataplane, devices=self._devices, time=lambda: clock() - begin, pid=self._pid)

    def stop_vpp(self) -> None:
        """End VPP: its connections break, and its devices go."""
        self.vpp = None
        self._hang_up()
        if self._devices is not None:
            self._devices.vpp_ended()
            self._devices = None

    async def _connect(self, factory: ProtocolFactory) -> asyncio.Transport:
        vpp = self.vpp
        if vpp is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no VPP runs")
        return await in_memory(lambda: _ApiPeer(vpp, self._connections))(factory)

    def _hang_up(self) -> None:
        for connection in list(self._connections):
            connection.hang_up()

    # --- the agent

    async def start_agent(self) -> None:
        """Start an agent, with what the former one has stored."""
        self._gate = KernelGate(self.kernel)
        former, self._ledger = self._ledger, StoredLedger()
        await self._ledger.commit(*former.stored.values())
        plugins = [
            VppPlugin(self._connect),
            LinuxPlugin(self._gate),
            IpamPlugin(),
            ContivPlugin(serve=False),
            SandboxPlugin(),
        ]
        self.agent = Agent(self._config, plugins, ledger=self._ledger, serve=False)
        await self.agent.start()

    async def stop_agent(self, *, kill: bool) -> None:
        """Stop the agent, or kill it."""
        agent, self.agent = self.agent, None
        if agent is None:
            return
        if kill:
            self._gate.shut()
            self._hang_up()
            await self._ledger.close()
        await agent.stop()


def _agent_config(name: str, node_id: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent's configuration: the scenario's settings, and those that only the rig knows."""
    settings = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    contiv = settings.setdefault("contiv", {})
    contiv["nodeID"] = node_id
    plugins = ["vpp", "linux", "ipam", "contiv", "sandbox"]
    return {**settings, "nodeName": name, "plugins": plugins}
