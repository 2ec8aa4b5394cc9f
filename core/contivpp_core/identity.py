# SPDX-License-Identifier: Apache-2.0
"""Node IDs of a cluster: the book in which they are claimed, and the notice by which a node tells of itself.

Two nodes with one ID have one pod subnet, so an ID is given by compare-and-swap: of two that want it, one gets it. Who
wants what, and when, is decided by each node's agent (the contiv plugin); a book only keeps entries, and changes one if
it still is what the agent saw. What a cluster has for that is a plugin's business: the cluster's store (`StoreIdBook`),
or an object of Kubernetes. Such a plugin is a `HasIdentity`; else the store of the plugin `datastore` is used.

The book may be lost, or put back to an older state. So the ID of a node is noted in two more places: in its agent's
ledger, and on its Node object in Kubernetes (`contivpp_core.kubernetes.NODE_ID_ANNOTATION`); `annotation_for` says
what belongs there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from contivpp_core.cluster import (
    IDS,
    MalformedValue,
    claim_value,
    decode_claim,
    encode_node,
    id_key,
    is_node_id,
    node_key,
    object_key,
)
from contivpp_core.kvstore import Compare, DeleteKey, KeyValue, KVStore, KVStoreError, PutKey, StoreUnavailable
from contivpp_core.node import ClusterNode, NodeClaim

__all__ = [
    "HasIdentity",
    "IdBook",
    "Publisher",
    "StoreIdBook",
    "StorePublisher",
    "annotation_for",
]

class IdBook(Protocol):
    """Who has which node ID. Every method may raise a `ContivError`: whether a change was made is then unknown."""

    async def claims(self) -> tuple[NodeClaim, ...]:
        """Return all entries, held and resting, by ID: what the book holds now, not what a mirror knows of it.

        An entry that cannot be read has an empty name: somebody has the ID.
        """

    async def claim(self, wanted: NodeClaim, over: NodeClaim | None) -> bool:
        """Make `wanted` the entry of its ID if that is `over` (None: there is none); tell whether it was.

        Repeating a claim that was made is True: the answer to the first may have been lost.
        """

    async def free(self, held: NodeClaim, at: float) -> bool:
        """Let the ID of a node that is gone rest from `at` (seconds since 1970), and remove what the node published,
        if this agent may.

        Does so only if the entry still is `held` *and there is no Node object of that name at that moment*, all in
        one; else, False and no change.
        """

    async def surrender(self, held: NodeClaim, at: float) -> bool:
        """Let an ID rest that its own node does not use; False if the entry is not `held` any more."""

    async def forget(self, name: str) -> bool:
        """Remove what a node published, if there is no Node object of that name at that moment; tell whether so."""


class Publisher(Protocol):
    """Where a node tells the others of itself. May raise a `ContivError`."""

    async def publish(self, node: ClusterNode) -> None:
        """Replace what this node has told; each agent then finds it in its table `ClusterNode`."""


@runtime_checkable
class HasIdentity(Protocol):
    """A plugin by which nodes get IDs and tell of themselves, in place of the cluster's store.

    It fills the tables `Node`, `NodeClaim` and `ClusterNode` (and names them in `sources`). Both properties may raise a
    `ContivError` until the plugin has started.
    """

    @property
    def id_book(self) -> IdBook:
        """The book of node IDs."""
        ...

    @property
    def publisher(self) -> Publisher:
        """Where this node tells of itself."""
        ...


class StoreIdBook:
    """The book in the cluster's store: one key for each ID (`contivpp_core.cluster`)."""

    def __init__(self, store: KVStore) -> None:
        self._store = store

    async def claims(self) -> tuple[NodeClaim, ...]:
        """Return all entries, by ID; raise StoreUnavailable."""
        entries = [_entry(item) for item in (await self._store.list(IDS)).items]
        return tuple(sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.node_id))

    async def claim(self, wanted: NodeClaim, over: NodeClaim | None) -> bool:
        """Make an entry in place of `over`; raise StoreUnavailable."""
        return await self._exchange(over, wanted)

    async def free(self, held: NodeClaim, at: float) -> bool:
        """Let the ID of a node that is gone rest, and remove its key; raise StoreUnavailable.

        Where this agent may not remove another's key, the ID rests all the same; the key is left to who may.
        """
        no_node = Compare(object_key("Node", "", held.name), 0)
        rests = NodeClaim(node_id=held.node_id, name=held.name, freed=at)
        try:
            return await self._exchange(held, rests, (no_node,), (DeleteKey(node_key(held.name)),))
        except StoreUnavailable:
            raise
        except KVStoreError:
            return await self._exchange(held, rests, (no_node,))

    async def surrender(self, held: NodeClaim, at: float) -> bool:
        """Let an ID rest; raise StoreUnavailable."""
        return await self._exchange(held, NodeClaim(node_id=held.node_id, name=held.name, freed=at))

    async def forget(self, name: str) -> bool:
        """Remove the key of a node that is gone; raise StoreUnavailable."""
        no_node = Compare(object_key("Node", "", name), 0)
        return (await self._store.transaction((no_node,), (DeleteKey(node_key(name)),))).succeeded

    async def _exchange(
        self,
        old: NodeClaim | None,
        new: NodeClaim,
        compares: tuple[Compare, ...] = (),
        more: tuple[PutKey | DeleteKey, ...] = (),
    ) -> bool:
        key = id_key(new.node_id)
        item = await self._store.get(key)
        found = _entry(item) if item is not None else None
        if found == new:
            return True
        if found != old:
            return False
        put = PutKey(key, claim_value(new.name, freed=new.freed, replaces=new.replaces))
        revision = item.revision if item is not None else 0
        result = await self._store.transaction((Compare(key, revision), *compares), (put, *more))
        return result.succeeded


class StorePublisher:
    """Publishes in the cluster's store."""

    def __init__(self, store: KVStore) -> None:
        self._store = store

    async def publish(self, node: ClusterNode) -> None:
        """Put the node's key; raise StoreUnavailable."""
        await self._store.put(node_key(node.name), encode_node(node))


def annotation_for(name: str, nodes: Mapping[str, int], claims: Iterable[NodeClaim]) -> int:
    """Return the ID that the Node object `name` should be annotated with; 0: none.

    `nodes` are all Node objects, and the IDs that they are annotated with now (0: none). An annotation outlives the
    book, so it is changed only if the node itself says that its new ID replaces that one; a book that was lost, or put
    back to an older state, changes nothing, and gives nobody what is another's.
    """
    annotated = nodes.get(name, 0)
    taken = {node_id for other, node_id in nodes.items() if other != name}
    own = [claim for claim in claims if claim.held and claim.name == name and claim.node_id not in taken]
    for claim in own:
        if annotated and annotated in (claim.node_id, claim.replaces):
            return claim.node_id
    return own[0].node_id if len(own) == 1 and not annotated else annotated


def _entry(item: KeyValue) -> NodeClaim | None:
    try:
        return decode_claim(item.key, item.value)
    except MalformedValue:
        number = item.key.removeprefix(IDS)
        return NodeClaim(node_id=int(number), name="") if is_node_id(number) else None
