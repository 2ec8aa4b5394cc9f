# SPDX-License-Identifier: Apache-2.0
"""Each descriptor against a VPP: what is created, changed and deleted is what the dump says."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import pytest

from contivpp_core.items import Item, Outcome
from contivpp_vpp import messages as m
from contivpp_vpp.access import ForeignObject
from contivpp_vpp.descriptors.interface_vrf import vrfs_of
from contivpp_vpp.descriptors.interfaces import mac_of
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import (
    Address,
    InterfaceVrf,
    LinkUp,
    Loopback,
    Mac,
    Mtu,
    Neighbour,
    Path,
    PhysicalInterface,
    Route,
    Tag,
    Tap,
    Unnumbered,
    VrfTable,
)
from contivpp_vpp.values import tag_of

from .benches import BACKENDS, Bench, a_bench, embedded
from .nodes import a_node

A = Loopback(name="a", instance=10, mac="02:00:00:00:00:0a")
B = Loopback(name="b", instance=11)
LOCAL = PhysicalInterface(name="local", device="local0")
RED = VrfTable(vrf=7, label="red")
LEAVING = (
    A,
    B,
    RED,
    InterfaceVrf(interface="a", vrf=7),
    InterfaceVrf(interface="b", vrf=7),
    Address(interface="a", address="10.9.0.1/24", vrf=7),
    Unnumbered(interface="b", donor="a", vrf=7),
)
A_UP = (A, LinkUp(interface="a"), Address(interface="a", address="10.9.0.1/24"))
VIA = "10.9.0.2"

CASES: list[tuple[str, tuple[Item, ...], Item, Item | None]] = [
    ("loopback", (), A, Loopback(name="a", instance=10, mac="02:00:00:00:00:0b")),
    ("physical", (), LOCAL, None),
    ("tag", (LOCAL,), Tag(interface="local", tag="ours to mark"), Tag(interface="local", tag="other")),
    ("link up", (A,), LinkUp(interface="a"), LinkUp(interface="a", requires=("vpp/vrf/7",))),
    ("vrf", (), RED, VrfTable(vrf=7, label="blue")),
    (
        "interface vrf",
        (A, RED, VrfTable(vrf=8)),
        InterfaceVrf(interface="a", vrf=7),
        InterfaceVrf(interface="a", vrf=8),
    ),
    ("address", (A,), Address(interface="a", address="10.1.1.1/24"), None),
    ("address v6", (A,), Address(interface="a", address="2001:DB8::1/64"), None),
    (
        "address in a vrf",
        (A, RED, InterfaceVrf(interface="a", vrf=7)),
        Address(interface="a", address="10.1.1.1/24", vrf=7),
        None,
    ),
    ("unnumbered", (A, B), Unnumbered(interface="b", donor="a"), None),
    ("mac", (B,), Mac(interface="b", mac="02:00:00:00:00:0C"), Mac(interface="b", mac="02:00:00:00:00:0d")),
    ("mtu", (A,), Mtu(interface="a", mtu=1450), Mtu(interface="a", mtu=1400)),
    (
        "neighbour",
        A_UP,
        Neighbour(interface="a", address=VIA, mac="02:00:00:00:00:AA"),
        Neighbour(interface="a", address=VIA, mac="02:00:00:00:00:ab"),
    ),
    (
        "neighbour v6",
        (A, LinkUp(interface="a"), Address(interface="a", address="2001:db8::1/64")),
        Neighbour(interface="a", address="2001:db8::2", mac="02:00:00:00:00:aa"),
        None,
    ),
    (
        "route over a link",
        A_UP,
        Route(prefix="10.2.0.9/16", paths=(Path(interface="a"),)),
        Route(prefix="10.2.0.0/16", paths=(Path(interface="a", next_hop=VIA),)),
    ),
    (
        "route of two ways",
        A_UP,
        Route(
            prefix="10.2.0.0/16",
            paths=(Path(interface="a", next_hop=VIA), Path(interface="a", next_hop="10.9.0.3", weight=2)),
        ),
        Route(prefix="10.2.0.0/16", paths=(Path(kind="drop"),)),
    ),
    (
        "recursive route",
        (*A_UP, RED),
        Route(prefix="10.2.0.0/16", paths=(Path(next_hop=VIA),)),
        Route(prefix="10.2.0.0/16", paths=(Path(next_hop=VIA, via_vrf=7),)),
    ),
    (
        "lookup in another table",
        (RED,),
        Route(vrf=7, prefix="0.0.0.0/0", paths=(Path(kind="lookup", via_vrf=0),)),
        Route(vrf=7, prefix="0.0.0.0/0", paths=(Path(kind="drop"),)),
    ),
    (
        "route v6",
        (A, LinkUp(interface="a"), Address(interface="a", address="2001:db8::1/64")),
        Route(prefix="2001:db8:1::/48", paths=(Path(interface="a", next_hop="2001:db8::2"),)),
        Route(prefix="2001:db8:1::/48", paths=(Path(kind="lookup", via_vrf=0),)),
    ),
]


async def round_trip(bench: Any, before: tuple[Item, ...], item: Item, changed: Item | None) -> None:
    descriptor = bench.descriptors[item.kind]
    for each in before:
        await bench.create(each)
    for wanted in (item, changed):
        if wanted is None:
            continue
        if wanted is item:
            await bench.create(item)
        else:
            await bench.change(item, wanted)
        found = (await bench.dump(item.kind))[item.key]
        assert descriptor.equal(wanted, found.item), found
        assert found.ours
        assert found.handle == bench.handles[item.key]
    last = changed or item
    await bench.delete(last)
    assert item.key not in await bench.dump(item.kind)
    await bench.delete(last)
    for each in reversed(before):
        await bench.delete(each)
        await bench.delete(each)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_is_applied_is_what_the_dump_says(backend: str) -> None:
    async with a_bench(backend) as bench:
        failures = []
        for name, before, item, changed in CASES:
            if backend == "embedded" and name.endswith(" v6"):
                continue  # it says itself that it forwards IPv4 only
            try:
                await round_trip(bench, before, item, changed)
            except Exception as error:
                failures.append(f"{name}: {type(error).__name__}: {error}")
        assert failures == []


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_interface_that_has_an_address_does_not_move(backend: str) -> None:
    async with a_bench(backend) as bench:
        for each in (A, RED, Address(interface="a", address="10.1.1.1/24")):
            await bench.create(each)
        descriptor = bench.descriptors["vpp/interface-vrf"]
        with pytest.raises(VppError) as refusal:
            await bench.create(InterfaceVrf(interface="a", vrf=7))
        assert refusal.value.retval == -114
        assert descriptor.classify(refusal.value) is Outcome.RETRY
        assert await bench.dump("vpp/interface-vrf") == {}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_address_that_the_interface_has_already_serves(backend: str) -> None:
    async with a_bench(backend) as bench:
        for each in (A, B, Address(interface="a", address="10.1.1.1/24")):
            await bench.create(each)
        await bench.create(Address(interface="a", address="10.1.1.1/24"))  # a former agent gave it
        with pytest.raises(VppError) as refusal:
            await bench.create(Address(interface="b", address="10.1.1.1/24"))
        assert refusal.value.retval == -105
        assert set(await bench.dump("vpp/address")) == {"vpp/address/a/10.1.1.1/24"}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_route_over_a_dead_interface_is_found_without_an_item(backend: str) -> None:
    async with a_bench(backend) as bench:
        route = Route(prefix="10.2.0.0/16", paths=(Path(interface="a", next_hop=VIA),))
        for each in (*A_UP, route):
            await bench.create(each)
        await bench.delete(A)
        found = (await bench.dump("vpp/route"))[route.key]
        assert found.item is None
        assert found.ours
        await bench.descriptors["vpp/route"].delete(None, found.handle, {})
        assert await bench.dump("vpp/route") == {}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_fib_source_is_registered_once(backend: str) -> None:
    async with a_bench(backend) as bench:
        route = Route(prefix="10.2.0.0/16", paths=(Path(kind="drop"),))
        await bench.create(route)
        again = Bench(bench.connection)
        assert (await again.dump("vpp/route"))[route.key].item == route
        await again.create(Route(prefix="10.3.0.0/16", paths=(Path(kind="drop"),)))
        sources = [each.src.name for each in await bench.connection.dump(m.FibSourceDump())]
        assert sources.count("contivpp") == 1


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_leftover_of_an_interrupted_creation_is_replaced(backend: str) -> None:
    async with a_bench(backend) as bench:
        message = m.CreateLoopbackInstance(mac_address=mac_of("b", ""), is_specified=True, user_instance=B.instance)
        await bench.connection.request(message)
        assert await bench.dump("vpp/loopback") == {}
        await bench.create(B)
        assert list(await bench.dump("vpp/loopback")) == [B.key]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tag", ["", "somebody else's"])
async def test_a_foreign_interface_in_the_wanted_place_is_left_alone(backend: str, tag: str) -> None:
    async with a_bench(backend) as bench:
        connection = bench.connection
        reply = await connection.request(m.CreateLoopbackInstance(is_specified=True, user_instance=A.instance))
        if tag:
            await connection.request(m.SwInterfaceTagAddDel(sw_if_index=reply.sw_if_index, tag=tag))
        with pytest.raises(ForeignObject) as refusal:
            await bench.create(A)
        assert bench.descriptors["vpp/loopback"].classify(refusal.value) is Outcome.CONFLICT
        there = {each.sw_if_index: each.tag for each in await connection.dump(m.SwInterfaceDump())}
        assert there[reply.sw_if_index] == tag


@pytest.mark.parametrize("backend", BACKENDS)
async def test_foreign_objects_are_no_finds_of_ours(backend: str) -> None:
    async with a_bench(backend) as bench:
        connection = bench.connection
        index = (await connection.request(m.CreateLoopback())).sw_if_index
        await connection.request(m.SwInterfaceSetFlags(sw_if_index=index, flags=m.IfStatusFlags.ADMIN_UP))
        prefix = m.Prefix(address=bytes([10, 7, 0, 1]), len=24)
        await connection.request(m.SwInterfaceAddDelAddress(sw_if_index=index, prefix=prefix))
        await connection.request(m.IpTableAddDel(table=m.IpTable(table_id=9, name="theirs")))
        for kind in bench.descriptors:
            assert [found for found in (await bench.dump(kind)).values() if found.ours] == []
        assert not (await bench.dump("vpp/vrf"))["vpp/vrf/9"].ours


@pytest.mark.parametrize("backend", BACKENDS)
async def test_half_a_vrf_is_found_without_an_item(backend: str) -> None:
    async with a_bench(backend) as bench:
        await bench.create(RED)
        await bench.connection.request(m.IpTableAddDel(is_add=False, table=m.IpTable(table_id=7, is_ip6=True)))
        assert (await bench.dump("vpp/vrf"))[RED.key].item is None
        bench.wanted.clear()
        assert RED.key not in await bench.dump("vpp/vrf"), "VPP kept it, and nobody can change that"


async def test_a_kept_table_may_have_an_earlier_name() -> None:
    async with a_bench("embedded") as bench:
        await bench.create(RED)
        await bench.connection.request(m.IpTableAddDel(is_add=False, table=m.IpTable(table_id=7, is_ip6=True)))
        blue = m.IpTable(table_id=7, is_ip6=True, name=tag_of("blue"))
        await bench.connection.request(m.IpTableAddDel(table=blue))
        bench.wanted = {RED.key: VrfTable(vrf=7, label="blue")}
        assert (await bench.dump("vpp/vrf"))[RED.key].item == VrfTable(vrf=7, label="blue")
        bench.wanted = {RED.key: VrfTable(vrf=7, label="green")}
        assert (await bench.dump("vpp/vrf"))[RED.key].item is None


@pytest.mark.realvpp
async def test_a_shadowed_route_is_found() -> None:
    async with a_bench("real") as bench:
        shadowed = Route(prefix="10.9.0.1/32", paths=(Path(kind="drop"),))
        for each in (*A_UP, shadowed):
            await bench.create(each)
        found = (await bench.dump("vpp/route"))[shadowed.key]
        assert found.item == shadowed
        assert found.shadowed
        await bench.delete(shadowed)
        bench.wanted[shadowed.key] = shadowed
        assert await bench.dump("vpp/route") == {}


class Refusing:
    """A client whose VPP refuses to tag."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.dump = client.dump

    async def request(self, message: Any) -> Any:
        if isinstance(message, m.SwInterfaceTagAddDel):
            raise VppError(-1, message.MESSAGE)
        return await self.client.request(message)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_interface_that_cannot_be_tagged_is_not_left_behind(backend: str) -> None:
    async with a_bench(backend) as bench:
        bench.descriptors["vpp/loopback"].vpp.client = Refusing(bench.connection)
        with pytest.raises(VppError, match="sw_interface_tag_add_del"):
            await bench.create(A)
        names = {each.interface_name for each in await bench.connection.dump(m.SwInterfaceDump())}
        assert names == {"local0"}


@pytest.mark.realvpp
@pytest.mark.skipif(FilePath("/dev/vhost-net").exists(), reason="this host has vhost-net")
async def test_a_tap_that_vpp_cannot_make_waits_for_a_change() -> None:
    async with a_bench("real") as bench:
        with pytest.raises(Exception, match="use AF_PACKET") as refusal:
            await bench.create(Tap(name="t", host_name="t0"))
        assert bench.descriptors["vpp/tap"].classify(refusal.value) is Outcome.CHANGE
        assert tag_of("t") not in {each.tag for each in await bench.connection.dump(m.SwInterfaceDump())}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_interface_that_vanishes_while_it_is_read_has_no_vrf(backend: str) -> None:
    async with a_bench(backend) as bench:
        await bench.create(A)
        index = bench.handles[A.key]
        assert await vrfs_of(bench.access, [index, index + 1000]) == {index: 0}


async def test_an_address_of_the_main_vrf_waits_until_the_interface_has_left_the_other() -> None:
    async with a_node(embedded(), LEAVING) as node:
        await node.applied(LEAVING)
        stays = [A, Address(interface="a", address="10.9.0.1/24"), Unnumbered(interface="b", donor="a"), B]
        await node.want(*stays)
        await node.applied(stays)
        await node.scheduler.settled()
        assert node.scheduler.counters.failed == {}
        assert await node.scheduler.check("vpp/address") == {}
