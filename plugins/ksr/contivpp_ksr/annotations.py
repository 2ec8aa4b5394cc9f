# SPDX-License-Identifier: Apache-2.0
"""What is written on Node objects: a node's ID, so that it outlives the book of IDs, and what a node tells of itself.

The ID's annotation is decided by `contivpp_core.identity.annotation_for`, and never removed. `contivpp ksr` keeps it on
every Node object; where there is no store of the cluster, each agent keeps it on its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Any

import msgspec

from contivpp_core.backoff import Backoff
from contivpp_core.cluster import IDS, MalformedValue, decode_claim
from contivpp_core.identity import annotation_for
from contivpp_core.kubernetes import NODE_ADDRESSES_ANNOTATION, NODE_ID_ANNOTATION, Node
from contivpp_core.kvstore import Compacted, KVStore, StoreUnavailable, WatchEvent
from contivpp_core.node import ClusterNode, NodeClaim
from contivpp_core.published import published
from contivpp_core.records import Record
from contivpp_core.repeat import whenever
from contivpp_ksr.client import ApiClient, ApiFailure
from contivpp_ksr.resources import Resource
from contivpp_ksr.sink import Change

__all__ = ["Annotator", "NodePublisher", "StoreClaims"]

log = logging.getLogger(__name__)

ECHO_SECONDS = 10.0
"""So long the watch may take to tell an annotation that was written."""
MERGE = "application/merge-patch+json"


async def annotate(client: ApiClient, name: str, annotations: Mapping[str, str]) -> None:
    """Set annotations of a Node object; raise ApiFailure, Unreachable."""
    body = msgspec.json.encode({"metadata": {"annotations": annotations}})
    await client.send("PATCH", f"/api/v1/nodes/{name}", body, content_type=MERGE)


class NodePublisher:
    """Publishes a node's addresses on its Node object."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def publish(self, node: ClusterNode) -> None:
        """Replace what this node has told."""
        await annotate(self._client, node.name, {NODE_ADDRESSES_ANNOTATION: published(node)})


class Annotator:
    """Keeps the ID's annotation of Node objects. `nodes` tells the annotated IDs (0: none) of all of them, by name;
    `mine` which of them are to be kept, and `allowed` whether now.
    """

    def __init__(
        self,
        client: ApiClient,
        nodes: Callable[[], Mapping[str, int]],
        claims: Callable[[], Iterable[NodeClaim]],
        *,
        mine: Callable[[], Iterable[str]],
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.written = 0
        self.reason = ""
        self._client = client
        self._nodes, self._claims, self._mine, self._allowed = nodes, claims, mine, allowed
        self._wake = asyncio.Event()
        self._sent: dict[str, tuple[int, float]] = {}  # what the watch has not told yet, and until when it may be late

    def touch(self) -> None:
        """Something may have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Annotate for ever."""
        await whenever(self._wake, self._once, self._tell, Backoff("annotations"))

    def _tell(self, reason: str) -> None:
        if reason and self.reason != reason:
            log.warning("a Node object cannot be annotated", extra={"reason": reason})
        self.reason = reason

    async def _once(self) -> None:
        if not self._allowed():
            return
        claims = tuple(self._claims())
        loop = asyncio.get_running_loop()
        refused: ApiFailure | None = None
        for name in sorted(self._mine()):
            nodes = self._nodes()
            wanted = annotation_for(name, nodes, claims) if name in nodes else 0
            if not wanted or wanted == nodes[name]:
                self._sent.pop(name, None)
                continue
            sent, until = self._sent.get(name, (0, 0.0))
            if sent == wanted and loop.time() < until:
                continue
            try:
                await annotate(self._client, name, {NODE_ID_ANNOTATION: str(wanted)})
            except ApiFailure as error:  # an admission may refuse one node; that keeps no other waiting
                refused = refused or error
                continue
            self._sent[name] = (wanted, loop.time() + ECHO_SECONDS)
            loop.call_later(ECHO_SECONDS, self.touch)
            self.written += 1
            log.info("node annotated", extra={"node": name, "node_id": wanted})
        if refused is not None:
            raise refused


class StoreClaims:
    """The claims of a store of the cluster, and the IDs of Node objects: what the `Annotator` of `contivpp ksr` reads.

    It is a sink: Node objects come from their reflector.
    """

    def __init__(self, store: KVStore) -> None:
        self.nodes: dict[str, int] = {}
        self.tell: Callable[[], None] = lambda: None
        self._store = store
        self._claims: dict[str, NodeClaim] = {}
        self._backoff = Backoff("claims")

    def claims(self) -> list[NodeClaim]:
        """Return all claims."""
        return list(self._claims.values())

    async def replace(self, resource: Resource, records: Mapping[str, Record], kept: AbstractSet[str]) -> None:
        """Take all nodes."""
        self._take({name: _id(record) for name, record in records.items()} | {name: self.nodes[name] for name in
                   kept if name in self.nodes})  # fmt: skip

    def apply(self, resource: Resource, changes: Sequence[Change]) -> None:
        """Take changes of nodes."""
        nodes = dict(self.nodes)
        for name, record in changes:
            if record is None:
                nodes.pop(name, None)
            else:
                nodes[name] = _id(record)
        self._take(nodes)

    def _take(self, nodes: dict[str, int]) -> None:
        if nodes != self.nodes:
            self.nodes = nodes
            self.tell()

    async def run(self) -> None:
        """Follow the store's claims for ever."""
        while True:
            try:
                listing = await self._store.list(IDS)
                self._claims = {}
                for item in listing.items:
                    self._put(WatchEvent(item.key, item.value, item.revision))
                self.tell()
                async with aclosing(self._store.watch(IDS, listing.revision + 1)) as watch:
                    async for batch in watch:
                        self._backoff.reset()
                        for event in batch.events:
                            self._put(event)
                        if batch.events:
                            self.tell()
            except (Compacted, StoreUnavailable):
                pass
            except Exception:
                log.exception("the claims of node IDs cannot be read")
            await self._backoff.pause()

    def _put(self, event: WatchEvent) -> None:
        try:
            if event.value is None:
                self._claims.pop(event.key, None)
            else:
                self._claims[event.key] = decode_claim(event.key, event.value)
        except MalformedValue as error:
            self._claims.pop(event.key, None)
            log.error("a claim of a node ID cannot be read", extra={"reason": str(error)})


def _id(record: Any) -> int:
    assert isinstance(record, Node)
    return record.node_id
