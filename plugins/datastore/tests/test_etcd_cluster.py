# SPDX-License-Identifier: Apache-2.0
"""An etcd of three members: they die one by one, the leader dies, quorum is lost for a while, a member lags behind."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contivpp_core.agent import Agent
from contivpp_core.cluster import object_key
from contivpp_core.kubernetes import KINDS, POD
from contivpp_core.kvstore import StoreUnavailable, WatchBatch
from contivpp_core.markers import marker_key, marker_value
from contivpp_core.state import Change
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.plugin import DatastorePlugin
from tests.servers.etcd import NEEDS_ETCD, Etcd, EtcdCluster

pytestmark = NEEDS_ETCD

DEADLINE = 30.0
LAG = 8000
"""So many entries of its log are more than a leader keeps for those that lag (5000): they get a snapshot."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path / "etcd", arguments=("--snapshot-count", "500")) as cluster:
        yield cluster


async def until(condition: Callable[[], Any], what: str = "") -> None:
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE:g} s: {what}")


class Writer:
    """Puts and deletes pods; each value has a number that only grows."""

    def __init__(self, store: EtcdStore) -> None:
        self.pods: dict[str, int] = {}
        self.writes = 0
        self._store = store
        self._random = random.Random(1)
        self._number = 0
        self.quiet = asyncio.Lock()
        """Who has it knows what there is: nothing is under way."""

    async def begin(self) -> None:
        for number in range(10):
            await self._put(f"stable{number}")
        for kind in KINDS:
            await self._store.put(marker_key(kind), marker_value())

    async def run(self) -> None:
        while True:
            async with self.quiet:
                await self._change(f"p{self._random.randrange(20)}")
            await asyncio.sleep(0.01)

    async def _change(self, name: str) -> None:
        """Do one thing until it is done: of one that is not answered nobody knows."""
        while True:
            try:
                if name in self.pods and self._random.random() < 0.3:
                    await self._store.delete(object_key("Pod", "default", name))
                    del self.pods[name]
                else:
                    await self._put(name)
            except StoreUnavailable:
                await asyncio.sleep(0.1)
            else:
                self.writes += 1
                return

    async def _put(self, name: str) -> None:
        self._number += 1
        meta = {"name": name, "namespace": "default", "labels": {"n": str(self._number)}}
        await self._store.put(object_key("Pod", "default", name), json.dumps({"metadata": meta}).encode())
        self.pods[name] = self._number


class Mirrored:
    """An agent that mirrors the store; `wrong` tells what went back, and what was lost though it is there."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.wrong: list[str] = []
        self._newest: dict[str, int] = {}
        self._revision = 0
        agent.controller.follow(self._heard)
        plugin = agent.plugin("datastore")
        assert isinstance(plugin, DatastorePlugin)
        self._plugin = plugin

    def _heard(self, changes: list[Change], _: list[str]) -> None:
        revision = self._plugin._running().revision
        if revision < self._revision:
            self.wrong.append(f"revision {self._revision}, then {revision}")
        self._revision = revision
        for change in changes:
            if change.new is None:
                if "stable" in change.key:
                    self.wrong.append(f"{change.key} is lost")
                continue
            number = int(dict(change.new.labels)["n"])  # type: ignore[attr-defined]
            if number < self._newest.get(change.key, 0):
                self.wrong.append(f"{change.key}: {self._newest[change.key]}, then {number}")
            self._newest[change.key] = number

    @property
    def pods(self) -> dict[str, int]:
        return {each.name: int(dict(each.labels)["n"]) for each in self.agent.state.table(POD.name).unordered()}

    @property
    def endpoint(self) -> str:
        return self._plugin.store.endpoint  # type: ignore[attr-defined,no-any-return]


@asynccontextmanager
async def mirrored(folder: Path, cluster: EtcdCluster, name: str) -> AsyncIterator[Mirrored]:
    places = {"runDir": str(folder / name), "stateDir": str(folder / name)}
    (folder / name).mkdir()
    endpoints = list(cluster.options().endpoints)
    settings = {"nodeName": name, "plugins": ["datastore"], **places}
    agent = Agent({**settings, "datastore": {"driver": "etcd", "endpoints": endpoints}})
    await agent.start()
    try:
        yield Mirrored(agent)
    finally:
        await agent.stop()


async def test_mirrors_follow_whichever_members_die(cluster: EtcdCluster, tmp_path: Path) -> None:
    store = EtcdStore(cluster.options(timeout=3.0, connect_timeout=1.0))
    writer = Writer(store)
    await writer.begin()
    async with mirrored(tmp_path, cluster, "a") as one, mirrored(tmp_path, cluster, "b") as other:
        churn = asyncio.create_task(writer.run())
        used: set[str] = set()

        async def all_is_well(what: str) -> None:
            target = writer.writes + 20
            await until(lambda: writer.writes >= target, f"{what}: writes go on")
            async with writer.quiet:
                for each in (one, other):
                    await until(lambda each=each: each.agent.ready and each.pods == writer.pods, what)  # type: ignore[misc]
            assert one.wrong == other.wrong == [], what
            used.update((one.endpoint, other.endpoint))

        async def die(*members: Etcd, seconds: float) -> None:
            for member in members:
                await asyncio.to_thread(member.stop)
            await asyncio.sleep(seconds)
            if len(members) == 1:
                await all_is_well(f"{members[0].name} is dead")
            await asyncio.to_thread(cluster.start, *members)

        try:
            leader = await asyncio.to_thread(cluster.leader)
            for member in (leader, *(each for each in cluster.members if each is not leader)):
                await die(member, seconds=0.2)
                await all_is_well(f"{member.name} has died")
            await die(*cluster.members[1:], seconds=3.0)
            await all_is_well("quorum was lost")
            assert len(used) > 1
        finally:
            churn.cancel()
            await asyncio.gather(churn, return_exceptions=True)
    await store.close()


async def test_a_member_that_lags_tells_nothing_old(tmp_path: Path, cluster: EtcdCluster) -> None:
    """Watched from a revision that it has not reached, etcd tells older events once it gets a snapshot (its #20221)."""
    leader = await asyncio.to_thread(cluster.leader)
    late = next(member for member in cluster.members if member is not leader)
    others = tuple(member.endpoint for member in cluster.members if member is not late)
    store = EtcdStore(cluster.options(endpoints=others))
    await store.put("/p/first", b"")
    asked = EtcdStore(cluster.options(endpoints=(late.endpoint,), timeout=20.0))
    await asked.get("/p/first")
    await asyncio.to_thread(late.freeze)
    for batch in range(LAG // 100):
        await asyncio.gather(*(store.put(f"/p/{number}", b"%d" % batch * 1000) for number in range(100)))
    late.thaw()
    watches = []
    for number in range(60):  # one of them is opened after the snapshot is made, and before it has arrived
        last = await store.put("/p/new", b"%d" % number)
        watches.append(asyncio.create_task(told_until(asked, last + 1, b"end")))
        await asyncio.sleep(0.02)
    await store.put("/p/new", b"end")
    for watch in watches:
        first, batches = await watch
        revisions = [batch.revision for batch in batches]
        assert revisions == sorted(revisions)
        assert [event for batch in batches for event in batch.events if event.revision < first] == []
    await asked.close()
    await store.close()


async def told_until(store: EtcdStore, first: int, value: bytes) -> tuple[int, list[WatchBatch]]:
    """Return what a watch from a revision tells, up to a value."""
    told = []
    async with asyncio.timeout(DEADLINE), aclosing(store.watch("/p/", first)) as watch:
        async for batch in watch:
            told.append(batch)
            if any(event.value == value for event in batch.events):
                break
    return first, told
