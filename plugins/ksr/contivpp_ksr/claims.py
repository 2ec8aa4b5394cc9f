# SPDX-License-Identifier: Apache-2.0
"""Node IDs where no store of the cluster is: one ConfigMap holds the book, by ID, each entry as in the store.

Every change is a patch that names the version that was read: of two who claim at once, one is refused and looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote

import msgspec

from contivpp_core.cluster import MalformedValue, claim_value, decode_claim, id_key, is_node_id
from contivpp_core.errors import ContivError
from contivpp_core.kubernetes_shapes import Shape
from contivpp_core.node import NODE_CLAIM, NodeClaim
from contivpp_core.records import Record, Table
from contivpp_ksr.client import ApiClient, ApiFailure
from contivpp_ksr.reading import Reader
from contivpp_ksr.resources import Resource
from contivpp_ksr.sink import Change
from contivpp_ksr.table_sink import TableSink

__all__ = ["CONFIG_MAP", "ClaimSink", "KubernetesIdBook", "NodeIds", "book_resource"]

CONFIG_MAP = "contivpp-node-ids"
TRIES = 20
MERGE = "application/merge-patch+json"


class NodeIds(Record, frozen=True, kw_only=True):
    """The ConfigMap."""

    name: str
    claims: tuple[NodeClaim, ...] = ()


class _Meta(Shape):
    name: str
    namespace: str = ""
    resource_version: str = ""


class _ConfigMap(Shape):
    metadata: _Meta
    data: dict[str, str] | None = None


def _node_ids(found: _ConfigMap) -> NodeIds:
    entries = [_entry(number, value) for number, value in (found.data or {}).items()]
    claims = sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.node_id)
    return NodeIds(name=found.metadata.name, claims=tuple(claims))


def _entry(number: str, value: str | None) -> NodeClaim | None:
    """Return a claim; one of which only the ID can be read has no name."""
    if value is None or not is_node_id(number):
        return None
    try:
        return decode_claim(id_key(int(number)), value.encode())
    except MalformedValue:
        return NodeClaim(node_id=int(number), name="")


_TABLE: Table[NodeIds] = Table("NodeIds", NodeIds, lambda record: record.name)


def book_resource(namespace: str) -> Resource:
    """Return what a reflector of the book watches: one object."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    selector = {"fieldSelector": f"metadata.name={CONFIG_MAP}"}
    return Resource("NodeIds", path, Reader(_TABLE, _ConfigMap, _node_ids), selector)


class ClaimSink:
    """Writes the book's entries to the table `NodeClaim`."""

    def __init__(self, tables: TableSink) -> None:
        self._tables = tables

    async def replace(self, resource: Resource, records: Mapping[str, Record], kept: AbstractSet[str]) -> None:
        """Take the book as it is; one that is not there is empty."""
        if not kept:
            self._fill(records.get(CONFIG_MAP))

    def apply(self, resource: Resource, changes: Sequence[Change]) -> None:
        """Take the book's newest state."""
        for change in changes:
            self._fill(change.record)

    def _fill(self, found: Record | None) -> None:
        claims = found.claims if isinstance(found, NodeIds) else ()
        self._tables.fill(NODE_CLAIM, {str(claim.node_id): claim for claim in claims})


class KubernetesIdBook:
    """The book in the ConfigMap `contivpp-node-ids` of a namespace."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self._list = f"/api/v1/namespaces/{namespace}/configmaps"
        self._path = f"{self._list}/{CONFIG_MAP}"

    async def claims(self) -> tuple[NodeClaim, ...]:
        """Return all entries, by ID."""
        found = await self._read()
        return () if found is None else _node_ids(found).claims

    async def claim(self, wanted: NodeClaim, over: NodeClaim | None) -> bool:
        """Make an entry in place of `over`."""
        return await self._exchange(over, wanted)

    async def free(self, held: NodeClaim, at: float) -> bool:
        """Let the ID of a node that is gone rest.

        What the node published went with its Node object. A Node object that comes in the very moment between the look
        and the patch finds its ID resting, and takes it back.
        """
        return await self._exchange(held, NodeClaim(node_id=held.node_id, name=held.name, freed=at), gone=held.name)

    async def surrender(self, held: NodeClaim, at: float) -> bool:
        """Let an ID rest that its own node does not use."""
        return await self._exchange(held, NodeClaim(node_id=held.node_id, name=held.name, freed=at))

    async def forget(self, name: str) -> bool:
        """Tell whether a node is gone; then what it published is gone, too."""
        return not await self._node_is_there(name)

    async def _exchange(self, old: NodeClaim | None, new: NodeClaim, *, gone: str = "") -> bool:
        number = str(new.node_id)
        for attempt in range(TRIES):
            found = await self._read()
            entry = None if found is None else _entry(number, (found.data or {}).get(number))
            if entry == new:
                return True
            if entry != old or (gone and await self._node_is_there(gone)):
                return False
            value = claim_value(new.name, freed=new.freed, replaces=new.replaces).decode()
            if await self._write(found, {number: value}):
                return True
            await asyncio.sleep(0.01 * attempt)  # others changed other entries meanwhile
        raise ContivError(f"{self._path} is changed faster than this node can: it is tried again later")

    async def _read(self) -> _ConfigMap | None:
        try:
            return msgspec.json.decode(await self._client.get(self._path), type=_ConfigMap)
        except ApiFailure as error:
            if error.status == 404:
                return None
            raise
        except msgspec.MsgspecError as error:
            raise ContivError(f"{self._path}: {error}") from error

    async def _write(self, found: _ConfigMap | None, data: Mapping[str, str]) -> bool:
        """Change entries; False if the book is another one meanwhile."""
        metadata: dict[str, Any] = {"name": CONFIG_MAP}
        try:
            if found is None:
                await self._client.send("POST", self._list, msgspec.json.encode({"metadata": metadata, "data": data}))
            else:
                metadata = {"resourceVersion": found.metadata.resource_version}
                body = msgspec.json.encode({"metadata": metadata, "data": data})
                await self._client.send("PATCH", self._path, body, content_type=MERGE)
        except ApiFailure as error:
            if error.status == 404 and found is None:
                cure = "create its namespace, or name another one by ksr.namespace"
                raise ContivError(f"{self._path} cannot be made: {error}: {cure}") from error
            if error.status in (404, 409):
                return False
            raise
        return True

    async def _node_is_there(self, name: str) -> bool:
        try:
            await self._client.get(f"/api/v1/nodes/{quote(name, safe='')}")
        except ApiFailure as error:
            if error.status == 404:
                return False
            raise
        return True
