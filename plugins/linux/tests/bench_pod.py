# SPDX-License-Identifier: Apache-2.0
"""What it costs to configure a pod's interface in the real kernel; needs root, prints JSON.

.venv/bin/python plugins/linux/tests/bench_pod.py [pods]
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from ipaddress import ip_address, ip_interface, ip_network

from conftest import Rig, namespace_folder
from contivpp_linux.kernel.netlink import NetlinkKernel
from contivpp_linux.kernel.operations import CreateVeth, Operation, Replace, SetLink, SetSysctl
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Address, Neighbour, Route

GATEWAY = ip_address("169.254.1.1")
POD: list[Operation] = [
    SetSysctl("net.ipv6.conf.all.disable_ipv6", "1"),
    SetLink(link="lo", up=True),
    SetLink(link="eth0", mtu=1450, mac="02:00:00:00:00:0a", up=True),
    Replace(Address("eth0", ip_interface("10.1.1.2/32"))),
    Replace(Neighbour("eth0", GATEWAY, "02:00:00:00:00:0b")),
    Replace(Route(ip_network("169.254.1.1/32"), "eth0")),
    Replace(Route(ip_network("0.0.0.0/0"), "eth0", GATEWAY)),
]


def cpu() -> float:
    """Return this process's CPU time, user and system, in ms."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e3


async def loop_delay(stop: asyncio.Event) -> float:
    """Return the longest time in ms that the event loop was kept from a 1 ms timer."""
    worst = 0.0
    while not stop.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, (time.perf_counter() - before) * 1e3 - 1)
    return worst


async def run(pods: int, folder: str) -> dict[str, float]:
    """Make namespaces with an eth0, configure half of them one after the other, half at once."""
    started = time.perf_counter()
    kernel = NetlinkKernel()
    rig = Rig(kernel, folder)
    await kernel.links("")
    result: dict[str, float] = {"pods": pods, "first_call_ms": (time.perf_counter() - started) * 1e3}
    paths = [rig.namespace() for _ in range(2 * pods)]
    for number, path in enumerate(paths):
        raise_errors(await kernel.apply("", [CreateVeth(f"cvbench{number}", "eth0", path)]))

    async def configure(path: str) -> None:
        raise_errors(await kernel.apply(path, POD))

    before, started = cpu(), time.perf_counter()
    for path in paths[:pods]:
        await configure(path)
    result["one_by_one_wall_ms_per_pod"] = (time.perf_counter() - started) * 1e3 / pods
    result["one_by_one_cpu_ms_per_pod"] = (cpu() - before) / pods
    stop = asyncio.Event()
    watcher = asyncio.create_task(loop_delay(stop))
    before, started = cpu(), time.perf_counter()
    await asyncio.gather(*(configure(path) for path in paths[pods:]))
    result["at_once_wall_ms"] = (time.perf_counter() - started) * 1e3
    result["at_once_cpu_ms_per_pod"] = (cpu() - before) / pods
    stop.set()
    result["at_once_worst_loop_delay_ms"] = await watcher
    rig.clear()
    await kernel.close()
    return result


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("root is needed to make network namespaces")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with namespace_folder() as place:
        print(json.dumps({key: round(value, 2) for key, value in asyncio.run(run(count, place)).items()}))
