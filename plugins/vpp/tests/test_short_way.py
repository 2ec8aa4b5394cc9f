# SPDX-License-Identifier: Apache-2.0
"""Mappings and routes that are made the short way, without a task for each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contivpp_core.items import Outcome, Unavailable
from contivpp_vpp import messages as m
from contivpp_vpp.access import ForeignObject, VppAccess
from contivpp_vpp.connection import Connection, ConnectionSettings
from contivpp_vpp.descriptors.nat44_mapping import Nat44MappingDescriptor, Place
from contivpp_vpp.descriptors.route import RouteDescriptor
from contivpp_vpp.errors import VppError
from contivpp_vpp.fib_source import FIB_SOURCE_NAME, FibSourceNumber
from contivpp_vpp.items import Nat44Mapping, NatBackend, Path, Route, interface_key
from contivpp_vpp.scripted import ScriptedVpp
from contivpp_vpp.values import address_bytes

MAPPING = Nat44Mapping(
    protocol="tcp", address="10.96.0.1", port=80, backends=(NatBackend(address="10.1.1.2", port=8080),), label="ns/web"
)
PLACE = Place(6, address_bytes("10.96.0.1"), 80)


class Rig:
    """A descriptor and a scripted VPP that answers additions with `retval`; None: not at all."""

    def __init__(self) -> None:
        self.vpp = ScriptedVpp()
        self.retval: int | None = 0
        self.access = VppAccess()
        self.descriptor = Nat44MappingDescriptor(self.access)
        self.told: list[tuple[Any, Exception | None]] = []
        self.vpp.on(m.Nat44AddDelLbStaticMapping, self._answer)

    def _answer(self, request: m.Nat44AddDelLbStaticMapping) -> Any:
        return None if self.retval is None else m.Nat44AddDelLbStaticMappingReply(retval=self.retval)

    async def connect(self, **settings: Any) -> Connection:
        connection = await Connection.open(self.vpp.connect, settings=ConnectionSettings(**settings))
        self.access.client = connection
        await self.descriptor.create(MAPPING, {})  # asks for the workers
        return connection

    def begin(self) -> bool:
        return self.descriptor.begin_create(MAPPING, {}, lambda handle, error: self.told.append((handle, error)))

    async def outcome(self) -> tuple[Any, Exception | None]:
        for _ in range(100):
            if self.told:
                break
            await asyncio.sleep(0.001)
        (told,) = self.told
        return told


async def test_the_same_message_and_the_same_handle_as_the_long_way() -> None:
    rig = Rig()
    connection = await rig.connect()
    assert rig.begin()
    assert rig.told == []
    assert await rig.outcome() == (PLACE, None)
    long, short = [each for each in rig.vpp.received if isinstance(each, m.Nat44AddDelLbStaticMapping)]
    assert short == long
    connection.close()


async def test_somebody_elses_mapping_is_a_conflict() -> None:
    rig = Rig()
    connection = await rig.connect()
    rig.retval = -81
    assert rig.begin()
    _, error = await rig.outcome()
    assert isinstance(error, ForeignObject)
    assert rig.descriptor.classify(error) is Outcome.CONFLICT
    connection.close()


async def test_a_refusal_is_told_as_it_is() -> None:
    rig = Rig()
    connection = await rig.connect()
    rig.retval = -7
    assert rig.begin()
    _, error = await rig.outcome()
    assert isinstance(error, VppError)
    assert error.retval == -7
    connection.close()


async def test_a_lost_connection_leaves_the_result_unknown() -> None:
    rig = Rig()
    connection = await rig.connect()
    rig.retval = None
    assert rig.begin()
    connection.close()
    _, error = await rig.outcome()
    assert isinstance(error, Unavailable)
    assert not rig.begin()  # the long way says why


async def test_where_there_is_no_room_it_waits_for_its_turn() -> None:
    rig = Rig()
    connection = await rig.connect(unanswered=1)
    assert all(rig.begin() for _ in range(3))
    for _ in range(100):
        await asyncio.sleep(0.001)
    assert rig.told == [(PLACE, None)] * 3
    rig.retval = None
    assert rig.begin()
    assert rig.begin()
    connection.close()
    assert [type(error).__mro__[1] for _, error in rig.told[3:]] == [Unavailable] * 2


@pytest.mark.parametrize("case", ["no connection", "workers not known", "two workers"])
async def test_otherwise_the_long_way_is_gone(case: str) -> None:
    rig = Rig()
    connection = await rig.connect()
    match case:
        case "no connection":
            rig.access.client = None
        case "workers not known":
            connection.close()
            connection = rig.access.client = await Connection.open(rig.vpp.connect)
        case _:
            workers = [m.NatWorkerDetails(worker_index=1), m.NatWorkerDetails(worker_index=2)]
            rig.vpp.on(m.NatWorkerDump, lambda _: workers)
            connection = rig.access.client = await Connection.open(rig.vpp.connect)
            with pytest.raises(Exception, match="2 workers"):
                await rig.descriptor.create(MAPPING, {})
    assert not rig.begin()
    connection.close()


async def test_a_route_is_the_same_message_and_the_same_handle_as_the_long_way() -> None:
    vpp, access = ScriptedVpp(), VppAccess()
    vpp.on(m.IpRouteAddDelV2, lambda _: m.IpRouteAddDelV2Reply())
    vpp.on(m.FibSourceDump, lambda _: [m.FibSourceDetails(src=m.FibSource(id=30, name=FIB_SOURCE_NAME))])
    connection = access.client = await Connection.open(vpp.connect)
    descriptor = RouteDescriptor(access, FibSourceNumber(access))
    route, handles = Route(prefix="10.1.1.2/32", paths=(Path(interface="pod"),)), {interface_key("pod"): 7}
    told: list[tuple[Any, Exception | None]] = []
    assert not descriptor.begin_create(route, handles, lambda *answer: told.append(answer))  # the source is not known
    handle = await descriptor.create(route, handles)
    assert descriptor.begin_create(route, handles, lambda *answer: told.append(answer))
    await connection.request(m.ControlPing())
    assert told == [(handle, None)]
    long, short = [each for each in vpp.received if isinstance(each, m.IpRouteAddDelV2)]
    assert short == long
    connection.close()
