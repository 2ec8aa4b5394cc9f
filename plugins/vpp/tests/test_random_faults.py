# SPDX-License-Identifier: Apache-2.0
"""Random faults of messages between an agent and a real VPP, which is killed, too.

CONTIVPP_FAULTS sets how many (60 unless told: time is real here), CONTIVPP_FAULTS_SEED repeats what is planned.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from contivpp_core.items import Item
from contivpp_core.ledger import Ledger
from contivpp_core.testing.faults import Fault, Faults
from contivpp_vpp.items import BridgeDomain, BridgeMember, L2FibEntry, LinkUp, VxlanTunnel
from contivpp_vpp.middle import through
from contivpp_vpp.testing import RealVpp, real_vpp
from contivpp_vpp.transports import unix_socket

from .nodes import READS, Node, pods

pytestmark = [pytest.mark.realvpp]

FAULTS = int(os.environ.get("CONTIVPP_FAULTS", "60"))
SEED = int(os.environ.get("CONTIVPP_FAULTS_SEED") or time.time_ns() % 1_000_000)
MOST_PODS = 12
SECONDS = 60.0
RETVALS = (-4, -12, -14)
WRITES = "^> (?!(sockclnt|memclnt|control_ping|show_version|cli_inband|want_|.*_dump$|.*_get$))"


def peer(number: int) -> list[Item]:
    """Return a tunnel to another node, and what goes over it."""
    tunnel = VxlanTunnel(source="10.200.0.1", destination=f"10.200.0.{number}", vni=10)
    member = BridgeMember(bridge_domain=1, interface=tunnel.name, split_horizon_group=1)
    entry = L2FibEntry(bridge_domain=1, mac=f"12:2b:00:00:00:{number:02x}", interface=tunnel.name)
    return [tunnel, member, entry, LinkUp(interface=tunnel.name)]


class Run:
    """An agent that may be killed, and a VPP that may be."""

    def __init__(self, vpp: RealVpp, seed: int) -> None:
        self.vpp = vpp
        self.random = random.Random(seed)
        self.faults = Faults(seed)
        self.ledger = Ledger.open(None)
        self.items: list[Item] = []
        self.kills = 0
        self.busy: set[asyncio.Task[None]] = set()
        self.lock = asyncio.Lock()
        self.node = self._agent()

    def _agent(self) -> Node:
        return Node(through(self.faults, unix_socket(self.vpp.api_socket)), self.ledger)

    async def kill_agent(self) -> None:
        async with self.lock:
            self.kills += 1
            await self.node.agent.stop()
            self.node = self._agent()
            await self.node.agent.start()
            await self.node.want(*self.items)

    async def kill_vpp(self) -> None:
        async with self.lock:
            self.kills += 1
            await self.vpp.restart()

    def soon(self, work: Callable[[], Any]) -> Callable[[], None]:
        def start() -> None:
            task = asyncio.ensure_future(work())
            self.busy.add(task)
            task.add_done_callback(self.busy.discard)

        return start

    async def change(self) -> None:
        wanted = pods(self.random.randint(0, MOST_PODS))
        wanted.append(BridgeDomain(bd_id=1, name="vxlanBD"))
        for number in range(2, 2 + self.random.randint(0, 5)):
            wanted += peer(number)
        self.items = wanted
        await self.node.want(*wanted)

    def plan(self) -> None:
        chance, faults = self.random, self.faults
        nth = chance.randint(1, 40)
        match chance.choice(("refuse", "refuse", "cut", "cut", "reply", "slow", "agent", "vpp")):
            case "refuse":
                faults.plan(Fault.REFUSE, WRITES, nth=nth, times=chance.randint(1, 5), retval=chance.choice(RETVALS))
            case "cut":
                faults.plan(chance.choice((Fault.CUT, Fault.CUT_AFTER)), nth=nth)
            case "reply":
                faults.plan(chance.choice((Fault.TWICE, Fault.TRUNCATE)), "^< ", nth=nth)
            case "slow":
                faults.plan(Fault.SLOW, nth=nth, times=3, seconds=0.02)
            case "agent":
                faults.plan(chance.choice((Fault.CALL, Fault.CALL_AFTER)), nth=nth, call=self.soon(self.kill_agent))
            case "vpp" if chance.random() < 0.3:
                faults.plan(chance.choice((Fault.CALL, Fault.CALL_AFTER)), nth=nth, call=self.soon(self.kill_vpp))

    async def quiet(self) -> None:
        """Everything is applied in the end, and an agent that starts anew sends no write."""
        self.faults.calm()
        while self.busy:
            await asyncio.wait(tuple(self.busy))
        await self.applied()
        await self.kill_agent()
        await self.applied()
        assert self.node.sent() <= READS, f"an agent that starts anew writes: {self.node.sent() - READS}"

    async def applied(self) -> None:
        def bad() -> list[str]:
            states = self.node.states()
            wrong = [f"{key} is {state}" for key, state in states.items() if state not in ("applied", "shadowed")]
            return wrong + [f"{item.key} is not known" for item in self.items if item.key not in states]

        async def done() -> bool:
            await self.node.agent.controller.settled()
            return self.node.agent.ready and not bad()

        try:
            await self.node.until(done, seconds=SECONDS)
        except TimeoutError:
            raise AssertionError(f"not applied: {bad()[:5]}, {self.node.agent.readiness()}") from None


async def test_after_any_faults_a_real_vpp_holds_what_is_wanted() -> None:
    async with real_vpp() as vpp:
        run = Run(vpp, SEED)
        begin = time.monotonic()
        await run.node.agent.start()
        rounds = 0
        try:
            while len(run.faults.struck) + run.kills < FAULTS:
                for _ in range(run.random.randint(1, 4)):
                    run.plan()
                await run.change()
                await asyncio.sleep(run.random.choice((0.0, 0.01, 0.1, 0.4)))
                rounds += 1
                if rounds % 8 == 0:
                    await run.quiet()
            await run.quiet()
            run.items = []
            await run.node.want()
            await run.quiet()
        except AssertionError as error:
            last = "; ".join(map(str, run.faults.struck[-8:]))
            raise AssertionError(f"seed {SEED}: {error}\n{last}") from error
        finally:
            kinds = dict(Counter(each.fault.value for each in run.faults.struck))
            total, seconds = len(run.faults.struck) + run.kills, time.monotonic() - begin
            print(f"seed {SEED}: {total} faults, {rounds} rounds in {seconds:.0f} s: {kinds}, {run.kills} kills")
            run.faults.calm()
            await run.node.agent.stop()
