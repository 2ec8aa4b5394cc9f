# SPDX-License-Identifier: Apache-2.0
"""The network between nodes, and whoever is on it beside them.

An outside host is a namespace with one address, a responder, and a link to the underlay. It is made when somebody
names it, and stays until the sandbox goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any

from contivpp_sandbox.rigs.layout import MANAGEMENT_PREFIX
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory, NodePlace
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.processes import Process
from contivpp_sandbox.sandbox.station import Station, responder_command
from contivpp_sandbox.sandbox.teardown import remains

__all__ = ["OutsideHost", "Underlay"]

_SECONDS = 60.0


@dataclass
class OutsideHost:
    """An outside host. `via` is the address of VPP by which its packets enter, as its routes say now."""

    address: str
    number: int
    pid: int = 0
    via: str = ""

    def station(self, directory: Directory) -> Station:
        """Return its responder."""
        log = directory.log(f"host-{self.address}")
        return Station(f"outside host {self.address}", directory.host_socket(self.number), log)


class Underlay:
    """The underlay of a sandbox."""

    def __init__(self, directory: Directory, inventory: Inventory) -> None:
        self.hosts: dict[str, OutsideHost] = {}
        self._directory = directory
        self._inventory = inventory
        self._keeper = KeeperClient(directory)

    def stored(self) -> list[dict[str, Any]]:
        """Return what is written to the sandbox's file."""
        return [asdict(host) for host in self.hosts.values()]

    def load(self, stored: Iterable[Mapping[str, Any]]) -> None:
        """Take over what there is."""
        self.hosts = {each["address"]: OutsideHost(**each) for each in stored}

    # --- nodes

    async def make(self) -> None:
        """Make the bridge, and a place for servers where there are some."""
        bridge = {"do": "bridge", "mtu": self._inventory.mtu}
        await self._wire(bridge, *([{"do": "servers"}] if self._inventory.datastore != "embedded" else []))

    async def connect(self, nodes: Mapping[int, NodePlace]) -> None:
        """Connect nodes, by the processes that hold their namespaces."""
        await self._wire(
            *(
                {
                    "do": "node",
                    "position": place.position,
                    "pid": pid,
                    "mtu": self._inventory.mtu,
                    "management": f"{place.management}/{MANAGEMENT_PREFIX}",
                }
                for pid, place in nodes.items()
            )
        )

    async def cut(self, nodes: Sequence[NodePlace]) -> None:
        """Cut nodes off."""
        await self._wire({"do": "cut", "positions": [place.position for place in nodes]})

    async def lose(self, nodes: Sequence[NodePlace], percent: float) -> None:
        """Lose a share of what is sent to nodes and by them."""
        await self._wire({"do": "lose", "positions": [place.position for place in nodes], "percent": percent})

    async def heal(self, nodes: Sequence[NodePlace]) -> None:
        """Undo both."""
        await self._wire({"do": "heal", "positions": [place.position for place in nodes]})

    async def part(self, nodes: Sequence[NodePlace]) -> None:
        """Cut nodes off the servers, silently: who waits for an answer waits. Pods are not concerned."""
        await self._wire({"do": "part", "positions": [place.position for place in nodes]})

    async def reunite(self, nodes: Sequence[NodePlace]) -> None:
        """Undo that."""
        await self._wire({"do": "reunite", "nodes": {str(place.position): place.management for place in nodes}})

    # --- outside hosts

    async def host(self, address: str) -> OutsideHost:
        """Return the outside host with an address; it is there from now on."""
        host = self.hosts.get(address)
        if host is not None:
            return host
        host = OutsideHost(address, len(self.hosts) + 1)
        station = host.station(self._directory)
        process = await self._keeper.start(
            f"host:{address}",
            responder_command(address, self._directory.host_socket(host.number)),
            log=f"host-{address}",
            makes="pod",
            hostname=f"host{host.number}",
        )
        try:
            await station.until_serves(process)
            host.pid = process.pid
            await self._plug(host)
        except BaseException:  # half a host would be in the way of the next try
            await self._keeper.end(f"host:{address}", kill=True)
            raise
        self.hosts[address] = host
        return host

    async def _plug(self, host: OutsideHost) -> None:
        """Connect an outside host with the underlay."""
        nodes = self._inventory.subnets().node_interconnect
        length = nodes.prefixlen if nodes is not None and ip_address(host.address) in nodes else 32
        await self._wire({
            "do": "host",
            "port": f"host{host.number}",
            "pid": host.pid,
            "mtu": self._inventory.mtu,
            "address": f"{host.address}/{length}",
        })  # fmt: skip

    async def enter_by(self, host: OutsideHost, vpp_address: str) -> None:
        """Have a host send what is not for its link to a VPP."""
        if host.via == vpp_address or not vpp_address:
            return
        await self._wire({"do": "gateway", "pid": host.pid, "gateway": vpp_address})
        host.via = vpp_address

    # --- the program that does it

    async def _wire(self, *requests: Mapping[str, Any]) -> None:
        keeper = remains(self._directory).keeper or Process(0, 0)
        if not keeper.alive:
            raise SandboxError(f"{self._directory}: the sandbox's keeper is gone: take the sandbox down, and up again")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "contivpp_sandbox.sandbox.wiring", str(keeper.pid),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )  # fmt: skip
        try:
            async with asyncio.timeout(_SECONDS):
                output, errors = await process.communicate(json.dumps(requests).encode())
        except TimeoutError:
            raise SandboxError(f"the underlay is not wired within {_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            answer = json.loads(output)
        except ValueError:
            answer = {"error": errors.decode("utf-8", "replace").strip()[-500:]}
        if "error" in answer:
            raise SandboxError(f"the underlay: {answer['error']}")
