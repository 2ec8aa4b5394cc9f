# SPDX-License-Identifier: Apache-2.0
"""Agents that claim their IDs in a real etcd, which is wiped and put back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contivpp_core.cluster import encode_node, node_key
from contivpp_core.identity import StoreIdBook
from contivpp_core.node import ClusterNode
from contivpp_datastore.etcd import access
from contivpp_datastore.etcd.client import EtcdStore
from tests.servers.etcd import NEEDS_ETCD, Etcd

from .members import Member, all_hold, until

pytestmark = NEEDS_ETCD


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as etcd:
        yield etcd


@asynccontextmanager
async def cluster(etcd: Etcd, count: int, **settings: float) -> AsyncIterator[list[Member]]:
    """Nodes that all join at once."""
    store = EtcdStore(etcd.options())
    members = [Member(f"n{number}", store, **settings) for number in range(count)]
    try:
        for member in members:
            await member.register()
        await asyncio.gather(*(member.start() for member in members))
        await all_hold(members)
        yield members
    finally:
        await asyncio.gather(*(member.stop() for member in members))
        await store.close()


async def test_fifty_nodes_race(etcd: Etcd) -> None:
    begin = time.monotonic()
    async with cluster(etcd, 50) as members:
        assert sorted(member.node_id for member in members) == list(range(1, 51))
        assert time.monotonic() - begin < 40


async def test_an_etcd_that_is_wiped_or_put_back_while_agents_run(etcd: Etcd) -> None:
    async with cluster(etcd, 5) as members:
        ids = [member.node_id for member in members]
        await asyncio.to_thread(etcd.save)
        for lose in (etcd.wipe, etcd.restore, etcd.wipe):
            await asyncio.to_thread(lose)
            store = EtcdStore(etcd.options())
            book = StoreIdBook(store)

            async def all_claimed(book: StoreIdBook = book) -> bool:
                return {claim.name: claim.node_id for claim in await book.claims()} == dict(
                    zip([member.name for member in members], ids, strict=True)
                )

            await until(all_claimed)
            await store.close()
            for member in members:
                await member.register()
            assert await all_hold(members) == ids


async def test_an_etcd_that_is_wiped_while_no_agent_runs(etcd: Etcd) -> None:
    async with cluster(etcd, 5) as members:
        ids = [member.node_id for member in members]
        for member in members:
            await member.stop()
        await asyncio.to_thread(etcd.wipe)
        for member in reversed(members):
            await member.register(ids[members.index(member)])
            await member.start()
        assert await all_hold(members) == ids


async def test_an_agent_with_least_rights_claims_and_frees(etcd: Etcd) -> None:
    first = EtcdStore(etcd.options())
    await access.enable(first, "root's secret")
    await first.close()
    passwords = {"root": "root's secret", "n1": "n1's secret"}
    for user, secret in passwords.items():
        (etcd.folder / user).write_text(f"{secret}\n")
    root = EtcdStore(etcd.options(user="root", password_file=etcd.folder / "root"))
    await access.grant(root, "n1", passwords["n1"], access.agent_rights("n1"))
    agents = EtcdStore(etcd.options(user="n1", password_file=etcd.folder / "n1"))
    member, gone = Member("n1", agents, nodeGoneSeconds=1), Member("n2", root, nodeGoneSeconds=1)
    try:
        await Member("n1", root).register()
        await gone.register()
        for each in (gone, member):
            await each.start()
            await all_hold([each])
        await root.put(node_key("n2"), encode_node(ClusterNode(name="n2", node_id=1)))
        await gone.stop()
        await gone.unregister()
        await until(lambda: not member.agent.state.get("NodeClaim", "1").held)
        assert member.held
        assert member.node_id == 2
        assert await root.get(node_key("n2")) is not None  # left to who may
    finally:
        await asyncio.gather(member.stop(), gone.stop())
        await asyncio.gather(agents.close(), root.close())
