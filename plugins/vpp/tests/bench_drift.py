# SPDX-License-Identifier: Apache-2.0
"""What a check for drift of many routes costs on a real VPP; prints one line of JSON.

    CONTIVPP_VPP=/path/to/vpp python plugins/vpp/tests/bench_drift.py --routes 10000

`dump_ms` is how long the dump takes until its last answer, `delay_ms` the longest that another connection's smallest
request was delayed meanwhile, `turn_ms` the CPU time of the longest turn of the agent's event loop (the garbage
collector is off), `check_cpu_ms` its CPU time in all. `repaired_ms` is the time from the loss of one route until it is
there again.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from typing import Any

from contivpp_core.items import Item, Owner
from contivpp_core.scheduler import Scheduler
from contivpp_core.scheduler.check import CheckReport
from contivpp_vpp import messages as m
from contivpp_vpp.access import VppAccess
from contivpp_vpp.connection import Connection
from contivpp_vpp.descriptors.route import RouteDescriptor
from contivpp_vpp.fib_source import FibSourceNumber
from contivpp_vpp.items import Path, Route
from contivpp_vpp.testing import real_vpp
from contivpp_vpp.transports import unix_socket


class Alone(RouteDescriptor):
    """Routes that lead nowhere: no interfaces are needed."""

    dumps_after = ()


async def longest_turn(done: asyncio.Event) -> float:
    """Return the CPU time of the longest turn until `done`."""
    longest, last = 0.0, time.thread_time()
    while not done.is_set():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


async def longest_delay(vpp: Connection, done: asyncio.Event) -> float:
    """Return how long the slowest smallest request took until `done`."""
    longest = 0.0
    while not done.is_set():
        begin = time.monotonic()
        await vpp.request(m.ShowVersion())
        longest = max(longest, time.monotonic() - begin)
    return longest


async def check(scheduler: Scheduler, **watched: Any) -> dict[str, float]:
    """Check the routes beside a watcher."""
    done = asyncio.Event()
    tasks = {name: asyncio.ensure_future(watch(done)) for name, watch in watched.items()}
    begin, cpu = time.monotonic(), time.thread_time()
    await scheduler.check(Route.kind)
    result = {"check_ms": time.monotonic() - begin, "check_cpu_ms": time.thread_time() - cpu}
    done.set()
    return result | {name: await task for name, task in tasks.items()}


async def measure(count: int) -> dict[str, object]:
    """Make routes, check them, lose one, check again."""
    async with real_vpp() as running:
        ours = await Connection.open(unix_socket(running.api_socket), name="agent")
        other = await Connection.open(unix_socket(running.api_socket), name="other")
        access = VppAccess()
        access.client = ours
        scheduler, reports = Scheduler(seed=1), list[CheckReport]()
        scheduler.on_checked = reports.append
        scheduler.register(Alone(access, FibSourceNumber(access)))
        await scheduler.domain_up("vpp", "one")
        paths = (Path(kind="drop"),)
        items = [Route(vrf=0, prefix=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32", paths=paths) for n in range(count)]
        owners: dict[str, dict[Owner, Item]] = {item.key: {Owner("bench", "one"): item} for item in items}
        await scheduler.submit_gently(owners, owners)
        await scheduler.settled()
        gc.disable()
        turn = await check(scheduler, turn_ms=longest_turn)
        delay = await check(scheduler, delay_ms=lambda done: longest_delay(other, done))
        alone = await check(scheduler)
        handle = scheduler.graph.nodes[items[0].key].actual
        assert handle is not None
        await scheduler.descriptors[Route.kind].delete(items[0], handle.handle, {})
        begin = time.monotonic()
        await check(scheduler)
        await scheduler.settled()
        repaired = time.monotonic() - begin
        assert [report.differing for report in reports] == [0, 0, 0, 1]
        await scheduler.stop()
        ours.close()
        other.close()
    found = {"dump_ms": reports[2].dump_seconds, "repaired_ms": repaired} | alone | {
        "turn_ms": turn["turn_ms"], "delay_ms": delay["delay_ms"],
    }  # fmt: skip
    return {"benchmark": "drift-routes", "routes": count} | {name: round(v * 1e3, 1) for name, v in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=10_000)
    print(json.dumps(asyncio.run(measure(parser.parse_args().routes))))


if __name__ == "__main__":
    main()
