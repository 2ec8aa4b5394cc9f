# SPDX-License-Identifier: Apache-2.0
"""Where CNI checks happen: a node, its executables, and a pod beside that no check may touch."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from .executables import Executable
from .harness import Footprint, Node, node
from .processes import in_namespace, run, until

__all__ = ["World", "fresh", "links_of", "names_in", "world"]

BYSTANDER = "bystander"
SETTINGS = {"ipam": {"podSubnetOneNodePrefixLen": 28}, "contiv": {"addDeadlineSeconds": 5}}


class World:
    """One node for many checks."""

    def __init__(self, rig: Node) -> None:
        self.rig = rig
        self.bystander_netns = ""
        self.bystander = ""  # its address
        self.gateway = ""
        self.subnet = ipaddress.IPv4Network("0.0.0.0/0")
        self._executables: dict[str, Executable] = {}
        self._numbers = iter(range(10**6))
        self._before: Footprint | None = None

    async def start(self) -> None:
        rig = self.rig
        await rig.start_agent(seconds=60)
        await rig.settled()
        await rig.pods(1, prefix="warm")
        await rig.delete("warm0")
        await rig.settled()
        self._before = await rig.footprint()
        self.bystander_netns = rig.namespaces.make(BYSTANDER)
        code, result = await rig.cni("ADD", BYSTANDER, self.bystander_netns)
        assert code == 0, result
        (ip,) = result["ips"]
        self.bystander, self.gateway = ip["address"].partition("/")[0], ip["gateway"]
        self.subnet = ipaddress.IPv4Network(f"{self.bystander}/28", strict=False)

    async def finish(self) -> None:
        """Assert that the pod beside has noticed nothing, and that nothing is left."""
        assert await self.pings(self.bystander_netns, self.gateway), "the pod beside has lost its gateway"
        await self.rig.delete(BYSTANDER, self.bystander_netns)
        assert self._before is not None
        await self.rig.nothing_left(self._before)

    def executable(self, kind: str) -> Executable:
        if kind not in self._executables:
            self._executables[kind] = Executable(kind, self.rig.folder / kind, self.rig.cni_socket)
        return self._executables[kind]

    def number(self) -> int:
        return next(self._numbers)

    def attachments(self) -> dict[str, dict[str, Any]]:
        """What the agent has, without the pod beside, by container and interface."""
        records = self.rig.get("tables", "LocalPod")["records"]
        keyed = {f"{each['container_id']}/{each['interface']}": each for each in records}
        return {key: each for key, each in keyed.items() if each["container_id"] != BYSTANDER}

    def free_address(self) -> str:
        """An address of the node's subnet that nobody has: the highest, but for one that is reserved."""
        used = {each["address"] for each in self.rig.get("tables", "LocalPod")["records"]}
        return next(str(each) for each in reversed(list(self.subnet.hosts())[:-1]) if str(each) not in used)

    async def pings(self, netns: str, address: str) -> bool:
        return (await run("ping", "-n", "-c1", "-W2", address, netns=netns))[0] == 0

    async def heal(self) -> None:
        """Start what a check has stopped."""
        rig = self.rig
        process = rig.vpp.process
        if process is None or process.returncode is not None:
            await rig.vpp.start()
        if rig.agent is None or rig.agent.returncode is not None:
            await rig.start_agent(seconds=60)
        await until(rig.ready, 60, "the agent is ready")
        await rig.settled()


def names_in(netns: str) -> list[str]:
    """The names of a namespace's links."""
    return in_namespace(netns, lambda: [name for _, name in socket.if_nameindex()])


async def links_of(netns: str, name: str = "") -> list[dict[str, Any]]:
    """The links of a namespace with their addresses; no link: an empty list."""
    code, out, _ = await run("ip", "-j", "addr", "show", *(("dev", name) if name else ()), netns=netns)
    return [each for each in json.loads(out) if each] if code == 0 and out.strip() else []


@contextlib.asynccontextmanager
async def world(dataplane: str) -> AsyncIterator[World]:
    """A node that runs, with the pod beside; what is left over at the end fails."""
    async with node(dataplane, settings=SETTINGS) as rig:
        made = World(rig)
        await made.start()
        yield made
        await asyncio.wait_for(made.finish(), 60)


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder
