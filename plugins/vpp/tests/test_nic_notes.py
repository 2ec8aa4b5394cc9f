# SPDX-License-Identifier: Apache-2.0
"""What an earlier agent set on a NIC, which carries no mark in VPP: taken down, moved or kept by the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from contivpp_core.items import Item
from contivpp_core.ledger import Ledger, LedgerError
from contivpp_core.testing.faults import Fault
from contivpp_core.testing.trial import Trial
from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.items import (
    Address,
    InterfaceVrf,
    LinkUp,
    Loopback,
    Mtu,
    Neighbour,
    Path,
    PhysicalInterface,
    Route,
    SubInterface,
    Unnumbered,
    VrfTable,
)
from contivpp_vpp.values import address_text, prefix_parts

from .nodes import a_node
from .worlds import NICS, WRITES, EmbeddedWorld

ONE, TWO, THEIRS = "192.168.16.1/24", "192.168.16.2/24", "172.20.0.1/24"
MOST = 40
"""Fewer writes take an agent from one wish to the other."""


class Machine:
    """A VPP with two NICs, an agent that can be killed, and an operator."""

    def __init__(self, trial: Trial, world: EmbeddedWorld) -> None:
        self.trial, self.world = trial, world

    async def dump(self, message: Any) -> list[Any]:
        connection = await Connection.open(self.world.way(), name="reader")
        found = await connection.dump(message)
        connection.close()
        return found

    async def operator(self, message: Any) -> Any:
        connection = await Connection.open(self.world.way(), name="operator")
        reply = await connection.request(message)
        connection.close()
        return reply

    async def adds(self, nic: str, address: str) -> None:
        packed, length = prefix_parts(address)
        prefix = m.Prefix(address=packed, len=length)
        await self.operator(m.SwInterfaceAddDelAddress(sw_if_index=self.index(nic), prefix=prefix))

    def index(self, nic: str) -> int:
        return int(self.world.vpp.dataplane.interfaces.by_name[f"host-{nic}"].sw_if_index)

    async def details(self, nic: str) -> m.SwInterfaceDetails:
        [found] = [each for each in await self.dump(m.SwInterfaceDump()) if each.sw_if_index == self.index(nic)]
        return found

    async def addresses(self) -> dict[str, set[str]]:
        """Return the addresses of each NIC."""
        found = {}
        for nic in NICS:
            details = await self.dump(m.IpAddressDump(sw_if_index=self.index(nic)))
            found[nic] = {f"{address_text(each.prefix.address)}/{each.prefix.len}" for each in details}
        return found

    async def vrfs(self) -> dict[str, int]:
        """Return the VRF of each NIC."""
        return {
            nic: (await self.operator(m.SwInterfaceGetTable(sw_if_index=self.index(nic)))).vrf_id for nic in NICS
        }

    async def again(self, items: Sequence[Item]) -> None:
        """The agent dies, and the next one wants something else."""
        await self.trial.kill(items)
        await self.trial.rest()

    def notes(self) -> set[str]:
        return self.trial.ledger.items("vpp/unmarked").keys() - {""}


@asynccontextmanager
async def a_machine(items: Iterable[Item]) -> AsyncIterator[Machine]:
    world = EmbeddedWorld()
    trial = Trial(world.descriptors, restart=world.restart, world=world)
    await trial.start()
    trial.want(items)
    await trial.rest()
    try:
        yield Machine(trial, world)
    finally:
        trial.faults.calm()
        await trial.rest()
        await trial.stop()


def uplink(nic: str, address: str = ONE, mtu: int = 1500) -> list[Item]:
    """What a node wants of its NIC, and over it."""
    return [
        PhysicalInterface(name="uplink", device=f"host-{nic}"),
        Address(interface="uplink", address=address),
        Mtu(interface="uplink", mtu=mtu),
        LinkUp(interface="uplink"),
        Route(prefix="0.0.0.0/0", paths=(Path(interface="uplink", next_hop="192.168.16.254"),)),
        SubInterface(name="vlan", parent="uplink", vlan=100),
        Address(interface="vlan", address="10.50.0.1/24"),
    ]


BEFORE = uplink("eth0")
OTHERS = [
    pytest.param(uplink("eth1"), id="another device"),
    pytest.param(uplink("eth1", TWO, 9000), id="another device and address"),
    pytest.param(uplink("eth0", TWO), id="another address"),
    pytest.param(uplink("eth0", ONE, 9000), id="another MTU"),
    pytest.param([], id="nothing"),
]


def expected(items: Iterable[Item]) -> dict[str, set[str]]:
    """Return what the NICs must have then."""
    devices = {each.name: each.device for each in items if isinstance(each, PhysicalInterface)}
    wanted = [each for each in items if isinstance(each, Address) and each.interface in devices]
    return {nic: {each.address for each in wanted if devices[each.interface] == f"host-{nic}"} for nic in NICS}


def noted(items: Iterable[Item]) -> set[str]:
    """Return the keys of the NIC, and of what is on it."""
    nics = {item.name for item in items if isinstance(item, PhysicalInterface)}
    return {item.key for item in items if getattr(item, "interface", getattr(item, "name", "")) in nics}


async def check(machine: Machine, items: Sequence[Item]) -> None:
    """Check that VPP has what is wanted, and nothing of what was wanted before."""
    await machine.trial.check_laws()
    assert await machine.addresses() == expected(items)
    for nic, addresses in expected(items).items():
        details = await machine.details(nic)
        assert bool(details.flags & m.IfStatusFlags.ADMIN_UP) is bool(addresses)
        if addresses:
            [mtu] = [each.mtu for each in items if isinstance(each, Mtu)]
            assert details.mtu[0] == mtu
    assert machine.notes() == noted(items)


@pytest.mark.parametrize("after", OTHERS)
def test_after_a_restart_a_nic_has_what_is_wanted_now(after: list[Item], simulated: Any) -> None:
    async def scenario() -> None:
        async with a_machine(BEFORE) as machine:
            await check(machine, BEFORE)
            await machine.again(after)
            await check(machine, after)

    simulated(scenario())


@pytest.mark.parametrize("fault", [Fault.CALL, Fault.CALL_AFTER])
@pytest.mark.parametrize("after", OTHERS)
def test_whatever_write_the_agent_dies_at(after: list[Item], fault: Fault, simulated: Any) -> None:
    """First while it makes what is wanted, then while its successor changes it: a third one comes to the same end."""

    async def until_death(machine: Machine, nth: int, items: Sequence[Item], *, restart: bool) -> bool:
        trial = machine.trial
        rule = trial.faults.plan(fault, WRITES, nth=nth, call=trial.kill_soon)
        if restart:
            await trial.kill(items)
        else:
            trial.want(items)
        await trial.rest()
        died = rule not in trial.faults.rules
        trial.faults.calm()
        return died

    async def scenario() -> None:
        for number in range(1, MOST):
            async with a_machine([]) as machine:
                died = await until_death(machine, number, BEFORE, restart=False)
                died = await until_death(machine, number, after, restart=True) or died
                assert await machine.addresses() == expected(after)
                assert machine.notes() == noted(after)
                if not died:
                    await check(machine, after)
                    return
        raise AssertionError("there is no end of writes")

    simulated(scenario())


@pytest.mark.parametrize("after", OTHERS)
def test_what_somebody_else_set_stays(after: list[Item], simulated: Any) -> None:
    async def scenario() -> None:
        async with a_machine(BEFORE) as machine:
            for nic, address in zip(NICS, (THEIRS, "172.21.0.1/24"), strict=True):
                await machine.adds(nic, address)
            await machine.again(after)
            mine = expected(after)
            assert await machine.addresses() == {
                "eth0": mine["eth0"] | {THEIRS},
                "eth1": mine["eth1"] | {"172.21.0.1/24"},
            }
            await machine.again(uplink("eth0", TWO))
            assert await machine.addresses() == {"eth0": {TWO, THEIRS}, "eth1": {"172.21.0.1/24"}}

    simulated(scenario())


def test_what_was_there_when_it_was_wanted_is_ours_from_then_on(simulated: Any) -> None:
    async def scenario() -> None:
        async with a_machine([]) as machine:
            await machine.adds("eth0", ONE)
            await machine.again(uplink("eth0", ONE))
            assert "vpp/address/uplink/192.168.16.1/24" in machine.notes()
            await machine.again(uplink("eth0", TWO))
            assert await machine.addresses() == {"eth0": {TWO}, "eth1": set()}

    simulated(scenario())


def test_a_former_nic_that_is_gone_is_nobodys(simulated: Any) -> None:
    async def scenario() -> None:
        async with a_machine(BEFORE) as machine:
            await machine.operator(m.AfPacketDelete(host_if_name="eth0"))
            await machine.adds("eth1", ONE)  # ours was on the one that went: this is an operator's
            after = uplink("eth1", "192.168.17.1/24")
            await machine.again(after)
            machine.world.vpp.create_host_interfaces(("eth0",))
            await machine.adds("eth0", THEIRS)
            await machine.again(after)
            assert await machine.addresses() == {"eth0": {THEIRS}, "eth1": {ONE, "192.168.17.1/24"}}
            assert machine.notes() == noted(after)

    simulated(scenario())


@pytest.mark.parametrize("after", OTHERS)
def test_a_new_vpp_has_nothing_of_ours(after: list[Item], simulated: Any) -> None:
    """What its start-up commands set is not taken for what was noted of the former VPP, though it looks the same."""

    async def scenario() -> None:
        async with a_machine(uplink("eth0", THEIRS)) as machine:
            machine.world.disconnect("vpp")
            machine.trial._incarnations["vpp"] += 1
            machine.world.restart("vpp")
            await machine.adds("eth0", THEIRS)
            await machine.again(after)
            mine = expected(after)
            assert await machine.addresses() == {"eth0": mine["eth0"] | {THEIRS}, "eth1": mine["eth1"]}

    simulated(scenario())


def test_every_kind_of_facet_goes_from_a_former_nic(simulated: Any) -> None:
    items = [
        PhysicalInterface(name="nic", device="host-eth0"),
        VrfTable(vrf=1, label="red"),
        InterfaceVrf(interface="nic", vrf=1),
        Loopback(name="gateway", instance=1),
        InterfaceVrf(interface="gateway", vrf=1),
        Address(interface="gateway", address="10.1.1.1/24", vrf=1),
        Unnumbered(interface="nic", donor="gateway", vrf=1),
        Neighbour(interface="nic", address="10.1.1.2", mac="02:00:00:00:00:02"),
        LinkUp(interface="nic"),
    ]

    async def scenario() -> None:
        async with a_machine(items) as machine:
            moved = [PhysicalInterface(name="nic", device="host-eth1"), *items[1:]]
            await machine.again(moved)
            await machine.trial.check_laws()
            assert await machine.vrfs() == {"eth0": 0, "eth1": 1}
            assert not (await machine.details("eth0")).flags & m.IfStatusFlags.ADMIN_UP
            await machine.again([])
            assert machine.notes() == set()
            assert await machine.vrfs() == {"eth0": 0, "eth1": 0}
            assert not (await machine.details("eth1")).flags & m.IfStatusFlags.ADMIN_UP
            assert await machine.dump(m.IpUnnumberedDump()) == await machine.dump(m.IpNeighborDump()) == []

    simulated(scenario())


def test_two_names_may_change_their_devices(simulated: Any) -> None:
    def both(main: str, other: str) -> list[Item]:
        """As a node's main interface and another one, which is named after its device."""
        name = f"nic-{other}"
        return [
            *uplink(main, ONE),
            PhysicalInterface(name=name, device=f"host-{other}"),
            Address(interface=name, address=THEIRS),
            LinkUp(interface=name),
        ]

    async def scenario() -> None:
        async with a_machine(both(*NICS)) as machine:
            for nics in (NICS[::-1], NICS):
                await machine.again(both(*nics))
                await machine.trial.check_laws()
                assert await machine.addresses() == {nics[0]: {ONE}, nics[1]: {THEIRS}}
                assert all([(await machine.details(nic)).flags & m.IfStatusFlags.ADMIN_UP for nic in NICS])

    simulated(scenario())


async def test_an_agent_that_starts_with_another_configuration() -> None:
    world, ledger = EmbeddedWorld(), Ledger.open(None)
    for items in (BEFORE, uplink("eth1"), uplink("eth1", TWO, 9000), uplink("eth0", TWO)):
        async with a_node(world.way(), items, ledger=ledger) as node:
            await node.applied(items)
            await node.until(node.scheduler.idle)
            assert {item.key for item in items} == node.states().keys()
        machine = Machine(Trial(list), world)
        assert await machine.addresses() == expected(items)
        assert ledger.items("vpp/unmarked").keys() - {""} == noted(items)


def test_nothing_is_noted_of_what_is_on_interfaces_of_ours(simulated: Any) -> None:
    items = [Loopback(name="a", instance=1), Address(interface="a", address="10.1.1.1/24"), LinkUp(interface="a")]

    async def scenario() -> None:
        async with a_machine([]) as machine:
            commits = machine.trial.ledger.commit
            told: list[Any] = []

            async def commit(*writes: Any) -> None:
                told.extend(writes)
                await commits(*writes)

            vars(machine.trial.ledger)["commit"] = commit
            machine.trial.want(items)
            await machine.trial.rest()
            await machine.again([])
            assert told == []

    simulated(scenario())


def test_without_the_ledger_nothing_is_put_on_a_nic(simulated: Any) -> None:
    """It would be there for ever after a death; as soon as the ledger can be written, it is made."""

    async def scenario() -> None:
        async with a_machine([]) as machine:
            ledger = machine.trial.ledger

            async def full(*writes: Any) -> None:
                raise LedgerError("no space left on device")

            vars(ledger)["commit"] = full
            machine.trial.want(uplink("eth0"))
            await machine.trial.rest()
            assert await machine.addresses() == {"eth0": set(), "eth1": set()}
            [reason] = [each.reason for each in machine.trial.scheduler.items() if each.key == "vpp/physical/uplink"]
            assert "no space left" in reason
            del vars(ledger)["commit"]
            await machine.trial.rest()
            assert await machine.addresses() == {"eth0": {ONE}, "eth1": set()}

    simulated(scenario())
