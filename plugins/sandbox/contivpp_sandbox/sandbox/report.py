# SPDX-License-Identifier: Apache-2.0
"""How a sandbox stands: processes, VPP, agent, pods. What does not answer is told, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contivpp_sandbox.agent_routes import DATAPLANE_PATH
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.processes import Process

__all__ = ["report", "report_text"]

_KINDS = {"tap": "TAP", "afpacket": "AF_PACKET over veth"}


async def report(cluster: Cluster) -> dict[str, Any]:
    """Return everything that is known."""
    node = cluster.node
    found: dict[str, Any] = {"directory": str(node.directory), **node.made_of, "problems": []}
    found["processes"] = await _or_problem(found, node.keeper.processes()) or {}
    found["vpp"] = await _or_problem(found, node.vpp_version()) or ""
    found["interfaces"] = await _or_problem(found, node.agent.get(DATAPLANE_PATH)) or {}
    status = await _or_problem(found, node.agent.get("/v1/status")) or {}
    found["agent"] = {key: status.get(key) for key in ("ready", "conditions", "items", "revision", "uptimeSeconds")}
    found["pods"] = [
        {
            "pod": pod.key,
            "address": pod.address,
            "process": pod.pid,
            "running": Process(pod.pid, pod.start).alive,
            "ports": [f"{protocol}/{number}" for protocol, number, _ in pod.ports],
            "failure": pod.failure,
        }
        for pod in cluster.pods.values()
    ]
    return found


async def _or_problem(found: dict[str, Any], question: Any) -> Any:
    try:
        return await question
    except SandboxError as error:
        if str(error) not in found["problems"]:
            found["problems"].append(str(error))
        return None


def report_text(found: Mapping[str, Any]) -> str:
    """Return a report for people."""
    interfaces, agent = found["interfaces"], found["agent"]
    kind = _KINDS.get(interfaces.get("podInterface", ""), "not known")
    vpp = "embedded" if found["dataplane"] == "embedded" else "real"
    lines = [
        f"sandbox     {found['directory']}, node {found['name']}",
        f"VPP         {vpp}: {found['vpp'] or 'does not answer'}",
        f"interfaces  {kind}{': ' + interfaces['why'] if interfaces else ''}",
        f"agent       {_agent(agent)}",
    ]
    for name, each in (agent["conditions"] or {}).items():
        lines.append(f"  {name:<20} {'yes' if each['ok'] else 'no: ' + each['reason']}")
    counts = ", ".join(f"{number} {state}" for state, number in (agent["items"] or {}).items() if number)
    lines.append(f"items       {counts or 'none'}")
    for name, each in found["processes"].items():
        if each["code"] is not None:
            lines.append(f"process     {name} ended with code {each['code']}: see log/ in {found['directory']}")
    lines.append(f"pods        {len(found['pods'])}")
    for pod in found["pods"]:
        lines.append(f"  {pod['pod']:<24} {_pod(pod)}")
    lines += [f"problem     {problem}" for problem in found["problems"]]
    return "\n".join(lines)


def _agent(agent: Mapping[str, Any]) -> str:
    if agent["ready"] is None:
        return "does not answer"
    up = f"up for {agent['uptimeSeconds']:.0f} s, revision {agent['revision']}"
    return f"{'ready' if agent['ready'] else 'not ready'}, {up}"


def _pod(pod: Mapping[str, Any]) -> str:
    if pod["failure"]:
        return f"not connected: {pod['failure']}"
    state = f"process {pod['process']}" if pod["running"] else "its process is gone"
    return "  ".join(filter(None, (f"{pod['address']:<15}", state, " ".join(pod["ports"]))))
