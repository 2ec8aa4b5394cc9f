# SPDX-License-Identifier: Apache-2.0
"""Node IDs in a ConfigMap, and annotations of Node objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from contivpp_core.cluster import claim_value, id_key
from contivpp_core.errors import ContivError
from contivpp_core.kubernetes import NODE_ADDRESSES_ANNOTATION
from contivpp_core.node import NODE_CLAIM, ClusterNode, NodeClaim
from contivpp_core.published import published
from contivpp_core.testing.identity_contract import IdBookContract
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_ksr.access import FileAccess
from contivpp_ksr.annotations import Annotator, StoreClaims
from contivpp_ksr.claims import CONFIG_MAP, KubernetesIdBook
from contivpp_ksr.client import ApiClient, ApiFailure
from contivpp_ksr.testing import NAMESPACE, FakeApiServer

from .objects import node, reflecting, until
from .test_table_sink import watching

ONE = NodeClaim(node_id=1, name="node1")


@asynccontextmanager
async def book() -> AsyncIterator[tuple[FakeApiServer, KubernetesIdBook]]:
    async with FakeApiServer().serving() as server:
        client = ApiClient(FileAccess(server.url))
        yield server, KubernetesIdBook(client, NAMESPACE)
        await client.close()


class TestKubernetesIdBook(IdBookContract):
    """The contract of every book."""

    @pytest.fixture
    async def books(self) -> AsyncIterator[list[KubernetesIdBook]]:
        async with FakeApiServer().serving() as self.server:
            clients = [ApiClient(FileAccess(self.server.url)) for _ in range(5)]
            yield [KubernetesIdBook(client, NAMESPACE) for client in clients]
            for client in clients:
                await client.close()

    async def register(self, name: str) -> None:
        self.server.put("Node", node(name))

    async def unregister(self, name: str) -> None:
        self.server.delete("Node", name)


async def test_an_id_is_given_once() -> None:
    async with book() as (_, ids):
        assert await ids.claims() == ()
        assert await ids.claim(ONE, None)
        assert await ids.claim(ONE, None)  # the answer to the first may have been lost
        assert not await ids.claim(NodeClaim(node_id=1, name="node2"), None)
        assert await ids.claim(NodeClaim(node_id=2, name="node2"), None)
        assert [claim.name for claim in await ids.claims()] == ["node1", "node2"]


async def test_of_many_who_claim_at_once_each_gets_another() -> None:
    async with book() as (_, ids):

        async def claim(name: str) -> None:
            while True:
                taken = {claim.node_id for claim in await ids.claims()}
                free = min(set(range(1, 20)) - taken)
                if await ids.claim(NodeClaim(node_id=free, name=name), None):
                    return

        await asyncio.gather(*(claim(f"node{number}") for number in range(10)))
        claims = await ids.claims()
        assert [claim.node_id for claim in claims] == list(range(1, 11))
        assert len({claim.name for claim in claims}) == 10


async def test_an_id_is_freed_only_when_the_node_object_is_gone() -> None:
    async with book() as (server, ids):
        server.put("Node", node("node1"))
        await ids.claim(ONE, None)
        assert not await ids.free(ONE, 5.0)
        assert not await ids.forget("node1")
        server.delete("Node", "node1")
        assert await ids.forget("node1")
        assert await ids.free(ONE, 5.0)
        resting = NodeClaim(node_id=1, name="node1", freed=5.0)
        assert await ids.claims() == (resting,)
        assert not await ids.claim(NodeClaim(node_id=1, name="node2"), None)
        assert await ids.claim(NodeClaim(node_id=1, name="node2"), resting)
        assert await ids.surrender(NodeClaim(node_id=1, name="node2"), 6.0)


async def test_an_entry_that_cannot_be_read_is_somebodys() -> None:
    async with book() as (server, ids):
        data = {"1": "x", "2": claim_value("node2").decode(), "not": "a number", "0": "x"}
        server.put("NodeIds", {"metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE}, "data": data})
        assert await ids.claims() == (NodeClaim(node_id=1, name=""), NodeClaim(node_id=2, name="node2"))
        assert not await ids.claim(ONE, None)


async def test_a_refusal_is_an_error_and_no_claim() -> None:
    async with book() as (server, ids):
        server.refuse = [(403, {})]
        with pytest.raises(ApiFailure, match="403"):
            await ids.claim(ONE, None)


async def test_a_namespace_that_is_missing_is_told() -> None:
    async with FakeApiServer().serving() as server:
        client = ApiClient(FileAccess(server.url))
        with pytest.raises(ContivError, match=r"nowhere.*create its namespace"):
            await KubernetesIdBook(client, "nowhere").claim(ONE, None)
        await client.close()


async def test_the_book_is_in_the_agents_table_and_a_deleted_one_is_empty() -> None:
    server = FakeApiServer()
    async with watching(server) as agent:
        await until(lambda: agent.ready)
        plugin: Any = agent.plugin("ksr")
        await plugin.id_book.claim(ONE, None)
        await until(lambda: agent.state.get(NODE_CLAIM.name, "1") == ONE)
        server.delete("NodeIds", f"{NAMESPACE}/{CONFIG_MAP}")
        await until(lambda: not list(agent.state.table(NODE_CLAIM.name)))


async def test_an_agent_annotates_its_own_node_only() -> None:
    server = FakeApiServer()
    for name in ("node1", "node2"):
        server.put("Node", node(name))
    async with watching(server) as agent:
        await until(lambda: agent.ready)
        plugin: Any = agent.plugin("ksr")
        await plugin.id_book.claim(NodeClaim(node_id=2, name="node2"), None)
        await plugin.id_book.claim(ONE, None)
        own = ClusterNode(name="node1", node_id=1, vpp_addresses=("10.0.0.1/24",))
        await plugin.publisher.publish(own)
        await until(lambda: agent.state.get("ClusterNode", "node1") == own)
        annotations = server.objects["Node"]["node1"]["metadata"]["annotations"]
        assert annotations[NODE_ADDRESSES_ANNOTATION] == published(own)
        assert not server.objects["Node"]["node2"]["metadata"].get("annotations")


def annotated(server: FakeApiServer) -> dict[str, str | None]:
    return {
        name: (found["metadata"].get("annotations") or {}).get("contivpp.io/node-id")
        for name, found in server.objects["Node"].items()
    }


@asynccontextmanager
async def annotating(
    server: FakeApiServer, store: MemoryKVStore, allowed: Callable[[], bool] = lambda: True
) -> AsyncIterator[Annotator]:
    claims = StoreClaims(store)
    async with server.serving(), reflecting(server, claims, "Node"):
        client = ApiClient(FileAccess(server.url))
        annotator = Annotator(
            client, lambda: claims.nodes, claims.claims, mine=lambda: tuple(claims.nodes), allowed=allowed
        )
        claims.tell = annotator.touch
        tasks = [asyncio.create_task(work) for work in (claims.run(), annotator.run())]
        try:
            yield annotator
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()


async def test_claims_of_the_store_are_written_on_nodes_and_outlive_it() -> None:
    server, store = FakeApiServer(), MemoryKVStore()
    await store.put(id_key(1), claim_value("node1"))
    for name in ("node1", "node2"):
        server.put("Node", node(name))
    async with annotating(server, store) as annotator:
        await until(lambda: annotated(server) == {"node1": "1", "node2": None})
        await store.put(id_key(2), claim_value("node2"))
        await until(lambda: annotated(server) == {"node1": "1", "node2": "2"})
        await store.delete(id_key(1))
        await store.put(id_key(3), b"broken")
        server.put("Node", node("node3"))
        await store.put(id_key(4), claim_value("node3"))
        await until(lambda: annotated(server) == {"node1": "1", "node2": "2", "node3": "4"})
        await until(lambda: annotator.written == 3)


async def test_a_node_that_cannot_be_annotated_is_tried_again() -> None:
    server, store = FakeApiServer(), MemoryKVStore()
    server.put("Node", node("node1"))
    async with annotating(server, store) as annotator:
        await until(lambda: server.requests)
        await asyncio.sleep(0.1)
        server.refuse = [(500, {}), (500, {})]
        await store.put(id_key(1), claim_value("node1"))
        await until(lambda: annotated(server) == {"node1": "1"})
        await until(lambda: not annotator.reason)


async def test_what_nobody_expected_is_tried_again() -> None:
    server, store = FakeApiServer(), MemoryKVStore()
    server.put("Node", node("node1"))
    faults = [RuntimeError("of a test")]

    def allowed() -> bool:
        if faults:
            raise faults.pop()
        return True

    async with annotating(server, store, allowed):
        await store.put(id_key(1), claim_value("node1"))
        await until(lambda: annotated(server) == {"node1": "1"})
    assert not faults


async def test_a_node_that_may_not_be_annotated_keeps_no_other_waiting() -> None:
    server, store = FakeApiServer(), MemoryKVStore()
    server.denied = {"node1"}
    for number in (1, 2):
        server.put("Node", node(f"node{number}"))
        await store.put(id_key(number), claim_value(f"node{number}"))
    async with annotating(server, store) as annotator:
        await until(lambda: annotated(server) == {"node1": None, "node2": "2"})
        await until(lambda: "nodes/node1: 403" in annotator.reason)
        server.denied.clear()
        await until(lambda: annotated(server) == {"node1": "1", "node2": "2"})


async def test_who_does_not_lead_annotates_nothing() -> None:
    server, store = FakeApiServer(), MemoryKVStore()
    server.put("Node", node("node1"))
    await store.put(id_key(1), claim_value("node1"))
    async with annotating(server, store, lambda: False):
        await asyncio.sleep(0.3)
        assert annotated(server) == {"node1": None}
