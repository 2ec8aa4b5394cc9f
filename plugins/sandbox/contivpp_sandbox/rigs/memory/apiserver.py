# SPDX-License-Identifier: Apache-2.0
"""What the rig in memory writes to the cluster's store: objects, as an API server would have them, and node IDs."""

from __future__ import annotations

import json
from collections.abc import Iterable

from contivpp_core.cluster import claim_value, decode_node, id_key, node_key, object_key
from contivpp_core.node import ClusterNode
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_sandbox.objects import NAMESPACED, record_of
from contivpp_sandbox.rigs.base import KubernetesObject, ObjectReference
from contivpp_sandbox.rigs.layout import free_id

__all__ = ["ApiServer", "reference_of"]


def reference_of(found: KubernetesObject) -> ObjectReference:
    """Return which object this is."""
    metadata, kind = found["metadata"], str(found["kind"])
    namespace = str(metadata.get("namespace", "")) if kind in NAMESPACED else ""
    return ObjectReference(kind, namespace, str(metadata["name"]))


class ApiServer:
    """Writes to a store that all agents watch."""

    def __init__(self) -> None:
        self.store = MemoryKVStore()
        self._ids: dict[int, str] = {}

    async def put(self, objects: Iterable[KubernetesObject]) -> None:
        """Create or change objects; raise ContivError, and write nothing, where one has not the shape of its kind."""
        given = list(objects)
        for found in given:
            record_of(found)
        for found in given:
            await self.store.put(object_key(*reference_of(found)), json.dumps(found).encode())

    async def delete(self, references: Iterable[ObjectReference]) -> None:
        """Delete objects."""
        for reference in references:
            await self.store.delete(object_key(*reference))

    async def claim(self, name: str) -> int:
        """Give a node the smallest ID that is free, and return it."""
        number = free_id(self._ids)
        self._ids[number] = name
        await self.store.put(id_key(number), claim_value(name))
        return number

    def id_of(self, name: str) -> int:
        """Return the ID that was claimed for a node; 0: none."""
        return next((number for number, holder in self._ids.items() if holder == name), 0)

    async def forget(self, name: str) -> None:
        """Remove a node's claim, and what it published."""
        for number in [number for number, holder in self._ids.items() if holder == name]:
            del self._ids[number]
            await self.store.delete(id_key(number))
        await self.store.delete(node_key(name))

    async def published(self, name: str) -> ClusterNode | None:
        """Return what a node's agent has published."""
        key = node_key(name)
        found = await self.store.get(key)
        return decode_node(key, found.value) if found is not None else None
