# SPDX-License-Identifier: Apache-2.0
"""The cluster of a sandbox: nodes that join and leave, and the objects of an API server.

What there is stands in the sandbox's folder after every change, so that the next command goes on from there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contivpp_sandbox.objects import NAMESPACED, record_of
from contivpp_sandbox.rigs.base import KubernetesObject, ObjectReference
from contivpp_sandbox.rigs.layout import node_object
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory, NodePlace
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.kubelet import Kubelet
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.pod import SandboxPod
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.store import ClusterObjects, EmbeddedObjects
from contivpp_sandbox.sandbox.underlay import Underlay
from contivpp_sandbox.sandbox.vpp import check_limits

__all__ = ["Cluster", "reference_of"]

_NODES_AT_ONCE = 4


class Cluster:
    """Nodes by name, pods by `namespace/name`, other objects."""

    def __init__(self, directory: Directory, inventory: Inventory, *, progress: Progress | None = None) -> None:
        self.directory = directory
        self.inventory = inventory
        self.nodes: dict[str, SandboxNode] = {}
        self.objects: dict[ObjectReference, KubernetesObject] = {}
        self.sources: dict[str, list[ObjectReference]] = {}
        """Which objects came from which file, as of its last `apply`."""
        self.keeper = KeeperClient(directory)
        self._progress = progress or Progress()
        self.store = self._objects()
        self.underlay = Underlay(directory, inventory)
        self.kubelet = Kubelet(
            directory, self.nodes, save=self.save, report=self._show_pods, progress=self._progress
        )

    @property
    def pods(self) -> dict[str, SandboxPod]:
        """The pods by `namespace/name`."""
        return self.kubelet.pods

    def _objects(self) -> ClusterObjects:
        if self.inventory.datastore == "embedded":
            return EmbeddedObjects(self.directory, self.nodes)
        from contivpp_sandbox.servers.state import ServedObjects  # noqa: PLC0415 (an HTTP client, certificates)

        return ServedObjects(self.directory, self.inventory, self.nodes, self._progress)

    # --- the files

    @classmethod
    def load(cls, directory: Directory, *, progress: Progress | None = None) -> Cluster:
        """Return what there is; raise SandboxError where there is no sandbox."""
        cluster = cls(directory, Inventory.load(directory), progress=progress)
        for place in cluster.inventory.members:
            cluster.nodes[place.name] = cluster._node(place)
        stored = directory.read("pods.json") or {}
        cluster.kubelet.generation = stored.get("generation", 0)
        cluster.pods.update({pod["namespace"] + "/" + pod["name"]: SandboxPod(**pod) for pod in stored.get("pods", ())})
        cluster.objects = {reference_of(each): each for each in stored.get("objects", ())}
        sources = stored.get("sources", {})
        cluster.sources = {name: [ObjectReference(*each) for each in some] for name, some in sources.items()}
        cluster.underlay.load(stored.get("hosts", ()))
        return cluster

    def save(self) -> None:
        """Store what there is."""
        content = {
            "generation": self.kubelet.generation,
            "pods": [pod.stored() for pod in self.pods.values()],
            "objects": list(self.objects.values()),
            "sources": self.sources,
            "hosts": self.underlay.stored(),
        }
        self.directory.write("pods.json", content)
        self.inventory.save(self.directory)

    def _node(self, place: NodePlace) -> SandboxNode:
        return SandboxNode(self.directory, self.inventory, place, progress=self._progress)

    # --- life

    async def up(self, names: Sequence[str], *, with_parent: bool = False) -> None:
        """Start everything. The folder must be made, and nothing of a former sandbox left."""
        check_limits(self.inventory.dataplane)
        self.store.check()
        with self._progress.step("namespaces and underlay") as step:
            keeper = await self.keeper.launch(with_parent=with_parent)
            kind = "network and mounts" if os.geteuid() == 0 else "user, network and mounts: no privileges are needed"
            step.detail = f"{kind}; kept by process {keeper.pid}"
            self.save()
            await self.underlay.make()
        with self._progress.step("the cluster's store"):
            await self.store.start()
        await self.join(names)
        self.inventory.up = True
        self.save()

    async def close(self) -> None:
        """Let go of connections; the sandbox stays."""
        await self.store.close()

    async def join(self, names: Sequence[str]) -> None:
        """Have nodes join, all at once; IDs follow the order."""
        joining = [self._node(self.inventory.join(name)) for name in names]
        self.save()
        holders = await asyncio.gather(*(node.hold() for node in joining))
        await self.underlay.connect({holder.pid: node.place for holder, node in zip(holders, joining, strict=True)})
        for node in joining:
            self.nodes[node.name] = node
            reference = ObjectReference("Node", "", node.name)
            place, found = node.place, self.objects.get(reference)
            self.objects[reference] = node_object(node.name, place.position, found, node_id=place.node_id)
        references = [ObjectReference("Node", "", node.name) for node in joining]
        await self.store.join([node.place for node in joining], self._shown(references))
        self.save()
        slots = asyncio.Semaphore(_NODES_AT_ONCE)

        async def started(node: SandboxNode) -> None:
            async with slots:
                await node.up()

        await _all(started(node) for node in joining)

    async def leave(self, name: str) -> None:
        """Have a node leave as a machine does that is switched off: its processes end, then what tells of it goes."""
        node = self.nodes[name]
        await node.stop("agent", "vpp", kill=True)
        pods = self.kubelet.on(name)
        for pod in pods:
            await self.kubelet.end(pod)
            del self.pods[pod.key]
        await node.stop("node", kill=True)
        references = [ObjectReference("Node", "", name), *(ObjectReference("Pod", *pod.key.split("/")) for pod in pods)]
        await self.store.leave(node.place, references)
        self.objects.pop(references[0], None)
        node.place.node_id = 0
        self.inventory.broken.pop(name, None)  # whoever joins gets a link of its own
        del self.nodes[name]
        node.folder.remove()
        self.save()

    async def settled(self, seconds: float) -> tuple[bool, list[str]]:
        """Wait until every agent has settled, with all that was written; tell what is not applied."""
        return await self.store.settled(seconds)

    # --- the API server's part

    def check(self, objects: Iterable[KubernetesObject]) -> None:
        """Raise an error if an object cannot be taken."""
        for found in objects:
            record_of(found, self.store.kinds)

    async def apply(self, objects: Sequence[KubernetesObject]) -> None:
        """Create or change objects; nodes that are not there join, and new pods are connected, all at once."""
        self.check(objects)
        joining, created, written = [], [], []
        for found in objects:
            reference = reference_of(found)
            if reference.kind == "Pod":
                created += await self._take_pod(reference, found)
            elif reference.kind == "Node" and reference.name not in self.nodes:
                joining.append(reference.name)
                self.objects[reference] = found
                continue  # what there is of it is written when it joins
            elif reference.kind == "Node":
                member = self.inventory.member(reference.name)
                self.objects[reference] = node_object(
                    reference.name, member.position, found, node_id=member.node_id
                )
            else:
                self.objects[reference] = found
            written.append(reference)
        self.save()
        refused = await self._write(written)
        if joining:
            await self.join(joining)
        for each in refused:
            self.objects.pop(each, None)
            if each.kind == "Pod" and self.pods[_key(each)] in created:
                created.remove(self.pods.pop(_key(each)))
        await self.kubelet.connect([pod for pod in created if self.kubelet.runs(pod)])
        if refused:
            self.save()
            raise SandboxError("\n".join(refused.values()))

    async def _write(self, references: Iterable[ObjectReference]) -> Mapping[ObjectReference, str]:
        """Write objects as they are now; return why some are refused."""
        stored = await self.store.put(self._shown(references))
        for reference, uid in stored.uids.items():
            if reference.kind == "Pod":
                self.pods[_key(reference)].know_uid(uid)
        return stored.refused

    async def _take_pod(self, reference: ObjectReference, found: KubernetesObject) -> list[SandboxPod]:
        """Take in a pod; return it if it is new."""
        pod = self.pods.get(_key(reference))
        if pod is None:
            pod = self.kubelet.new(reference.namespace, reference.name, found)
            if pod.record.host_network and pod.record.node in self.inventory.nodes:
                pod.address = self.inventory.nodes[pod.record.node].management
            return [pod]
        pod.found = dict(found)
        if pod.process.alive:
            await pod.station(self.directory).ask("ports", ports=pod.ports)
        return []

    async def delete(self, references: Sequence[ObjectReference]) -> None:
        """Delete objects that there are; pods are told to end, disconnected, and then gone; nodes leave."""
        for each in references:
            if each.kind == "Node" and each.name in self.nodes:
                await self.leave(each.name)
        pods = [self.pods[_key(each)] for each in references if each.kind == "Pod" and _key(each) in self.pods]
        ending = {ObjectReference("Pod", pod.namespace, pod.name): pod.shown(deleting=True) for pod in pods}
        await self.store.put(ending)
        failures = [line for line in await asyncio.gather(*map(self.kubelet.disconnect, pods)) if line]
        gone = [each for each in references if each.kind != "Pod" or not self._is_attached(each)]
        for each in gone:
            self.objects.pop(each, None)
            if each.kind == "Pod":
                self.pods.pop(_key(each), None)
        self.save()
        await self.store.delete(gone)
        if failures:
            raise SandboxError("\n".join(failures))

    async def _show_pods(self, pods: Sequence[SandboxPod]) -> None:
        await self._write(ObjectReference("Pod", pod.namespace, pod.name) for pod in pods)

    def _shown(self, references: Iterable[ObjectReference]) -> dict[ObjectReference, KubernetesObject]:
        return {
            each: self.pods[_key(each)].shown() if each.kind == "Pod" else self.objects[each] for each in references
        }

    def _is_attached(self, reference: ObjectReference) -> bool:
        pod = self.pods.get(_key(reference))
        return pod is not None and pod.attached


async def _all(work: Iterable[Any]) -> None:
    """Do it all, and then raise the first error, so that nothing goes on behind it."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def reference_of(found: KubernetesObject) -> ObjectReference:
    """Return which object this is."""
    metadata = found["metadata"]
    kind = str(found["kind"])
    namespace = str(metadata.get("namespace", "")) if kind in NAMESPACED else ""
    return ObjectReference(kind, namespace, str(metadata["name"]))


def _key(reference: ObjectReference) -> str:
    return f"{reference.namespace}/{reference.name}"
