# SPDX-License-Identifier: Apache-2.0
"""Random rounds: etcd is stopped, frozen, wiped, put back and compacted under churn; an agent follows, or restarts."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from contivpp_core.agent import Agent
from contivpp_core.cluster import OBJECTS, object_key
from contivpp_core.kubernetes import KINDS, POD
from contivpp_core.kvstore import StoreUnavailable
from contivpp_core.markers import marked_kind, marker_key, marker_value
from contivpp_datastore.etcd.client import EtcdStore
from tests.servers.etcd import NEEDS_ETCD, Etcd

pytestmark = NEEDS_ETCD

ROUNDS = int(os.environ.get("CONTIVPP_ROUNDS", "6"))
DEADLINE = 40.0
STABLE = [f"stable{number}" for number in range(20)]


class Reflector:
    """Writes pods, one by one; sweeps when it is told that the store is another one."""

    def __init__(self, store: EtcdStore, rng: random.Random) -> None:
        self.pods = dict.fromkeys(STABLE, "0")
        self._store, self._rng = store, rng
        self._lock = asyncio.Lock()

    async def churn(self) -> None:
        while True:
            async with self._lock:
                await self._change(f"p{self._rng.randrange(30)}")
            await asyncio.sleep(0.005)

    async def _change(self, name: str) -> None:
        if name in self.pods and self._rng.random() < 0.4:
            del self.pods[name]
            await persist(lambda: self._store.delete(object_key("Pod", "default", name)))
        else:
            self.pods[name] = str(self._rng.randrange(5))
            await persist(lambda: self._store.put(object_key("Pod", "default", name), self._pod(name)))

    async def sweep(self) -> None:
        async with self._lock:
            listing = await persist(lambda: self._store.list(OBJECTS))
            for item in listing.items:
                if item.key.rpartition("/")[2] not in self.pods and not marked_kind(item.key):
                    await persist(lambda key=item.key: self._store.delete(key))
            for name in self.pods:
                await persist(lambda name=name: self._store.put(object_key("Pod", "default", name), self._pod(name)))
            for kind in KINDS:
                await persist(lambda kind=kind: self._store.put(marker_key(kind), marker_value()))

    async def quiet(self) -> dict[str, str]:
        """Return the pods when nothing is under way."""
        async with self._lock:
            return dict(self.pods)

    def _pod(self, name: str) -> bytes:
        meta = {"name": name, "namespace": "default", "labels": {"v": self.pods[name]}}
        return json.dumps({"metadata": meta}).encode()


async def persist(action: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await action()
            except StoreUnavailable:
                await asyncio.sleep(0.1)


async def harm(kind: str, etcd: Etcd, store: EtcdStore, reflector: Reflector, rng: random.Random) -> None:
    match kind:
        case "stop":
            await asyncio.to_thread(etcd.stop)
            await asyncio.sleep(rng.uniform(0, 2))
            await asyncio.to_thread(etcd.start)
        case "freeze":
            etcd.freeze()
            await asyncio.sleep(rng.uniform(0.5, 8))
            etcd.thaw()
        case "wipe" | "restore":
            await asyncio.to_thread(etcd.wipe if kind == "wipe" else etcd.restore)
            await asyncio.sleep(rng.uniform(0, 3))
            await reflector.sweep()
        case "compact":
            revision = await persist(lambda: store.put("/other", b""))
            await persist(lambda: store.compact(revision))


async def agent_at(folder: Path, etcd: Etcd) -> Agent:
    settings = {"nodeName": "node1", "plugins": ["datastore"], "runDir": str(folder), "stateDir": str(folder)}
    agent = Agent({**settings, "datastore": {"driver": "etcd", "endpoints": [etcd.endpoint]}})
    await agent.start()
    return agent


def in_table(agent: Agent) -> dict[str, str]:
    return {record.name: dict(record.labels)["v"] for record in agent.state.table(POD.name).unordered()}


@pytest.mark.parametrize("seed", [int(os.environ.get("CONTIVPP_SEED", "1"))])
async def test_an_agent_ends_with_what_the_reflector_wrote(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    with Etcd(tmp_path / "etcd") as etcd:
        store = EtcdStore(etcd.options(timeout=3.0, connect_timeout=1.0))
        reflector = Reflector(store, rng)
        await reflector.sweep()
        await asyncio.to_thread(etcd.save)
        agent = await agent_at(tmp_path, etcd)
        churn = asyncio.create_task(reflector.churn())
        lost: set[str] = set()
        try:
            for number in range(ROUNDS):
                kind = rng.choice(["stop", "freeze", "wipe", "restore", "compact", "agent"])
                if kind == "agent":
                    await agent.stop()
                    agent = await agent_at(tmp_path, etcd)
                async with asyncio.timeout(DEADLINE):
                    while not agent.state.ready(POD.name):
                        await asyncio.sleep(0.05)
                unfollow = agent.controller.follow(
                    lambda changes, _: lost.update(c.key for c in changes if c.new is None and "stable" in c.key)
                )
                await harm(kind, etcd, store, reflector, rng)
                pods: dict[str, str] = {}
                try:
                    async with asyncio.timeout(DEADLINE):
                        while (pods := await reflector.quiet()) != in_table(agent) or not agent.ready:
                            await asyncio.sleep(0.01)
                except TimeoutError:
                    differing = {n for n in {*pods, *in_table(agent)} if pods.get(n) != in_table(agent).get(n)}
                    pytest.fail(f"seed {seed}, round {number} ({kind}): {differing}; {agent.readiness()}")
                assert not lost, f"seed {seed}, round {number} ({kind})"
                unfollow()
        finally:
            churn.cancel()
            await asyncio.gather(churn, return_exceptions=True)
            await agent.stop()
            await store.close()
