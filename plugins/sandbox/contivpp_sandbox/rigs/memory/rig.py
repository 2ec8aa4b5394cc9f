# SPDX-License-Identifier: Apache-2.0
"""The rig in memory, as scenarios drive it: it plays kubelets and API server for nodes on one underlay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from contivpp_core.kvstore import KVStoreError
from contivpp_datastore.plugin import DatastorePlugin
from contivpp_sandbox.rigs.base import (
    DEFAULT_UNDERLAY,
    KubernetesObject,
    ObjectReference,
    Probe,
    Restartable,
    RigError,
    Underlay,
    Verdict,
)
from contivpp_sandbox.rigs.layout import node_object
from contivpp_sandbox.rigs.memory.addresses import Addresses
from contivpp_sandbox.rigs.memory.apiserver import ApiServer, reference_of
from contivpp_sandbox.rigs.memory.kubelet import Kubelets
from contivpp_sandbox.rigs.memory.node import Edges, MemoryNode
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.outside import OutsideHosts
from contivpp_sandbox.rigs.memory.pods import Sandbox, declared, served_ports, with_status
from contivpp_sandbox.rigs.memory.prober import Prober
from contivpp_sandbox.rigs.memory.settling import settled, unapplied
from contivpp_sandbox.rigs.memory.stack import Host
from contivpp_sandbox.rigs.memory.underlay import Switch

__all__ = ["MemoryRig"]

_GRACE_SECONDS = 0.2  # events that are on their way arrive
_SEEN_SECONDS = 5.0  # in which an agent sees a pod's object, before the kubelet connects the pod


class MemoryRig:
    """Nodes in this process. Run it on a `SimulatedLoop`: it waits a lot, and time costs nothing there.

    `underlay` is the switch between the nodes, whose stations have the nodes' names: a test may cut it into parts.
    `edges` puts faults between agents and dataplanes.
    """

    name = "memory"

    def __init__(self, edges: Edges | None = None) -> None:
        self.notes = Notes()
        self._edges = edges or Edges()
        self.nodes: dict[str, MemoryNode] = {}
        self.api = ApiServer()
        self.kubelets = Kubelets(self.nodes, self.notes)
        self._names: list[str] = []
        self._config: Mapping[str, Any] = {}
        self._underlay: Switch | None = None
        self._addresses: Addresses | None = None
        self._outside: OutsideHosts | None = None

    @property
    def sandboxes(self) -> dict[str, Sandbox]:
        """The pods that there are."""
        return self.kubelets.sandboxes

    @property
    def node(self) -> MemoryNode:
        """The first node."""
        return _started(next(iter(self.nodes.values()), None))

    @property
    def underlay(self) -> Switch:
        """The switch between the nodes."""
        return _started(self._underlay)

    @property
    def addresses(self) -> Addresses:
        """Whose which address is."""
        return _started(self._addresses)

    # --- life

    async def start(
        self, nodes: Sequence[str], config: Mapping[str, Any], underlay: Underlay = DEFAULT_UNDERLAY
    ) -> None:
        """Build the nodes, and wait until their agents run."""
        self._names, self._config = list(nodes), config
        self._underlay = Switch(mtu=underlay.mtu, loss=underlay.loss, notes=self.notes)
        self._addresses = Addresses(nodes, self.nodes, self.kubelets, config)
        self._outside = OutsideHosts(self._underlay, self._addresses.link, self.notes)
        await self._join(dict.fromkeys(nodes))

    async def stop(self) -> None:
        """Take everything down."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        self.api.store.close()

    async def _join(self, nodes: Mapping[str, KubernetesObject | None]) -> None:
        """Let nodes join, all at once; their objects may say more than names and addresses."""
        ids = {name: await self.api.claim(name) for name in nodes}
        for name in nodes:
            self.nodes[name] = MemoryNode(
                name,
                self._position(name),
                self._config,
                notes=self.notes,
                underlay=self.underlay,
                store=self.api.store,
                edges=self._edges,
            )
        shown = [node_object(name, self._position(name), found, node_id=ids[name]) for name, found in nodes.items()]
        await self.api.put(shown)
        await asyncio.gather(*(self.nodes[name].start() for name in nodes))

    async def _leave(self, name: str) -> None:
        node = self._node(name)
        await node.switch_off()
        del self.nodes[name]
        await self.api.forget(name)
        pods = self.kubelets.gone_with(name)
        gone = [ObjectReference("Pod", pod.namespace, pod.name) for pod in pods]
        await self.api.delete([*gone, ObjectReference("Node", "", name)])

    def _position(self, name: str) -> int:
        if name not in self._names:
            raise RigError(f"there is no node {name}: nodes are {', '.join(self._names)}")
        return self._names.index(name) + 1

    def _node(self, name: str) -> MemoryNode:
        if name not in self.nodes:
            self._position(name)
            raise RigError(f"node {name} has left")
        return self.nodes[name]

    # --- the API server's part

    async def apply(self, objects: Sequence[KubernetesObject]) -> None:
        """Create or change objects; nodes join, and new pods are connected, all at once."""
        joining: dict[str, KubernetesObject] = {}
        shown: list[KubernetesObject] = []
        created: list[Sandbox] = []
        for found in objects:
            reference = reference_of(found)
            if reference.kind == "Pod":
                created += self._take_pod(reference, found)
                shown.append(with_status(self.sandboxes[f"{reference.namespace}/{reference.name}"]))
            elif reference.kind == "Node" and reference.name not in self.nodes:
                joining[reference.name] = found
            elif reference.kind == "Node":
                place = self._position(reference.name)
                shown.append(node_object(reference.name, place, found, node_id=self.api.id_of(reference.name)))
            else:
                shown.append(found)
        if joining:
            await self._join(joining)
        await self.api.put(shown)
        await self._connect(created)

    def _take_pod(self, reference: ObjectReference, found: KubernetesObject) -> list[Sandbox]:
        """Keep a pod's object; return its sandbox if that is new."""
        sandbox = self.sandboxes.get(f"{reference.namespace}/{reference.name}")
        if sandbox is None:
            generation = self.kubelets.next_generation()
            sandbox = Sandbox(reference.namespace, reference.name, generation, found)
            self.sandboxes[sandbox.key] = sandbox
            return [sandbox]
        sandbox.found = found
        if sandbox.host is not None:
            sandbox.host.servers.ports = served_ports(declared(found))
        return []

    async def delete(self, references: Sequence[ObjectReference]) -> None:
        """Delete objects; pods are told to end, disconnected, and then gone; nodes are switched off."""
        pods = [self.kubelets.get(f"{ref.namespace}/{ref.name}") for ref in references if ref.kind == "Pod"]
        await self.api.put(with_status(sandbox, deleting=True) for sandbox in pods)
        await asyncio.gather(*(self.kubelets.disconnect(sandbox) for sandbox in pods))
        for sandbox in pods:
            del self.sandboxes[sandbox.key]
        await self.api.delete(reference for reference in references if reference.kind != "Node")
        for reference in references:
            if reference.kind == "Node":
                await self._leave(reference.name)

    async def _connect(self, sandboxes: Iterable[Sandbox]) -> None:
        """Connect pods whose objects the agents know by now, as they do by the time a kubelet acts."""
        wanted = list(sandboxes)
        await self._seen({node.name for pod in wanted if (node := self.kubelets.node_of(pod)) is not None})
        connected = await self.kubelets.connect_all(wanted)
        await self.api.put(with_status(sandbox) for sandbox in connected)

    async def _seen(self, names: Iterable[str]) -> None:
        revision = self.api.store.revision
        for name in names:
            mirror = self._node(name).running().plugin("datastore")
            assert isinstance(mirror, DatastorePlugin)
            try:
                async with asyncio.timeout(_SEEN_SECONDS):
                    await mirror.caught_up(revision)
            except TimeoutError:
                return

    # --- restarts and time

    async def restart(self, what: Restartable, node: str | None, *, kill: bool) -> None:
        """Restart agent or VPP."""
        nodes = list(self.nodes.values()) if node is None else [self._node(node)]
        if what == "agent":
            await asyncio.gather(*(each.stop_agent(kill=kill) for each in nodes))
            await asyncio.gather(*(each.start_agent() for each in nodes))
        elif what == "vpp":
            for each in nodes:
                each.stop_vpp()
            await asyncio.sleep(_GRACE_SECONDS)
            for each in nodes:
                each.start_vpp()
        else:
            raise RigError(f"restarts of the {what} are not served yet")

    async def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        await asyncio.sleep(seconds)

    async def settle(self, deadline: float) -> list[str]:
        """Wait until all agents have settled on what all have published; return what is not applied."""
        await asyncio.sleep(_GRACE_SECONDS)
        late = await settled(self.nodes, self.api.store, deadline)
        if not late and (again := await self.kubelets.retry_failed()):
            await self.api.put(with_status(sandbox) for sandbox in again)
            late = await settled(self.nodes, self.api.store, deadline)
        for node in self.nodes.values():
            node.attach()
        lines = [line for node in self.nodes.values() for line in unapplied(node)]
        for key, sandbox in self.sandboxes.items():
            if sandbox.failure:
                lines.append(f"node {declared(sandbox.found).node}: pod {key}: {sandbox.failure}")
        return [*late, *lines]

    # --- probes

    async def probe(self, probe: Probe) -> Verdict:
        """Send a probe from a pod, a node, or an outside host."""
        with contextlib.suppress(KVStoreError):  # probes are sent during an outage as well
            self.addresses.refresh({name: await self.api.published(name) for name in self.nodes})
        source = await self._source(probe)
        if isinstance(source, Verdict):
            return source
        target = self.addresses.find(probe.target)
        if not target:
            failure = self.sandboxes[probe.target].failure if probe.target in self.sandboxes else ""
            return Verdict(verdict="denied", why=f"{probe.target} has no address: {failure or 'it never had one'}")
        if self.addresses.is_outside(target):
            await self._outside_host(target, "")
        return await Prober(self.notes, self.addresses.name).probe(source, target, probe)

    async def _source(self, probe: Probe) -> Host | Verdict:
        """Return the stack that a probe comes from, or why there is none."""
        kind, _, name = probe.source.partition(":")
        if "/" in probe.source:
            sandbox = self.kubelets.get(probe.source)
            if sandbox.host is None or not sandbox.address:
                why = f"{probe.source} is not connected: {sandbox.failure or 'no address'}"
                return Verdict(verdict="denied", why=why)
            return sandbox.host
        if kind == "node":
            return self._node(name).host
        if kind == "vpp":
            raise RigError(f"VPP sends no probes ({probe.source})")
        return await self._outside_host(self.addresses.find(probe.source), probe.via or next(iter(self.nodes)))

    async def _outside_host(self, address: int, via: str) -> Host:
        """Return an outside host; without `via` its way stays as it is, and a new one's is by the first node."""
        outside = _started(self._outside)
        if not via and not outside.knows_way(address):
            via = next(iter(self.nodes))
        return await outside.host(address, self.addresses.vpp(via) if via else None)


T = TypeVar("T")


def _started(part: T | None) -> T:
    if part is None:
        raise RigError("the rig is not started")
    return part
