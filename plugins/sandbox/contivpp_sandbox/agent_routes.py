# SPDX-License-Identifier: Apache-2.0
"""What an agent of a sandbox tells beside what all agents tell: whether it has settled, how pods are connected."""

from __future__ import annotations

import asyncio
from typing import Any

from contivpp_contiv.config import ContivConfig
from contivpp_core.agent import Agent
from contivpp_core.api import ApiError, ApiRoute, Request
from contivpp_datastore.plugin import DatastorePlugin
from contivpp_vpp.plugin import VppPlugin

__all__ = ["DATAPLANE_PATH", "SETTLED_PATH", "sandbox_routes"]

SETTLED_PATH = "/v1/sandbox/settled"
DATAPLANE_PATH = "/v1/sandbox/dataplane"

_APPLIED = ("applied", "shadowed")
_LONGEST_SECONDS = 600.0
_POLL_SECONDS = 0.05


def sandbox_routes(agent: Agent) -> list[ApiRoute]:
    """Return the routes."""

    async def settled(request: Request) -> Any:
        return await _settled(agent, _seconds(request), _revision(request))

    async def dataplane(request: Request) -> Any:
        return await _dataplane(agent)

    return [
        ApiRoute("GET", SETTLED_PATH, settled, "Wait until the agent has settled; seconds: at most so long; "
                 "revision: with all that the cluster's store held then."),
        ApiRoute("GET", DATAPLANE_PATH, dataplane, "VPP's version, the kind of pods' interfaces, and why that kind."),
    ]


def _seconds(request: Request) -> float:
    text = request.query.get("seconds", "10")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ApiError(f"seconds={text}: must be a number from 0 to {_LONGEST_SECONDS:g}")
    return seconds


def _revision(request: Request) -> int:
    text = request.query.get("revision", "0")
    if not text.isdecimal():
        raise ApiError(f"revision={text}: must be a revision of the cluster's store")
    return int(text)


async def _settled(agent: Agent, seconds: float, revision: int) -> dict[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            if revision:
                datastore = agent.plugin("datastore")
                assert isinstance(datastore, DatastorePlugin)
                await datastore.caught_up(revision)
            await agent.controller.settled()
            while not agent.ready:
                await asyncio.sleep(_POLL_SECONDS)
                await agent.controller.settled()
    except TimeoutError:
        return {"settled": False, "unapplied": _unapplied(agent)}
    return {"settled": True, "unapplied": _unapplied(agent)}


def _unapplied(agent: Agent) -> list[str]:
    """Return a line for each thing that is not as it should be."""
    lines = [f"{name}: {state.reason}" for name, state in sorted(agent.readiness().items()) if not state.ok]
    lines += [f"renderer {owner}: {error}" for owner, error in agent.engine.failures.items()]
    for item in agent.scheduler.items():
        if item.state not in _APPLIED:
            lines.append(f"{item.key} is {item.state}: {item.reason}")
    return lines


async def _dataplane(agent: Agent) -> dict[str, str]:
    vpp = agent.plugin("vpp")
    assert isinstance(vpp, VppPlugin)
    wanted = agent.config.section("contiv", ContivConfig).pod_interface
    version = vpp.client.connection.version
    if wanted != "auto":
        return {"version": version, "podInterface": wanted, "why": "contiv.podInterface says so"}
    support = await vpp.tap_support()
    if support.usable:
        return {"version": version, "podInterface": "tap", "why": "VPP can make TAPs here"}
    return {"version": version, "podInterface": "afpacket", "why": f"VPP cannot make TAPs here: {support.reason}"}
