# SPDX-License-Identifier: Apache-2.0
"""The book of node IDs over a store, and what belongs on a Node object."""

from __future__ import annotations

import pytest

from contivpp_core.cluster import IDS, claim_value, decode_claim, id_key, node_key, object_key
from contivpp_core.identity import HasIdentity, StoreIdBook, StorePublisher, annotation_for
from contivpp_core.kubernetes import Node, decode
from contivpp_core.kvstore import DeleteKey, KVStoreError, StoreUnavailable
from contivpp_core.node import ClusterNode
from contivpp_core.testing.identity_contract import IdBookContract, held, rests
from contivpp_core.testing.kvstore import MemoryKVStore


@pytest.fixture
def store() -> MemoryKVStore:
    return MemoryKVStore()


class TestStoreIdBook(IdBookContract):
    @pytest.fixture
    def books(self, store: MemoryKVStore) -> list[StoreIdBook]:
        self.store = store
        return [StoreIdBook(store) for _ in range(10)]

    async def register(self, name: str) -> None:
        await self.store.put(object_key("Node", "", name), b"{}")

    async def unregister(self, name: str) -> None:
        await self.store.delete(object_key("Node", "", name))


@pytest.mark.parametrize("claim", [held(1, "a"), rests(7, "b", 12.5), held(255, "c", 3)])
def test_a_claim_is_read_as_it_was_written(claim):
    value = claim_value(claim.name, freed=claim.freed, replaces=claim.replaces)
    assert decode_claim(id_key(claim.node_id), value) == claim





async def test_freeing_removes_what_the_node_published_and_can_be_done_by_two(store):
    book = StoreIdBook(store)
    await book.claim(held(1, "a"), None)
    await StorePublisher(store).publish(ClusterNode(name="a", node_id=1))
    assert await book.free(held(1, "a"), 5.0)
    assert not await book.free(held(1, "a"), 6.0)
    assert await book.claims() == (rests(1, "a", 5.0),)
    assert await store.get(node_key("a")) is None


async def test_who_may_not_remove_what_a_node_published_frees_its_id_all_the_same(store):
    class Guarded(MemoryKVStore):
        async def transaction(self, compares, success, failure=()):
            if any(isinstance(operation, DeleteKey) for operation in success):
                raise KVStoreError("not permitted")
            return await super().transaction(compares, success, failure)

    guarded = Guarded()
    book = StoreIdBook(guarded)
    await book.claim(held(1, "a"), None)
    assert await book.free(held(1, "a"), 5.0)
    assert await book.claims() == (rests(1, "a", 5.0),)



async def test_what_cannot_be_read_is_somebodys(store):
    for key, value in ((id_key(1), b"{"), (f"{IDS}x", b"{}"), (id_key(2), claim_value("b")), (f"{IDS}07", b"{}")):
        await store.put(key, value)
    book = StoreIdBook(store)
    assert await book.claims() == (held(1, ""), held(2, "b"))
    assert not await book.claim(held(1, "a"), None)
    assert await book.claim(held(1, "a"), held(1, ""))


async def test_an_outage_is_an_error(store):
    store.outage(True)
    with pytest.raises(StoreUnavailable):
        await StoreIdBook(store).claims()


def test_the_protocol_can_be_recognised():
    class Plugin:
        id_book = publisher = None

    assert isinstance(Plugin(), HasIdentity)
    assert not isinstance(object(), HasIdentity)


@pytest.mark.parametrize(
    ("annotated", "claims", "expected"),
    [
        pytest.param(0, [], 0, id="nothing is known"),
        pytest.param(0, [held(3, "a"), held(1, "b")], 3, id="a new node"),
        pytest.param(3, [], 3, id="the book is lost"),
        pytest.param(3, [held(2, "a")], 3, id="the book is an older one"),
        pytest.param(3, [held(5, "a", 3)], 5, id="the node says that it has changed"),
        pytest.param(3, [held(2, "a"), held(3, "a")], 3, id="an older claim beside the right one"),
        pytest.param(0, [held(2, "a"), held(3, "a")], 0, id="two claims: which one the node uses is open"),
        pytest.param(0, [rests(3, "a", 1.0)], 0, id="a claim that was freed"),
    ],
)
def test_what_belongs_on_the_node_object(annotated, claims, expected):
    assert annotation_for("a", {"a": annotated, "b": 1}, claims) == expected


def test_an_older_book_gives_no_node_what_another_is_annotated_with():
    assert annotation_for("a", {"a": 0, "b": 3}, [held(3, "a")]) == 0


async def test_what_a_node_published_is_forgotten_only_without_its_node_object(store):
    await StorePublisher(store).publish(ClusterNode(name="a", node_id=1))
    await store.put(object_key("Node", "", "a"), b"{}")
    assert not await StoreIdBook(store).forget("a")
    await store.delete(object_key("Node", "", "a"))
    assert await StoreIdBook(store).forget("a")
    assert await store.get(node_key("a")) is None


@pytest.mark.parametrize(("text", "expected"), [("7", 7), ("07", 0), ("0", 0), ("-1", 0), ("x", 0), ("9" * 12, 0)])
def test_the_annotation_of_a_node_is_read(text, expected):
    found = {"metadata": {"name": "n", "annotations": {"contivpp.io/node-id": text}}}
    assert decode(Node, found).node_id == expected
