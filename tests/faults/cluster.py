# SPDX-License-Identifier: Apache-2.0
"""A cluster in memory under random changes and random faults, and the laws that it keeps.

Changes: pods come and go by CNI, nodes join, leave and get other addresses. Faults: of messages between agents and
VPPs, of operations of descriptors (Linux too), agents and VPPs killed at a message or an operation. All of it comes
from a seed, and time is simulated, so a run can be repeated.

At quiet points the faults stop, everything that waits for another try gets it, and the laws are checked.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.items import AnyDescriptor
from contivpp_core.testing.faults import Fault, Faults
from contivpp_sandbox.rigs.base import CNI_CONFIG, ObjectReference, cni_environment
from contivpp_sandbox.rigs.memory.node import Edges, MemoryNode
from contivpp_sandbox.rigs.memory.rig import MemoryRig
from contivpp_vpp.middle import through
from contivpp_vpp.transports import Connect

from .audit import AddressAudit, footprint

NODES = ("n1", "n2", "n3")
MOVER = "n3"
MOST_PODS = 13
CONFIG = {"ipam": {"podSubnetOneNodePrefixLen": 29}}  # so few addresses that each is used again at once
SETTLE_SECONDS = 600.0

MESSAGE = "^[<>] "
REQUEST = "^> (?!tap_create)"  # a refused TAP tells an agent that this VPP can make none, and it wires otherwise
LOSABLE = "^> (?!.*_dump$)"  # VPP reads a stream: it never answers the ping behind a dump without the dump
OPERATION = "^(create|update|delete) "
RETVALS = (-4, -12, -14)  # errors that may go away, and that never mean that something is gone, or there, already


class Struck(Faults):
    """Faults of one node, which look at addresses whenever something is about to be sent."""

    def __init__(self, seed: int, look: Callable[[], None]) -> None:
        super().__init__(seed)
        self._look = look

    def strike(self, point: str) -> Any:
        self._look()
        return super().strike(point)


class FaultyEdges(Edges):
    """Faults between agents and dataplanes; what nodes do is counted by point."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos

    def way(self, node: str, connect: Connect) -> Connect:
        return through(self._chaos.faults_of(node), connect)

    def descriptor(self, node: str, descriptor: AnyDescriptor) -> AnyDescriptor:
        chaos = self._chaos

        class Counting(Faults):
            async def operate(self, point: str, action: Any) -> Any:
                if not point.startswith("dump "):
                    chaos.wrote.append(f"{node}: {point}")
                return await action()

        return chaos.faults_of(node).around(Counting().around(descriptor))


@dataclass
class Attachment:
    """A pod's sandbox, and what its kubelet knows."""

    node: str
    container: str
    name: str
    address: str = ""
    work: asyncio.Task[None] | None = None
    netns: str = field(init=False)

    def __post_init__(self) -> None:
        self.netns = f"/simulated/netns/{self.container}"


class Chaos:
    """The cluster, what happens to it, and what is told of it when a law is broken."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.faults: dict[str, Faults] = {}
        self.wrote: list[str] = []
        self.rig = MemoryRig(FaultyEdges(self))
        self.pods: dict[str, Attachment] = {}
        self.done: dict[str, int] = {}
        self.said: list[str] = []
        self.kills = 0
        self._numbers = itertools.count(1)
        self._octets = itertools.cycle(range(100, 250))
        self._busy: set[asyncio.Task[None]] = set()
        self._restarting: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._moved = False
        self._audits: dict[str, AddressAudit] = {}
        self._baseline: dict[str, Any] = {}

    def faults_of(self, node: str) -> Faults:
        """Return the faults of a node; they outlive it."""
        if node not in self.faults:
            audit = self._audits[node] = AddressAudit(lambda: self.rig.nodes.get(node))
            self.faults[node] = Struck(self.seed + len(self.faults), audit.look)
        return self.faults[node]

    @property
    def struck(self) -> int:
        """How many faults there were, of all levels."""
        return self.kills + sum(len(each.struck) for each in self.faults.values())

    # --- the run

    async def run(self, faults: int) -> None:
        """Go on until so many faults have happened, then check everything once more, and take all pods away."""
        await self.rig.start(NODES, CONFIG)
        assert await self.rig.settle(SETTLE_SECONDS) == []
        self._baseline = {name: footprint(node) for name, node in self.rig.nodes.items()}
        try:
            for number in itertools.count(1):
                await self._round()
                if number % 6 == 0:
                    await self.quiet()
                if self.struck >= faults:
                    break
            await self.quiet()
            await self._end()
        except Exception as error:
            raise AssertionError(f"seed {self.seed}, {self.struck} faults: {error!r}\n{self._told()}") from error

    def _told(self) -> str:
        last = [f"{name}: {each}" for name, faults in self.faults.items() for each in faults.struck[-6:]]
        return "\n".join([*self.said[-12:], *last])

    async def _round(self) -> None:
        chance = self.random
        for _ in range(chance.randint(1, 4)):
            self._plan(chance.choice(sorted(self.rig.nodes)))
        action = chance.choice([self._add, self._add, self._add, self._delete, self._replace, self._kill, self._move])
        name = action.__name__.strip("_")
        self.done[name] = self.done.get(name, 0) + 1
        await action()
        await asyncio.sleep(chance.choice((0.0, 0.001, 0.01, 0.1, 1.0, 5.0, 40.0)))

    def _plan(self, node: str) -> None:
        """Plan one fault of a node: of one of its next messages or operations, or of some by chance."""
        chance, faults = self.random, self.faults_of(node)
        when: dict[str, Any] = {"nth": chance.randint(1, 60)}
        if chance.random() < 0.3:
            when = {"times": chance.randint(1, 6), "chance": 0.15}
        kind = chance.choice(("request", "request", "reply", "operation", "operation", "kill", "cut"))
        if kind == "request":
            fault = chance.choice((Fault.REFUSE, Fault.REFUSE, Fault.REJECT, Fault.LOSE, Fault.SLOW))
            where = LOSABLE if fault is Fault.LOSE else REQUEST
            faults.plan(fault, where, retval=chance.choice(RETVALS) if fault is Fault.REFUSE else None, **when)
        elif kind == "reply":
            fault = chance.choice((Fault.LOSE, Fault.TWICE, Fault.SLOW, Fault.TRUNCATE))
            where = "^< .*_reply$" if fault is Fault.LOSE else "^< "
            faults.plan(fault, where, seconds=chance.choice((0.01, 1.0, 10.0)), **when)
        elif kind == "operation":
            fault = chance.choice((Fault.REFUSE, Fault.REFUSE, Fault.REJECT, Fault.LOSE, Fault.LOSE_ANSWER, Fault.SLOW))
            faults.plan(fault, OPERATION if chance.random() < 0.8 else "^dump ", **when)
        elif kind == "cut":
            faults.plan(chance.choice((Fault.CUT, Fault.CUT_AFTER)), MESSAGE, nth=chance.randint(1, 60))
        else:
            victims = chance.choice((("agent",), ("agent",), ("vpp",), ("agent", "vpp")))
            pause = chance.choice((0.0, 0.01, 1.0, 20.0))
            fault = chance.choice((Fault.CALL, Fault.CALL_AFTER))
            where = MESSAGE if "vpp" in victims or chance.random() < 0.5 else OPERATION
            call = self._killing(node, victims, pause)
            faults.plan(fault, where, nth=chance.randint(1, 60), call=call)

    def _killing(self, node: str, victims: tuple[str, ...], pause: float) -> Callable[[], None]:
        return lambda: self._spawn(self._restart(node, victims, pause))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)
        return task

    async def _restart(self, name: str, victims: tuple[str, ...], pause: float) -> None:
        """Whoever was killed at a message is never left alive: a second death waits for the first one's restart."""
        node = self.rig.nodes.get(name)
        async with self._restarting[name]:
            if node is None or self.rig.nodes.get(name) is not node:
                return
            self.said.append(f"{name}: {' and '.join(victims)} killed")
            if "vpp" in victims:
                node.stop_vpp()
            if "agent" in victims:
                await node.stop_agent(kill=True)
            await asyncio.sleep(pause)
            if self.rig.nodes.get(name) is not node:
                return
            if "vpp" in victims:
                node.start_vpp()
            if "agent" in victims:
                await node.start_agent()

    # --- changes

    async def _kill(self) -> None:
        """Kill something between messages."""
        self.kills += 1
        victims = self.random.choice((("agent",), ("vpp",), ("agent", "vpp")))
        node, pause = self.random.choice(sorted(self.rig.nodes)), self.random.choice((0.0, 0.5, 20.0))
        self._spawn(self._restart(node, victims, pause))

    async def _move(self) -> None:
        """A node leaves, joins, or gets another address."""
        if self._restarting[MOVER].locked():
            return
        if MOVER not in self.rig.nodes:
            self.said.append(f"{MOVER} joins")
            self.faults_of(MOVER).calm()  # or its agent may never have started when it is killed
            await self.rig.apply([{"kind": "Node", "metadata": {"name": MOVER}}])
        elif self.random.random() < 0.4:
            await self._leave()
        else:
            self.said.append(f"{MOVER} gets another address")
            await self._address(f"192.168.16.{next(self._octets)}/24")

    async def _address(self, address: str) -> None:
        spec = {"mainVPPInterface": {"ip": address}}
        version = "nodeconfig.contiv.vpp/v1"
        found = {"apiVersion": version, "kind": "NodeConfig", "metadata": {"name": MOVER}, "spec": spec}
        await self.rig.apply([found])
        self._moved = True

    async def _leave(self) -> None:
        self.said.append(f"{MOVER} leaves")
        for key, pod in list(self.pods.items()):
            if pod.node == MOVER:
                del self.pods[key]
                await self.rig.api.delete([ObjectReference("Pod", "x", pod.name)])
                if pod.work is not None:
                    pod.work.cancel()
        await self.rig.delete([ObjectReference("Node", "", MOVER)])

    async def _add(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            if len(self.pods) < MOST_PODS:
                self._new_pod(self.random.choice(sorted(self.rig.nodes)))

    def _new_pod(self, node: str) -> None:
        number = next(self._numbers)
        pod = self.pods[f"c{number}"] = Attachment(node, f"c{number}", f"pod{number}")
        pod.work = self._spawn(self._connect(pod))

    async def _replace(self) -> None:
        """All pods of a node go, and others come at once: they get the same addresses, as soon as these are free."""
        node = self.random.choice(sorted(self.rig.nodes))
        if self.random.random() < 0.5:
            self.faults_of(node).plan(Fault.REFUSE, "^delete vpp/", times=self.random.randint(1, 12))
        for pod in [pod for pod in self.pods.values() if pod.node == node]:
            self._end_pod(pod)
        for _ in range(4):
            if len(self.pods) < MOST_PODS:
                self._new_pod(node)

    async def _delete(self) -> None:
        if self.pods:
            self._end_pod(self.pods[self.random.choice(sorted(self.pods))])

    def _end_pod(self, pod: Attachment) -> None:
        former, pod.work = pod.work, self._spawn(self._disconnect(pod))
        if former is not None and self.random.random() < 0.5:
            former.cancel()  # the runtime gives up waiting; otherwise DEL and ADD race

    async def _connect(self, pod: Attachment) -> None:
        """A kubelet's work: ADD; after a failure DEL, and a new sandbox would come."""
        node = self.rig.nodes.get(pod.node)
        if node is None:
            return
        node.kernel.create_namespace(pod.netns)
        found = {"metadata": {"namespace": "x", "name": pod.name}, "spec": {"nodeName": pod.node}}
        await self.rig.api.put([{"kind": "Pod", **found}])
        await asyncio.sleep(0.2)
        code, answer = await self._cni("ADD", pod)
        if code == 0:
            self.done["connected"] = self.done.get("connected", 0) + 1
            pod.address = str(json.loads(answer)["ips"][0]["address"]).partition("/")[0]
        elif self.pods.get(pod.container) is pod:
            pod.work = self._spawn(self._disconnect(pod))

    async def _disconnect(self, pod: Attachment) -> None:
        """DEL until it succeeds; then the namespace goes."""
        while pod.node in self.rig.nodes:
            code, _ = await self._cni("DEL", pod)
            if code == 0:
                break
            await asyncio.sleep(1.0)
        node = self.rig.nodes.get(pod.node)
        if node is not None and self.pods.pop(pod.container, None) is not None:
            node.kernel.destroy_namespace(pod.netns)
            await self.rig.api.delete([ObjectReference("Pod", "x", pod.name)])

    async def _cni(self, command: Any, pod: Attachment) -> tuple[int, bytes]:
        node = self.rig.nodes.get(pod.node)
        if node is None or node.agent is None:
            return 1, b"no agent"
        contiv = node.agent.plugin("contiv")
        assert isinstance(contiv, ContivPlugin)
        environment = cni_environment(
            command, container=pod.container, netns=pod.netns, namespace="x", name=pod.name, uid=pod.container
        )
        try:
            return await contiv.serve_cni(environment, CNI_CONFIG)
        except AssertionError:  # the agent has not started yet: its socket would not be there
            return 1, b"not started"

    # --- the laws

    async def quiet(self) -> None:
        """Let the faults end, and check that everything is as wanted."""
        await self._calm()
        for node in self.rig.nodes.values():
            await self._second_chance(node)
        late = await self.rig.settle(SETTLE_SECONDS)
        assert not late, f"law: after any changes and faults every item is applied: {late[:6]}"
        self._check_addresses()
        await self._restarted_agents_write_nothing()

    async def _calm(self) -> None:
        for faults in self.faults.values():
            faults.calm()
        while self._busy:
            await asyncio.wait(tuple(self._busy))
        await self.rig.advance(60)
        self.said.append("calm")

    async def _second_chance(self, node: MemoryNode) -> None:
        """What was refused for good is tried again when its dataplane is read."""
        await self.rig.settle(SETTLE_SECONDS)
        scheduler = node.running().scheduler
        if any(item.state == "failed" for item in scheduler.items()):
            for domain in scheduler.domain_state():
                await scheduler.resync(domain, "after faults")

    def _check_addresses(self) -> None:
        for name, audit in self._audits.items():
            assert not audit.violations, f"law: an address is given out when it is free: {name}: {audit.violations[:3]}"
        given = [(pod.node, pod.address) for pod in self.pods.values() if pod.address]
        assert len(given) == len(set(given)), f"law: two pods never have one address: {sorted(given)}"
        for name, node in self.rig.nodes.items():
            known = {key.partition("/")[0] for key in (record.key for record in self._attached(node))}
            wanted = {pod.container for pod in self.pods.values() if pod.node == name and pod.address}
            assert known == wanted, f"law: {name} knows the pods that its kubelet has: {known} and {wanted}"

    def _attached(self, node: MemoryNode) -> list[Any]:
        return list(node.running().state.table("LocalPod").records())

    async def _restarted_agents_write_nothing(self) -> None:
        before = {name: footprint(node) for name, node in self.rig.nodes.items()}
        self.wrote.clear()
        await self.rig.restart("agent", None, kill=True)
        late = await self.rig.settle(SETTLE_SECONDS)
        assert not late, f"law: an agent that starts anew finds everything applied: {late[:6]}"
        assert not self.wrote, f"law: an agent that starts anew sends no write: {self.wrote[:6]}"
        now = {name: footprint(node) for name, node in self.rig.nodes.items()}
        assert now == before

    async def _end(self) -> None:
        """Take everything back; nothing may be left."""
        assert self.done.get("connected", 0) >= self.struck // 20, f"the run tries too little: {self.done}"
        for pod in list(self.pods.values()):
            pod.work = self._spawn(self._disconnect(pod))
        if MOVER not in self.rig.nodes:
            await self.rig.apply([{"kind": "Node", "metadata": {"name": MOVER}}])
        if self._moved:
            await self.rig.delete([ObjectReference("NodeConfig", "", MOVER)])
        await self.quiet()
        for name, node in self.rig.nodes.items():
            now, was = footprint(node), self._baseline[name]
            assert now == was, f"law: nothing is left: {name}: {now ^ was}"
