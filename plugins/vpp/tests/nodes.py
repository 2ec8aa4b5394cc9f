# SPDX-License-Identifier: Apache-2.0
"""An agent with the plugin under test, items in place of a renderer's, and a pod's worth of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Any, ClassVar

from contivpp_core.agent import Agent
from contivpp_core.items import Descriptor, Found, Item, Known
from contivpp_core.ledger import Ledger
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record, Table
from contivpp_core.state import Put, Ready
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.items import (
    Address,
    InterfaceVrf,
    LinkUp,
    Loopback,
    Mac,
    Mtu,
    Neighbour,
    Path,
    Route,
    Unnumbered,
    VrfTable,
)
from contivpp_vpp.plugin import VppPlugin
from contivpp_vpp.transports import Connect

HAS_VHOST = FilePath("/dev/vhost-net").exists()
KINDS = [each.kind for each in all_descriptors(VppAccess())]
READS = {
    "control_ping", "show_version", "cli_inband", "want_interface_events", "sw_interface_dump",
    "sw_interface_get_table",
    "sw_interface_tap_v2_dump", "af_packet_dump", "ip_table_dump", "ip_route_v2_dump", "ip_address_dump",
    "ip_unnumbered_dump", "fib_source_dump", "ip_neighbor_dump", "ip_neighbor_config_get", "vxlan_tunnel_v2_dump",
    "bridge_domain_dump", "l2_fib_table_dump", "nat44_show_running_config", "nat44_address_dump",
    "nat44_interface_dump", "nat44_ed_output_interface_get", "nat44_lb_static_mapping_dump",
    "nat44_static_mapping_dump",
}  # fmt: skip


class PodLink(Item, frozen=True, kw_only=True):
    """A Linux interface that is there."""

    kind: ClassVar[str] = "linux/veth"
    name: str

    @property
    def key(self) -> str:
        return f"linux/veth/host/{self.name}"


class PodLinkDescriptor(Descriptor[PodLink]):
    """The Linux plugin's part, as far as VPP's items depend on it."""

    kind: ClassVar[str] = PodLink.kind
    item: ClassVar[type[Item]] = PodLink
    domain: ClassVar[str] = "linux"

    def provides(self, item: PodLink) -> Iterable[str]:
        return (f"linux/link/host/{item.name}",)

    async def dump(self, known: Known) -> list[Found]:
        return [Found(item.key, item, 1) for item in known.items(self.kind)]

    async def create(self, item: PodLink, handles: Any) -> int:
        return 1

    async def delete(self, item: PodLink, handle: Any, handles: Any) -> None:
        """It stays."""


class Wanted(Record, frozen=True, kw_only=True):
    """Everything that is wanted."""

    items: tuple[Any, ...]


WANTED = Table("Wanted", Wanted, key=lambda record: "all")


class WantedRenderer:
    """What is written is what is wanted."""

    name = "test"
    table = WANTED.name
    reads: frozenset[str] = frozenset()
    produces = frozenset([*KINDS, PodLink.kind])
    derives: frozenset[str] = frozenset()

    def render(self, view: Any, key: str) -> Iterable[Item | Record]:
        record: Wanted = view.get(WANTED.name, key)
        return record.items


class Listener(Plugin):
    """Notes what happens, and wants what it is told to."""

    name = "listener"
    requires = ("vpp",)

    def __init__(self) -> None:
        self.told: list[str] = []

    @hookimpl
    def tables(self) -> Iterable[Any]:
        return [WANTED]

    @hookimpl
    def descriptors(self, agent: Agent) -> Iterable[Any]:
        return [PodLinkDescriptor()]

    async def start(self, agent: Agent) -> None:
        await agent.scheduler.domain_up("linux", "boot")

    @hookimpl
    def renderers(self, agent: Agent) -> Iterable[Any]:
        return [WantedRenderer()]

    @hookimpl
    def vpp_connected(self, event: Any) -> None:
        self.told.append("connected")

    @hookimpl
    def vpp_lost(self, event: Any) -> None:
        self.told.append("lost")

    @hookimpl
    def resync_done(self, event: Any) -> None:
        if event.domain == "vpp":
            self.told.append("resynced")


class Node:
    """An agent with the plugin, and items submitted as a renderer's."""

    def __init__(self, connect: Connect, ledger: Ledger) -> None:
        self.vpp = VppPlugin(connect=connect)
        self.listener = Listener()
        self.agent = Agent({"plugins": ["vpp", "listener"]}, [self.vpp, self.listener], ledger=ledger, serve=False)
        self.scheduler = self.agent.scheduler

    async def want(self, *items: Item) -> None:
        """Replace all that is wanted."""
        await self.agent.controller.write("test", [Put(WANTED.name, Wanted(items=items)), Ready(WANTED.name)])

    def states(self) -> dict[str, str]:
        return {each.key: each.state for each in self.scheduler.items()}

    async def applied(self, items: Iterable[Item], *, seconds: float = 20.0) -> None:
        """Wait until all items are applied, in VPP as well."""
        await self.scheduler.waiters.until_applied([item.key for item in items], seconds)

    async def until(self, holds: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                answer = holds()
                if answer if isinstance(answer, bool) else await answer:
                    return
                await asyncio.sleep(0.02)

    def sent(self) -> set[str]:
        statistics = self.vpp.client.connection.statistics
        return {name for name, each in statistics.items() if each.count}


@asynccontextmanager
async def a_node(connect: Connect, items: Iterable[Item] = (), ledger: Ledger | None = None) -> AsyncIterator[Node]:
    node = Node(connect, ledger or Ledger.open(None))
    await node.agent.start()
    try:
        await node.want(*items)
        yield node
    finally:
        await node.agent.stop()


def pods(count: int = 1) -> list[Item]:
    """What a node with pods wants, with loopbacks in place of the pods' interfaces."""
    items: list[Item] = [
        Loopback(name="gateway", instance=100),
        Address(interface="gateway", address="10.1.1.1/24", vrf=1),
        InterfaceVrf(interface="gateway", vrf=1),
        LinkUp(interface="gateway"),
        VrfTable(vrf=1, label="pods"),
        Route(vrf=1, prefix="0.0.0.0/0", paths=(Path(kind="lookup", via_vrf=0),)),
    ]
    for number in range(2, 2 + count):
        name, address = f"pod{number}", f"10.1.1.{number}"
        items += [
            Loopback(name=name, instance=number, mac=f"02:FE:00:00:00:{number:02x}"),
            InterfaceVrf(interface=name, vrf=1),
            Unnumbered(interface=name, donor="gateway", vrf=1),
            Mtu(interface=name, mtu=1450),
            Mac(interface=name, mac=f"02:fe:00:00:00:{number:02X}"),
            LinkUp(interface=name, requires=("vpp/vrf/1",)),
            Route(vrf=1, prefix=f"{address}/32", paths=(Path(interface=name, next_hop=address),)),
            Neighbour(interface=name, address=address, mac=f"02:00:00:00:01:{number:02x}"),
        ]
    return items
