# SPDX-License-Identifier: Apache-2.0
"""NAT44 in an agent: restarts, drift, lost connections, and a VPP that lacks it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from contivpp_core.items import Item
from contivpp_core.ledger import Ledger
from contivpp_vpp import messages as m
from contivpp_vpp.items import InterfaceVrf, Loopback, Nat44Address, Nat44Interface, Nat44Mapping

from .benches import Bench, a_vpp, embedded
from .nodes import READS, Node, a_node, pods
from .test_nat44 import MAPPING, ON, ONE, POD, PODS, by_hand, mappings

UPLINK = Loopback(name="uplink", instance=2)


def node_items(count: int = 3) -> list[Item]:
    return [
        ON, PODS, POD, UPLINK, InterfaceVrf(interface="pod", vrf=1), Nat44Interface(interface="pod"),
        Nat44Interface(interface="uplink", feature="output"), Nat44Address(address="192.168.16.1"),
        Nat44Address(address="10.1.1.254", twice_nat=True), *mappings(count),
    ]  # fmt: skip


async def nothing_differs(node: Node, items: Iterable[Item]) -> None:
    for kind in sorted({item.kind for item in items}):
        assert await node.scheduler.check(kind) == {}, kind


@pytest.mark.realvpp
@pytest.mark.parametrize("count", [3, 1000])
async def test_a_restart_of_the_agent_only_reads(count: int) -> None:
    items = node_items(count)
    async with a_vpp("real") as connect:
        async with a_node(connect, items) as node:
            await node.applied(items)
            await node.scheduler.settled()
            assert node.scheduler.counters.failed == {}
            assert not node.sent() <= READS
        async with a_node(connect, items) as again:
            await again.applied(items)
            await again.scheduler.settled()
            assert again.sent() <= READS
            await nothing_differs(again, items)


@pytest.mark.realvpp
async def test_what_nobody_wants_any_more_is_deleted_after_a_restart() -> None:
    async with a_vpp("real") as connect:
        async with a_node(connect, node_items(3)) as node:
            await node.applied(node_items(3))
            await node.vpp.client.connection.request(replace(by_hand(1, 2), external_port=81))
        kept = node_items(1)
        async with a_node(connect, kept) as again:
            await again.applied(kept)
            await again.until(lambda: set(again.states()) == {item.key for item in kept})
            there = await again.vpp.client.connection.dump(m.Nat44LbStaticMappingDump())
            assert sorted((each.external_addr[3], each.external_port) for each in there) == [(0, 80), (1, 81)]


@pytest.mark.realvpp
async def test_when_nobody_wants_nat44_any_more_it_is_off_after_a_restart() -> None:
    ledger, items = Ledger.open(None), node_items(3)
    async with a_vpp("real") as connect:
        async with a_node(connect, items, ledger=ledger) as node:
            await node.applied(items)
            await node.scheduler.settled()
        async with a_node(connect, [PODS], ledger=ledger) as again:
            await again.applied([PODS])
            await again.until(lambda: set(again.states()) == {PODS.key})
            assert (await again.vpp.client.connection.request(m.Nat44ShowRunningConfig())).sessions == 0


@pytest.mark.realvpp
async def test_a_change_of_one_backend_is_two_messages() -> None:
    items = node_items(20)
    async with a_vpp("real") as connect, a_node(connect, items) as node:
        await node.applied(items)
        await node.scheduler.settled()
        statistics = node.vpp.client.connection.statistics
        before = {name: each.count for name, each in statistics.items()}
        last = items[-1]
        assert isinstance(last, Nat44Mapping)
        changed = replace(last, backends=(*last.backends[1:], ONE))
        await node.want(*items[:-1], changed)
        await node.until(node.scheduler.idle)
        assert {name: each.count - before.get(name, 0) for name, each in statistics.items()} == {
            **dict.fromkeys(statistics, 0),
            "nat44_lb_static_mapping_add_del_local": 2,
        }
        await nothing_differs(node, items)


@pytest.mark.realvpp
async def test_what_is_turned_off_by_hand_is_turned_on_with_all_that_was_in_it() -> None:
    items = node_items()
    async with a_vpp("real") as connect, a_node(connect, items) as node:
        await node.applied(items)
        await node.scheduler.settled()
        await node.vpp.client.connection.request(m.Nat44EdPluginEnableDisable(enable=False))
        assert await node.scheduler.check(ON.kind) == {ON.kind: 1}
        await node.applied(items)
        await node.scheduler.settled()
        await nothing_differs(node, items)
        assert len(await node.vpp.client.connection.dump(m.Nat44LbStaticMappingDump())) == 3


@pytest.mark.realvpp
async def test_another_number_of_sessions_makes_everything_again() -> None:
    items = node_items()
    async with a_vpp("real") as connect, a_node(connect, items) as node:
        await node.applied(items)
        more = [replace(ON, sessions=20000), *items[1:]]
        await node.want(*more)
        await node.until(lambda: node.scheduler.idle() and set(node.states().values()) == {"applied"})
        await nothing_differs(node, more)
        assert node.scheduler.counters.failed == {}
        assert (await node.vpp.client.connection.request(m.Nat44ShowRunningConfig())).sessions == 20000


@pytest.mark.realvpp
async def test_a_backend_taken_away_by_hand_comes_back() -> None:
    items = node_items()
    async with a_vpp("real") as connect, a_node(connect, items) as node:
        await node.applied(items)
        await node.scheduler.settled()
        [first, *_] = await node.vpp.client.connection.dump(m.Nat44LbStaticMappingDump())
        await node.vpp.client.connection.request(
            m.Nat44LbStaticMappingAddDelLocal(
                is_add=False, external_addr=first.external_addr, external_port=80, protocol=6, local=first.locals[0]
            )
        )
        assert await node.scheduler.check(MAPPING.kind) == {MAPPING.kind: 1}
        await node.scheduler.settled()
        await nothing_differs(node, items)


@pytest.mark.realvpp
async def test_the_connection_breaks_while_backends_change() -> None:
    items = node_items(30)
    async with a_vpp("real") as connect, a_node(connect, items) as node:
        await node.applied(items)
        for turn in range(4):
            more = tuple(replace(ONE, port=port) for port in range(1, 4 + turn))
            shift = [replace(each, backends=(*each.backends[turn:], *more)) for each in mappings(30)]
            await node.want(*items[:-30], *shift)
            await asyncio.sleep(0.001 * turn)
            node.vpp.client.connection.close("cut by the test")
            await node.until(lambda: not node.agent.readiness()["vpp"].ok)
            await node.vpp.client.wait_connected()
            await node.until(lambda: node.scheduler.domain_state()["vpp"] == "")
            await node.until(lambda: node.scheduler.idle() and set(node.states().values()) == {"applied"})
            await nothing_differs(node, items)
            assert await dump(node) == {each.key: each for each in shift}


async def dump(node: Node) -> dict[str, Any]:
    """The mappings in VPP, by another descriptor than the node's own."""
    bench = Bench(node.vpp.client.connection)
    return {key: found.item for key, found in (await bench.dump(MAPPING.kind)).items()}


async def test_a_vpp_without_nat44_serves_pods_and_says_what_it_lacks() -> None:
    items, nat = pods(2), [ON, Nat44Address(address="192.168.16.1"), Nat44Interface(interface="pod2"), MAPPING]
    async with a_node(embedded(), [*items, *nat]) as node:
        await node.applied(items)
        await node.scheduler.settled()
        states = {each.key: each for each in node.scheduler.items()}
        assert {states[item.key].state for item in items} == {"applied"}
        assert states[ON.key].state == "failed"
        assert "there is no NAT44, which is in VPP's plugin nat: VPP 26.06" in states[ON.key].reason
        assert {states[item.key].state for item in nat[1:]} == {"pending"}
        assert node.agent.readiness()["vpp"].ok
