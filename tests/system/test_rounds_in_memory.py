# SPDX-License-Identifier: Apache-2.0
"""Random rounds over a cluster in memory, in simulated time.

CONTIVPP_ROUNDS sets how many (25 unless told), CONTIVPP_ROUNDS_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter

from contivpp_core.clock import run_simulated
from contivpp_core.scheduler import Scheduler
from contivpp_sandbox.rigs.memory.packets import UDP, Ipv4, datagram
from contivpp_sandbox.rigs.memory.rig import MemoryRig
from contivpp_sandbox.rigs.memory.stack import Host
from contivpp_sandbox.rigs.memory.tables import Unreachable

from .rounds import NODES, SETTLE_SECONDS, STAY, Ledger, Rounds, fresh_seed, pod

ROUNDS = int(os.environ.get("CONTIVPP_ROUNDS", "25"))
SEED = int(os.environ.get("CONTIVPP_ROUNDS_SEED") or fresh_seed())
INTERVAL_SECONDS = 0.01
PORT = 7000


class Sink:
    """The receiving end of one pair: a flow that counts."""

    def __init__(self, arrived: set[int]) -> None:
        self._arrived = arrived

    def receive(self, packet: Ipv4) -> None:
        self._arrived.add(int(packet.payload[8:]))

    def refuse(self, reason: str) -> None:
        """An ICMP error: what it is about is lost, and counted so."""

    def too_large(self, mtu: int, reason: str) -> None:
        """As above."""


class MemoryTraffic:
    """Datagrams between the pods' stacks."""

    def __init__(self, rig: MemoryRig) -> None:
        self.ledger = Ledger()
        self._rig = rig
        self._task: asyncio.Task[None] | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def start(self) -> None:
        for source in STAY:
            for target in STAY:
                if source != target:
                    self.ledger.sent[source, target] = []
                    arrived = self.ledger.arrived[source, target] = set()
                    self._host(target).flows[UDP, PORT, self._address(source), PORT] = Sink(arrived)
        self._task = asyncio.get_running_loop().create_task(self._send())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.sleep(1)

    def _host(self, node: str) -> Host:
        host = self._rig.sandboxes[f"x/{node}"].host
        assert host is not None
        return host

    def _address(self, node: str) -> int:
        return self._rig.sandboxes[f"x/{node}"].address

    async def _send(self) -> None:
        while True:
            for (source, target), times in self.ledger.sent.items():
                data = str(len(times)).encode()
                times.append(self.now())
                ends = self._address(source), self._address(target)
                try:
                    hop = self._host(source).tables.hop(ends[1])
                    self._host(source).send(hop, Ipv4(*ends, UDP, datagram(*ends, PORT, PORT, data)))
                except Unreachable:
                    continue  # lost before it left, and counted so
            await asyncio.sleep(INTERVAL_SECONDS)


async def differences(rig: MemoryRig) -> list[str]:
    """Read everything back; return what was not as wanted, by the operations that this made."""
    found = []
    for name, node in rig.nodes.items():
        scheduler = node.running().scheduler
        before = operations(scheduler)
        for kind in sorted(scheduler.descriptors):
            await scheduler.check(kind)
        await scheduler.settled()
        if (after := operations(scheduler)) != before:
            found.append(f"{name}: {before} -> {after}")
    return found


def operations(scheduler: Scheduler) -> list[dict[str, int]]:
    """Return how much of each kind was created, changed and deleted so far."""
    counters = scheduler.counters
    return [dict(each) for each in (counters.created, counters.updated, counters.deleted)]


def test_what_stays_loses_nothing_while_others_come_and_go() -> None:
    async def main() -> None:
        rig = MemoryRig()
        try:
            await rig.start(NODES, {})
            await rig.apply([pod(node) for node in STAY])
            assert await rig.settle(SETTLE_SECONDS) == []
            traffic = MemoryTraffic(rig)
            rounds = Rounds(rig, traffic, SEED)
            await rounds.run(ROUNDS)
            assert await rig.settle(SETTLE_SECONDS) == []
            sent = sum(map(len, traffic.ledger.sent.values()))
            print(f"seed {SEED}: {rounds.done}; {sent} packets, {len(traffic.ledger.lost())} lost, all told")
            assert sent > 100 * ROUNDS // 10
            lost = rounds.unexcused()
            assert not lost, (SEED, Counter((a, b) for a, b, _ in lost), lost[:3])
            assert await differences(rig) == []
        finally:
            await rig.stop()

    run_simulated(main())
