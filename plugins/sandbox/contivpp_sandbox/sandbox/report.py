# SPDX-License-Identifier: Apache-2.0
"""How a sandbox stands: underlay, nodes with VPP and agent, pods. What does not answer is told, never an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from contivpp_sandbox.agent_routes import DATAPLANE_PATH
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.processes import Process

__all__ = ["report", "report_text"]

_KINDS = {"tap": "TAP", "afpacket": "AF_PACKET over veth"}


async def report(cluster: Cluster) -> dict[str, Any]:
    """Return everything that is known."""
    inventory = cluster.inventory
    found: dict[str, Any] = {
        "directory": str(cluster.directory),
        "dataplane": inventory.dataplane,
        "datastore": inventory.datastore,
        "underlay": {"mtu": inventory.mtu, "broken": inventory.broken},
        "problems": [],
    }
    found["processes"] = await _or_problem(found, cluster.keeper.processes()) or {}
    found["servers"] = await _or_problem(found, cluster.store.standing()) or {}
    found["nodes"] = await asyncio.gather(*(_node(found, node) for node in cluster.nodes.values()))
    found["outside"] = [{"address": host.address, "via": host.via} for host in cluster.underlay.hosts.values()]
    found["pods"] = [
        {
            "pod": pod.key,
            "node": pod.record.node,
            "address": pod.address,
            "process": pod.pid,
            "running": Process(pod.pid, pod.start).alive,
            "ports": [f"{protocol}/{number}" for protocol, number, _ in pod.ports],
            "failure": pod.failure,
        }
        for pod in cluster.pods.values()
    ]
    return found


async def _node(found: dict[str, Any], node: SandboxNode) -> dict[str, Any]:
    status = await _or_problem(found, node.agent.get("/v1/status")) or {}
    return {
        "name": node.name,
        "id": node.place.node_id,
        "management": node.place.management,
        "agentSocket": node.folder.agent_socket,
        "vpp": await _or_problem(found, node.vpp_version()) or "",
        "interfaces": await _or_problem(found, node.agent.get(DATAPLANE_PATH)) or {},
        "agent": {key: status.get(key) for key in ("ready", "conditions", "items", "revision", "uptimeSeconds")},
    }


async def _or_problem(found: dict[str, Any], question: Any) -> Any:
    try:
        return await question
    except SandboxError as error:
        if str(error) not in found["problems"]:
            found["problems"].append(str(error))
        return None


def report_text(found: Mapping[str, Any]) -> str:
    """Return a report for people."""
    underlay = found["underlay"]
    losses = underlay["broken"].items()
    broken = [f", {name} {'is cut off' if loss >= 100 else f'loses {loss:g} %'}" for name, loss in losses]
    lines = [
        f"sandbox     {found['directory']}",
        f"underlay    MTU {underlay['mtu']}{''.join(broken)}",
        f"datastore   {found['datastore']}{'' if found['servers'] else ' does not answer'}",
        *(f"  {name:<16} {state}" for name, state in found["servers"].items()),
    ]
    for node in found["nodes"]:
        lines += _node_lines(node, "embedded" if found["dataplane"] == "embedded" else "real")
    for name, each in found["processes"].items():
        if each["code"] is not None:
            lines.append(f"process     {name} ended with code {each['code']}: see log/ in {found['directory']}")
    lines.append(f"pods        {len(found['pods'])}")
    for pod in found["pods"]:
        lines.append(f"  {pod['pod']:<24} {pod['node']:<12} {_pod(pod)}")
    lines += [f"outside     {host['address']}" for host in found["outside"]]
    lines += [f"problem     {problem}" for problem in found["problems"]]
    return "\n".join(lines)


def _node_lines(node: Mapping[str, Any], vpp: str) -> Iterator[str]:
    interfaces, agent = node["interfaces"], node["agent"]
    kind = _KINDS.get(interfaces.get("podInterface", ""), "not known")
    yield f"node        {node['name']}, ID {node['id']}, host {node['management']}"
    yield f"  VPP         {vpp}: {node['vpp'] or 'does not answer'}"
    yield f"  interfaces  {kind}{': ' + interfaces['why'] if interfaces else ''}"
    yield f"  agent       {_agent(agent)}"
    for name, each in (agent["conditions"] or {}).items():
        yield f"    {name:<20} {'yes' if each['ok'] else 'no: ' + each['reason']}"
    counts = ", ".join(f"{number} {state}" for state, number in (agent["items"] or {}).items() if number)
    yield f"  items       {counts or 'none'}"


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
