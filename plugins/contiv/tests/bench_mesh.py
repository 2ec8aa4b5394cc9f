# SPDX-License-Identifier: Apache-2.0
"""A node joins a mesh: how long one agent takes for the ways to all others, and for a change of one address.

    unshare --net python plugins/contiv/tests/bench_mesh.py [NODES]

prints JSON. VPP is the one that CONTIVPP_VPP names, else the embedded one. Records are injected as the cluster's store
would deliver them; everything below is real. The reference is a hand-written client that sends the same number of
objects' messages for one peer at a time, waiting for each answer: what a script over the API would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.agent import Agent
from contivpp_core.node import CLUSTER_NODE, ClusterNode
from contivpp_core.state import Put, Write
from contivpp_ipam.plugin import IpamPlugin
from contivpp_linux.plugin import LinuxPlugin
from contivpp_vpp.plugin import VppPlugin
from contivpp_vpp.testing import executable, real_vpp

IPAM = {
    "podSubnetCIDR": "10.0.0.0/12",
    "vppHostSubnetCIDR": "172.16.0.0/12",
    "nodeInterconnectCIDR": "192.168.16.0/20",
    "vxlanCIDR": "192.168.32.0/20",
}
ROUNDS = 20


@contextlib.asynccontextmanager
async def vpp(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """A VPP: its API socket and process ID."""
    if executable() is not None:
        async with real_vpp(heap="512m") as real:
            assert real.process is not None
            yield real.api_socket, real.process.pid
        return
    api_socket = str(folder / "api.sock")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "embeddedvpp", "--api-socket", api_socket)
    try:
        while not Path(api_socket).exists():
            await asyncio.sleep(0.01)
        yield api_socket, process.pid
    finally:
        process.kill()
        await process.wait()


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) / 1024


def node(node_id: int, octet: int = 0) -> ClusterNode:
    """Return a node; another `octet` gives it another address."""
    address = f"192.168.{16 + node_id // 250 + 8 * octet}.{node_id % 250 + 1}/20"
    return ClusterNode(name=f"n{node_id:04}", node_id=node_id, vpp_addresses=(address,))


def ways(agent: Agent) -> list[str]:
    """Return the keys of every item that leads to a peer."""
    return [key for key, owners in agent.engine.owners.items() if any(o.renderer == "contiv-peer" for o in owners)]


async def write(agent: Agent, *writes: Write) -> float:
    """Write, and wait until nothing is in flight and everything is applied; return the seconds."""
    begin = time.perf_counter()
    await agent.controller.write("bench", writes)
    await agent.scheduler.settled()
    seconds = time.perf_counter() - begin
    await agent.scheduler.waiters.until_applied(ways(agent), 60)
    return seconds


def operations(agent: Agent) -> int:
    """Return the number of operations so far."""
    counters = agent.scheduler.counters
    return sum(sum(each.values()) for each in (counters.created, counters.updated, counters.deleted))


async def measure(nodes: int) -> dict[str, object]:
    """Join, and change addresses."""
    with tempfile.TemporaryDirectory() as name:
        async with vpp(Path(name)) as (api_socket, pid):
            config = {
                "nodeName": "n0001",
                "plugins": ["vpp", "linux", "ipam", "contiv"],
                "vpp": {"apiSocket": api_socket},
                "ipam": IPAM,
                "contiv": {"nodeID": 1, "hostInterconnect": "veth"},
            }
            plugins = [VppPlugin(), LinuxPlugin(), IpamPlugin(), ContivPlugin(serve=False)]
            agent = Agent(config, plugins, ledger_path=None, serve=False)
            await agent.start()
            await agent.scheduler.usable()
            await agent.controller.settled()
            before = resident_mib(pid), resident_mib(os.getpid())
            join = await write(agent, *(Put(CLUSTER_NODE.name, node(number)) for number in range(2, nodes + 1)))
            after = resident_mib(pid), resident_mib(os.getpid())
            changes, touched = [], []
            for round_number in range(ROUNDS):
                begun = operations(agent)
                victim = 2 + round_number * (nodes - 2) // ROUNDS
                changes.append(await write(agent, Put(CLUSTER_NODE.name, node(victim, octet=1))))
                touched.append(operations(agent) - begun)
            items = len(ways(agent))
            await agent.stop()
    return {
        "nodes": nodes,
        "items": items,
        "join_s": join,
        "change_p50_ms": statistics.median(changes) * 1000,
        "change_max_ms": max(changes) * 1000,
        "operations_of_a_change": sorted(set(touched)),
        "vpp_mib": after[0] - before[0],
        "agent_mib": after[1] - before[1],
        "agent_total_mib": after[1],
        "vpp": "real" if executable() is not None else "embedded",
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 500))))
