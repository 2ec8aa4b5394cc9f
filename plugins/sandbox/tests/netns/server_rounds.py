# SPDX-License-Identifier: Apache-2.0
"""A cluster with real servers, to which everything happens at once: what the tests of random rounds do with it.

Servers and agents die, stand still or are cut off, and come back in any order, while objects come and go. What must
hold all the time: two pods that live through all of it reach each other, and no node's ID or subnets change. What must
hold in the end: every agent knows what the API server has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from contivpp_sandbox.rigs.base import ObjectReference
from contivpp_sandbox.rigs.netns import sandbox_rig
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.servers.layout import Datastore
from contivpp_sandbox.servers.state import ServedObjects

from .server_faults import UNDONE, Faults

NODES = ("node1", "node2", "node3")
PINGS_A_SECOND = 5
CHURN_SECONDS = 0.3
DEAD_SECONDS = 2.0
ROUNDS = int(os.environ.get("CONTIVPP_SERVER_ROUNDS") or 20)
LONGEST_SECONDS = 12.0 if ROUNDS <= 20 else 40.0
SETTLE_SECONDS = 90.0
ID_REST_SECONDS = 10.0
"""An agent that was without contact for longer publishes nothing before it has seen its claim again."""


def pod(name: str, node: str, **labels: str) -> dict[str, Any]:
    container = {"ports": [{"name": "http", "containerPort": 8080}]}
    metadata = {"namespace": "x", "name": name, "labels": labels}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [container]}}


def service(number: int, **selector: str) -> dict[str, Any]:
    spec = {"selector": selector, "ports": [{"port": 80, "targetPort": "http"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "x", "name": f"s{number}"}, "spec": spec}


def policy(number: int, **selector: str) -> dict[str, Any]:
    metadata = {"namespace": "x", "name": f"p{number}"}
    spec = {"podSelector": {"matchLabels": selector}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


class Pinger:
    """Pings from one pod to another until it is told to stop; `lost` says which were not answered, and when."""

    def __init__(self, cluster: Cluster, source: str, target: str) -> None:
        self.sent = 0
        self.lost: list[str] = []
        self.now = "the beginning"
        self._station = cluster.pods[source].station(cluster.directory)
        self._address = cluster.pods[target].address

    async def run(self) -> None:
        while True:
            result = await self._station.ask("probe", protocol="ICMP", address=self._address, attempts=1)
            self.sent += 1
            if result["verdict"] != "allowed":
                self.lost.append(f"ping {self.sent}, in {self.now}: {result['why']}")
            await asyncio.sleep(1 / PINGS_A_SECOND)


class World:
    """The cluster; `seed` decides what happens."""

    def __init__(self, cluster: Cluster, datastore: Datastore, seed: int) -> None:
        self.cluster = cluster
        self.datastore = datastore
        self.random = random.Random(seed)
        self.churning = random.Random(seed)  # its own: how much of it there is depends on time
        assert isinstance(cluster.store, ServedObjects)
        self.store = cluster.store
        self.servers = cluster.store.servers
        self.faults = Faults(cluster, self.servers, self.random)
        self._ending: set[ObjectReference] = set()
        self._number = 0
        self.refused: list[str] = []
        """What could not be done in the last round."""

    # --- what goes, and comes back

    def victims(self) -> list[str]:
        servers = [name for name in self.servers.names if name != "forwarder"]
        return [*servers, *(f"agent {name}" for name in NODES)]

    async def serving(self, victims: list[str]) -> None:
        """Wait until servers serve again; one that ended because another was not there is started again."""
        servers = [victim for victim in victims if " " not in victim]
        for name in self.servers.names:
            if name not in servers:
                servers.append(name)  # kube-apiserver ends by itself when its etcd is away for too long
        await self.servers.run(*servers)

    # --- what comes and goes

    async def churn(self, stop: asyncio.Event) -> None:
        """Change one thing after the other; what cannot be done now is left. A request may wait for a dead etcd."""
        while not stop.is_set():
            try:
                await self.churning.choice(self._changes())()
            except SandboxError as error:
                self.refused.append(str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.churning.uniform(0, CHURN_SECONDS))

    def _changes(self) -> list[Callable[[], Awaitable[None]]]:
        return [self._new_pod, self._old_pod, self._far_pod, self._service, self._policy, self._label]

    async def _new_pod(self) -> None:
        if len(self.cluster.pods) < 10:
            self._number += 1
            await self.cluster.apply([pod(f"r{self._number}", self.churning.choice(NODES), **self._labels())])

    async def _old_pod(self) -> None:
        names = [each.name for each in self.cluster.pods.values() if each.name.startswith("r")]
        if names:
            reference = ObjectReference("Pod", "x", self.churning.choice(names))
            self._ending.add(reference)
            await self.cluster.delete([reference])
            self._ending.discard(reference)

    async def _far_pod(self) -> None:
        """A pod of a node that is not here: an object only."""
        await self._put_or_delete(pod(f"far{self.churning.randrange(5)}", "elsewhere", **self._labels()))

    async def _service(self) -> None:
        await self._put_or_delete(service(self.churning.randrange(3), **self._labels()))

    async def _policy(self) -> None:
        await self._put_or_delete(policy(self.churning.randrange(3), **self._labels()))

    async def _label(self) -> None:
        labels = {f"l{self.churning.randrange(3)}": self.churning.choice(["a", "b", None])}
        await self.store.api.merge(f"/api/v1/nodes/{self.churning.choice(NODES)}", {"metadata": {"labels": labels}})

    async def _put_or_delete(self, found: dict[str, Any]) -> None:
        reference = ObjectReference(found["kind"], "x", found["metadata"]["name"])
        if self.churning.random() < 0.3:
            await self.store.delete([reference])
        else:
            await self.store.delete([reference] if found["kind"] == "Pod" else [])  # pods' labels alone may change
            await self.store.put({reference: found})

    def _labels(self) -> dict[str, str]:
        return {"app": self.churning.choice("abc")}

    # --- rounds

    async def round(self) -> list[str]:
        """Let something happen; return what happened."""
        chosen = self.random.sample(self.victims(), k=self.random.randint(1, 3))
        happens = {victim: self.faults.choose(victim) for victim in chosen}
        seconds = self.faults.longer(LONGEST_SECONDS)
        self.refused.clear()
        again = self.random.sample(chosen, k=len(chosen))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.churn(stop))
            for victim in chosen:
                await self.faults.do(happens[victim], victim)
                await asyncio.sleep(self.random.uniform(0, DEAD_SECONDS))
            await asyncio.sleep(seconds)
            for victim in again:
                await self.faults.undo(happens[victim], victim)
                await asyncio.sleep(self.random.uniform(0, DEAD_SECONDS))
            await self.serving(chosen)
            stop.set()
        begun = [f"{happens[victim]} {victim}" for victim in chosen]
        return [*begun, f"{seconds:.1f} s", *(f"{UNDONE[happens[victim]]} {victim}" for victim in again)]

    async def finish(self) -> None:
        """Do what could not be done; then everything must be as it should be."""
        await self._until_agents_answer()
        if ending := [each for each in self._ending if f"x/{each.name}" in self.cluster.pods]:
            await self.cluster.delete(ending)
        self._ending.clear()
        await self.cluster.settled(SETTLE_SECONDS)  # agents know the pods now
        await self.cluster.kubelet.retry()
        done, lines = await self.cluster.settled(SETTLE_SECONDS)
        failures = [f"{each.key}: {each.failure}" for each in self.cluster.pods.values() if each.failure]
        told = "\n".join((*lines, *failures))
        if told:
            told += "\nwhat could not be done before:\n" + "\n".join(self.refused)
        assert done, told
        assert not told, told

    async def _until_agents_answer(self) -> None:
        async with asyncio.timeout(SETTLE_SECONDS):
            for node in self.cluster.nodes.values():
                while await node.not_ready():
                    await asyncio.sleep(0.1)

    async def identities(self) -> dict[str, Any]:
        """Tell each node's ID and subnets, as its agent knows them."""
        found = {}
        for name, node in self.cluster.nodes.items():
            subnets = await node.agent.get("/v1/tables/NodeSubnets")
            nodes = await node.agent.get("/v1/tables/ClusterNode")
            found[name] = [
                [each for each in subnets["records"] if each["name"] == name],
                [each for each in nodes["records"] if each["name"] == name],
            ]
        return found


@asynccontextmanager
async def world(datastore: Datastore, seed: int) -> AsyncIterator[tuple[World, Pinger]]:
    """Yield a cluster in which one pod pings another; in the end, no ping was lost and no node is another."""
    rig = sandbox_rig(datastore)
    try:
        await rig.start(NODES, {"contiv": {"idRestSeconds": ID_REST_SECONDS}})
        await rig.apply([pod("long1", "node1", app="a"), pod("long2", "node2", app="b")])
        assert await rig.settle(60) == []
        # VPP drops the first packet to another VPP, and asks for its MAC address.
        pinger = Pinger(rig.cluster, "x/long1", "x/long2")
        made = World(rig.cluster, datastore, seed)
        before = await made.identities()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await pinger.run()
        pinger.lost.clear()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(pinger.run())
            yield made, pinger
            task.cancel()
        assert await made.identities() == before
        assert pinger.lost == [], f"of {pinger.sent}"
        assert pinger.sent > PINGS_A_SECOND
    finally:
        await rig.stop()
