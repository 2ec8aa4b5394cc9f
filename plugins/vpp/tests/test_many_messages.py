# SPDX-License-Identifier: Apache-2.0
"""Thousands of messages over one connection: order, room, and what is told of failures."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from contivpp_vpp import messages
from contivpp_vpp.access import VppAccess
from contivpp_vpp.connection import Connection, ConnectionSettings
from contivpp_vpp.descriptors.nat44_mapping import Nat44MappingDescriptor
from contivpp_vpp.errors import ConnectionLost, MissingMessages, VppError
from contivpp_vpp.items import Nat44Mapping, NatBackend
from contivpp_vpp.once import AskedOnce
from contivpp_vpp.scripted import ScriptedVpp
from contivpp_vpp.wire.base import Request
from contivpp_vpp.wire.errors import InvalidMessage

BAD = messages.AfPacketDelete(host_if_name="x" * 70)


async def open_to(vpp: ScriptedVpp, **settings: Any) -> Connection:
    return await Connection.open(vpp.connect, settings=ConnectionSettings(**settings))


def asked(index: int) -> messages.SwInterfaceGetTable:
    return messages.SwInterfaceGetTable(sw_if_index=index)


def received(vpp: ScriptedVpp) -> list[int]:
    return [each.sw_if_index for each in vpp.received if isinstance(each, messages.SwInterfaceGetTable)]


class Refusals(list[tuple[Request[Any], Exception]]):
    def __call__(self, request: Request[Any], error: Exception) -> None:
        self.append((request, error))


def test_of_many_only_failures_are_told_with_their_request(simulated):
    async def scenario():
        vpp = ScriptedVpp(without=(messages.AfPacketCreateV3,))
        vpp.on(
            messages.SwInterfaceGetTable,
            lambda r: messages.SwInterfaceGetTableReply(retval=-2 if r.sw_if_index % 10 == 0 else 0),
        )
        connection = await open_to(vpp, unanswered=16)
        refused = Refusals()
        lacking = messages.AfPacketCreateV3(host_if_name="eth0")
        await connection.send_all([*map(asked, range(100)), BAD, lacking, asked(101)], refused)
        assert received(vpp) == [*range(100), 101]
        told = {id(request): type(error) for request, error in refused}
        assert told[id(BAD)] is InvalidMessage
        assert told[id(lacking)] is MissingMessages
        assert [r.sw_if_index for r, e in refused if isinstance(e, VppError)] == list(range(0, 100, 10))
        assert connection.statistics["sw_interface_get_table"].count == 101
        assert connection.statistics["sw_interface_get_table"].errors == 10
        connection.close()

    simulated(scenario())


def test_messages_are_made_only_when_there_is_room_for_them(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp, unanswered=8)
        vpp.on(messages.SwInterfaceGetTable, lambda _: None)  # silence
        made: list[int] = []

        def make() -> Iterator[messages.SwInterfaceGetTable]:
            for index in range(50):
                made.append(index)
                yield asked(index)

        refused = Refusals()
        sending = asyncio.ensure_future(connection.send_all(make(), refused))
        await asyncio.sleep(1)
        assert len(made) == 8
        assert received(vpp) == list(range(8))
        connection.close("enough")
        with pytest.raises(ConnectionLost, match="enough"):
            await sending
        assert [request.sw_if_index for request, _ in refused] == list(range(8))
        assert len(made) == 8

    simulated(scenario())


def test_losing_the_connection_after_the_last_message_is_told_too(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp)
        vpp.on(messages.SwInterfaceGetTable, lambda _: None)
        refused = Refusals()
        sending = asyncio.ensure_future(connection.send_all(map(asked, range(5)), refused))
        await asyncio.sleep(1)
        vpp.sessions[-1].transport.close()
        with pytest.raises(ConnectionLost):
            await sending
        assert len(refused) == 5

    simulated(scenario())


def test_whoever_waits_is_let_in_when_half_of_the_room_is_free(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp, unanswered=8)
        vpp.on(messages.SwInterfaceGetTable, lambda _: None)
        session = vpp.sessions[-1]
        heard: list[tuple[int | None, Exception | None]] = []
        for index in range(14):
            connection.post(asked(index), lambda reply, error: heard.append((reply and reply.vrf_id, error)))
        await asyncio.sleep(1)
        assert received(vpp) == list(range(8))
        contexts = list(connection._dialogue._pending)
        for number, context in enumerate(contexts):
            session.send(messages.SwInterfaceGetTableReply(vrf_id=number), context)
            await asyncio.sleep(1)
            if number == 2:
                assert received(vpp) == list(range(8))
            if number == 3:
                assert received(vpp) == list(range(12))
        assert received(vpp) == list(range(14))
        connection.close("enough")
        assert [reply for reply, error in heard if error is None] == list(range(8))
        assert sum(isinstance(error, ConnectionLost) for _, error in heard) == 6
        assert len(heard) == 14

    simulated(scenario())


def test_what_was_posted_is_sent_in_its_order_and_told_of_its_own_failure(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp, unanswered=4)
        heard: list[tuple[str, Exception | None]] = []

        def hear(name: str) -> Any:
            return lambda reply, error: heard.append((name, error))

        connection.post(BAD, hear("bad, at once"))
        assert not heard
        for index in range(6):
            connection.post(asked(index), hear(str(index)))
        connection.post(BAD, hear("bad, later"))
        last = asyncio.ensure_future(connection.request(asked(6)))
        gone = asyncio.ensure_future(connection.request(asked(99)))
        await asyncio.sleep(0)
        gone.cancel()
        await last
        assert received(vpp) == list(range(7))
        assert [name for name, error in heard if error is None] == ["0", "1", "2", "3", "4", "5"]
        assert [name for name, error in heard if isinstance(error, InvalidMessage)] == ["bad, at once", "bad, later"]
        connection.close()
        with pytest.raises(ConnectionLost):
            connection.post(asked(1), hear("lost"))

    simulated(scenario())


def test_closing_in_an_answer_tells_everybody_once(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp)
        heard: list[str] = []

        def first(reply: object, error: Exception | None) -> None:
            heard.append("first")
            connection.close("by the first")

        connection.post(asked(0), first)
        for _ in range(5):
            connection.post(asked(1), lambda reply, error: heard.append(type(error).__name__))
        await asyncio.sleep(1)
        assert heard == ["first", *["ConnectionLost"] * 5]

    simulated(scenario())


def test_nothing_more_is_made_while_vpp_does_not_read(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp, unanswered=100_000)
        connection.pause_writing()
        made: list[int] = []

        def make() -> Iterator[messages.SwInterfaceTagAddDel]:
            for index in range(10_000):
                made.append(index)
                yield messages.SwInterfaceTagAddDel(sw_if_index=index, tag="x")

        refused = Refusals()
        sending = asyncio.ensure_future(connection.send_all(make(), refused))
        await asyncio.sleep(1)
        assert 100 < len(made) < 2000  # 64 KiB of them
        assert connection._dialogue.outgoing_size < 70_000
        connection.resume_writing()
        await sending
        assert len(made) == 10_000
        assert not refused

    simulated(scenario())


def test_thousands_of_mappings_ask_once_for_the_workers(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        access = VppAccess()
        access.client = connection = await open_to(vpp)
        descriptor = Nat44MappingDescriptor(access)
        backends = (NatBackend(address="10.1.1.1", port=80),)
        items = [
            Nat44Mapping(protocol="tcp", address="10.96.0.1", port=port, backends=backends) for port in range(1, 2001)
        ]
        await asyncio.gather(*(descriptor.create(item, {}) for item in items))
        kinds = [type(message) for message in vpp.received]
        assert kinds.count(messages.NatWorkerDump) == 1
        assert kinds.count(messages.Nat44AddDelLbStaticMapping) == 2000
        connection.close()

    simulated(scenario())


def test_what_is_asked_once_survives_failures_and_is_asked_of_each_vpp(simulated):
    async def scenario():
        access = VppAccess()
        access.client = first = await open_to(ScriptedVpp())
        outcomes: list[Any] = [ValueError("once"), asyncio.CancelledError(), 7, 8]
        asked: list[Any] = []

        async def ask() -> int:
            outcome = outcomes.pop(0)
            asked.append(outcome)
            await asyncio.sleep(1)
            if isinstance(outcome, BaseException):
                raise outcome
            return int(outcome)

        once = AskedOnce(access, ask)
        assert once.known() is None
        answers = await asyncio.gather(*(asyncio.ensure_future(once.get()) for _ in range(6)), return_exceptions=True)
        assert [type(each).__name__ for each in answers[:2]] == ["ValueError", "CancelledError"]
        assert answers[2:] == [7, 7, 7, 7]
        assert once.known() == 7
        access.client = second = await open_to(ScriptedVpp())
        assert once.known() is None
        assert await once.get() == 8
        access.client = None
        assert once.known() is None
        assert len(asked) == 4
        first.close()
        second.close()

    simulated(scenario())
