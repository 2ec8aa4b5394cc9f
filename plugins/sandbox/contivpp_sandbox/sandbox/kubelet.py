# SPDX-License-Identifier: Apache-2.0
"""The kubelets of a sandbox: a pod gets a process with namespaces, and is connected by the CNI executable of its node.

What there is is saved before and after each of these, so that nothing is forgotten by a command that is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from contivpp_core.errors import ContivError
from contivpp_sandbox.sandbox.cni import CniError, call_cni
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.pod import SandboxPod
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.station import responder_command

__all__ = ["Kubelet"]

_AT_ONCE = 8  # pods that are connected or disconnected together


class Kubelet:
    """The pods by `namespace/name`, on all nodes; `save` stores what there is, `report` tells the API server."""

    def __init__(
        self,
        directory: Directory,
        nodes: Mapping[str, SandboxNode],
        *,
        save: Callable[[], None],
        report: Callable[[Sequence[SandboxPod]], Awaitable[None]],
        progress: Progress,
    ) -> None:
        self.pods: dict[str, SandboxPod] = {}
        self.generation = 0
        self._directory, self._nodes = directory, nodes
        self._keeper = KeeperClient(directory)
        self._save, self._report = save, report
        self._progress = progress
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def new(self, namespace: str, name: str, found: Mapping[str, Any]) -> SandboxPod:
        """Return a new pod, which is not connected yet."""
        self.generation += 1
        pod = SandboxPod(namespace, name, self.generation, dict(found))
        self.pods[pod.key] = pod
        return pod

    def runs(self, pod: SandboxPod) -> bool:
        """Tell whether a pod is to run on a node that is there, in a network of its own."""
        record = pod.record
        return record.node in self._nodes and not record.host_network

    def on(self, node: str) -> list[SandboxPod]:
        """Return the pods of a node."""
        return [pod for pod in self.pods.values() if pod.record.node == node]

    async def retry(self) -> None:
        """Connect pods anew that are not connected, or whose process has ended; with new containers, as kubelets do."""
        failed = [pod for pod in self.pods.values() if self.runs(pod) and not (pod.address and pod.process.alive)]
        ready = []
        for pod in failed:
            if failure := await self.disconnect(pod):
                pod.failure = pod.failure or failure
                continue
            self.generation += 1
            pod.renew(self.generation)
            ready.append(pod)
        self._save()
        await self.connect(ready)

    async def connect(self, pods: Sequence[SandboxPod]) -> None:
        """Connect pods, all at once; what goes wrong is in their `failure`."""
        await asyncio.gather(*(self._connect(pod) for pod in pods))
        await self._report([pod for pod in pods if pod.address])

    async def _connect(self, pod: SandboxPod) -> None:
        async with self._slots:
            try:
                with self._progress.step(f"pod {pod.key}") as step:
                    node = self._nodes[pod.record.node]
                    await self._start_process(pod)
                    pod.attached = True
                    self._save()
                    result: Mapping[str, Any] = await call_cni("ADD", pod, node.folder)
                    pod.address = str(result["ips"][0]["address"]).partition("/")[0]
                    step.detail = f"{pod.address} on {node.name}"
            except CniError as error:
                pod.failure = f"CNI ADD failed: {error}"
            except ContivError as error:
                pod.failure = str(error)
            self._save()

    async def _start_process(self, pod: SandboxPod) -> None:
        command = responder_command(pod.key, self._directory.pod_socket(pod.container), pod.ports)
        hostname = pod.plain_name.partition(".")[2] or "pod"
        process = await self._keeper.start(
            pod.process_name, command, log=pod.log_name, makes="pod", hostname=hostname
        )
        pod.pid, pod.start = process
        await pod.station(self._directory).until_serves(process)

    async def disconnect(self, pod: SandboxPod) -> str:
        """Disconnect a pod and end its process; return what went wrong. Without an agent, it stays until the next."""
        async with self._slots:
            node = self._nodes.get(pod.record.node)
            if pod.attached and node is not None:
                try:
                    await call_cni("DEL", pod, node.folder)
                except CniError as error:
                    return f"pod {pod.key}: CNI DEL failed: {error}"
            await self.end(pod)
        return ""

    async def end(self, pod: SandboxPod) -> None:
        """End a pod's process without a word to anybody, as the end of its machine does."""
        await self._keeper.end(pod.process_name)
        pod.attached, pod.pid, pod.start, pod.address = False, 0, 0, ""
