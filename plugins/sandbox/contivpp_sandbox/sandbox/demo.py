# SPDX-License-Identifier: Apache-2.0
"""The demo: nodes come up, pods talk across them, what VPP has counted is shown, and everything goes again.

Everything ends with this process, however that ends: the keeper is tied to it.
"""

from __future__ import annotations

import itertools
import string
from typing import Any

from contivpp_sandbox.agent_routes import DATAPLANE_PATH
from contivpp_sandbox.sandbox.actions import fresh, node_names, say, taken_down
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory
from contivpp_sandbox.sandbox.matrix import matrix_table, probe_matrix
from contivpp_sandbox.sandbox.pod import SandboxPod
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.vpp import Dataplane, cli
from contivpp_sandbox.servers.layout import Datastore

__all__ = ["demo"]

PINGS = 4
_PORT = 8080
_SETTLE_SECONDS = 30.0


async def demo(
    directory: Directory, *, nodes: int, pods: int, dataplane: Dataplane, mtu: int, datastore: Datastore = "embedded"
) -> int:
    """Run the demo; 1 if anything in it did not work."""
    progress = Progress(say)
    say(f"{nodes} nodes on one underlay, each with a VPP, an agent and a CNI executable of its own")
    async with fresh(directory, Inventory(dataplane, mtu, datastore=datastore), progress=progress) as cluster:
        await cluster.up(node_names(nodes), with_parent=True)
        good = await _show(cluster, pods, progress)
        say("\nEverything is taken down")
        with progress.step("processes, namespaces, files"):
            await cluster.close()
            await taken_down(directory)
    say("All of it worked." if good else "Some of it did not work: see above.")
    return 0 if good else 1


async def _show(cluster: Cluster, count: int, progress: Progress) -> bool:
    nodes = list(cluster.nodes.values())
    say(f"\n{count} pods, each connected by the CNI executable of its node")
    names = zip(string.ascii_lowercase[:count], itertools.cycle(nodes), strict=False)
    await cluster.apply([_pod(name, node.name) for name, node in names])
    pods = list(cluster.pods.values())
    if failures := [f"pod {pod.key}: {pod.failure}" for pod in pods if pod.failure]:
        raise SandboxError("\n".join(failures))
    with progress.step("settled") as step:
        _, lines = await cluster.settled(_SETTLE_SECONDS)
        step.detail = "; ".join(lines)
    interfaces = await nodes[0].agent.get(DATAPLANE_PATH)
    kind = "TAP" if interfaces["podInterface"] == "tap" else "AF_PACKET over veth"
    say(f"           interfaces: {kind}: {interfaces['why']}")
    good = await _ping(cluster.directory, pods[0], pods[1])
    good = await _http(cluster.directory, pods[0], pods[1]) and good
    say("\nWho reaches whom")
    cells = await probe_matrix(cluster.directory, pods, attempts=4)
    say(matrix_table(pods, cells))
    for node in nodes:
        say(f"\n{node.name}: vpp# show interface")
        say(await cli(node.folder.cli_socket, "show interface"))
    return good and all(cell["ok"] for cell in cells)


async def _ping(directory: Directory, source: SandboxPod, target: SandboxPod) -> bool:
    say(f"\nping {_named(target)} from {_named(source)}")
    times = []
    for number in range(1, PINGS + 1):
        # VPP drops the first packet to another VPP, and asks for its MAC address: that one is sent twice.
        attempts = 2 if number == 1 else 1
        result = await source.station(directory).ask(
            "probe", protocol="ICMP", address=target.address, attempts=attempts
        )
        if result["verdict"] == "allowed":
            times.append(result["ms"])
            say(f"  reply {number} from {target.address}: {result['ms']:.3f} ms")
        else:
            say(f"  no reply {number}: {result['why']}")
    if times:
        say(f"  {len(times)} of {PINGS} came back; round trip min {min(times):.3f}, max {max(times):.3f} ms")
    return len(times) == PINGS


async def _http(directory: Directory, source: SandboxPod, target: SandboxPod) -> bool:
    say(f"\nGET http://{target.address}:{_PORT}/ from {_named(source)}")
    result = await source.station(directory).ask("http", address=target.address, port=_PORT)
    if "error" in result:
        say(f"  no answer: {result['error']}")
        return False
    say(f"  {result['status']}, {result['ms']:.1f} ms: {result['body'].strip()}")
    good: bool = result["body"].startswith(f"{target.key}:{_PORT} ")
    return good


def _named(pod: SandboxPod) -> str:
    return f"{pod.key} ({pod.address} on {pod.record.node})"


def _pod(name: str, node: str) -> dict[str, Any]:
    container = {"name": "web", "ports": [{"name": "http", "containerPort": _PORT}]}
    metadata = {"namespace": "demo", "name": name, "labels": {"app": name}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [container]}}
