# SPDX-License-Identifier: Apache-2.0
"""The objects of a sandbox's cluster in a real API server; the sandbox is its kubelets, and its controllers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from contivpp_core.kubernetes import KINDS
from contivpp_core.node import CLUSTER_NODE
from contivpp_core.records import AnyTable
from contivpp_ksr.resources import RESOURCES
from contivpp_sandbox.objects import NAMESPACED
from contivpp_sandbox.rigs.base import KubernetesObject, ObjectReference
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory, NodePlace
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.store import Stored
from contivpp_sandbox.servers.agreement import OWN_TABLES, Rows, disagreements, records_of, rows_of
from contivpp_sandbox.servers.api import Api, list_path, object_path
from contivpp_sandbox.servers.completion import submitted
from contivpp_sandbox.servers.endpoints import MANAGED_BY, slices_of
from contivpp_sandbox.servers.layout import Places
from contivpp_sandbox.servers.stack import Servers

__all__ = ["ServedObjects"]

_AT_ONCE = 8
_POLL_SECONDS = 0.1
_WITH_ENDPOINTS = {"Pod", "Service", "EndpointSlice"}
_FOLLOWING = ObjectReference("EndpointSlice", "", "of services")
_MANAGED = f"labelSelector=endpointslice.kubernetes.io/managed-by={MANAGED_BY}"


class ServedObjects:
    """What a cluster keeps in an API server; agents get it from there, or by `contivpp ksr` and etcd."""

    kinds: ClassVar[Mapping[str, AnyTable]] = {name: table for name, table in KINDS.items() if name in RESOURCES}

    def __init__(
        self, directory: Directory, inventory: Inventory, nodes: Mapping[str, SandboxNode], progress: Progress
    ) -> None:
        self._directory, self._inventory, self._nodes, self._progress = directory, inventory, nodes, progress
        self._made: tuple[Api, Servers] | None = None
        self._namespaces: set[str] = set()

    @property
    def api(self) -> Api:
        """The API server; it is connected to when it is asked."""
        return self._parts[0]

    @property
    def servers(self) -> Servers:
        """The servers."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[Api, Servers]:
        if self._made is None:
            api = Api.over(Places(self._directory).api_socket)
            self._made = api, Servers(self._directory, self._inventory, api, self._progress)
        return self._made

    # --- life

    def check(self) -> None:
        """Raise MachineLacks where a server is not installed."""
        Servers.check(self._inventory.datastore)

    async def start(self) -> None:
        """Start the servers."""
        await self.servers.start()

    async def close(self) -> None:
        """Let go of connections."""
        if self._made is not None:
            await self._made[0].close()
            self._made = None

    async def restart(self, what: str, *, kill: bool, wipe: bool = False) -> None:
        """Restart servers; an etcd may lose all that it has."""
        names = self.servers.meant(what)
        await self.servers.stop(*names, kill=kill or wipe)
        if wipe:
            for name in names:
                await self.servers.wipe(name)
        await self.servers.run(*names)

    async def standing(self) -> dict[str, Any]:
        """Tell how the servers stand."""
        return await self.servers.standing()

    # --- nodes

    async def join(self, places: Sequence[NodePlace], objects: Mapping[ObjectReference, KubernetesObject]) -> None:
        """Show Node objects, each annotated with the ID that its agent is to claim."""
        await self.servers.admit(place.name for place in places)
        if refused := (await self.put(objects)).refused:
            raise SandboxError("\n".join(refused.values()))

    async def leave(self, place: NodePlace, references: Sequence[ObjectReference]) -> None:
        """Remove what tells of a node but its ID, which agents free when its Node object is gone for long enough."""
        await self.delete(references)

    async def vpp_addresses(self) -> dict[str, str]:
        """Return VPP's address of each node, without prefix length, as the first agent that answers knows them."""
        for node in self._nodes.values():
            try:
                rows = rows_of(await node.agent.get(f"/v1/tables/{CLUSTER_NODE.name}"))
            except SandboxError:
                continue
            return {
                name: row["vpp_addresses"][0].partition("/")[0] for name, row in rows.items() if row["vpp_addresses"]
            }
        return {}

    # --- objects

    async def put(self, objects: Mapping[ObjectReference, KubernetesObject]) -> Stored:
        """Create or change objects, as kubectl and kubelet do; one that is being deleted is told to end."""
        slots = asyncio.Semaphore(_AT_ONCE)
        uids: dict[ObjectReference, str] = {}
        refused: dict[ObjectReference, str] = {}

        async def one(reference: ObjectReference, found: KubernetesObject) -> None:
            async with slots:
                try:
                    uids[reference] = await self._put(reference, found)
                except SandboxError as error:
                    refused[reference] = f"{reference}: {error}"

        for first in (True, False):  # what is in a namespace comes after it
            some = [each for each in objects.items() if (each[0].kind == "Namespace") is first]
            await asyncio.gather(*(one(*each) for each in some))
        try:
            await self._follow({reference.kind for reference in uids})
        except SandboxError as error:  # what is stored, is
            refused[_FOLLOWING] = f"{_FOLLOWING}: {error}"
        return Stored(uids, refused)

    async def _put(self, reference: ObjectReference, found: KubernetesObject) -> str:
        path = object_path(*reference)
        if "deletionTimestamp" in found["metadata"]:
            await self.api.delete(path, grace=None)
            return ""
        if reference.namespace not in self._namespaces and reference.kind in NAMESPACED:
            # Files may leave out namespaces, as those of rigs do.
            if reference.namespace != "default":
                await self.api.create("/api/v1/namespaces", {"metadata": {"name": reference.namespace}})
            self._namespaces.add(reference.namespace)
        stored = await self.api.put_applied(submitted(found))
        if found.get("status"):
            await self.api.merge(f"{path}/status", {"status": found["status"]})
        return str(stored["metadata"]["uid"])

    async def delete(self, references: Collection[ObjectReference]) -> None:
        """Delete objects for good; none is no error."""
        await asyncio.gather(*(self._delete(each) for each in references))
        await self._follow({reference.kind for reference in references})

    async def _delete(self, reference: ObjectReference) -> None:
        path = object_path(*reference)
        await self.api.delete(path)
        if reference.kind == "Namespace":
            self._namespaces.discard(reference.name)
            finalized = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": reference.name}, "spec": {}}
            await self.api.call("PUT", f"{path}/finalize", finalized)

    async def _follow(self, kinds: Collection[str]) -> None:
        """Make EndpointSlices what they should be, if these kinds have changed."""
        if _WITH_ENDPOINTS.isdisjoint(kinds):
            return
        services, slices = await self._list("Service"), await self._list("EndpointSlice")
        pods = await self._list("Pod") if any(each["spec"].get("selector") for each in services) else []
        wanted = slices_of(services, pods, slices)
        names = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in wanted}
        managed = (await self.api.get(f"{list_path('EndpointSlice')}?{_MANAGED}"))["items"] if slices else []
        for each in wanted:
            await self.api.put_applied(each)
        for each in managed:
            metadata = each["metadata"]
            if (metadata["namespace"], metadata["name"]) not in names:
                await self.api.delete(object_path("EndpointSlice", metadata["namespace"], metadata["name"]))

    async def _list(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.api.get(list_path(kind)))["items"]
        return found

    # --- whether agents have it

    async def settled(self, seconds: float) -> tuple[bool, list[str]]:
        """Wait until every agent knows what the API server has, agrees about the nodes, and has settled."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            lines = await self._unknown()
            if not lines:
                left = end - loop.time()
                answers = await asyncio.gather(*(node.settled(left, 0) for node in self._nodes.values()))
                unapplied = [
                    f"node {name}: {line}"
                    for name, (done, some) in zip(self._nodes, answers, strict=True)
                    for line in (*(() if done else (f"not settled within {seconds:g} s",)), *some)
                ]
                # What one agent has published meanwhile, the others are to see.
                if not all(done for done, _ in answers) or not (lines := await self._unknown()):
                    return all(done for done, _ in answers), unapplied
            if loop.time() > end:
                return False, [*lines, f"the agents do not know all of it within {seconds:g} s"]
            await asyncio.sleep(_POLL_SECONDS)

    async def _unknown(self) -> list[str]:
        """Return what agents do not know yet, or what keeps that from being told."""
        try:
            lists = await asyncio.gather(*(self._list(kind) for kind in RESOURCES))
            agents = await asyncio.gather(*(self._tables(node) for node in self._nodes.values()))
        except SandboxError as error:
            return [str(error)]
        wanted = {kind: records_of(kind, found) for kind, found in zip(RESOURCES, lists, strict=True)}
        ids = {name: node.place.node_id for name, node in self._nodes.items()}
        return disagreements(wanted, dict(zip(self._nodes, agents, strict=True)), ids)

    async def _tables(self, node: SandboxNode) -> dict[str, Rows]:
        names: Iterable[str] = (*(each.table.name for each in RESOURCES.values()), *OWN_TABLES)
        return {name: rows_of(await node.agent.get(f"/v1/tables/{name}")) for name in names}
