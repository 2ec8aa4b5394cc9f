# SPDX-License-Identifier: Apache-2.0
"""Where the objects of the cluster are: what every kind of that can do, and the embedded store.

The embedded store is one process for all nodes; the sandbox writes there in place of API server and ksr. What is with
real servers is in `contivpp_sandbox.servers`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from contivpp_core.cluster import NODES, claim_value, decode_node, id_key, node_key, object_key
from contivpp_core.errors import ContivError
from contivpp_core.kvstore import DeleteKey, KVStoreError, PutKey
from contivpp_core.records import AnyTable
from contivpp_datastore.embedded.client import EmbeddedStore
from contivpp_sandbox.objects import SERVED
from contivpp_sandbox.rigs.base import KubernetesObject, ObjectReference
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import NodePlace
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.node import SandboxNode

__all__ = ["PROCESS", "ClusterObjects", "EmbeddedObjects", "Stored"]

PROCESS = "store"
"""What the keeper calls the process."""

T = TypeVar("T")

_START_SECONDS = 20.0
_POLL_SECONDS = 0.01
_SETTLE_POLL_SECONDS = 0.05


@dataclass
class Stored:
    """What came of `put`: the UIDs that a server has given, and why it did not take some objects."""

    uids: Mapping[ObjectReference, str] = field(default_factory=dict)
    refused: Mapping[ObjectReference, str] = field(default_factory=dict)


class ClusterObjects(Protocol):
    """The objects of a cluster, and how agents come to know them. Methods may raise SandboxError."""

    @property
    def kinds(self) -> Mapping[str, AnyTable]:
        """The kinds that are taken."""
        ...

    def check(self) -> None:
        """Raise MachineLacks where something is not installed."""

    async def start(self) -> None:
        """Start the processes, and wait until they serve."""

    async def close(self) -> None:
        """Let go of connections."""

    async def restart(self, what: str, *, kill: bool, wipe: bool = False) -> None:
        """Restart the `datastore`, or another server by its name; `wipe`: it loses all that it has."""

    async def standing(self) -> dict[str, Any]:
        """Tell how the processes stand."""
        ...

    async def join(self, places: Sequence[NodePlace], objects: Mapping[ObjectReference, KubernetesObject]) -> None:
        """Make nodes known, before their agents start."""

    async def leave(self, place: NodePlace, references: Sequence[ObjectReference]) -> None:
        """Remove what tells of a node, with these objects."""

    async def put(self, objects: Mapping[ObjectReference, KubernetesObject]) -> Stored:
        """Write objects as they are now."""
        ...

    async def delete(self, references: Collection[ObjectReference]) -> None:
        """Remove objects; none is no error."""

    async def settled(self, seconds: float) -> tuple[bool, list[str]]:
        """Wait until every agent has settled, with all that was written; tell what is not applied."""
        ...

    async def vpp_addresses(self) -> dict[str, str]:
        """Return VPP's address of each node that has published one, by the node's name, without prefix length."""
        ...


class EmbeddedObjects:
    """The store's process, and a client of it."""

    kinds = SERVED

    def __init__(self, directory: Directory, nodes: Mapping[str, SandboxNode]) -> None:
        self._directory = directory
        self._nodes = nodes
        self._keeper = KeeperClient(directory)
        self._client: EmbeddedStore | None = None

    def check(self) -> None:
        """Nothing that could be missing."""

    async def start(self) -> None:
        """Start the process, and wait until it serves."""
        socket, file = self._directory.store_socket, str(self._directory.store_file)
        words = [sys.executable, "-m", "contivpp_datastore.embedded.server", "--socket", socket, "--file", file]
        process = await self._keeper.start(PROCESS, words)
        end = asyncio.get_running_loop().time() + _START_SECONDS
        while not os.path.exists(socket):  # noqa: ASYNC240 (a socket beside us, in memory)
            if not process.alive or asyncio.get_running_loop().time() > end:
                said = self._directory.log_end(PROCESS)
                raise SandboxError(f"the cluster's store does not start; its output ends with:\n{said}")
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    @property
    def client(self) -> EmbeddedStore:
        """The client; it connects when it is used."""
        if self._client is None:
            self._client = EmbeddedStore(self._directory.store_socket)
        return self._client

    async def restart(self, what: str, *, kill: bool, wipe: bool = False) -> None:
        """Restart the store."""
        if what != "datastore" or wipe:
            raise SandboxError(f"no {what} can be {'wiped' if wipe else 'restarted'} with the embedded store")
        await self._keeper.end(PROCESS, kill=kill)
        await self.start()

    async def standing(self) -> dict[str, Any]:
        """Tell the store's revision."""
        return {"store": f"revision {await self._revision()}"}

    # --- nodes and objects

    async def join(self, places: Sequence[NodePlace], objects: Mapping[ObjectReference, KubernetesObject]) -> None:
        """Write the nodes' claims, and their objects."""
        claims = [PutKey(id_key(place.node_id), claim_value(place.name)) for place in places]
        await self._write([*claims, *map(_put, objects, objects.values())])

    async def leave(self, place: NodePlace, references: Sequence[ObjectReference]) -> None:
        """Remove a node's claim, and what it has published."""
        keys = [DeleteKey(id_key(place.node_id)), DeleteKey(node_key(place.name))]
        await self._write([*keys, *(DeleteKey(object_key(*each)) for each in references)])

    async def put(self, objects: Mapping[ObjectReference, KubernetesObject]) -> Stored:
        """Write objects, as one revision."""
        await self._write(map(_put, objects, objects.values()))
        return Stored()

    async def delete(self, references: Collection[ObjectReference]) -> None:
        """Remove objects, as one revision."""
        await self._write(DeleteKey(object_key(*each)) for each in references)

    async def settled(self, seconds: float) -> tuple[bool, list[str]]:
        """Wait until every agent has settled, with all that the store holds."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            revision = await self._revision()
            left = end - asyncio.get_running_loop().time()
            answers = await asyncio.gather(*(node.settled(left, revision) for node in self._nodes.values()))
            lines = [
                f"node {name}: {line}"
                for name, (done, unapplied) in zip(self._nodes, answers, strict=True)
                for line in (*(() if done else (f"not settled within {seconds:g} s",)), *unapplied)
            ]
            done = all(done for done, _ in answers)
            # What one agent has published meanwhile, the others are to see.
            if not done or await self._revision() == revision:
                return done, lines
            if asyncio.get_running_loop().time() > end:
                return False, [*lines, f"the store is not quiet within {seconds:g} s"]
            await asyncio.sleep(_SETTLE_POLL_SECONDS)

    async def _write(self, writes: Iterable[PutKey | DeleteKey]) -> None:
        """Write all of it as one revision."""
        some = tuple(writes)
        if some:
            await self._ask(self.client.transaction((), some))

    async def _revision(self) -> int:
        return (await self._ask(self.client.list(NODES))).revision

    async def vpp_addresses(self) -> dict[str, str]:
        """Return VPP's address of each node that has published one, by the node's name, without prefix length."""
        found = {}
        for item in (await self._ask(self.client.list(NODES))).items:
            try:
                node = decode_node(item.key, item.value)
            except ContivError as error:
                raise SandboxError(str(error)) from error
            if node.vpp_addresses:
                found[node.name] = node.vpp_addresses[0].partition("/")[0]
        return found

    async def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        try:
            return await question
        except KVStoreError as error:
            raise SandboxError(f"the cluster's store: {error}: see 'contivpp sandbox status'") from error


def _put(reference: ObjectReference, found: KubernetesObject) -> PutKey:
    """Return the write of an object as the API server shows it."""
    return PutKey(object_key(*reference), json.dumps(found, default=str).encode())
