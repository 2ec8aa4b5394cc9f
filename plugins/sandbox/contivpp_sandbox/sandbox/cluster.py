# SPDX-License-Identifier: Apache-2.0
"""The cluster around a sandbox's node: plays API server and kubelet.

Objects are told to the agent; a pod gets a process with namespaces, and is connected by the CNI executable. What there
is stands in the sandbox's folder after every change, so that the next command, or the next agent, goes on from there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contivpp_core.errors import ContivError
from contivpp_sandbox.objects import put_write
from contivpp_sandbox.plugin import OBJECTS_PATH
from contivpp_sandbox.rigs.base import KubernetesObject, ObjectReference
from contivpp_sandbox.sandbox.cni import CniError, call_cni
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.pod import SandboxPod
from contivpp_sandbox.sandbox.processes import Process
from contivpp_sandbox.sandbox.progress import Progress

__all__ = ["Cluster", "reference_of"]

_AT_ONCE = 8  # pods that are connected or disconnected together
_PROCESS_SECONDS = 20.0
_POLL_SECONDS = 0.005


class Cluster:
    """The objects of a sandbox, and its pods by `namespace/name`."""

    def __init__(self, node: SandboxNode, *, progress: Progress | None = None) -> None:
        self.node = node
        self.pods: dict[str, SandboxPod] = {}
        self.objects: dict[ObjectReference, KubernetesObject] = {}
        self.sources: dict[str, list[ObjectReference]] = {}
        """Which objects came from which file, as of its last `apply`."""
        self._directory = node.directory
        self._progress = progress or Progress()
        self._generation = 0
        self._slots = asyncio.Semaphore(_AT_ONCE)

    # --- the file

    def load(self) -> None:
        """Take over what there is."""
        stored = self._directory.read("pods.json") or {}
        self._generation = stored.get("generation", 0)
        self.pods = {pod["namespace"] + "/" + pod["name"]: SandboxPod(**pod) for pod in stored.get("pods", ())}
        objects = stored.get("objects", ())
        self.objects = {reference_of(each): each for each in objects}
        sources = stored.get("sources", {})
        self.sources = {name: [ObjectReference(*each) for each in some] for name, some in sources.items()}

    def save(self) -> None:
        """Store what there is."""
        content = {
            "generation": self._generation,
            "pods": [pod.stored() for pod in self.pods.values()],
            "objects": list(self.objects.values()),
            "sources": self.sources,
        }
        self._directory.write("pods.json", content)

    # --- the API server's part

    def check(self, objects: Iterable[KubernetesObject]) -> None:
        """Raise an error if an object cannot be taken."""
        for found in objects:
            put_write(found)

    async def apply(self, objects: Sequence[KubernetesObject]) -> None:
        """Create or change objects; new pods of this node are connected, all at once."""
        self.check(objects)
        created = []
        for found in objects:
            reference = reference_of(found)
            if reference.kind != "Pod":
                self.objects[reference] = found
            elif (pod := self.pods.get(_key(reference))) is None:
                self._generation += 1
                pod = SandboxPod(reference.namespace, reference.name, self._generation, dict(found))
                self.pods[pod.key] = pod
                created.append(pod)
            else:
                pod.found = dict(found)
                if pod.process.alive:
                    await pod.ask(self._directory, "ports", ports=pod.ports)
        self.save()
        await self._tell([self._shown(reference_of(found)) for found in objects])
        await self._connect_all([pod for pod in created if self.is_ours(pod)])

    async def delete(self, references: Sequence[ObjectReference]) -> None:
        """Delete objects that there are; pods are told to end, disconnected, and then gone."""
        pods = [self.pods[_key(each)] for each in references if each.kind == "Pod" and _key(each) in self.pods]
        await self._tell([pod.shown(deleting=True) for pod in pods])
        failures = [line for line in await asyncio.gather(*(self._disconnect(pod) for pod in pods)) if line]
        gone = [each for each in references if each.kind != "Pod" or not self._is_attached(each)]
        for each in gone:
            self.objects.pop(each, None)
            if each.kind == "Pod":
                self.pods.pop(_key(each), None)
        self.save()
        await self._tell([], gone)
        if failures:
            raise SandboxError("\n".join(failures))

    async def deliver(self) -> None:
        """Tell a new agent everything that there is, as a list request does."""
        await self._tell([*self.objects.values(), *(pod.shown() for pod in self.pods.values())])

    async def _tell(self, shown: Sequence[KubernetesObject], gone: Sequence[ObjectReference] = ()) -> None:
        deleted = [{"kind": each.kind, "namespace": each.namespace, "name": each.name} for each in gone]
        await self.node.agent.post(OBJECTS_PATH, {"apply": list(shown), "delete": deleted})

    def _shown(self, reference: ObjectReference) -> KubernetesObject:
        return self.pods[_key(reference)].shown() if reference.kind == "Pod" else self.objects[reference]

    def _is_attached(self, reference: ObjectReference) -> bool:
        pod = self.pods.get(_key(reference))
        return pod is not None and pod.attached

    # --- the kubelet's part

    def is_ours(self, pod: SandboxPod) -> bool:
        """Tell whether a pod is to run on this node, in a network of its own."""
        record = pod.record
        return record.node == self.node.name and not record.host_network

    async def retry(self) -> None:
        """Connect pods anew that are not connected, or whose process has ended; with new containers, as kubelets do."""
        failed = [
            pod for pod in self.pods.values() if self.is_ours(pod) and not (pod.address and pod.process.alive)
        ]
        for pod in failed:
            if failure := await self._disconnect(pod):
                raise SandboxError(failure)
            self._generation += 1
            pod.renew(self._generation)
        if failed:
            await self._connect_all(failed)

    async def _connect_all(self, pods: Sequence[SandboxPod]) -> None:
        await asyncio.gather(*(self._connect(pod) for pod in pods))
        connected = [pod.shown() for pod in pods if pod.address]
        if connected:
            await self._tell(connected)

    async def _connect(self, pod: SandboxPod) -> None:
        """Give a pod its process, and connect it; what goes wrong is in `failure`."""
        async with self._slots:
            try:
                with self._progress.step(f"pod {pod.key}") as step:
                    await self._start_process(pod)
                    pod.attached = True
                    self.save()
                    result: Mapping[str, Any] = await call_cni("ADD", pod, self._directory)
                    pod.address = str(result["ips"][0]["address"]).partition("/")[0]
                    step.detail = pod.address
            except CniError as error:
                pod.failure = f"CNI ADD failed: {error}"
            except ContivError as error:
                pod.failure = str(error)
            self.save()

    async def _start_process(self, pod: SandboxPod) -> None:
        path = self._directory.pod_socket(pod.container)
        ports = [f"--port={protocol}:{number}:{name}" for protocol, number, name in pod.ports]
        command = [sys.executable, "-m", "contivpp_sandbox.responder", "--socket", path, *ports, "--", pod.key]
        hostname = pod.plain_name.partition(".")[2] or "pod"
        process = await self.node.keeper.start(pod.process_name, command, log=pod.log_name, hostname=hostname)
        pod.pid, pod.start = process
        await self._until_serves(pod, process, path)
        pod.network = os.stat(f"/proc/{process.pid}/ns/net").st_ino

    async def _until_serves(self, pod: SandboxPod, process: Process, path: str) -> None:
        end = asyncio.get_running_loop().time() + _PROCESS_SECONDS
        while not os.path.exists(path):  # noqa: ASYNC240 (a socket beside us, in memory)
            if not process.alive or asyncio.get_running_loop().time() > end:
                said = self._directory.log_end(pod.log_name)
                raise SandboxError(f"the process of pod {pod.key} does not start; its output ends with:\n{said}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _disconnect(self, pod: SandboxPod) -> str:
        """Disconnect a pod and end its process; return what went wrong. Without an agent, it stays until the next."""
        async with self._slots:
            if pod.attached:
                try:
                    await call_cni("DEL", pod, self._directory)
                except CniError as error:
                    return f"pod {pod.key}: CNI DEL failed: {error}"
                pod.attached = False
            await self.node.keeper.end(pod.process_name)
            pod.pid = pod.start = 0
            pod.address = ""
        return ""


def reference_of(found: KubernetesObject) -> ObjectReference:
    """Return which object this is."""
    metadata = found["metadata"]
    kind = str(found["kind"])
    return ObjectReference(kind, str(metadata.get("namespace", "")) if kind == "Pod" else "", str(metadata["name"]))


def _key(reference: ObjectReference) -> str:
    return f"{reference.namespace}/{reference.name}"
