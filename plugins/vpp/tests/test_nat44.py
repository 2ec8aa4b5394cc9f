# SPDX-License-Identifier: Apache-2.0
"""NAT44 against a real VPP, item by item."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from contivpp_core.items import Item, Outcome
from contivpp_vpp import messages as m
from contivpp_vpp.access import ForeignObject, Refused
from contivpp_vpp.connection import Connection
from contivpp_vpp.descriptors.nat44 import BYTES_OF_SESSION, free_memory
from contivpp_vpp.descriptors.nat44_base import HalfDone
from contivpp_vpp.descriptors.nat44_mapping import Place
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import (
    Loopback,
    Nat44,
    Nat44Address,
    Nat44Interface,
    Nat44Mapping,
    NatBackend,
    PhysicalInterface,
    VrfTable,
)
from contivpp_vpp.scripted import ScriptedVpp
from contivpp_vpp.values import address_bytes

from .benches import Bench, a_bench
from .test_descriptors import round_trip

ON = Nat44(sessions=10000, forwarding=True, tcp_established_seconds=86400)
POD = Loopback(name="pod", instance=1)
PODS = VrfTable(vrf=1, label="pods")
ONE, TWO, THREE = (NatBackend(address=f"10.1.1.{number}", port=8080, vrf=1) for number in (2, 3, 4))
MAPPING = Nat44Mapping(
    protocol="tcp", address="10.96.0.1", port=80, backends=(ONE, TWO), self_twice_nat=True, label="ns/web:http"
)
TWICE = Nat44Mapping(protocol="udp", address="192.168.16.1", port=30080, backends=(ONE,), twice_nat=True)
DUMMY = m.Nat44LbAddrPort(addr=bytes(4), port=1, probability=0)

CASES: list[tuple[str, tuple[Item, ...], Item, Item | None]] = [
    ("on", (), ON, replace(ON, forwarding=False, udp_seconds=5, icmp_seconds=7, tcp_transitory_seconds=9)),
    ("on with more sessions", (), ON, replace(ON, sessions=20000)),
    ("on as VPP would", (), Nat44(), replace(ON, sessions=Nat44().sessions)),
    ("both", (ON, POD), Nat44Interface(interface="pod"), Nat44Interface(interface="pod", feature="inside")),
    ("from one to the other", (ON, POD), Nat44Interface(interface="pod", feature="outside"),
     Nat44Interface(interface="pod", feature="inside")),
    ("from one to both", (ON, POD), Nat44Interface(interface="pod", feature="inside"),
     Nat44Interface(interface="pod")),
    ("output", (ON, POD), Nat44Interface(interface="pod", feature="output"), Nat44Interface(interface="pod")),
    ("pool", (ON,), Nat44Address(address="192.168.16.1"), None),
    ("pool of twice-NAT", (ON, Nat44Address(address="192.168.16.1")),
     Nat44Address(address="192.168.16.1", twice_nat=True), None),
    ("mapping", (ON, PODS), MAPPING, replace(MAPPING, backends=(TWO, THREE))),
    ("mapping from two to one", (ON, PODS), MAPPING, replace(MAPPING, backends=(THREE,))),
    ("mapping from one to two", (ON, PODS), TWICE, replace(TWICE, backends=(TWO, THREE))),
    ("mapping of everybody's", (ON, PODS), TWICE, replace(TWICE, twice_nat=False)),
    ("mapping with affinity", (ON, PODS), replace(MAPPING, affinity_seconds=10800),
     replace(MAPPING, affinity_seconds=10800, backends=(ONE,))),
    ("mapping with other shares", (ON, PODS), MAPPING,
     replace(MAPPING, backends=(replace(ONE, probability=63), replace(TWO, probability=64)))),
    ("mapping with as many as possible", (ON,),
     Nat44Mapping(protocol="tcp", address="10.96.0.1", port=80, backends=tuple(
         NatBackend(address=f"10.2.0.{number}", port=80, probability=1) for number in range(254))), None),
    ("mapping that is full", (ON, PODS),
     replace(MAPPING, backends=(replace(ONE, probability=127), replace(TWO, probability=128))),
     replace(MAPPING, backends=(replace(TWO, probability=127), replace(THREE, probability=128)))),
]  # fmt: skip


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with a_bench("real") as bench:
        yield bench


async def apply(bench: Bench, *items: Item) -> None:
    for item in items:
        await bench.create(item)


async def locals_of(bench: Bench, item: Nat44Mapping) -> list[m.Nat44LbAddrPort]:
    """The backends in VPP, the one that is never chosen as well."""
    found = await bench.connection.dump(m.Nat44LbStaticMappingDump())
    place = address_bytes(item.address), item.port
    return next(list(each.locals) for each in found if (each.external_addr, each.external_port) == place)


def by_hand(*probabilities: int, tag: str = "theirs", flags: m.NatConfigFlags = m.NatConfigFlags.OUT2IN_ONLY) -> Any:
    """A mapping in the place of MAPPING, as somebody makes it by hand."""
    locals_ = tuple(
        m.Nat44LbAddrPort(addr=bytes([10, 1, 1, number]), port=8080, probability=probability)
        for number, probability in enumerate(probabilities, 2)
    )
    return m.Nat44AddDelLbStaticMapping(
        flags=flags, external_addr=address_bytes(MAPPING.address), external_port=80, protocol=6, tag=tag, locals=locals_
    )


@pytest.mark.realvpp
async def test_what_is_applied_is_what_the_dump_says(bench: Bench) -> None:
    failures = []
    for name, before, item, changed in CASES:
        try:
            await round_trip(bench, before, item, changed)
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
    assert failures == []


@pytest.mark.realvpp
async def test_backends_change_in_place(bench: Bench) -> None:
    await apply(bench, ON, PODS, MAPPING)
    before = bench.connection.statistics["nat44_add_del_lb_static_mapping"].count
    for backends in ((ONE,), (TWO,), (ONE, TWO, THREE), (THREE,), (ONE, TWO)):
        changed = replace(MAPPING, backends=backends)
        await bench.change(bench.wanted[MAPPING.key], changed)
        assert (await bench.dump(MAPPING.kind))[MAPPING.key].item == changed
        assert DUMMY in await locals_of(bench, MAPPING)
    assert bench.connection.statistics["nat44_add_del_lb_static_mapping"].count == before
    assert bench.connection.statistics["nat44_lb_static_mapping_add_del_local"].errors == 0


@pytest.mark.realvpp
async def test_a_mapping_without_the_one_that_is_never_chosen_is_mended(bench: Bench) -> None:
    await apply(bench, ON, PODS, MAPPING)
    place = {"external_addr": address_bytes(MAPPING.address), "external_port": 80, "protocol": 6}
    await bench.connection.request(m.Nat44LbStaticMappingAddDelLocal(is_add=False, local=DUMMY, **place))
    assert (await bench.dump(MAPPING.kind))[MAPPING.key].item == MAPPING
    await bench.change(MAPPING, replace(MAPPING, backends=(TWO,)))
    assert DUMMY in await locals_of(bench, MAPPING)
    assert (await bench.dump(MAPPING.kind))[MAPPING.key].item == replace(MAPPING, backends=(TWO,))


@pytest.mark.realvpp
async def test_the_last_backend_cannot_be_taken_away(bench: Bench) -> None:
    """Two refusals of VPP stand between a wrong belief and a mapping that kills it."""
    await apply(bench, ON, PODS, replace(MAPPING, backends=(ONE,)))
    descriptor = bench.descriptors[MAPPING.kind]
    with pytest.raises(HalfDone) as refusal:
        await descriptor.update(MAPPING, replace(MAPPING, backends=(TWO,)), bench.handles[MAPPING.key], {})
    assert descriptor.classify(refusal.value) is Outcome.UNKNOWN
    assert (await bench.dump(MAPPING.kind))[MAPPING.key].item == replace(MAPPING, backends=(ONE,))


@pytest.mark.realvpp
async def test_other_affinity_and_label_are_found(bench: Bench) -> None:
    sticky = replace(MAPPING, affinity_seconds=10800, label="")
    await apply(bench, ON, PODS, sticky)
    assert (await bench.dump(MAPPING.kind))[MAPPING.key].item == sticky
    [found] = await bench.connection.dump(m.Nat44LbStaticMappingDump())
    assert (found.affinity, found.tag) == (0, "contivpp/1/@10800/")  # VPP does not tell the one, so the other does


@pytest.mark.realvpp
async def test_a_mapping_of_somebody_else_is_a_conflict(bench: Bench) -> None:
    await apply(bench, ON)
    await bench.connection.request(by_hand(10, 20))
    assert not (await bench.dump(MAPPING.kind))[MAPPING.key].ours
    with pytest.raises(ForeignObject, match=r"tcp 10\.96\.0\.1:80") as refusal:
        await bench.create(MAPPING)
    assert bench.descriptors[MAPPING.kind].classify(refusal.value) is Outcome.CONFLICT
    [left] = await bench.connection.dump(m.Nat44LbStaticMappingDump())
    assert [each.probability for each in left.locals] == [10, 20]


@pytest.mark.realvpp
async def test_a_mapping_of_the_other_sort_is_a_conflict(bench: Bench) -> None:
    await apply(bench, ON)
    theirs = m.Nat44AddDelStaticMappingV2(
        flags=m.NatConfigFlags.OUT2IN_ONLY, local_ip_address=bytes([10, 1, 1, 9]), local_port=1, protocol=6,
        external_ip_address=address_bytes(MAPPING.address), external_port=80,
    )  # fmt: skip
    await bench.connection.request(theirs)
    assert not (await bench.dump(MAPPING.kind))[MAPPING.key].ours
    with pytest.raises(ForeignObject):
        await bench.create(MAPPING)
    await bench.descriptors[MAPPING.kind].delete(MAPPING, Place(6, address_bytes(MAPPING.address), 80), {})
    assert len(await bench.connection.dump(m.Nat44StaticMappingDump())) == 1


@pytest.mark.realvpp
@pytest.mark.parametrize(
    "message",
    [
        by_hand(10, 20, tag="contivpp/1/@no number/x"),
        by_hand(10, 20, tag="contivpp/1/x", flags=m.NatConfigFlags.NONE),
        replace(by_hand(10, 0), tag="contivpp/1/x"),
    ],
    ids=["tag", "flags", "a backend that is never chosen"],
)
async def test_a_mapping_of_ours_that_is_none_of_ours_is_removed(bench: Bench, message: Any) -> None:
    await apply(bench, ON, Nat44Address(address=MAPPING.address))
    await bench.connection.request(message)
    found = (await bench.dump(MAPPING.kind))[MAPPING.key]
    assert (found.item, found.ours) == (None, True)
    await bench.descriptors[MAPPING.kind].delete(None, found.handle, {})
    assert await bench.dump(MAPPING.kind) == {}


@pytest.mark.realvpp
async def test_nothing_works_while_it_is_off_and_that_passes(bench: Bench) -> None:
    await apply(bench, POD, PODS)
    for item in (MAPPING, Nat44Interface(interface="pod"), Nat44Interface(interface="pod", feature="output")):
        with pytest.raises((VppError, HalfDone)) as refusal:
            await bench.create(item)
        outcome = bench.descriptors[item.kind].classify(refusal.value)
        assert outcome in (Outcome.RETRY, Outcome.UNKNOWN)
        assert await bench.dump(item.kind) == {}


@pytest.mark.realvpp
async def test_what_is_on_already_is_read_back(bench: Bench) -> None:
    await bench.connection.request(m.Nat44EdPluginEnableDisable(sessions=77))
    descriptor = bench.descriptors[ON.kind]
    with pytest.raises(HalfDone) as refusal:
        await bench.create(ON)
    assert descriptor.classify(refusal.value) is Outcome.UNKNOWN
    assert await bench.dump(ON.kind) == {}  # nobody asks for it
    [found] = await descriptor.dump(await bench.known([ON]))
    assert found.item == Nat44(sessions=77)


@pytest.mark.realvpp
async def test_more_sessions_than_vpp_has_memory_for_are_refused(bench: Bench) -> None:
    """It would not refuse, but end."""
    with pytest.raises(Refused, match="of memory") as refusal:
        await bench.create(Nat44(sessions=1 << 20))
    assert bench.descriptors[ON.kind].classify(refusal.value) is Outcome.CHANGE
    most = int(await free_memory(bench.connection) / BYTES_OF_SESSION) - 1
    await bench.create(Nat44(sessions=most))
    assert (await bench.connection.request(m.Nat44ShowRunningConfig())).sessions == most


@pytest.mark.realvpp
async def test_addresses_of_others_are_left_alone(bench: Bench) -> None:
    await apply(bench, ON, Nat44Address(address="10.5.0.1"))
    for last, vrf in ((2, 0xFFFFFFFF), (3, 0)):
        address = bytes([10, 5, 0, last])
        await bench.connection.request(
            m.Nat44AddDelAddressRange(first_ip_address=address, last_ip_address=address, vrf_id=vrf)
        )
    assert list(await bench.dump("vpp/nat44-address")) == ["vpp/nat44-address/pool/10.5.0.1"]
    wanted = [Nat44Address(address=f"10.5.0.{last}") for last in (1, 2, 3)]
    found = await bench.descriptors["vpp/nat44-address"].dump(await bench.known(wanted))
    assert [each.ours for each in found] == [True, True, False]  # the last serves one VRF only


@pytest.mark.realvpp
async def test_on_a_nic_only_what_is_wanted_counts(bench: Bench) -> None:
    local = PhysicalInterface(name="local", device="local0")
    await apply(bench, ON, local)
    await bench.connection.request(m.Nat44InterfaceAddDelFeature(flags=m.NatConfigFlags.OUTSIDE, sw_if_index=0))
    assert [each.ours for each in (await bench.dump("vpp/nat44-interface")).values()] == [False]
    known = await bench.known([local, Nat44Interface(interface="local")])
    [found] = await bench.descriptors["vpp/nat44-interface"].dump(known)
    assert (found.item, found.ours) == (Nat44Interface(interface="local", feature="outside"), True)


@pytest.mark.realvpp
async def test_a_thousand_mappings(bench: Bench) -> None:
    await apply(bench, ON, PODS)
    items = mappings(1000)
    begin = time.perf_counter()
    for item in items:
        await bench.create(item)
    created = time.perf_counter()
    found = await bench.dump(MAPPING.kind)
    dumped = time.perf_counter()
    assert {key: each.item for key, each in found.items()} == {item.key: item for item in items}
    for item in items:
        await bench.delete(item)
    assert await bench.dump(MAPPING.kind) == {}
    print(f"1,000 mappings one after the other: {created - begin:.2f} s, their dump {dumped - created:.3f} s")


def mappings(count: int) -> list[Nat44Mapping]:
    """Services of ten endpoints."""
    return [
        Nat44Mapping(
            protocol="tcp",
            address=f"10.96.{number >> 8}.{number & 255}",
            port=80,
            backends=tuple(
                NatBackend(address=f"10.{1 + number % 50}.{end}.{number & 255}", port=8080, vrf=1) for end in range(10)
            ),
            self_twice_nat=True,
            label=f"ns/service{number}:http",
        )
        for number in range(count)
    ]


TRAFFIC = """packet-generator new { name flows limit -1 rate 50000 size 64-64 interface pg0 node ip4-input
 data { UDP: 10.9.0.2 - 10.9.0.250 -> 10.96.0.1 UDP: 1000 - 60000 -> 80 incrementing 8 } }"""


async def cli(bench: Bench, command: str) -> str:
    return (await bench.connection.request(m.CliInband(cmd=command.replace("\n", "")))).reply


async def flows_into(bench: Bench) -> None:
    """New connections to 10.96.0.1, port 80, all the time; each takes a backend by its share."""
    await cli(bench, "create packet-generator interface pg0")
    interfaces = await bench.connection.dump(m.SwInterfaceDump())
    index = next(each.sw_if_index for each in interfaces if each.interface_name == "pg0")
    await bench.connection.request(m.SwInterfaceSetFlags(sw_if_index=index, flags=m.IfStatusFlags.ADMIN_UP))
    prefix = m.Prefix(address=bytes([10, 9, 0, 1]), len=24)
    await bench.connection.request(m.SwInterfaceAddDelAddress(sw_if_index=index, prefix=prefix))
    for flag in (m.NatConfigFlags.OUTSIDE, m.NatConfigFlags.INSIDE):
        await bench.connection.request(m.Nat44InterfaceAddDelFeature(flags=flag, sw_if_index=index))
    await cli(bench, TRAFFIC)
    await cli(bench, "packet-generator enable-stream flows")


async def sessions(bench: Bench) -> int:
    match = re.search(r"total sessions: (\d+)", await cli(bench, "show nat44 summary"))
    assert match is not None
    return int(match[1])


@pytest.mark.realvpp
async def test_vpp_lives_through_changes_while_connections_come_in(bench: Bench) -> None:
    """A sum of probabilities that is 0 or 256 for the time between two messages would end it."""
    chance = random.Random(7)
    candidates = [
        NatBackend(address=f"10.1.1.{number}", port=8080, probability=probability)
        for number, probability in enumerate((1, 15, 63, 64, 85, 127, 128, 128, 254, 255), 2)
    ]
    await apply(bench, Nat44(sessions=60000, udp_seconds=1))
    before = Nat44Mapping(protocol="udp", address="10.96.0.1", port=80, backends=(candidates[5], candidates[6]))
    await bench.create(before)
    await flows_into(bench)
    for _ in range(300):
        chosen = chance.sample(candidates, chance.randint(1, 4))
        if sum(backend.probability for backend in chosen) > 255:
            continue
        after = replace(before, backends=tuple(chosen))
        await bench.change(before, after)
        await asyncio.sleep(0.002)
        assert [each.item for each in (await bench.dump(MAPPING.kind)).values()] == [after]
        before = after
    await asyncio.sleep(0.1)
    assert await sessions(bench) > 100  # connections did come in


async def test_with_more_than_one_worker_there_are_no_mappings() -> None:
    vpp = ScriptedVpp()
    vpp.on(m.NatWorkerDump, lambda _: [m.NatWorkerDetails(worker_index=1), m.NatWorkerDetails(worker_index=2)])
    connection = await Connection.open(vpp.connect)
    bench = Bench(connection)
    with pytest.raises(Refused, match="2 workers") as refusal:
        await bench.create(MAPPING)
    assert bench.descriptors[MAPPING.kind].classify(refusal.value) is Outcome.CHANGE
    assert not any(isinstance(each, m.Nat44AddDelLbStaticMapping) for each in vpp.received)
    connection.close()
