# SPDX-License-Identifier: Apache-2.0
"""The kubelets of a rig in memory: pods' sandboxes, connected by CNI ADD and disconnected by CNI DEL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

from contivpp_contiv.plugin import ContivPlugin
from contivpp_sandbox.rigs.base import CNI_CONFIG, RigError, cni_environment
from contivpp_sandbox.rigs.memory.node import MemoryNode
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.pods import Sandbox, cni_address, cni_failure, declared, served_ports
from contivpp_sandbox.rigs.memory.stack import Host

__all__ = ["Kubelets"]


class Kubelets:
    """The pods of all nodes by `namespace/name`, and who has which address."""

    def __init__(self, nodes: dict[str, MemoryNode], notes: Notes) -> None:
        self.sandboxes: dict[str, Sandbox] = {}
        self.addresses: dict[str, int] = {}  # by pod, also of those that are gone
        self.names: dict[int, str] = {}
        self._nodes = nodes
        self._notes = notes
        self._generation = 0

    def get(self, key: str) -> Sandbox:
        """Return a pod's sandbox, or raise RigError."""
        if key not in self.sandboxes:
            raise RigError(f"there is no pod {key}")
        return self.sandboxes[key]

    def next_generation(self) -> int:
        """Return a number that no sandbox had."""
        self._generation += 1
        return self._generation

    def node_of(self, sandbox: Sandbox) -> MemoryNode | None:
        """Return the node whose kubelet connects a pod; None where none does."""
        pod = declared(sandbox.found)
        return None if pod.host_network else self._nodes.get(pod.node)

    async def connect_all(self, sandboxes: Iterable[Sandbox]) -> list[Sandbox]:
        """Connect those that a node runs, all at once; return them."""
        known = [(sandbox, self.node_of(sandbox)) for sandbox in sandboxes]
        ours = [(sandbox, node) for sandbox, node in known if node is not None]
        await asyncio.gather(*(self._connect(sandbox, node) for sandbox, node in ours))
        return [sandbox for sandbox, _ in ours]

    async def retry_failed(self) -> list[Sandbox]:
        """Try again what could not be connected, with new sandboxes; return those pods."""
        failed = [sandbox for sandbox in self.sandboxes.values() if sandbox.failure]
        for sandbox in failed:
            sandbox.renew(self.next_generation())
        return await self.connect_all(failed)

    async def _connect(self, sandbox: Sandbox, node: MemoryNode) -> None:
        """Make a pod's sandbox, and connect it by CNI ADD; a failure is kept, and tried again later."""
        node.kernel.create_namespace(sandbox.netns)
        namespace = node.kernel.link(sandbox.netns, "lo").namespace
        ports = served_ports(declared(sandbox.found))
        clock = asyncio.get_running_loop().time
        host = Host(sandbox.key, namespace, ports=ports, notes=self._notes, time=clock)
        sandbox.host = node.hosts[sandbox.netns] = host
        code, result = await _cni("ADD", sandbox, node)
        host.attach()
        if code:
            failure = f"CNI ADD failed: {cni_failure(result)}"
            await self.disconnect(sandbox)
            sandbox.failure = failure
            return
        sandbox.failure = ""
        sandbox.address = self.addresses[sandbox.key] = cni_address(result)
        self.names[sandbox.address] = sandbox.key

    async def disconnect(self, sandbox: Sandbox) -> None:
        """Disconnect a pod by CNI DEL, and end its sandbox."""
        node = self.node_of(sandbox)
        if sandbox.host is None or node is None:
            return
        code, result = await _cni("DEL", sandbox, node)
        node.kernel.destroy_namespace(sandbox.netns)
        del node.hosts[sandbox.netns]
        self._ended(sandbox)
        if code:
            raise RigError(f"pod {sandbox.key}: CNI DEL failed: {cni_failure(result)}")

    def gone_with(self, node: str) -> list[Sandbox]:
        """A node is off: forget its pods, and return them."""
        gone = [sandbox for sandbox in self.sandboxes.values() if declared(sandbox.found).node == node]
        for sandbox in gone:
            self._ended(sandbox)
            del self.sandboxes[sandbox.key]
        return gone

    def _ended(self, sandbox: Sandbox) -> None:
        sandbox.host = None
        if self.names.get(sandbox.address) == sandbox.key:
            del self.names[sandbox.address]
        sandbox.address = 0


async def _cni(command: Literal["ADD", "DEL"], sandbox: Sandbox, node: MemoryNode) -> tuple[int, bytes]:
    contiv = node.running().plugin("contiv")
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
