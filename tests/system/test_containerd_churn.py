# SPDX-License-Identifier: Apache-2.0
"""containerd makes and removes many pods at once while the agent is killed: nothing is left behind on any side.

CONTIVPP_CRI_ROUNDS and CONTIVPP_CRI_PODS say how many rounds of how many pods (1 of 8 unless told; at most 13 pods on
a real VPP), CONTIVPP_CRI_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from .containerd import Containerd, Refused, containerd
from .harness import node
from .mesh import Mesh
from .runtimes import Baseline

pytestmark = [pytest.mark.netns, pytest.mark.tun, pytest.mark.runtime]

ROUNDS = int(os.environ.get("CONTIVPP_CRI_ROUNDS", "1"))
PODS = int(os.environ.get("CONTIVPP_CRI_PODS", "8"))
SEED = int(os.environ.get("CONTIVPP_CRI_SEED") or time.time_ns() % 1_000_000)
REAL_VPP_PODS = 13  # of AF_PACKET at once, see `test_churn.py`
EXPECTED = re.compile(r"the Contiv-VPP agent did not serve")
T = TypeVar("T")
BROKEN = re.compile(r"closed the connection|the connection broke")
REPEATS = 50  # of one pod's calls; the kubelet never gives up


class Kubelet:
    """Makes and removes pods as the kubelet does: repeats what failed, with a new sandbox after cleaning up."""

    def __init__(self, daemon: Containerd, count: int) -> None:
        self.daemon, self.count = daemon, count
        self.random = random.Random(SEED)
        self.done = self.refused = self.broken = self.kills = 0
        self.surprises: list[str] = []

    async def start(self, name: str) -> str:
        for attempt in range(REPEATS):
            try:
                sandbox = await self.daemon.run_pod(name, attempt=attempt)
                self.done += 1
                return sandbox
            except Refused as error:
                await self._failed(error, attempt)
            for failed in await self.daemon.sandboxes(name):
                await self.stop(failed)
        raise AssertionError(f"{name} did not start in {REPEATS} attempts: {self.surprises[-3:]}")

    async def stop(self, sandbox: str) -> None:
        for attempt in range(REPEATS):
            try:
                await self.daemon.remove_pod(sandbox)
                self.done += 1
                return
            except Refused as error:
                await self._failed(error, attempt)
        raise AssertionError(f"{sandbox} was not removed in {REPEATS} attempts: {self.surprises[-3:]}")

    async def _failed(self, error: Refused, attempt: int) -> None:
        self.refused += 1
        self.broken += bool(BROKEN.search(str(error)))
        if not EXPECTED.search(str(error)):
            self.surprises.append(str(error))
        await asyncio.sleep(self.random.uniform(0.5, 1.0) * 2 ** min(attempt, 3))

    async def kill_until(self, over: asyncio.Event) -> None:
        """Kill the agent, start it again, let some of the pods come or go, and so on."""
        rig = self.daemon.rig
        while not over.is_set():
            ahead = self.done + self.random.randint(self.count // 4, self.count // 2)
            while self.done < ahead and not over.is_set():
                await asyncio.sleep(0.01)
            await asyncio.sleep(self.random.uniform(0.0, 0.5))
            self.kills += 1
            await rig.kill_agent()
            await asyncio.sleep(self.random.uniform(0.0, 0.7))
            await rig.start_agent(seconds=60)

    async def round(self) -> None:
        """Start all pods at once, see that all reach each other, and remove them at once."""
        sandboxes = await self._while_killed([self.start(f"pod{number}") for number in range(self.count)])
        await self._all_connected(sandboxes)
        await self._while_killed([self.stop(sandbox) for sandbox in sandboxes])

    async def _while_killed(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        over = asyncio.Event()
        killer = asyncio.ensure_future(self.kill_until(over))
        try:
            return await asyncio.gather(*calls)
        finally:
            over.set()
            await killer

    async def _all_connected(self, sandboxes: list[str]) -> None:
        rig = self.daemon.rig
        await rig.settled(30)
        pods = {pod["container_id"]: pod for pod in rig.get("tables", "LocalPod")["records"]}
        assert sorted(pods) == sorted(sandboxes)
        paths = {str(rig.machine.root / pod["netns"]["path"].lstrip("/").removeprefix("var/")): pod["address"]
                 for pod in pods.values()}  # fmt: skip
        assert len(set(paths.values())) == len(sandboxes)
        mesh = Mesh(paths)
        try:
            await mesh.connected(60)
        finally:
            mesh.close()


async def test_many_pods_at_once(dataplane: str) -> None:
    count = PODS if dataplane == "embedded" else min(PODS, REAL_VPP_PODS)
    print(f"seed {SEED}, {ROUNDS} rounds of {count} pods")
    async with node(dataplane, own_mounts=True) as rig, containerd(rig) as daemon:
        rig.config["contiv"] |= {"runtimeSocket": daemon.socket, "runtimeCheckSeconds": 10}
        await rig.start_agent()
        before = Baseline(rig, daemon.traces)
        await before.take()
        kubelet = Kubelet(daemon, count)
        for number in range(1, ROUNDS + 1):
            begin = time.monotonic()
            await kubelet.round()
            await before.is_back(seconds=30)
            seconds = time.monotonic() - begin
            counts = f"{kubelet.kills} kills, {kubelet.refused} calls failed ({kubelet.broken} in the agent's hands)"
            print(f"round {number}: {seconds:.1f} s, {counts}", flush=True)
        assert not kubelet.surprises, "\n".join(kubelet.surprises[:5])
        assert kubelet.kills >= ROUNDS
