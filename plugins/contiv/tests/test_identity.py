# SPDX-License-Identifier: Apache-2.0
"""Agents that claim their IDs: many at once, over stores that are lost, and nodes that go and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.cluster import IDS, claim_value, decode_claim, encode_node, id_key, node_key
from contivpp_core.kvstore import KVStore, KVStoreError
from contivpp_core.markers import marker_key, marker_value
from contivpp_core.node import ClusterNode, NodeClaim
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_datastore.embedded.client import EmbeddedStore
from contivpp_datastore.embedded.engine import SqliteStore
from contivpp_datastore.embedded.server import StoreServer

from .members import Member, MemberPlugin, all_hold, until

SETTINGS: dict[str, Any] = {"idRestSeconds": 600, "nodeGoneSeconds": 60}


async def wipe(store: KVStore) -> None:
    """Lose everything."""
    for item in (await store.list("/")).items:
        await store.delete(item.key)


async def claims(store: KVStore) -> list[NodeClaim]:
    return [decode_claim(item.key, item.value) for item in (await store.list(IDS)).items]


def simulated(
    count: int, **settings: Any
) -> Callable[[Callable[[MemoryKVStore, list[Member]], Awaitable[None]]], Callable[[], None]]:
    """Run a test with nodes that have joined one after another, in simulated time."""

    def decorate(test: Callable[[MemoryKVStore, list[Member]], Awaitable[None]]) -> Callable[[], None]:
        async def main() -> None:
            store = MemoryKVStore()
            members = [Member(f"n{number}", store, **SETTINGS, **settings) for number in range(1, count + 1)]
            try:
                for member in members:
                    await member.register()
                    await member.start()
                    await all_hold([member])
                await test(store, members)
            finally:
                await asyncio.gather(*(member.stop() for member in members))

        def run() -> None:
            run_simulated(main())

        run.__name__ = test.__name__
        return run

    return decorate


# --- many at once


async def race(store: KVStore, count: int) -> float:
    """Let nodes join at once; return the seconds until all have an ID, less what each waits for the others."""
    members = [Member(f"n{number:02}", store, **SETTINGS) for number in range(count)]
    try:
        for member in members:
            await member.register()
        await asyncio.gather(*(member.start() for member in members))
        begin = time.perf_counter()
        ids = await all_hold(members)
        took = time.perf_counter() - begin
        assert sorted(ids) == list(range(1, count + 1))
        assert {claim.name: claim.node_id for claim in await claims(store)} == {m.name: m.node_id for m in members}
        assert [m.ledger.get("contiv.node", "id") for m in members] == [str(m.node_id).encode() for m in members]
        return took
    finally:
        await asyncio.gather(*(member.stop() for member in members))


def test_fifty_nodes_that_race_get_fifty_ids() -> None:
    run_simulated(race(MemoryKVStore(), 50))


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[EmbeddedStore]:
    engine = await SqliteStore.open(path / "store.db")
    server = StoreServer(engine, path / "store.sock")
    await server.start()
    store = EmbeddedStore(path / "store.sock")
    try:
        yield store
    finally:
        await store.close()
        await server.stop()
        await engine.close()


async def test_fifty_nodes_race_over_the_embedded_store(tmp_path: Path) -> None:
    async with served(tmp_path) as store:
        assert await race(store, 50) < 30


# --- the store is lost


@simulated(4)
async def test_a_store_that_is_wiped_while_agents_run_has_their_claims_again_at_once(store, members):
    await wipe(store)
    await asyncio.sleep(1)
    assert [(claim.node_id, claim.name) for claim in await claims(store)] == [(n, f"n{n}") for n in range(1, 5)]
    assert [member.node_id for member in members] == [1, 2, 3, 4]
    assert [member.reason for member in members] == [""] * 4


def test_in_a_store_that_a_reflector_fills_the_claims_are_there_again_before_it_is():
    async def main() -> None:
        store = MemoryKVStore()
        members = [Member(f"n{number}", store, reflected=True, **SETTINGS) for number in (1, 2, 3)]
        await members[0].register()
        await members[0].start()
        await asyncio.sleep(30)
        assert "no Node object n1" in members[0].reason  # it is there, but nobody says that others are, too
        await store.put(marker_key("Node"), marker_value())
        for member in members:
            await member.register()
            if member.agent is None:
                await member.start()
            await all_hold([member])
        await wipe(store)
        await asyncio.sleep(1)
        assert [(claim.node_id, claim.name) for claim in await claims(store)] == [(n, f"n{n}") for n in range(1, 4)]
        for member in members:
            assert [(claim.node_id, claim.name) for claim in member.agent.state.table("NodeClaim").records()] == [
                (n, f"n{n}") for n in range(1, 4)
            ]
        await asyncio.sleep(1000)
        assert [member.reason for member in members] == [""] * 3
        await asyncio.gather(*(member.stop() for member in members))

    run_simulated(main())


@simulated(4)
async def test_a_store_that_is_wiped_while_no_agent_runs_costs_nobody_its_id(store, members):
    for member in members:
        await member.stop()
    await wipe(store)
    newcomer = Member("n0", store, **SETTINGS)
    everybody = [newcomer, *members]
    for member in everybody:
        await member.register()
    try:
        for member in everybody:
            await member.start()
            await asyncio.sleep(0.3)
        assert await all_hold(everybody) == [5, 1, 2, 3, 4]
    finally:
        await newcomer.stop()


@simulated(3)
async def test_an_annotation_keeps_the_id_of_a_node_that_is_down_while_the_store_is_lost(store, members):
    await members[0].stop()
    await wipe(store)
    newcomer = Member("n0", store, **SETTINGS)
    for number, member in enumerate(members, 1):
        await member.register(number)
    await newcomer.register()
    await newcomer.start()
    try:
        assert await all_hold([newcomer]) == [4]
        await members[0].start()
        assert await all_hold(members) == [1, 2, 3]
    finally:
        await newcomer.stop()


@simulated(3)
async def test_without_ledger_the_book_or_the_annotation_knows(store, members):
    for member in members[1:]:
        await member.stop()
    by_book, by_annotation = Member("n2", store, **SETTINGS), Member("n3", store, **SETTINGS)
    await store.delete(id_key(3))
    await by_annotation.register(3)
    members[1:] = [by_book, by_annotation]
    for member in members[1:]:
        await member.start()
    assert await all_hold(members) == [1, 2, 3]


@simulated(2)
async def test_an_agent_without_its_store_goes_on_with_its_id(store, members):
    await members[1].stop()
    store.outage(True)
    await members[1].start()
    await asyncio.sleep(2000)
    assert [member.node_id for member in members] == [1, 2]
    assert [member.reason for member in members] == ["", ""]
    assert not any(member.held for member in members)  # for so long that it is not certain any more
    store.outage(False)
    assert await all_hold(members) == [1, 2]


def test_without_a_store_a_new_node_says_what_it_waits_for():
    async def main() -> None:
        store = MemoryKVStore()
        member = Member("n1", store)
        store.outage(True)
        await member.start()
        await asyncio.sleep(5)
        assert "does not answer" in member.reason
        store.outage(False)
        await until(lambda: "no Node object n1" in member.reason)
        await member.register()
        assert await all_hold([member]) == [1]
        await member.stop()

    run_simulated(main())


# --- nodes go and come back


@simulated(3)
async def test_the_id_of_a_node_that_is_gone_is_freed_and_rests(store, members):
    await store.put(node_key("n2"), encode_node(ClusterNode(name="n2", node_id=2)))
    await members[1].stop()
    await members[1].unregister()
    await asyncio.sleep(50)
    assert [claim.held for claim in await claims(store)] == [True] * 3
    assert await members[1].has_published()
    await until(lambda: members[0].agent.state.get("ClusterNode", "n2") is None, 20)
    newcomers = [Member(name, store, **SETTINGS) for name in ("n4", "n5")]
    try:
        await newcomers[0].register()
        await newcomers[0].start()
        assert await all_hold(newcomers[:1]) == [4]
        await asyncio.sleep(600)
        await newcomers[1].register()
        await newcomers[1].start()
        assert await all_hold(newcomers[1:]) == [2]
    finally:
        await asyncio.gather(*(member.stop() for member in newcomers))


@simulated(3)
async def test_a_node_that_is_deleted_while_its_agent_runs_says_so_and_may_come_back(store, members):
    gone = members[1]
    await gone.unregister()
    await until(lambda: "was deleted" in gone.reason, 80)
    assert not gone.held
    assert gone.node_id == 2
    await gone.register()
    await until(lambda: gone.held)
    assert (gone.node_id, gone.reason) == (2, "")


@simulated(3)
async def test_a_store_without_node_objects_frees_nothing(store, members):
    for member in members:
        await member.unregister()
    await asyncio.sleep(1000)
    assert [claim.held for claim in await claims(store)] == [True] * 3


@simulated(2)
async def test_what_a_node_without_a_claim_left_is_forgotten(store, members):
    await store.put(node_key("n9"), encode_node(ClusterNode(name="n9", node_id=9)))
    await asyncio.sleep(100)
    assert await store.get(node_key("n9")) is None


@simulated(2)
async def test_an_agent_that_may_not_free_goes_on(store, members):
    async def refuse(*args: object, **kwargs: object) -> None:
        raise KVStoreError("not permitted")

    await members[1].stop()
    await members[1].unregister()
    original, store.transaction = store.transaction, refuse
    await asyncio.sleep(1000)
    assert members[0].held
    assert members[0].reason == ""
    store.transaction = original
    await until(lambda: not members[0].agent.state.get("NodeClaim", "2").held, 200)


# --- two nodes with one ID


async def give_away(store: MemoryKVStore, loser: Member) -> None:
    await Member("n9", store).register()
    await store.put(id_key(loser.node_id), claim_value("n9"))


@simulated(2)
async def test_a_node_with_pods_keeps_an_id_that_is_anothers_and_says_what_to_do(store, members):
    await members[1].add_pod()
    await give_away(store, members[1])
    await asyncio.sleep(2000)
    assert members[1].node_id == 2
    assert not members[1].held
    assert "node n2 has ID 2, which is node n9's" in members[1].reason
    assert "drain n2: without pods it takes another ID" in members[1].reason
    assert members[1].agent is not None
    (fault,) = members[1].agent.state.table("Fault").records()
    assert f"{fault.subject} {fault.reason}" == members[1].reason
    await members[1].stop()
    await members[1].start()
    await until(lambda: "which is node n9's" in members[1].reason)
    await members[1].end_pod()
    await store.put(id_key(7), claim_value("other"))  # any change
    assert await all_hold(members) == [1, 3]


@simulated(3)
async def test_a_node_has_its_id_back_when_the_other_is_gone(store, members):
    other = Member("n9", store)
    await members[1].add_pod()
    await give_away(store, members[1])
    await until(lambda: "which is node n9's" in members[1].reason)
    await other.unregister()
    await until(lambda: members[1].held, 90)
    assert (members[1].node_id, members[1].reason) == (2, "")


@simulated(2)
async def test_a_node_without_pods_takes_another_id(store, members):
    await members[1].register(2)
    await give_away(store, members[1])
    await until(lambda: members[1].held and members[1].node_id == 3)
    assert NodeClaim(node_id=3, name="n2", replaces=2) in await claims(store)
    assert members[1].ledger.get("contiv.node", "id") == b"3"


@simulated(2)
async def test_an_id_that_is_anothers_for_a_moment_is_kept(store, members):
    await give_away(store, members[1])
    await until(lambda: "which is node n9's" in members[1].reason)
    await asyncio.sleep(3)
    await store.put(id_key(2), claim_value("n9", freed=1.0))
    assert await all_hold(members) == [1, 2]


@simulated(2)
async def test_an_add_that_is_under_way_keeps_the_id(store, members):
    async def add() -> None:
        await until(lambda: members[1].node_id == 0)
        await members[1].add_pod()

    adding = asyncio.create_task(add())
    await give_away(store, members[1])
    await adding
    await asyncio.sleep(5)
    assert members[1].node_id == 2
    assert "which is node n9's" in members[1].reason


def test_configured_ids_are_claimed_and_never_changed():
    async def main() -> None:
        store = MemoryKVStore()
        members = [Member("n1", store, nodeID=5), Member("n2", store, nodeID=5)]
        await members[0].start()
        await all_hold(members[:1])
        await members[1].start()
        await until(lambda: "which is node n1's" in members[1].reason)
        assert "change contiv.nodeID" in members[1].reason
        assert [member.node_id for member in members] == [5, 5]
        await asyncio.gather(*(member.stop() for member in members))

    run_simulated(main())


@simulated(2)
async def test_an_annotation_that_another_node_has_as_well_is_a_fault(store, members):
    await members[0].register(2)
    await until(lambda: len(members[1].agent.state.table("Fault")) > 0)
    (fault,) = members[1].agent.state.table("Fault").records()
    assert fault.subject == "node n2"
    assert "has ID 2, and node n1 is annotated with it (contivpp.io/node-id)" in fault.reason
    assert await all_hold(members) == [1, 2]


@simulated(1)
async def test_an_entry_that_cannot_be_read_is_written_again_by_its_node(store, members):
    await store.put(id_key(1), b"{")
    await asyncio.sleep(200)  # no table tells of it: it is found when the book is looked at next
    assert [claim.name for claim in await claims(store)] == ["n1"]


def test_a_node_by_itself_has_id_1():
    async def main() -> None:
        agent = Agent({"nodeName": "n1", "plugins": ["contiv"]}, [MemberPlugin({})], ledger_path=None, serve=False)
        await agent.start()
        assert agent.state.get("NodeConfig", "n1").node_id == 1
        await agent.stop()

    run_simulated(main())
