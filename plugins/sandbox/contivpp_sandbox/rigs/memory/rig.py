# SPDX-License-Identifier: Apache-2.0
"""The rig in memory, as scenarios drive it: it plays kubelet and API server for one node."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.agent import Agent
from contivpp_core.state import Write
from contivpp_sandbox.objects import delete_write, full_list, put_write
from contivpp_sandbox.rigs.base import (
    CNI_CONFIG,
    DEFAULT_UNDERLAY,
    KubernetesObject,
    ObjectReference,
    Probe,
    Restartable,
    RigError,
    Underlay,
    Verdict,
    cni_environment,
)
from contivpp_sandbox.rigs.memory.node import MemoryNode
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.packets import dotted
from contivpp_sandbox.rigs.memory.pods import Sandbox, cni_address, cni_failure, declared, served_ports, with_status
from contivpp_sandbox.rigs.memory.prober import Prober
from contivpp_sandbox.rigs.memory.stack import Host

__all__ = ["MemoryRig"]

_APPLIED = ("applied", "shadowed")
_GRACE_SECONDS = 0.2  # events that are on their way arrive
_POLL_SECONDS = 0.05


class MemoryRig:
    """One node in this process. Run it on a `SimulatedLoop`: it waits a lot, and time costs nothing there."""

    name = "memory"

    def __init__(self) -> None:
        self.notes = Notes()
        self.sandboxes: dict[str, Sandbox] = {}
        self._node: MemoryNode | None = None
        self._objects: dict[ObjectReference, KubernetesObject] = {}
        self._addresses: dict[str, int] = {}  # of pods by name, also those that are gone
        self._names: dict[int, str] = {}
        self._hosts: dict[str, Host] = {}  # by the path of their namespace
        self._generation = 0
        self._prober = Prober(self.notes, self._name_of)

    @property
    def node(self) -> MemoryNode:
        """The node, from the start on."""
        if self._node is None:
            raise RigError("the rig is not started")
        return self._node

    # --- life

    async def start(
        self, nodes: Sequence[str], config: Mapping[str, Any], underlay: Underlay = DEFAULT_UNDERLAY
    ) -> None:
        """Build the node, and wait until its agent is ready."""
        if len(nodes) != 1:
            raise RigError(f"{len(nodes)} nodes are not served yet: give one node")
        self._node = MemoryNode(
            nodes[0], 1, config, notes=self.notes, plugged=self._plugged, owner=self._owner
        )
        await self._node.start()
        await self._deliver()

    async def stop(self) -> None:
        """Take everything down."""
        if self._node is not None:
            await self._node.stop()

    def _agent(self) -> Agent:
        if self.node.agent is None:
            raise RigError(f"no agent runs on {self.node.name}")
        return self.node.agent

    # --- the API server's part

    async def apply(self, objects: Sequence[KubernetesObject]) -> None:
        """Create or change objects; new pods of this node are connected, all at once."""
        created = []
        for found in objects:
            reference = _reference(found)
            if reference.kind != "Pod":
                self._objects[reference] = found
                continue
            key = f"{reference.namespace}/{reference.name}"
            sandbox = self.sandboxes.get(key)
            if sandbox is None:
                sandbox = Sandbox(reference.namespace, reference.name, self._next_generation(), found)
                self.sandboxes[key] = sandbox
                created.append(sandbox)
            else:
                sandbox.found = found
            if sandbox.host is not None:
                sandbox.host.servers.ports = served_ports(declared(found))
        await self._write([put_write(self._shown(_reference(found))) for found in objects])
        await self._connect_all(sandbox for sandbox in created if self._is_ours(sandbox))

    async def delete(self, references: Sequence[ObjectReference]) -> None:
        """Delete objects; pods are told to end, disconnected, and then gone."""
        pods = [self._sandbox(f"{ref.namespace}/{ref.name}") for ref in references if ref.kind == "Pod"]
        await self._write([put_write(with_status(sandbox, deleting=True)) for sandbox in pods])
        await asyncio.gather(*(self._disconnect(sandbox) for sandbox in pods))
        for sandbox in pods:
            del self.sandboxes[sandbox.key]
        for reference in references:
            self._objects.pop(reference, None)
        await self._write([delete_write(*reference) for reference in references])

    def _sandbox(self, key: str) -> Sandbox:
        if key not in self.sandboxes:
            raise RigError(f"there is no pod {key}")
        return self.sandboxes[key]

    def _shown(self, reference: ObjectReference) -> KubernetesObject:
        if reference.kind == "Pod":
            return with_status(self.sandboxes[f"{reference.namespace}/{reference.name}"])
        return self._objects[reference]

    async def _write(self, writes: Iterable[Write]) -> None:
        await self._agent().controller.write("scenario", list(writes))

    async def _deliver(self) -> None:
        """Tell a new agent everything that there is, as a list request does."""
        shown = [*self._objects.values(), *(with_status(sandbox) for sandbox in self.sandboxes.values())]
        await self._write(full_list(put_write(found) for found in shown))

    # --- the kubelet's part

    def _is_ours(self, sandbox: Sandbox) -> bool:
        pod = declared(sandbox.found)
        return pod.node == self.node.name and not pod.host_network

    def _next_generation(self) -> int:
        self._generation += 1
        return self._generation

    async def _connect_all(self, sandboxes: Iterable[Sandbox]) -> None:
        connected = list(sandboxes)
        await asyncio.gather(*(self._connect(sandbox) for sandbox in connected))
        await self._write([put_write(with_status(sandbox)) for sandbox in connected])

    async def _connect(self, sandbox: Sandbox) -> None:
        """Make a pod's sandbox, and connect it by CNI ADD; a failure is kept, and tried again later."""
        self.node.kernel.create_namespace(sandbox.netns)
        namespace = self.node.kernel.link(sandbox.netns, "lo").namespace
        ports = served_ports(declared(sandbox.found))
        clock = asyncio.get_running_loop().time
        host = Host(sandbox.key, namespace, ports=ports, notes=self.notes, time=clock)
        sandbox.host = self._hosts[sandbox.netns] = host
        code, result = await self._cni("ADD", sandbox)
        host.attach()
        if code:
            failure = f"CNI ADD failed: {cni_failure(result)}"
            await self._disconnect(sandbox)
            sandbox.failure = failure
            return
        sandbox.failure = ""
        sandbox.address = self._addresses[sandbox.key] = cni_address(result)
        self._names[sandbox.address] = sandbox.key

    async def _disconnect(self, sandbox: Sandbox) -> None:
        """Disconnect a pod by CNI DEL, and end its sandbox."""
        if sandbox.host is None:
            return
        code, result = await self._cni("DEL", sandbox)
        self.node.kernel.destroy_namespace(sandbox.netns)
        del self._hosts[sandbox.netns]
        sandbox.host = None
        if self._names.get(sandbox.address) == sandbox.key:
            del self._names[sandbox.address]
        sandbox.address = 0
        if code:
            raise RigError(f"pod {sandbox.key}: CNI DEL failed: {cni_failure(result)}")

    async def _cni(self, command: Literal["ADD", "DEL"], sandbox: Sandbox) -> tuple[int, bytes]:
        contiv = self._agent().plugin("contiv")
        assert isinstance(contiv, ContivPlugin)
        environment = cni_environment(
            command,
            container=sandbox.container,
            netns=sandbox.netns,
            namespace=sandbox.namespace,
            name=sandbox.name,
            uid=sandbox.uid,
        )
        return await contiv.serve_cni(environment, CNI_CONFIG)

    async def _retry_failed(self) -> bool:
        failed = [sandbox for sandbox in self.sandboxes.values() if sandbox.failure]
        for sandbox in failed:
            sandbox.renew(self._next_generation())
        if failed:
            await self._connect_all(failed)
        return bool(failed)

    def _owner(self, path: str) -> str:
        host = self._hosts.get(path)
        return host.name if host is not None else ""

    def _plugged(self, path: str) -> None:
        if host := self._hosts.get(path):
            host.attach()

    # --- restarts and time

    async def restart(self, what: Restartable, node: str | None, *, kill: bool) -> None:
        """Restart agent or VPP."""
        if node not in (None, self.node.name):
            raise RigError(f"there is no node {node}")
        if what == "agent":
            await self.node.stop_agent(kill=kill)
            await self.node.start_agent()
            await self._deliver()
        elif what == "vpp":
            self.node.stop_vpp()
            await asyncio.sleep(_GRACE_SECONDS)
            self.node.start_vpp()
        else:
            raise RigError(f"restarts of the {what} are not served yet")

    async def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        await asyncio.sleep(seconds)

    async def settle(self, deadline: float) -> list[str]:
        """Wait until the agent has settled; return what is not applied."""
        await asyncio.sleep(_GRACE_SECONDS)
        late = await self._until_settled(deadline)
        if not late and await self._retry_failed():
            late = await self._until_settled(deadline)
        for host in self._hosts.values():
            host.attach()
        return [*late, *self._unapplied()]

    async def _until_settled(self, deadline: float) -> list[str]:
        agent = self._agent()
        try:
            async with asyncio.timeout(deadline):
                while True:
                    await agent.controller.settled()
                    if agent.ready:
                        return []
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return [f"node {self.node.name}: not settled within {deadline:g} s"]

    def _unapplied(self) -> list[str]:
        agent = self._agent()
        lines = [f"{name}: {state.reason}" for name, state in sorted(agent.readiness().items()) if not state.ok]
        lines += [f"renderer {owner}: {error}" for owner, error in agent.engine.failures.items()]
        lines += [
            f"{item.key} is {item.state}: {item.reason}"
            for item in agent.scheduler.items()
            if item.state not in _APPLIED
        ]
        lines += [f"pod {key}: {sandbox.failure}" for key, sandbox in self.sandboxes.items() if sandbox.failure]
        return [f"node {self.node.name}: {line}" for line in lines]

    # --- probes

    async def probe(self, probe: Probe) -> Verdict:
        """Send a probe from a pod."""
        sandbox = self.sandboxes.get(probe.source)
        if sandbox is None:
            raise RigError(f"probes from {probe.source} are not served yet: give a pod that runs, as namespace/name")
        if sandbox.host is None or not sandbox.address:
            return Verdict(verdict="denied", why=f"{probe.source} is not connected: {sandbox.failure or 'no address'}")
        target = self._target(probe.target)
        if not target:
            failure = self.sandboxes[probe.target].failure if probe.target in self.sandboxes else ""
            return Verdict(verdict="denied", why=f"{probe.target} has no address: {failure or 'it never had one'}")
        return await self._prober.probe(sandbox.host, target, probe)

    def _target(self, target: str) -> int:
        try:
            return int(ipaddress.IPv4Address(target))
        except ValueError:
            return self._addresses.get(target, 0)

    def _name_of(self, address: int) -> str:
        return self._names.get(address) or dotted(address)


def _reference(found: KubernetesObject) -> ObjectReference:
    metadata = found["metadata"]
    kind = str(found["kind"])
    return ObjectReference(kind, str(metadata.get("namespace", "")) if kind == "Pod" else "", str(metadata["name"]))
