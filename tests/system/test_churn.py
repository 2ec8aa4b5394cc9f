# SPDX-License-Identifier: Apache-2.0
"""Pods come and go in random order while agent and VPP are killed: nothing leaks, no address is given twice.

CONTIVPP_CHURN sets how many calls are made (200 unless told), CONTIVPP_CHURN_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from .harness import Node, node
from .processes import descriptors, until

pytestmark = [pytest.mark.netns, pytest.mark.tun]

CALLS = int(os.environ.get("CONTIVPP_CHURN", "200"))
SEED = int(os.environ.get("CONTIVPP_CHURN_SEED") or time.time_ns() % 1_000_000)
WORKERS = 6


class Churn:
    """Workers that connect and disconnect pods, as a runtime would, and a killer of the agent."""

    def __init__(self, rig: Node, calls: int, *victims: str) -> None:
        self.rig = rig
        self.victims = victims
        self.calls = calls
        self.random = random.Random(SEED)
        self.numbers = iter(range(10**6))
        self.live: dict[str, str] = {}  # address -> container
        # VPP 26.06 stops for ever when 16 AF_PACKET sockets have frames at once (it polls them until there are fewer).
        self.most = 2 if rig.vpp.real else 8  # pods of one worker
        self.failures: list[Any] = []
        self.done = self.kills = self.broken = 0

    async def run(self) -> None:
        killer = asyncio.ensure_future(self.kill_often())
        workers = [asyncio.ensure_future(self.work()) for _ in range(WORKERS)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (killer, *workers):
                task.cancel()
            await asyncio.gather(killer, *workers, return_exceptions=True)
        if not killer.cancelled() and (error := killer.exception()):
            raise error
        assert self.rig.agent is not None
        if self.rig.agent.returncode is not None:
            await self.rig.start_agent()
        await until(self.rig.ready, 20, "the agent is ready again")

    async def kill_often(self) -> None:
        while True:
            ahead = self.done + self.random.randint(10, 40)
            while self.done < ahead:
                await asyncio.sleep(0.005)
            self.kills += 1
            match self.random.choice(self.victims):
                case "agent":
                    await self.rig.kill_agent()
                    await self.rig.start_agent()
                case "VPP":
                    await self.rig.vpp.kill()
                    await asyncio.sleep(self.random.random() / 4)
                    await self.rig.vpp.start()
                case "both":
                    await asyncio.gather(self.rig.kill_agent(), self.rig.vpp.kill())
                    await asyncio.gather(self.rig.start_agent(), self.rig.vpp.start())
            await until(self.rig.ready, 20, "the agent is ready")

    async def work(self) -> None:
        pods: dict[str, str] = {}  # container -> namespace
        spare: list[str] = []  # namespaces to be used again
        while self.done < self.calls:
            if len(pods) >= self.most or (pods and self.random.random() < 0.45):
                await self.remove(pods, spare, self.random.choice(sorted(pods)))
            else:
                await self.add(pods, spare)
        while pods:
            await self.remove(pods, spare, self.random.choice(sorted(pods)))
        for path in spare:
            self.rig.namespaces.drop(path)

    async def add(self, pods: dict[str, str], spare: list[str]) -> None:
        container = f"c{next(self.numbers)}"
        path = spare.pop() if spare else self.rig.namespaces.make(container)
        while (answer := await self.call("ADD", container, path)) is None:
            if self.random.random() < 0.5:  # the runtime gives up, and cleans up
                await self.disconnect(container, path)
                spare.append(path)
                return
        code, result = answer
        if code != 0:
            self.failures.append(result)
            await self.disconnect(container, path)
            spare.append(path)
            return
        address = result["ips"][0]["address"]
        assert address not in self.live, f"{address} was given to {self.live[address]}, and now to {container}"
        self.live[address] = container
        pods[container] = path

    async def remove(self, pods: dict[str, str], spare: list[str], container: str) -> None:
        path = pods.pop(container)
        self.live = {address: owner for address, owner in self.live.items() if owner != container}
        gone = self.random.random() < 0.3  # the namespace may go first
        if gone:
            self.rig.namespaces.drop(path)
        await self.disconnect(container, path)
        if gone:
            return
        if self.random.random() < 0.3:
            spare.append(path)
        else:
            self.rig.namespaces.drop(path)

    async def disconnect(self, container: str, path: str) -> None:
        while (answer := await self.call("DEL", container, path)) is None:
            pass
        assert answer == (0, None)

    async def call(self, command: str, container: str, path: str) -> tuple[int, Any] | None:
        """One call; None where the agent went away."""
        try:
            answer: tuple[int, Any] = await self.rig.cni(command, container, path)
        except OSError:
            self.broken += 1
            await asyncio.sleep(0.05)
            return None
        self.done += 1
        return answer


VICTIMS = [pytest.param(("agent",), id="the agent dies"), pytest.param(("agent", "VPP", "both"), id="VPP dies, too")]


@pytest.mark.parametrize("victims", VICTIMS)
async def test_churn_leaks_nothing(dataplane: str, victims: tuple[str, ...]) -> None:
    calls = CALLS if dataplane == "embedded" else max(30, CALLS // 10)
    print(f"seed {SEED}, {calls} calls")
    async with node(dataplane) as rig:
        await rig.start_agent()
        await warm_up(rig)
        before = await rig.footprint()
        files = await at_rest(rig)
        churn = Churn(rig, calls, *victims)
        begin = time.monotonic()
        await churn.run()
        seconds = time.monotonic() - begin
        await warm_up(rig)
        await rig.nothing_left(before)
        print(f"{churn.done} answered, {churn.broken} broken off, {churn.kills} kills, {seconds:.1f} s")
        assert not churn.failures, json.dumps(churn.failures[:3], indent=1)
        assert churn.kills >= calls // 50

        assert await at_rest(rig) == files
        for process in (rig.agent, rig.vpp.process):
            assert process is not None
            assert namespaces_of(process.pid) == {os.stat(rig.netns).st_ino}


async def warm_up(rig: Node) -> None:
    """Connect and disconnect some pods at once, so that threads and libraries are there."""
    pods = await rig.pods(6, prefix="warm")
    for path in pods:
        await rig.delete(Path(path).name, path)
        rig.namespaces.drop(path)


def namespaces_of(pid: int) -> set[int]:
    """The network namespaces that the threads of a process are in."""
    return {os.stat(task / "ns" / "net").st_ino for task in Path(f"/proc/{pid}/task").iterdir()}


async def at_rest(rig: Node) -> dict[str, int]:
    """The open file descriptors of agent and VPP, when connections of callers have ended: the fewest within 2 s."""
    fewest: dict[str, int] = {}
    for _ in range(20):
        await asyncio.sleep(0.1)
        for name, process in (("agent", rig.agent), ("VPP", rig.vpp.process)):
            for kind, number in descriptors(process).items():
                key = f"{name}: {kind}"
                fewest[key] = min(number, fewest.get(key, number))
    return fewest
