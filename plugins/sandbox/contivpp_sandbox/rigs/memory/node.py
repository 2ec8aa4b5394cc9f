# SPDX-License-Identifier: Apache-2.0
"""One node in memory: a kernel, an embedded VPP, and an agent that reaches both as it would reach real ones.

The agent speaks VPP's binary API over a transport in memory. An agent that is killed says and stores nothing after
its death: its connections and its ledger are closed first, and its kernel refuses; only then are its tasks ended. The
next agent gets what was stored.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any, cast

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.agent import Agent
from contivpp_core.items import AnyDescriptor
from contivpp_core.kvstore import KVStore
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_datastore.plugin import DatastorePlugin
from contivpp_ipam.plugin import IpamPlugin
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.operations import Add, Operation, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Address
from contivpp_linux.plugin import LinuxPlugin
from contivpp_sandbox.plugin import SandboxPlugin
from contivpp_sandbox.rigs.base import RigError
from contivpp_sandbox.rigs.layout import (
    MAIN_INTERFACE,
    MANAGEMENT_LINK,
    MANAGEMENT_PREFIX,
    UPLINK,
    management_address,
)
from contivpp_sandbox.rigs.memory.devices import MemoryDevices
from contivpp_sandbox.rigs.memory.gate import KernelGate, StoreGate
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.servers import EVERY_PORT
from contivpp_sandbox.rigs.memory.stack import Host
from contivpp_sandbox.rigs.memory.underlay import Switch
from contivpp_vpp.plugin import VppPlugin
from contivpp_vpp.transports import Connect, ProtocolFactory, in_memory
from embeddedvpp.api import ApiSession, Vpp
from embeddedvpp.dataplane import Dataplane

__all__ = ["Edges", "MemoryNode"]

FIRST_PID = 1000
HOST_NAMESPACE = ""
_MANAGEMENT_MTU = 1500


class Edges:
    """Where tests put something between an agent and its dataplanes; by default nothing."""

    def way(self, node: str, connect: Connect) -> Connect:
        """Return the way from a node's agent to its VPP."""
        return connect

    def descriptor(self, node: str, descriptor: AnyDescriptor) -> AnyDescriptor:
        """Return what a node's agent uses in place of a descriptor."""
        return descriptor


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
    """A machine: a kernel with the links `uplink0` and `mgmt0`, and what runs on it.

    `hosts` are the stacks on it by the path of their namespace; the node's own is at "".
    """

    def __init__(
        self,
        name: str,
        position: int,
        config: Mapping[str, Any],
        *,
        notes: Notes,
        underlay: Switch,
        store: KVStore,
        edges: Edges,
    ) -> None:
        self.name = name
        self.kernel = MemoryKernel()
        self.agent: Agent | None = None
        self.vpp: Vpp | None = None
        self.hosts: dict[str, Host] = {}
        self._position = position
        self._config = _agent_config(name, config, underlay.mtu)
        self._notes = notes
        self._underlay = underlay
        self._store = store
        self._edges = edges
        self._gate, self._store_gate = KernelGate(self.kernel), StoreGate(store)
        self._ledger = StoredLedger()
        self._devices: MemoryDevices | None = None
        self._connections: set[_ApiPeer] = set()
        self._pid = FIRST_PID * position

    @property
    def host(self) -> Host:
        """The node's own stack."""
        return self.hosts[HOST_NAMESPACE]

    def running(self) -> Agent:
        """Return the agent, or raise RigError."""
        if self.agent is None:
            raise RigError(f"no agent runs on {self.name}")
        return self.agent

    async def start(self) -> None:
        """Switch the machine on: the host's own stack, VPP, then the agent."""
        await self._start_host()
        self.start_vpp()
        await self.start_agent()

    async def stop(self) -> None:
        """Stop the agent, then VPP."""
        if self.agent is not None:
            agent, self.agent = self.agent, None
            await agent.stop()
        self.stop_vpp()

    async def switch_off(self) -> None:
        """End everything on the machine without asking."""
        self._underlay.disconnect(self.name)
        await self.stop_agent(kill=True)
        self.stop_vpp()

    async def _start_host(self) -> None:
        mac = f"{self._position:04x}"
        uplink = self.kernel.plug(
            HOST_NAMESPACE, UPLINK, f"02:0a:00:00:{mac[:2]}:{mac[2:]}", self._underlay.mtu, _nowhere
        )
        self._underlay.connect(self.name, uplink)
        self.kernel.plug(
            HOST_NAMESPACE, MANAGEMENT_LINK, f"02:0c:00:00:{mac[:2]}:{mac[2:]}", _MANAGEMENT_MTU, _nowhere
        )
        address = ip_interface(f"{management_address(self._position)}/{MANAGEMENT_PREFIX}")
        setup: list[Operation] = [
            SetLink(link="lo", up=True),
            SetLink(link=MANAGEMENT_LINK, up=True),
            Add(Address(MANAGEMENT_LINK, address)),
        ]
        raise_errors(await self.kernel.apply(HOST_NAMESPACE, setup))
        clock = asyncio.get_running_loop().time
        host = Host(f"node:{self.name}", uplink.namespace, ports=EVERY_PORT, notes=self._notes, time=clock)
        self.hosts[HOST_NAMESPACE] = host
        host.attach()

    def attach(self) -> None:
        """Let all stacks listen at the links that there are now."""
        for host in self.hosts.values():
            host.attach()

    def _plugged(self, path: str) -> None:
        if host := self.hosts.get(path):
            host.attach()

    def _owner(self, path: str) -> str:
        host = self.hosts.get(path)
        return host.name if host is not None else ""

    # --- VPP

    def start_vpp(self) -> None:
        """Start a new VPP, which knows nothing but the NIC, as its start-up configuration makes it."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        dataplane = Dataplane(time=clock)
        self._pid += 1
        self._devices = MemoryDevices(
            self.kernel, dataplane, notes=self._notes, node=self.name, plugged=self._plugged, owner=self._owner
        )
        self.vpp = Vpp(dataplane, devices=self._devices, time=lambda: clock() - begin, pid=self._pid)
        self._devices.create_af_packet(UPLINK, None)  # VPP makes up another MAC at each start

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
        self._gate, self._store_gate = KernelGate(self.kernel), StoreGate(self._store)
        former, self._ledger = self._ledger, StoredLedger()
        await self._ledger.commit(*former.stored.values())
        plugins = [
            VppPlugin(self._edges.way(self.name, self._connect)),
            LinuxPlugin(self._gate),
            IpamPlugin(),
            DatastorePlugin(self._store_gate),
            ContivPlugin(serve=False),
            SandboxPlugin(),
        ]
        self.agent = Agent(self._config, plugins, ledger=self._ledger, serve=False)
        descriptors = self.agent.scheduler.descriptors
        descriptors.update({kind: self._edges.descriptor(self.name, each) for kind, each in descriptors.items()})
        await self.agent.start()

    async def stop_agent(self, *, kill: bool) -> None:
        """Stop the agent, or kill it."""
        agent, self.agent = self.agent, None
        if agent is None:
            return
        if kill:
            self._gate.shut()
            self._store_gate.shut()
            self._hang_up()
            await self._ledger.close()
        await agent.stop()


def _nowhere(frame: bytes) -> None:
    """A link that leads to nobody."""


def _agent_config(name: str, config: Mapping[str, Any], mtu: int) -> dict[str, Any]:
    """Return an agent's configuration: the scenario's settings, and those that only the rig knows."""
    settings = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    contiv = settings.setdefault("contiv", {})
    contiv["mainInterface"] = MAIN_INTERFACE
    contiv.setdefault("underlayMTU", mtu)
    plugins = ["vpp", "linux", "ipam", "datastore", "contiv", "sandbox"]
    return {**settings, "nodeName": name, "plugins": plugins}
