# SPDX-License-Identifier: Apache-2.0
"""The demo: a sandbox comes up, pods talk, what VPP has counted is shown, and everything goes again.

Everything ends with this process, however that ends: the keeper is tied to it.
"""

from __future__ import annotations

import string
from typing import Any

from contivpp_sandbox.agent_routes import DATAPLANE_PATH
from contivpp_sandbox.sandbox.actions import fresh, say, taken_down
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.matrix import matrix_table, probe_matrix
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.pod import SandboxPod
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.vpp import Dataplane, cli

__all__ = ["demo"]

PINGS = 4
_PORT = 8080


async def demo(directory: Directory, *, pods: int, dataplane: Dataplane) -> int:
    """Run the demo; 1 if anything in it did not work."""
    progress = Progress(say)
    say("A node of its own: VPP, agent, CNI")
    async with fresh(directory, progress=progress) as node:
        await node.up("node1", dataplane, with_parent=True)
        good = await _show(node, pods, progress)
        say("\nEverything is taken down")
        with progress.step("processes, namespaces, files"):
            await taken_down(directory)
    say("All of it worked." if good else "Some of it did not work: see above.")
    return 0 if good else 1


async def _show(node: SandboxNode, count: int, progress: Progress) -> bool:
    cluster = Cluster(node, progress=progress)
    await cluster.deliver()
    say(f"\n{count} pods, each connected by the CNI executable")
    await cluster.apply([_pod(name, node.name) for name in string.ascii_lowercase[:count]])
    pods = list(cluster.pods.values())
    if failures := [f"pod {pod.key}: {pod.failure}" for pod in pods if pod.failure]:
        raise SandboxError("\n".join(failures))
    interfaces = await node.agent.get(DATAPLANE_PATH)
    kind = "TAP" if interfaces["podInterface"] == "tap" else "AF_PACKET over veth"
    say(f"           interfaces: {kind}: {interfaces['why']}")
    good = await _ping(node.directory, pods[0], pods[1])
    good = await _http(node.directory, pods[0], pods[1]) and good
    say("\nWho reaches whom")
    cells = await probe_matrix(node.directory, pods, attempts=4)
    say(matrix_table(pods, cells))
    say("\nvpp# show interface")
    say(await cli(node.directory.cli_socket, "show interface"))
    return good and all(cell["ok"] for cell in cells)


async def _ping(directory: Directory, source: SandboxPod, target: SandboxPod) -> bool:
    say(f"\nping {target.address} from {source.key}")
    times = []
    for number in range(1, PINGS + 1):
        result = await source.ask(directory, "probe", protocol="ICMP", address=target.address, attempts=1)
        if result["verdict"] == "allowed":
            times.append(result["ms"])
            say(f"  reply {number} from {target.address}: {result['ms']:.3f} ms")
        else:
            say(f"  no reply {number}: {result['why']}")
    if times:
        say(f"  {len(times)} of {PINGS} came back; round trip min {min(times):.3f}, max {max(times):.3f} ms")
    return len(times) == PINGS


async def _http(directory: Directory, source: SandboxPod, target: SandboxPod) -> bool:
    say(f"\nGET http://{target.address}:{_PORT}/ from {source.key}")
    result = await source.ask(directory, "http", address=target.address, port=_PORT)
    if "error" in result:
        say(f"  no answer: {result['error']}")
        return False
    say(f"  {result['status']}, {result['ms']:.1f} ms: {result['body'].strip()}")
    good: bool = result["body"].startswith(f"{target.key}:{_PORT} ")
    return good


def _pod(name: str, node: str) -> dict[str, Any]:
    container = {"name": "web", "ports": [{"name": "http", "containerPort": _PORT}]}
    metadata = {"namespace": "demo", "name": name, "labels": {"app": name}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [container]}}
