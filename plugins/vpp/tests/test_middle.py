# SPDX-License-Identifier: Apache-2.0
"""Faults between client and VPP, message by message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contivpp_core.clock import run_simulated
from contivpp_core.ledger import Ledger
from contivpp_core.testing.faults import Fault, Faults
from contivpp_vpp import messages as m
from contivpp_vpp.client import VppClient
from contivpp_vpp.connection import Connection, ConnectionSettings
from contivpp_vpp.errors import ConnectionLost, VppError
from contivpp_vpp.middle import through
from contivpp_vpp.scripted import ScriptedVpp
from contivpp_vpp.testing import real_vpp
from contivpp_vpp.transports import in_memory, unix_socket
from embeddedvpp.api import Vpp
from embeddedvpp.server import ApiProtocol

from .nodes import Node, pods

SET = "sw_interface_set_flags"


def tries(fault: Fault, point: str, **more: Any) -> tuple[Any, int, float, Faults]:
    """Return what the request with the fault gives, how often VPP saw it, how long it took, and the faults."""

    async def main() -> tuple[Any, int, float, Faults]:
        faults, vpp = Faults(), ScriptedVpp()
        connection = await Connection.open(through(faults, vpp.connect), settings=ConnectionSettings(timeout=4))
        faults.plan(fault, point, **more)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            given: Any = await connection.request(m.SwInterfaceSetFlags(sw_if_index=1))
        except (ConnectionLost, VppError) as error:
            given = error
        seconds = loop.time() - begin
        await asyncio.sleep(1)
        seen = sum(isinstance(each, m.SwInterfaceSetFlags) for each in vpp.received)
        if connection.alive:
            assert (await connection.request(m.ShowVersion())).version
        connection.close()
        return given, seen, seconds, faults

    return run_simulated(main())


def test_a_refusal_is_answered_in_place_of_vpp() -> None:
    given, seen, _, faults = tries(Fault.REFUSE, f"> {SET}$", retval=-81)
    assert (given.retval, seen) == (-81, 0)
    assert [each.point for each in faults.struck] == [f"> {SET}"]
    assert tries(Fault.REJECT, f"> {SET}$")[0].retval == -73


@pytest.mark.parametrize(("point", "seen"), [(f"> {SET}$", 0), (f"< {SET}_reply", 1)])
def test_a_message_that_is_lost_ends_the_connection_after_its_time(point: str, seen: int) -> None:
    given, saw, seconds, _ = tries(Fault.LOSE, point)
    assert isinstance(given, ConnectionLost)
    assert saw == seen
    assert seconds >= 4


@pytest.mark.parametrize(("fault", "seen"), [(Fault.CUT, 0), (Fault.CUT_AFTER, 1)])
def test_the_connection_is_lost_before_or_after_vpp_has_seen_a_request(fault: Fault, seen: int) -> None:
    given, saw, seconds, _ = tries(fault, f"> {SET}$")
    assert isinstance(given, ConnectionLost)
    assert (saw, seconds) == (seen, 0)


def test_an_answer_that_comes_twice_counts_once() -> None:
    given, seen, _, _ = tries(Fault.TWICE, f"< {SET}_reply")
    assert (type(given), seen) == (m.SwInterfaceSetFlagsReply, 1)
    assert tries(Fault.TWICE, f"> {SET}$")[1] == 2


def test_a_truncated_answer_ends_the_connection() -> None:
    assert isinstance(tries(Fault.TRUNCATE, f"< {SET}_reply")[0], ConnectionLost)


def test_a_slow_message_holds_up_those_behind_it_and_the_order_stays() -> None:
    async def main() -> None:
        faults, vpp = Faults(), ScriptedVpp()
        connection = await Connection.open(through(faults, vpp.connect))
        faults.plan(Fault.SLOW, f"> {SET}$", seconds=2)
        faults.plan(Fault.SLOW, f"> {SET}$", seconds=3)
        faults.plan(Fault.SLOW, f"< {SET}_reply", nth=3, seconds=1)
        loop = asyncio.get_running_loop()
        began, ended = loop.time(), []
        async def one(index: int) -> None:
            await connection.request(m.SwInterfaceSetFlags(sw_if_index=index))
            ended.append((index, round(loop.time() - began)))

        await asyncio.gather(*map(one, range(4)))
        assert ended == [(0, 2), (1, 5), (2, 6), (3, 6)]
        seen = [each.sw_if_index for each in vpp.received if isinstance(each, m.SwInterfaceSetFlags)]
        assert seen == [0, 1, 2, 3]
        connection.close()

    run_simulated(main())


def test_a_process_can_be_ended_at_a_message() -> None:
    called: list[int] = []
    for fault, seen in ((Fault.CALL, 0), (Fault.CALL_AFTER, 1)):
        given, saw, _, _ = tries(fault, f"> {SET}$", call=lambda: called.append(1))
        assert isinstance(given, ConnectionLost)
        assert saw == seen
    assert called == [1, 1]


@pytest.mark.parametrize("point", ["> sockclnt_create", "< sockclnt_create_reply", "< show_version_reply"])
@pytest.mark.parametrize("fault", [Fault.LOSE, Fault.TRUNCATE, Fault.CUT])
def test_a_client_connects_again_after_a_fault_of_the_hand_shake(point: str, fault: Fault) -> None:
    async def main() -> None:
        faults, vpp = Faults(), ScriptedVpp()
        faults.plan(Fault.CUT if point.startswith(">") and fault is Fault.TRUNCATE else fault, point)
        async with VppClient(through(faults, vpp.connect)) as client:
            connection = await client.wait_connected()
            assert (await connection.request(m.ShowVersion())).version
        assert len(faults.struck) == 1
        assert len(vpp.sessions) == 2

    run_simulated(main())


def test_an_answer_that_is_lost_while_vpp_is_read_does_not_end_the_reading() -> None:
    async def main() -> None:
        faults, vpp = Faults(), Vpp()
        node = Node(in_memory(lambda: ApiProtocol(vpp, set())), Ledger.open(None))
        descriptors = node.scheduler.descriptors
        descriptors.update({kind: faults.around(each) for kind, each in descriptors.items()})
        faults.plan(Fault.LOSE, "dump vpp/tag", times=2)
        await node.agent.start()
        await node.want(*pods(1))
        await node.applied(pods(1), seconds=60)
        assert len(faults.struck) == 2
        await node.agent.stop()

    run_simulated(main())


async def another(client: VppClient, former: Connection) -> Connection:
    while (now := await client.wait_connected()) is former:
        await asyncio.sleep(0.01)
    return now


@pytest.mark.realvpp
async def test_faults_in_front_of_a_real_vpp() -> None:
    async with real_vpp() as vpp:
        faults = Faults()
        async with VppClient(through(faults, unix_socket(vpp.api_socket))) as client:
            connection = await client.wait_connected()
            first = client.incarnation
            faults.plan(Fault.CUT_AFTER, "> create_loopback")
            with pytest.raises(ConnectionLost):
                await connection.request(m.CreateLoopback())
            connection = await another(client, connection)
            assert client.incarnation == first
            assert "loop0" in {each.interface_name for each in await connection.dump(m.SwInterfaceDump())}
            faults.plan(Fault.CUT, "> create_loopback")
            with pytest.raises(ConnectionLost):
                await connection.request(m.CreateLoopback())
            connection = await another(client, connection)
            assert "loop1" not in {each.interface_name for each in await connection.dump(m.SwInterfaceDump())}
            faults.plan(Fault.REFUSE, "> create_loopback", retval=-11)
            with pytest.raises(VppError, match="-11"):
                await connection.request(m.CreateLoopback())
