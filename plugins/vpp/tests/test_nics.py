# SPDX-License-Identifier: Apache-2.0
"""The table of VPP's NICs, and items on a NIC that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from contivpp_core.ledger import Ledger
from contivpp_core.node import NETWORK_INTERFACE, NetworkInterface
from contivpp_vpp import messages as m
from contivpp_vpp.items import Address, AfPacket, LinkUp, Loopback, Mtu, PhysicalInterface
from contivpp_vpp.nics import is_nic
from contivpp_vpp.scripted import ScriptedVpp
from contivpp_vpp.values import tag_of

from .nodes import Node, PodLink, a_node

MAC = bytes.fromhex("020000000001")


def interface(index: int, name: str, kind: str, **fields: Any) -> m.SwInterfaceDetails:
    defaults: dict[str, Any] = {"l2_address": MAC, "mtu": (9000, 0, 0, 0), "link_mtu": 9000}
    return m.SwInterfaceDetails(
        sw_if_index=index, interface_name=name, interface_dev_type=kind, **{**defaults, **fields}
    )


LOCAL = interface(0, "local0", "local", l2_address=bytes(6), mtu=(0, 0, 0, 0), link_mtu=0)
ETH1 = interface(1, "host-eth1", "af-packet")


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (LOCAL, False),
        (ETH1, True),
        (interface(2, "GigabitEthernet0/8/0", "dpdk", tag="an operator's"), True),
        (interface(2, "virtio-0/0/3/0", "virtio"), True),
        (interface(2, "eth0", "a driver of tomorrow"), True),
        (interface(2, "tap0", "virtio"), False),
        (interface(2, "loop0", "Loopback"), False),
        (interface(2, "vxlan_tunnel0", "VXLAN"), False),
        (interface(2, "ipip0", "IPIP tunnel device", l2_address=bytes(6)), False),
        (interface(2, "host-eth1.100", "af-packet", type=m.IfType.SUB), False),
        (interface(2, "host-cvpp1", "af-packet", tag=tag_of("pod")), False),
    ],
)
def test_what_a_nic_is(details: m.SwInterfaceDetails, expected: bool) -> None:
    assert is_nic(details) is expected


class Machine:
    """A scripted VPP with interfaces that the test puts into it."""

    def __init__(self, *there: m.SwInterfaceDetails, pid: int = 1) -> None:
        self.there = {each.sw_if_index: each for each in there}
        self.vpp = ScriptedVpp(pid=pid)
        self.vpp.on(m.SwInterfaceDump, lambda _: list(self.there.values()))
        self.vpp.on(m.SwInterfaceSetMtu, self._set_mtu)
        self.vpp.on(m.CreateLoopbackInstance, self._loopback)

    def _set_mtu(self, request: m.SwInterfaceSetMtu) -> m.SwInterfaceSetMtuReply:
        self._replace(request.sw_if_index, mtu=request.mtu)
        return m.SwInterfaceSetMtuReply()

    def _loopback(self, request: m.CreateLoopbackInstance) -> Iterable[Any]:
        index = 50 + request.user_instance
        self.add(interface(index, f"loop{request.user_instance}", "Loopback"))
        return [m.CreateLoopbackInstanceReply(sw_if_index=index)]

    def _replace(self, index: int, **fields: Any) -> None:
        old = self.there[index]
        values = {name: getattr(old, name) for name in old.__struct_fields__}
        self.there[index] = m.SwInterfaceDetails(**{**values, **fields})

    def add(self, each: m.SwInterfaceDetails) -> None:
        self.there[each.sw_if_index] = each
        self.vpp.sessions[-1].send(m.SwInterfaceEvent(sw_if_index=each.sw_if_index))

    def remove(self, index: int) -> None:
        del self.there[index]
        self.vpp.sessions[-1].send(m.SwInterfaceEvent(sw_if_index=index, deleted=True))

    def dumps(self) -> int:
        return sum(isinstance(message, m.SwInterfaceDump) for message in self.vpp.received)


def table(node: Node) -> dict[str, NetworkInterface]:
    return {each.name: each for each in node.agent.controller._state.table(NETWORK_INTERFACE.name).records()}


def ready(node: Node) -> bool:
    return node.agent.controller._state.ready(NETWORK_INTERFACE.name)


async def test_the_table_says_what_vpp_has() -> None:
    machine = Machine(LOCAL, ETH1, interface(2, "host-cvpp1", "af-packet", tag=tag_of("pod")))
    async with a_node(machine.vpp.connect) as node:
        await node.until(lambda: "resynced" in node.listener.told)
        assert ready(node)
        record = NetworkInterface(name="host-eth1", kind="af-packet", index=1, mac="02:00:00:00:00:01", mtu=9000)
        assert table(node) == {"host-eth1": record}
        assert node.agent.sourced(NETWORK_INTERFACE.name)


async def test_an_item_on_a_nic_waits_for_it_by_name() -> None:
    machine = Machine(LOCAL)
    items = [PhysicalInterface(name="nic", device="host-eth1"), Address(interface="nic", address="192.168.16.1/24")]
    async with a_node(machine.vpp.connect, items) as node:
        key = items[0].key
        await node.until(lambda: node.states().get(key) == "failed")
        [status] = [each for each in node.scheduler.items() if each.key == key]
        assert "VPP has no interface host-eth1" in status.reason
        assert node.states()[items[1].key] == "pending"
        machine.add(ETH1)
        await node.until(lambda: set(node.states().values()) == {"applied"})
        assert list(table(node)) == ["host-eth1"]
        machine.remove(1)
        await node.until(lambda: node.states()[key] == "failed" and table(node) == {})
        machine.add(interface(7, "host-eth1", "af-packet"))
        await node.until(lambda: set(node.states().values()) == {"applied"})
        assert table(node)["host-eth1"].index == 7
        sent = [each for each in machine.vpp.received if isinstance(each, m.SwInterfaceAddDelAddress)]
        assert [(each.is_add, each.sw_if_index) for each in sent] == [(True, 1), (True, 7)]


async def test_what_is_set_on_a_nic_that_is_not_wanted_any_more_is_taken_off() -> None:
    """VPP keeps the NIC, so its address and state do not go by themselves."""
    machine = Machine(LOCAL, ETH1)
    items = [
        PhysicalInterface(name="nic", device="host-eth1"),
        Address(interface="nic", address="192.168.16.1/24"),
        LinkUp(interface="nic"),
    ]
    async with a_node(machine.vpp.connect, items) as node:
        await node.applied(items)
        await node.want()
        await node.until(lambda: node.states() == {})
    addresses = [each for each in machine.vpp.received if isinstance(each, m.SwInterfaceAddDelAddress)]
    flags = [each for each in machine.vpp.received if isinstance(each, m.SwInterfaceSetFlags)]
    assert [(each.is_add, each.sw_if_index) for each in addresses] == [(True, 1), (False, 1)]
    assert [bool(each.flags) for each in flags] == [True, False]


async def test_an_mtu_of_ours_is_not_the_links() -> None:
    machine = Machine(LOCAL, interface(1, "host-eth1", "af-packet", mtu=(1500, 0, 0, 0)))
    items = [PhysicalInterface(name="nic", device="host-eth1"), Mtu(interface="nic", mtu=1400)]
    ledger = Ledger.open(None)
    async with a_node(machine.vpp.connect, items, ledger) as node:
        await node.applied(items)
        assert machine.there[1].mtu[0] == 1400
        machine.add(interface(2, "host-eth2", "af-packet"))
        await node.until(lambda: len(table(node)) == 2)
        assert {name: each.mtu for name, each in table(node).items()} == {"host-eth1": 1500, "host-eth2": 9000}
        stored = ledger.items("vpp/nics")
    again = Ledger.open(None)
    again._spaces["vpp/nics"] = stored
    async with a_node(machine.vpp.connect, items, again) as node:
        await node.applied(items)
        assert table(node)["host-eth1"].mtu == 1500


async def test_the_records_stand_while_vpp_is_away() -> None:
    machine = Machine(LOCAL, ETH1)
    open_ = True

    async def connect(factory: Any) -> Any:
        if not open_:
            raise ConnectionRefusedError("away")
        return await machine.vpp.connect(factory)

    async with a_node(connect) as node:
        await node.until(lambda: "resynced" in node.listener.told)
        open_ = False
        machine.vpp.sessions[-1].transport.close()
        await node.until(lambda: "lost" in node.listener.told)
        assert list(table(node)) == ["host-eth1"]
        machine.there = {0: LOCAL, 3: interface(3, "host-eth3", "af-packet")}
        open_ = True
        await node.until(lambda: list(table(node)) == ["host-eth3"])


async def test_interfaces_of_our_own_are_not_asked_for() -> None:
    machine = Machine(LOCAL, ETH1)
    async with a_node(machine.vpp.connect) as node:
        await node.until(lambda: "resynced" in node.listener.told)
        before = machine.dumps()
        items = [Loopback(name=f"l{n}", instance=n) for n in range(5)]
        await node.want(*items)
        await node.applied(items)
        await asyncio.sleep(0.3)
        assert machine.dumps() == before


async def test_a_pods_interface_without_its_tag_is_no_nic() -> None:
    half_made = interface(4, "host-cvpp1", "af-packet")
    machine = Machine(LOCAL, ETH1, half_made)
    machine.vpp.on(m.AfPacketCreateV3, lambda _: None)  # it never answers
    items = [PodLink(name="cvpp1"), AfPacket(name="pod", host_name="cvpp1")]
    async with a_node(machine.vpp.connect, items) as node:
        await node.until(lambda: "resynced" in node.listener.told)
        machine.add(interface(5, "host-eth5", "af-packet"))
        await node.until(lambda: "host-eth5" in table(node))
        assert sorted(table(node)) == ["host-eth1", "host-eth5"]


async def test_a_restarted_vpp_has_time_to_make_its_nics(monkeypatch: pytest.MonkeyPatch) -> None:
    """VPP carries out its start-up commands two seconds after its API answers."""
    monkeypatch.setattr("contivpp_vpp.nics.GRACE_SECONDS", 0.6)
    machines = [Machine(LOCAL, ETH1, interface(2, "host-eth2", "af-packet")), Machine(LOCAL, pid=2)]

    async def connect(factory: Any) -> Any:
        return await machines[0].vpp.connect(factory)

    async with a_node(connect) as node:
        await node.until(lambda: "resynced" in node.listener.told)
        old = machines.pop(0)
        old.vpp.sessions[-1].transport.close()
        await node.until(lambda: node.listener.told.count("resynced") == 2)
        assert sorted(table(node)) == ["host-eth1", "host-eth2"]
        machines[0].add(interface(1, "host-eth1", "af-packet", l2_address=bytes(5) + b"\x77"))  # often the same index
        async with asyncio.timeout(0.5):
            await node.until(lambda: table(node)["host-eth1"].mac == "00:00:00:00:00:77")
        assert sorted(table(node)) == ["host-eth1", "host-eth2"]
        await node.until(lambda: sorted(table(node)) == ["host-eth1"])
