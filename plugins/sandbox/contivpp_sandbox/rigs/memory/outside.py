# SPDX-License-Identifier: Apache-2.0
"""Hosts on the underlay that are no nodes: each has one address, and one way to everything that is not on its link."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.operations import Add, Operation, Replace, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Address, Route
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.servers import EVERY_PORT
from contivpp_sandbox.rigs.memory.stack import Host
from contivpp_sandbox.rigs.memory.underlay import Switch

__all__ = ["OutsideHosts"]

_LINK = "eth0"
_DEFAULT = IPv4Network("0.0.0.0/0")


class OutsideHosts:
    """The outside hosts by address; `link` is the network of the underlay, whose addresses need no gateway."""

    def __init__(self, switch: Switch, link: IPv4Network | None, notes: Notes) -> None:
        self._switch = switch
        self._link = link
        self._notes = notes
        self._kernel = MemoryKernel()
        self._hosts: dict[int, Host] = {}
        self._gateways: dict[int, IPv4Address] = {}

    async def host(self, address: int, gateway: IPv4Address | None) -> Host:
        """Return the host with an address, a new one where there is none; `gateway` None keeps the way it has."""
        known = self._hosts.get(address)
        if known is None:
            known = self._hosts[address] = await self._make(address)
        if gateway is not None and self._gateways.get(address) != gateway:
            self._gateways[address] = gateway
            route = Replace(Route(_DEFAULT, _LINK, gateway, on_link=True))
            raise_errors(await self._kernel.apply(str(IPv4Address(address)), [route]))
        return known

    def knows_way(self, address: int) -> bool:
        """Tell whether there is a host with this address, and it has a gateway."""
        return address in self._gateways

    async def _make(self, address: int) -> Host:
        name = str(IPv4Address(address))
        self._kernel.create_namespace(name)
        mac = "02:0d:" + ":".join(f"{byte:02x}" for byte in address.to_bytes(4, "big"))
        link = self._kernel.plug(name, _LINK, mac, self._switch.mtu, lambda frame: None)
        near = self._link is not None and IPv4Address(address) in self._link
        length = self._link.prefixlen if near and self._link is not None else 32
        own = Address(_LINK, IPv4Interface(f"{name}/{length}"))
        setup: list[Operation] = [SetLink(link="lo", up=True), SetLink(link=_LINK, up=True), Add(own)]
        raise_errors(await self._kernel.apply(name, setup))
        self._switch.connect(f"outside host {name}", link)
        clock = asyncio.get_running_loop().time
        host = Host(name, link.namespace, ports=EVERY_PORT, notes=self._notes, time=clock)
        host.attach()
        return host
