# SPDX-License-Identifier: Apache-2.0
"""Layer 2 and tunnels against a VPP: what is created, changed and deleted is what the dump says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contivpp_core.errors import ContivError
from contivpp_core.items import Item, Outcome
from contivpp_vpp import messages as m
from contivpp_vpp.access import ForeignObject
from contivpp_vpp.descriptors.sub_interface import FIRST_NUMBER
from contivpp_vpp.descriptors.vxlan_tunnel import instances_of
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import (
    BridgeDomain,
    BridgeMember,
    L2FibEntry,
    LinkUp,
    Loopback,
    NeighbourSettings,
    SubInterface,
    VrfTable,
    VxlanTunnel,
)
from contivpp_vpp.values import address_bytes, mac_bytes, tag_of

from .benches import BACKENDS, Bench, a_bench
from .test_descriptors import round_trip

DOMAIN = BridgeDomain(bd_id=1, name="vxlan")
BVI = Loopback(name="bvi", instance=7, mac="12:2b:00:00:00:01")
TUNNEL = VxlanTunnel(source="192.168.16.1", destination="192.168.16.2", vni=10)
OTHER = VxlanTunnel(source="192.168.16.1", destination="192.168.16.3", vni=10)
MEMBER = BridgeMember(bridge_domain=1, interface=TUNNEL.name, split_horizon_group=1)
OTHER_MEMBER = BridgeMember(bridge_domain=1, interface=OTHER.name, split_horizon_group=1)
ENTRY = L2FibEntry(bridge_domain=1, mac="12:2B:00:00:00:02", interface=TUNNEL.name)
RED = VrfTable(vrf=7, label="red")

CASES: list[tuple[str, tuple[Item, ...], Item, Item | None]] = [
    ("tunnel", (), TUNNEL, None),
    ("tunnel in a vrf", (RED,), VxlanTunnel(source="10.0.0.1", destination="10.0.0.2", vni=0, encap_vrf=7), None),
    ("domain", (), DOMAIN, BridgeDomain(bd_id=1, name="vxlan", learn=True, flood=True, forward=False)),
    ("domain of another name", (), DOMAIN, BridgeDomain(bd_id=1)),
    (
        "domain with every flag",
        (BVI, DOMAIN, BridgeMember(bridge_domain=1, interface="bvi", bvi=True)),
        BridgeDomain(bd_id=2, learn=True, flood=True, unknown_unicast_flood=True, arp_termination=True),
        BridgeDomain(bd_id=2),
    ),
    ("member", (DOMAIN, TUNNEL), MEMBER, BridgeMember(bridge_domain=1, interface=TUNNEL.name, split_horizon_group=2)),
    ("member that moves", (DOMAIN, BridgeDomain(bd_id=2), TUNNEL), MEMBER,
     BridgeMember(bridge_domain=2, interface=TUNNEL.name)),
    ("bvi", (DOMAIN, BVI), BridgeMember(bridge_domain=1, interface="bvi", bvi=True),
     BridgeMember(bridge_domain=1, interface="bvi")),
    ("entry", (DOMAIN, TUNNEL, OTHER, MEMBER, OTHER_MEMBER), ENTRY,
     L2FibEntry(bridge_domain=1, mac="12:2b:00:00:00:02", interface=OTHER.name)),
    ("sub-interface", (BVI,), SubInterface(name="vlan", parent="bvi", vlan=100),
     SubInterface(name="vlan", parent="bvi", vlan=4094)),
    ("neighbours", (), NeighbourSettings(family="ip4", max_number=0, max_age_seconds=60, recycle=True),
     NeighbourSettings(family="ip4", max_number=7)),
]  # fmt: skip


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with a_bench(request.param) as bench:
        yield bench


async def apply(bench: Bench, *items: Item) -> None:
    for item in items:
        await bench.create(item)


async def test_what_is_applied_is_what_the_dump_says(bench: Bench) -> None:
    failures = []
    for name, before, item, changed in CASES:
        try:
            await round_trip(bench, before, item, changed)
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
    assert failures == []


async def test_neighbours_are_treated_as_before_when_nobody_says_how(bench: Bench) -> None:
    wanted = NeighbourSettings(family="ip6", max_number=9, max_age_seconds=5, recycle=True)
    before = await bench.connection.request(m.IpNeighborConfigGet(af=m.AddressFamily.IP6))
    await bench.create(wanted)
    await bench.delete(wanted)
    assert await bench.connection.request(m.IpNeighborConfigGet(af=m.AddressFamily.IP6)) == before


async def test_a_tunnel_that_was_left_half_made_is_found_and_replaced(bench: Bench) -> None:
    instance = instances_of(TUNNEL)[0]
    await bench.connection.request(tunnel_message(TUNNEL, instance=instance))
    found = (await bench.dump("vpp/vxlan"))[TUNNEL.key]
    assert (found.item, found.ours) == (None, True)
    await bench.create(TUNNEL)  # as after an answer that was lost
    found = (await bench.dump("vpp/vxlan"))[TUNNEL.key]
    assert (found.item, found.handle) == (TUNNEL, bench.handles[TUNNEL.key])
    await bench.delete(TUNNEL)
    await bench.connection.request(tunnel_message(TUNNEL, instance=instance + 1))
    found = (await bench.dump("vpp/vxlan"))[TUNNEL.key]
    await bench.descriptors["vpp/vxlan"].delete(None, found.handle, {})
    assert await bench.dump("vpp/vxlan") == {}


@pytest.mark.parametrize("tag", ["", "theirs"])
async def test_a_foreign_tunnel_is_a_conflict(bench: Bench, tag: str) -> None:
    index = (await bench.connection.request(tunnel_message(TUNNEL, instance=3))).sw_if_index
    if tag:
        await bench.connection.request(m.SwInterfaceTagAddDel(sw_if_index=index, tag=tag))
    found = (await bench.dump("vpp/vxlan"))[TUNNEL.key]
    assert not found.ours
    with pytest.raises(ForeignObject, match="vxlan_tunnel3") as refusal:
        await bench.create(TUNNEL)
    assert bench.descriptors["vpp/vxlan"].classify(refusal.value) is Outcome.CONFLICT
    [left] = await bench.connection.dump(m.VxlanTunnelV2Dump())
    assert left.sw_if_index == index


async def test_an_instance_number_in_use_is_no_hindrance(bench: Bench) -> None:
    foreign = VxlanTunnel(source="172.16.0.1", destination="172.16.0.2", vni=1)
    for instance, vni in zip(instances_of(TUNNEL)[:3], (1, 2, 3), strict=True):
        other = VxlanTunnel(source=foreign.source, destination=foreign.destination, vni=vni)
        await bench.connection.request(tunnel_message(other, instance=instance))
    await bench.create(TUNNEL)
    instances = {each.vni: each.instance for each in await bench.connection.dump(m.VxlanTunnelV2Dump())}
    assert instances[10] == instances_of(TUNNEL)[3]


async def test_a_tunnel_of_ours_over_another_port_is_removed(bench: Bench) -> None:
    message = tunnel_message(TUNNEL, instance=3, port=8472)
    index = (await bench.connection.request(message)).sw_if_index
    assert await bench.dump("vpp/vxlan") == {}
    await bench.connection.request(m.SwInterfaceTagAddDel(sw_if_index=index, tag=tag_of(TUNNEL.name)))
    [found] = (await bench.dump("vpp/vxlan")).values()
    assert found.item is None
    await bench.descriptors["vpp/vxlan"].delete(None, found.handle, {})
    assert await bench.connection.dump(m.VxlanTunnelV2Dump()) == []


async def test_a_tunnel_is_up_without_an_item(bench: Bench) -> None:
    await bench.create(TUNNEL)
    assert await bench.dump("vpp/link-up") == {}
    await bench.create(LinkUp(interface=TUNNEL.name))
    assert list(await bench.dump("vpp/link-up")) == [f"vpp/link-up/{TUNNEL.name}"]


async def test_a_domain_with_a_member_stays(bench: Bench) -> None:
    await apply(bench, DOMAIN, TUNNEL, MEMBER)
    with pytest.raises(VppError) as refusal:
        await bench.delete(DOMAIN)
    assert refusal.value.retval == -120
    assert bench.descriptors["vpp/bridge-domain"].classify(refusal.value) is Outcome.RETRY


async def test_a_foreign_domain_is_a_conflict(bench: Bench) -> None:
    await bench.connection.request(m.BridgeDomainAddDelV2(bd_id=1, bd_tag="theirs"))
    assert not (await bench.dump("vpp/bridge-domain"))[DOMAIN.key].ours
    with pytest.raises(ForeignObject):
        await bench.create(DOMAIN)


async def test_flags_change_while_there_are_members(bench: Bench) -> None:
    await apply(bench, DOMAIN, TUNNEL, MEMBER, ENTRY)
    changed = BridgeDomain(bd_id=1, name="vxlan", arp_termination=True, forward=False)
    await bench.change(DOMAIN, changed)
    assert (await bench.dump("vpp/bridge-domain"))[DOMAIN.key].item == changed
    assert (await bench.dump("vpp/l2fib"))[ENTRY.key].item == ENTRY


async def test_a_second_bvi_is_refused_and_not_left_behind(bench: Bench) -> None:
    second = Loopback(name="second", instance=8)
    await apply(bench, DOMAIN, BVI, second, BridgeMember(bridge_domain=1, interface="bvi", bvi=True))
    with pytest.raises(VppError) as refusal:
        await bench.create(BridgeMember(bridge_domain=1, interface="second", bvi=True))
    assert refusal.value.retval == -152
    assert list(await bench.dump("vpp/bridge-member")) == ["vpp/bridge-member/bvi"]
    # It is of layer 3 again: put into the domain as anything else, it has no trace of its being a BVI.
    await bench.create(BridgeMember(bridge_domain=1, interface="second"))
    assert [each.mac for each in await bench.connection.dump(m.L2FibTableDump())] == [mac_bytes(BVI.mac)]


async def test_the_entry_of_the_bvi_itself_is_no_item(bench: Bench) -> None:
    await apply(bench, DOMAIN, BVI, BridgeMember(bridge_domain=1, interface="bvi", bvi=True))
    assert len(await bench.connection.dump(m.L2FibTableDump())) == 1
    assert await bench.dump("vpp/l2fib") == {}


async def test_the_mac_address_of_a_bvi_can_change(bench: Bench) -> None:
    await apply(bench, DOMAIN, BVI, BridgeMember(bridge_domain=1, interface="bvi", bvi=True))
    mac = bytes.fromhex("122b00000009")
    await bench.connection.request(m.SwInterfaceSetMacAddress(sw_if_index=bench.handles[BVI.key], mac_address=mac))
    assert [each.mac for each in await bench.connection.dump(m.L2FibTableDump())] == [mac]


@pytest.mark.parametrize("gone", [TUNNEL, MEMBER], ids=["tunnel", "member"])
async def test_an_entry_over_what_is_gone_is_found_without_an_item(bench: Bench, gone: Item) -> None:
    await apply(bench, DOMAIN, TUNNEL, MEMBER, ENTRY)
    await bench.delete(gone)
    found = (await bench.dump("vpp/l2fib"))[ENTRY.key]
    assert (found.item, found.ours) == (None, True)
    await bench.descriptors["vpp/l2fib"].delete(None, found.handle, {})
    assert await bench.dump("vpp/l2fib") == {}


async def test_an_entry_that_leads_elsewhere_by_now_is_not_deleted(bench: Bench) -> None:
    await apply(bench, DOMAIN, TUNNEL, OTHER, MEMBER, OTHER_MEMBER, ENTRY)
    before = bench.handles[ENTRY.key]
    moved = L2FibEntry(bridge_domain=1, mac=ENTRY.mac, interface=OTHER.name)
    await bench.change(ENTRY, moved)
    await bench.descriptors["vpp/l2fib"].delete(ENTRY, before, {})
    assert (await bench.dump("vpp/l2fib"))[ENTRY.key].item == moved


async def test_entries_of_others_are_left_alone(bench: Bench) -> None:
    connection = bench.connection
    await apply(bench, DOMAIN)
    theirs = (await connection.request(m.CreateLoopback())).sw_if_index
    mac = bytes.fromhex("020000000001")
    await connection.request(m.SwInterfaceSetL2Bridge(rx_sw_if_index=theirs, bd_id=1))
    await connection.request(m.L2fibAddDel(mac=mac, bd_id=1, sw_if_index=theirs, static_mac=True))
    assert await bench.dump("vpp/bridge-member") == {}
    [found] = (await bench.dump("vpp/l2fib")).values()
    assert not found.ours
    await connection.request(m.BridgeDomainAddDelV2(bd_id=2))
    await connection.request(m.SwInterfaceSetL2Bridge(rx_sw_if_index=theirs, bd_id=2))
    await connection.request(m.L2fibAddDel(is_add=False, mac=mac, bd_id=1, sw_if_index=theirs))
    await connection.request(m.L2fibAddDel(mac=mac, bd_id=2, sw_if_index=theirs, static_mac=True))
    assert await bench.dump("vpp/l2fib") == {}


async def test_a_vlan_that_somebody_has_is_a_conflict(bench: Bench) -> None:
    await bench.create(BVI)
    parent = bench.handles[BVI.key]
    exact = m.SubIfFlags.ONE_TAG | m.SubIfFlags.EXACT_MATCH
    theirs = m.CreateSubif(sw_if_index=parent, sub_id=100, sub_if_flags=exact, outer_vlan_id=100)
    await bench.connection.request(theirs)
    with pytest.raises(ForeignObject, match=r"loop7\.100") as refusal:
        await bench.create(SubInterface(name="vlan", parent="bvi", vlan=100))
    assert bench.descriptors["vpp/sub-interface"].classify(refusal.value) is Outcome.CONFLICT
    assert await bench.dump("vpp/sub-interface") == {}


async def test_a_vlan_that_another_one_of_ours_has_is_tried_again(bench: Bench) -> None:
    await bench.create(BVI)
    other, item = (SubInterface(name=name, parent="bvi", vlan=100) for name in ("other", "vlan"))
    await bench.create(other)
    with pytest.raises(ContivError, match="other has VLAN 100 of bvi") as refusal:
        await bench.create(item)
    assert bench.descriptors["vpp/sub-interface"].classify(refusal.value) is Outcome.RETRY
    await bench.delete(other)
    await bench.create(item)
    assert [each.item for each in (await bench.dump("vpp/sub-interface")).values()] == [item]


async def test_a_sub_interface_that_was_left_half_made_is_replaced(bench: Bench) -> None:
    await bench.create(BVI)
    parent = bench.handles[BVI.key]
    exact = m.SubIfFlags.ONE_TAG | m.SubIfFlags.EXACT_MATCH
    half = m.CreateSubif(sw_if_index=parent, sub_id=FIRST_NUMBER + 100, sub_if_flags=exact, outer_vlan_id=100)
    await bench.connection.request(half)
    [found] = (await bench.dump("vpp/sub-interface")).values()
    assert (found.item, found.ours) == (None, True)
    item = SubInterface(name="vlan", parent="bvi", vlan=100)
    await bench.create(item)
    assert [each.item for each in (await bench.dump("vpp/sub-interface")).values()] == [item]


def tunnel_message(item: VxlanTunnel, *, instance: int, port: int = 4789) -> m.VxlanAddDelTunnelV3:
    """A tunnel as somebody makes it by hand."""
    return m.VxlanAddDelTunnelV3(
        instance=instance,
        src_address=address_bytes(item.source),
        dst_address=address_bytes(item.destination),
        src_port=port,
        dst_port=port,
        vni=item.vni,
    )
