# SPDX-License-Identifier: Apache-2.0
"""Random rounds over a cluster: nodes join, leave and get other addresses, agents and VPPs are killed.

Some nodes stay all the time, and between their pods there is traffic without a pause. None of it may be lost, unless
VPP of its own sender or receiver is being restarted. What a round does comes from a seed, so it can be repeated.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contivpp_sandbox.rigs.base import ObjectReference, Rig

STAY = ("n1", "n2", "n3")
MOVE = ("n4", "n5")
NODES = (*STAY, *MOVE)
SETTLE_SECONDS = 60.0


@dataclass
class Ledger:
    """What was sent and what arrived, for each pair of nodes: number of a packet -> time of its sending."""

    sent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    arrived: dict[tuple[str, str], set[int]] = field(default_factory=dict)

    def lost(self) -> list[tuple[str, str, float]]:
        """Return source, target and time of every packet that did not arrive."""
        return [
            (*pair, when)
            for pair, times in self.sent.items()
            for number, when in enumerate(times)
            if number not in self.arrived[pair]
        ]


class Traffic(Protocol):
    """Packets between the pods `x/<node>` of the nodes that stay."""

    ledger: Ledger

    def now(self) -> float:
        """Return the clock that the ledger's times are of."""

    async def start(self) -> None:
        """Begin to send."""

    async def stop(self) -> None:
        """Stop sending, and wait for what is on its way."""


def pod(node: str) -> dict[str, Any]:
    """Return the pod of a node."""
    ports = [{"containerPort": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "x", "name": node},
        "spec": {"nodeName": node, "containers": [{"name": "web", "ports": ports}]},
    }


class Rounds:
    """The cluster, and what happens to it."""

    def __init__(self, rig: Rig, traffic: Traffic, seed: int) -> None:
        self.rig = rig
        self.traffic = traffic
        self.random = random.Random(seed)
        self.gone: set[str] = set()
        self.octets = iter(range(100, 250))
        self.outages: list[tuple[str, float, float]] = []
        self.done: dict[str, int] = {}

    async def run(self, rounds: int) -> None:
        """Do so many rounds; the pods of the nodes that stay are there already."""
        begin = self.traffic.now()
        await self.traffic.start()
        await self.rig.advance(1.0)
        self.outages += [(node, begin, self.traffic.now()) for node in STAY]  # neighbours are found by ARP
        try:
            for number in range(rounds):
                action = self.random.choice(self._choices())
                name = action.__name__.strip("_")
                self.done[name] = self.done.get(name, 0) + 1
                try:
                    await action()
                except Exception as error:
                    raise AssertionError(f"round {number}, {name}: {error}") from error
        finally:
            await self.traffic.stop()

    def unexcused(self) -> list[tuple[str, str, float]]:
        """Return the packets that were lost while both their VPPs ran."""
        return [
            (source, target, when)
            for source, target, when in self.traffic.ledger.lost()
            if not any(node in (source, target) and begin <= when <= end for node, begin, end in self.outages)
        ]

    def _choices(self) -> Sequence[Callable[[], Any]]:
        there = len(MOVE) - len(self.gone)
        choices: list[Callable[[], Any]] = [self._kill_agent, self._kill_vpp, self._kill_both]
        choices += [self._join] * 2 * bool(self.gone)
        choices += [self._leave, self._readdress, self._readdress] * bool(there)
        return choices

    def _mover(self) -> str:
        return self.random.choice([node for node in MOVE if node not in self.gone])

    def _anybody(self) -> str:
        return self.random.choice([node for node in NODES if node not in self.gone])

    async def _settled(self) -> None:
        assert (late := await self.rig.settle(SETTLE_SECONDS)) == [], late

    async def _leave(self) -> None:
        node = self._mover()
        self.gone.add(node)
        await self.rig.delete([ObjectReference("Node", "", node)])
        await self._maybe_settled()

    async def _join(self) -> None:
        node = self.random.choice(sorted(self.gone))
        self.gone.remove(node)
        await self.rig.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}])
        await self._maybe_settled()

    async def _readdress(self) -> None:
        node = self._mover()
        spec = {"mainVPPInterface": {"ip": f"192.168.16.{next(self.octets, 99)}/24"}}
        version = "nodeconfig.contiv.vpp/v1"
        await self.rig.apply([{"apiVersion": version, "kind": "NodeConfig", "metadata": {"name": node}, "spec": spec}])
        await self._maybe_settled()

    async def _kill_agent(self) -> None:
        await self.rig.restart("agent", self._anybody(), kill=True)
        await self._maybe_settled()

    async def _kill_vpp(self) -> None:
        await self._without_vpp(self._anybody(), "vpp")

    async def _kill_both(self) -> None:
        await self._without_vpp(self._anybody(), "vpp", "agent")

    async def _without_vpp(self, node: str, *what: Any) -> None:
        begin = self.traffic.now() - 0.1  # what is on its way through VPP when it is killed dies with it
        for each in what:
            await self.rig.restart(each, node, kill=True)
        await self._settled()
        self.outages.append((node, begin, self.traffic.now() + 0.5))  # neighbours that VPP asks for by ARP

    async def _maybe_settled(self) -> None:
        """Most rounds begin when the one before has ended; some do not."""
        if self.random.random() < 0.7:
            await self._settled()


def fresh_seed() -> int:
    """Return a seed for a run that nobody asked to repeat."""
    return time.time_ns() % 1_000_000
