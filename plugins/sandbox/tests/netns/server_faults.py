# SPDX-License-Identifier: Apache-2.0
"""What happens to servers and agents in random rounds: they end, they stand still, they are cut off from each other.

A process that ends says so: its connections are closed by the kernel. One that stands still (SIGSTOP) keeps them, and
so does a network that loses everything: only times that are up tell. How long it lasts is chosen so that it is below
some of them and above others: the reflectors' lock (3 s), etcd's answers (3 and 10 s), the rest of a freed ID (10 s),
a silent connection (15 s; 30 s to the API server).
"""

from __future__ import annotations

import random
import signal
from typing import Literal

from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.processes import Process
from contivpp_sandbox.servers.stack import Servers

__all__ = ["UNDONE", "Faults", "Happens"]

Happens = Literal["end", "freeze", "part"]
UNDONE = {"end": "begin", "freeze": "thaw", "part": "reunite"}


class Faults:
    """Does something to a victim, and undoes it: a server by name, or `agent NODE`."""

    def __init__(self, cluster: Cluster, servers: Servers, rng: random.Random) -> None:
        self._cluster, self._servers, self._random = cluster, servers, rng
        self._keeper = KeeperClient(cluster.directory)

    def choose(self, victim: str) -> Happens:
        """Return what happens to a victim."""
        able: list[Happens] = ["end", "freeze", "part"] if _node(victim) else ["end", "freeze"]
        return self._random.choices(able, [3, 2, 2][: len(able)])[0]

    def longer(self, longest: float) -> float:
        """Return for how many seconds it lasts beyond the moments in which other things happen."""
        low, high = self._random.choices([(0.0, 0.0), (2.0, 6.0), (10.0, longest)], [12, 4, 1])[0]
        return self._random.uniform(low, high)

    async def do(self, happens: Happens, victim: str) -> None:
        """Let it happen."""
        if happens == "end":
            await self._end(victim)
        elif happens == "freeze":
            await self._signal(victim, signal.SIGSTOP)
        else:
            await self._cluster.underlay.part([self._cluster.nodes[_node(victim)].place])

    async def undo(self, happens: Happens, victim: str) -> None:
        """Let it be over; nothing is waited for."""
        node = _node(victim)
        if happens == "freeze":
            await self._signal(victim, signal.SIGCONT)
        elif happens == "part":
            await self._cluster.underlay.reunite([self._cluster.nodes[node].place])
        else:
            await (self._cluster.nodes[node].launch_agent() if node else self._servers.launch(victim))

    async def _end(self, victim: str) -> None:
        kill = self._random.random() < 0.7
        if node := _node(victim):
            await self._cluster.nodes[node].stop("agent", kill=kill)
            return
        await self._servers.stop(victim, kill=kill)
        if victim == "etcd" and self._random.random() < 0.3:
            await self._servers.wipe(victim)

    async def _signal(self, victim: str, number: int) -> None:
        """Send a signal; kube-apiserver may have ended by itself."""
        name = f"agent:{_node(victim)}" if _node(victim) else f"server:{victim}"
        found = (await self._keeper.processes()).get(name)
        if found is not None and found["code"] is None:
            Process(found["pid"] or 0, found["start"] or 0).signal(number)


def _node(victim: str) -> str:
    return victim.partition(" ")[2]
