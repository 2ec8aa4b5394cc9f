# SPDX-License-Identifier: Apache-2.0
"""How much CPU a pod's items cost, from the scheduler to the kernel and back; prints one line of JSON.

    python plugins/linux/tests/bench_items.py --kernel memory|netlink --pods 50

The veths are made first and not counted: in most clusters VPP makes a pod's link. `user_ms` is this code, `system_ms`
the kernel's own work, both for one pod with the ten items that live in its namespace. `netlink` needs root, and works
in namespaces of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import resource
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from contivpp_core.items import Item, Owner
from contivpp_core.namespaces import HOST, Namespace
from contivpp_core.scheduler import Scheduler
from contivpp_linux.descriptors import all_descriptors
from contivpp_linux.edge import Edge
from contivpp_linux.items import Address, LinkUp, Mac, Mtu, Neighbour, Offload, Route, Sysctl, Veth
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.netlink import NetlinkKernel

CLONE_NEWNET, MS_BIND, MNT_DETACH = 0x40000000, 4096, 2
LIBC = ctypes.CDLL(None, use_errno=True)
GATEWAY = "169.254.1.1"


def call(function: str, *arguments: object) -> None:
    """Call a function of the C library."""
    if getattr(LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def bind_new_namespace(path: str) -> None:
    """Make a namespace in a thread and bind it to a path."""

    def work() -> None:
        call("unshare", CLONE_NEWNET)
        with open(path, "wb"):
            call("mount", b"/proc/thread-self/ns/net", path.encode(), b"none", MS_BIND, None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@contextmanager
def namespaces(kernel: MemoryKernel | NetlinkKernel, count: int) -> Iterator[list[str]]:
    """Yield the paths of fresh namespaces."""
    with tempfile.TemporaryDirectory(prefix="contivpp-bench-") as folder:
        paths = [f"{folder}/{number}" for number in range(count)]
        for path in paths:
            kernel.create_namespace(path) if isinstance(kernel, MemoryKernel) else bind_new_namespace(path)
        try:
            yield paths
        finally:
            if not isinstance(kernel, MemoryKernel):
                for path in paths:
                    call("umount2", path.encode(), MNT_DETACH)


def link(namespace: Namespace, number: int) -> Item:
    """Return a pod's link."""
    return Veth(namespace=namespace, name="eth0", peer_namespace=HOST, peer_name=f"pod{number}")


def facets(namespace: Namespace, number: int) -> list[Item]:
    """Return what is set in a pod's namespace."""
    mac = f"02:00:00:00:{number // 256:02x}:{number % 256:02x}"
    address = f"10.1.{number // 250}.{number % 250 + 1}/32"
    return [
        Sysctl(namespace=namespace, name="net.ipv6.conf.all.disable_ipv6", value="1"),
        LinkUp(namespace=namespace, name="lo"),
        Mtu(namespace=namespace, link="eth0", mtu=1450),
        Mac(namespace=namespace, link="eth0", mac=mac),
        Address(namespace=namespace, link="eth0", address=address),
        LinkUp(namespace=namespace, name="eth0"),
        Route(namespace=namespace, destination=f"{GATEWAY}/32", link="eth0", scope="link"),
        Route(namespace=namespace, destination="0.0.0.0/0", link="eth0", gateway=GATEWAY),
        Neighbour(namespace=namespace, link="eth0", address=GATEWAY, mac="02:00:00:00:ff:01"),
        Offload(namespace=namespace, link="eth0", features=(("tx-checksumming", False),)),
    ]


async def settle(scheduler: Scheduler, items: list[Item]) -> None:
    """Want items, and wait until they are there."""
    scheduler.submit([i.key for i in items], {i.key: {Owner("pods", "bench"): i} for i in items})
    await scheduler.settled()


def usage() -> tuple[float, float]:
    """Return the CPU seconds of the process, all threads: own and the kernel's."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime


async def measure(name: str, pods: int) -> dict[str, object]:
    """Wire pods one after the other; return the cost of one."""
    kernel = MemoryKernel() if name == "memory" else NetlinkKernel()
    scheduler = Scheduler(seed=1)
    edge = Edge(lambda key: scheduler.graph.provider(key) is not None)
    edge.open(kernel)
    for descriptor in all_descriptors(edge):
        scheduler.register(descriptor)
    with namespaces(kernel, pods) as paths:
        found = [await kernel.identify(path) for path in paths]
        identities = [Namespace(path, f.device, f.inode) for path, f in zip(paths, found, strict=True)]
        await scheduler.domain_up("linux", "boot")
        await settle(scheduler, [link(namespace, n) for n, namespace in enumerate(identities)])
        gc.collect()
        loop = asyncio.get_running_loop()
        begin, user, system = loop.time(), *usage()
        for number, namespace in enumerate(identities):
            await settle(scheduler, facets(namespace, number))
        seconds, after = loop.time() - begin, usage()
        applied = scheduler.counts()["applied"]
        await scheduler.stop()
        await edge.close()
        await kernel.close()
    if applied != pods * 11:
        raise SystemExit(f"only {applied} of {pods * 11} items are applied")
    return {
        "benchmark": "linux-items",
        "kernel": name,
        "pods": pods,
        "items_per_pod": 10,
        "user_ms": round((after[0] - user) / pods * 1e3, 3),
        "system_ms": round((after[1] - system) / pods * 1e3, 3),
        "wall_ms": round(seconds / pods * 1e3, 3),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernel", choices=("memory", "netlink"), default="memory")
    parser.add_argument("--pods", type=int, default=50)
    arguments = parser.parse_args()
    if arguments.kernel == "netlink":
        call("unshare", CLONE_NEWNET)
    print(json.dumps(asyncio.run(measure(arguments.kernel, arguments.pods))))


if __name__ == "__main__":
    main()
