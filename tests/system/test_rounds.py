# SPDX-License-Identifier: Apache-2.0
"""Random rounds over a cluster in network namespaces: processes are killed with signal 9, packets are the kernel's.

CONTIVPP_ROUNDS sets how many (8 unless told), CONTIVPP_ROUNDS_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter

import pytest

from contivpp_core.cli.client import Client
from contivpp_sandbox.rigs.netns.rig import NetnsRig

from .processes import in_namespace
from .rounds import NODES, SETTLE_SECONDS, STAY, Ledger, Rounds, fresh_seed, pod

pytestmark = [pytest.mark.netns]

ROUNDS = int(os.environ.get("CONTIVPP_ROUNDS", "8"))
SEED = int(os.environ.get("CONTIVPP_ROUNDS_SEED") or fresh_seed())
INTERVAL_SECONDS = 0.01
PORT = 7000
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


class NetnsTraffic:
    """Datagrams between sockets in the pods' namespaces."""

    def __init__(self, rig: NetnsRig) -> None:
        self.ledger = Ledger()
        self._rig = rig
        self._sockets: dict[str, socket.socket] = {}
        self._addresses: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for node in STAY:
            found = self._rig.cluster.pods[f"x/{node}"]
            self._addresses[node] = found.address
            self._sockets[node] = in_namespace(f"/proc/{found.process.pid}/ns/net", _socket)
            loop.add_reader(self._sockets[node], self._receive, node)
        for source in STAY:
            for target in STAY:
                if source != target:
                    self.ledger.sent[source, target] = []
                    self.ledger.arrived[source, target] = set()
        self._task = loop.create_task(self._send())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.sleep(1)
        for each in self._sockets.values():
            asyncio.get_running_loop().remove_reader(each)
            each.close()

    def _receive(self, node: str) -> None:
        with contextlib.suppress(OSError):  # nothing more, or an ICMP error: what it is about counts as lost
            while True:
                source, number = self._sockets[node].recv(64).decode().split()
                self.ledger.arrived[source, node].add(int(number))

    async def _send(self) -> None:
        while True:
            for (source, target), times in self.ledger.sent.items():
                data = f"{source} {len(times)}".encode()
                times.append(self.now())
                with contextlib.suppress(OSError):
                    self._sockets[source].sendto(data, (self._addresses[target], PORT))
            await asyncio.sleep(INTERVAL_SECONDS)


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)  # this process is busy with other things, too
    made.bind(("0.0.0.0", PORT))
    made.setblocking(False)
    return made


async def differences(rig: NetnsRig) -> list[str]:
    """Restart the agents, which read everything back; return what they then changed."""
    await rig.restart("agent", None, kill=True)
    assert await rig.settle(SETTLE_SECONDS) == []
    found = []
    for name, node in rig.cluster.nodes.items():
        counts = Client(node.folder.agent_socket).get("v1", "status")["operations"]
        found += [f"{name}: {what}: {kinds}" for what, kinds in counts.items() if any(kinds.values())]
    return found


async def test_what_stays_loses_nothing_while_others_come_and_go(dataplane: str) -> None:
    rig = NetnsRig("vpp" if dataplane == "real" else "sandbox", "vpp" if dataplane == "real" else "embedded")
    try:
        await rig.start(NODES, {})
        await rig.apply([pod(node) for node in STAY])
        assert await rig.settle(SETTLE_SECONDS) == []
        traffic = NetnsTraffic(rig)
        rounds = Rounds(rig, traffic, SEED)
        await rounds.run(ROUNDS)
        assert await rig.settle(SETTLE_SECONDS) == []
        sent = sum(map(len, traffic.ledger.sent.values()))
        print(f"seed {SEED}: {rounds.done}; {sent} packets, {len(traffic.ledger.lost())} lost, all told")
        assert sent > 100 * ROUNDS
        lost = rounds.unexcused()
        assert not lost, (SEED, Counter((a, b) for a, b, _ in lost), lost[:3])
        assert await differences(rig) == []
    finally:
        await rig.stop()
