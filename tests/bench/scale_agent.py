# SPDX-License-Identifier: Apache-2.0
"""An agent and 10,000 services: a process of its own, so that its memory is only that of this.

    CONTIVPP_VPP=/path/to/vpp python -m tests.bench.scale_agent [SERVICES [CHANGES]]

prints JSON. Services and EndpointSlices go from raw JSON over records, state, renderer engine and scheduler to VPP's
last answer. A renderer here stands in for the service plugin: one NAT44 mapping for each service. Without
CONTIVPP_VPP, the same items go to core's test dataplane in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from contivpp_core import collector
from contivpp_core.agent import Agent
from contivpp_core.clock import gently
from contivpp_core.items import AnyDescriptor, Descriptor, Found, Item, Known
from contivpp_core.kubernetes import (
    ENDPOINT_SLICE,
    NETWORK_POLICY,
    NODE,
    POD,
    SERVICE,
    EndpointSlice,
    NetworkPolicy,
    Node,
    Pod,
    Service,
    decode,
)
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import AnyTable, Record, Table
from contivpp_core.renderers import View
from contivpp_core.state import Put, Ready, Write
from contivpp_core.testing.dataplane import FakeDataplane
from contivpp_vpp.items import Nat44, Nat44Mapping, NatBackend
from contivpp_vpp.plugin import VppPlugin
from contivpp_vpp.testing import RealVpp, executable, real_vpp
from tests.bench import scale_objects as objects

PODS, NODES, POLICIES = 5000, 500, 1000
TICK = os.sysconf("SC_CLK_TCK")


class NatSwitch(Record, frozen=True, kw_only=True):
    """NAT44 is to be on."""

    name: str


SWITCH: Table[NatSwitch] = Table("NatSwitch", NatSwitch, lambda switch: switch.name)
TABLES: tuple[AnyTable, ...] = (SWITCH,)


class SwitchRenderer:
    """NAT44 is on."""

    name = "bench-nat"
    table = SWITCH.name
    reads: frozenset[str] = frozenset()
    produces = frozenset({Nat44.kind})
    derives: frozenset[str] = frozenset()

    def render(self, view: View, key: str) -> Iterable[Item]:
        yield Nat44(sessions=1024)


class ServiceRenderer:
    """Stands in for the service plugin: one mapping for each port of a service that has endpoints."""

    name = "bench-service"
    table = SERVICE.name
    reads = frozenset({ENDPOINT_SLICE.name})
    produces = frozenset({Nat44Mapping.kind})
    derives: frozenset[str] = frozenset()

    def render(self, view: View, key: str) -> Iterable[Item]:
        service: Service = view.get(SERVICE.name, key)
        slices: tuple[EndpointSlice, ...] = view.where(ENDPOINT_SLICE.name, service=key)
        for port in service.ports:
            backends = [
                NatBackend(address=endpoint.address, port=target.port)
                for piece in slices
                for target in piece.ports
                if target.name == port.name
                for endpoint in piece.endpoints
                if endpoint.ready
            ]
            if backends:
                for address in service.cluster_ips:
                    yield Nat44Mapping(
                        protocol="tcp", address=address, port=port.port, backends=tuple(backends), label=key
                    )


class InMemory(Descriptor[Any]):
    """Items of one kind in core's test dataplane."""

    domain = "vpp"

    def __init__(self, world: FakeDataplane, item: type[Item]) -> None:
        self.kind, self.item = item.kind, item  # type: ignore[misc]
        self._world = world
        self._there: dict[str, Item] = {}

    async def create(self, item: Item, handles: Mapping[str, Any]) -> None:
        await self._world.operate("create", item.key, lambda: self._there.__setitem__(item.key, item))

    async def update(self, old: Item, new: Item, handle: Any, handles: Mapping[str, Any]) -> None:
        await self._world.operate("update", new.key, lambda: self._there.__setitem__(new.key, new))

    def recreates(self, old: Item, new: Item) -> bool:
        return False

    async def delete(self, item: Item | None, handle: Any, handles: Mapping[str, Any]) -> None:
        assert item is not None
        await self._world.operate("delete", item.key, lambda: self._there.pop(item.key))

    async def dump(self, known: Known) -> list[Found]:
        return [Found(key, item) for key, item in self._there.items()]


class BenchPlugin(Plugin):
    """The renderers, and without a VPP their dataplane."""

    name = "bench"
    world: FakeDataplane | None = None

    @hookimpl
    def tables(self) -> Iterable[AnyTable]:
        return TABLES

    @hookimpl
    def renderers(self, agent: Agent) -> Iterable[Any]:
        return (SwitchRenderer(), ServiceRenderer())

    @hookimpl
    def descriptors(self, agent: Agent) -> Iterable[AnyDescriptor]:
        if executable() is not None:
            return ()
        self.world = FakeDataplane()
        self.world.delay = 0
        return [InMemory(self.world, item) for item in (Nat44, Nat44Mapping)]


class Bench:
    """One agent, its VPP if there is one, and what was measured."""

    def __init__(self, agent: Agent, vpp: RealVpp | None) -> None:
        self.agent = agent
        self.vpp = vpp
        self.found: dict[str, Any] = {"vpp": "real" if vpp is not None else "in memory"}

    def vpp_seconds(self) -> float:
        """Return the CPU time of VPP so far."""
        if self.vpp is None or self.vpp.process is None:
            return 0.0
        words = Path(f"/proc/{self.vpp.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICK

    def operations(self) -> int:
        """Return the number of operations so far; none may have failed."""
        counters = self.agent.scheduler.counters
        assert not sum(counters.failed.values()), counters
        return sum(sum(each.values()) for each in (counters.created, counters.updated, counters.deleted))

    async def write(self, *writes: Write) -> float:
        """Write, and wait until nothing is in flight; return the seconds until it was rendered and scheduled."""
        begin = time.perf_counter()
        await self.agent.controller.write("bench", writes)
        rendered = time.perf_counter() - begin
        await self.agent.scheduler.settled()
        return rendered

    def applied(self, number: int) -> None:
        """Check that the mappings of so many services are applied."""
        counts = self.agent.scheduler.counts()
        assert counts["applied"] == sum(counts.values()) == number + 1, counts


class Pauses:
    """Measures the longest turn of the event loop, in CPU time: what else runs on the machine is no pause of ours."""

    async def __aenter__(self) -> Pauses:
        self.longest = 0.0
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def _watch(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.0005)
            now = time.thread_time()
            self.longest, last = max(self.longest, now - last), now

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.001)
        self._task.cancel()


def resident_mb() -> float:
    """Return the resident memory of this process, in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6


async def ballast(bench: Bench) -> None:
    """Fill the tables that are there besides."""
    await bench.write(
        Put(SWITCH.name, NatSwitch(name="on")),
        *(Put(POD.name, decode(Pod, objects.pod(number))) for number in range(PODS)),
        *(Put(NODE.name, decode(Node, objects.node(number))) for number in range(NODES)),
        *(Put(NETWORK_POLICY.name, decode(NetworkPolicy, objects.network_policy(n))) for n in range(POLICIES)),
        *(Ready(name) for name in (SWITCH.name, POD.name, NODE.name, NETWORK_POLICY.name)),
    )


@contextlib.contextmanager
def raw_objects(services: int) -> Iterator[IO[bytes]]:
    """Services and EndpointSlices, a line of JSON each, as a watch of the API server gives them."""
    with tempfile.TemporaryFile() as file:
        for number in range(services):
            file.write(objects.service(number) + b"\n" + objects.endpoint_slice(number) + b"\n")
        file.seek(0)
        yield file


async def decoded_writes(raw: IO[bytes]) -> list[Write]:
    """Decode objects as they come."""
    writes: list[Write] = []
    async for number, line in gently(enumerate(raw)):
        if number % 2:
            writes.append(Put(ENDPOINT_SLICE.name, decode(EndpointSlice, line)))
        else:
            writes.append(Put(SERVICE.name, decode(Service, line)))
    return writes


async def cold_start(bench: Bench, services: int) -> None:
    """From raw JSON to the last answer."""
    vpp = bench.vpp_seconds()
    gc.collect()
    with raw_objects(services) as raw:
        async with Pauses() as pauses:
            begin, cpu = time.perf_counter(), time.process_time()
            writes = await decoded_writes(raw)
            decoded = time.perf_counter()
            rendered = await bench.write(*writes, Ready(SERVICE.name), Ready(ENDPOINT_SLICE.name))
            end = time.perf_counter()
        size = raw.tell()
    bench.applied(services)
    bench.found |= {
        "services": services,
        "raw_mb": size / 1e6,
        "cold_s": end - begin,
        "decode_s": decoded - begin,
        "render_s": rendered,
        "schedule_s": end - decoded - rendered,
        "cpu_s": time.process_time() - cpu,
        "vpp_cpu_s": bench.vpp_seconds() - vpp,
        "pause_ms": pauses.longest * 1000,
    }


async def changes(bench: Bench, services: int, number: int) -> None:
    """One endpoint moves, again and again elsewhere."""
    took = []
    async with Pauses() as pauses:
        for round_number in range(number):
            victim = round_number * services // number
            piece = objects.endpoint_slice(victim, moved=1 + round_number)
            begun, begin = bench.operations(), time.perf_counter()
            await bench.write(Put(ENDPOINT_SLICE.name, decode(EndpointSlice, piece)))
            took.append((time.perf_counter() - begin) * 1000)
            assert bench.operations() == begun + 1
            await asyncio.sleep(0.002)
    bench.found |= {
        "changes": number,
        "change_p50_ms": statistics.median(took),
        "change_p99_ms": sorted(took)[int(number * 0.99) - 1],
        "change_max_ms": max(took),
        "change_pause_ms": pauses.longest * 1000,
    }


async def resync(bench: Bench) -> None:
    """Everything is read, and nothing differs."""
    before = bench.operations()
    sent = _writes(bench)
    async with Pauses() as pauses:
        begin = time.perf_counter()
        await bench.agent.scheduler.resync("vpp", "bench")
        await bench.agent.scheduler.settled()
        end = time.perf_counter()
    assert bench.operations() == before
    assert _writes(bench) == sent, "a resync of what is as wanted sent writes"
    bench.found |= {"resync_s": end - begin, "resync_pause_ms": pauses.longest * 1000}


def _writes(bench: Bench) -> dict[str, int]:
    """Return how often each message was sent that is no question."""
    if bench.vpp is None:
        assert bench.agent.plugin("bench").world is not None  # type: ignore[attr-defined]
        return {"calls": len(bench.agent.plugin("bench").world.calls)}  # type: ignore[attr-defined]
    plugin = bench.agent.plugin("vpp")
    assert isinstance(plugin, VppPlugin)
    statistics_of = plugin.client.connection.statistics
    questions = re.compile(r"dump|get|show|ping|details|cli_inband|want_")
    return {name: each.count for name, each in statistics_of.items() if not questions.search(name)}


@contextlib.asynccontextmanager
async def bench_agent() -> AsyncIterator[Bench]:
    """An agent that has read its VPP."""
    async with contextlib.AsyncExitStack() as stack:
        vpp = await stack.enter_async_context(real_vpp(heap="1g")) if executable() is not None else None
        config: dict[str, Any] = {"nodeName": "n1", "plugins": ["bench"], "drift": {"intervalSeconds": 3600}}
        plugins: list[Plugin] = [BenchPlugin()]
        if vpp is not None:
            config |= {"plugins": ["vpp", "bench"], "vpp": {"apiSocket": vpp.api_socket}}
            plugins.insert(0, VppPlugin())
        agent = Agent(config, plugins, ledger_path=None, serve=False)
        collector.spare()  # as `Agent.run` does
        await agent.start()
        stack.push_async_callback(agent.stop)
        if vpp is None:
            await agent.scheduler.domain_up("vpp", "in memory")
        await agent.scheduler.usable()
        await agent.controller.settled()
        yield Bench(agent, vpp)


async def measure(services: int, number: int) -> dict[str, Any]:
    """Measure everything with so many services and changes."""
    async with bench_agent() as bench:
        await ballast(bench)
        bench.found["agent_before_mb"] = resident_mb()
        await cold_start(bench, services)
        gc.collect()
        bench.found["agent_mb"] = resident_mb()
        await changes(bench, services, number)
        await resync(bench)
        bench.applied(services)
        bench.found["agent_after_mb"] = resident_mb()
    return bench.found


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    print(json.dumps(asyncio.run(measure(*numbers, *(10000, 300)[len(numbers) :]))))
