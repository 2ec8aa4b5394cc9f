# SPDX-License-Identifier: Apache-2.0
"""The connection against a scripted peer in this process, under a simulated clock."""

import asyncio
import pickle
from typing import Any

import pytest

from contivpp_vpp import messages
from contivpp_vpp.connection import Connection, ConnectionSettings
from contivpp_vpp.dialogue import Dialogue
from contivpp_vpp.errors import ConnectionLost, MissingMessages, ProtocolError, VppError
from contivpp_vpp.incarnation import StartSource
from contivpp_vpp.scripted import ScriptedVpp, Session
from contivpp_vpp.transports import in_memory, unix_socket
from contivpp_vpp.wire.errors import InvalidMessage
from contivpp_vpp.wire.framing import FrameReader, header


async def open_to(vpp: ScriptedVpp, **settings: Any) -> Connection:
    return await Connection.open(vpp.connect, settings=ConnectionSettings(**settings))


def details(count: int) -> list[messages.SwInterfaceDetails]:
    return [messages.SwInterfaceDetails(sw_if_index=i, interface_name=f"loop{i}") for i in range(count)]


def test_hand_shake_learns_version_and_incarnation(simulated):
    async def scenario():
        connection = await open_to(ScriptedVpp(pid=42, uptime=30))
        assert connection.version == "26.06-scripted"
        assert connection.incarnation.pid == 42
        assert connection.incarnation.source is StartSource.UPTIME
        assert connection.incarnation.start == pytest.approx(-30, abs=0.1)
        connection.close()

    simulated(scenario())


def test_requests_of_one_turn_are_one_write_and_answers_find_their_requests(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.SwInterfaceGetTable, lambda r: messages.SwInterfaceGetTableReply(vrf_id=r.sw_if_index * 2))
        connection = await open_to(vpp)
        chunks: list[int] = []
        session = vpp.sessions[0]
        received = session.data_received
        session.data_received = lambda data: (chunks.append(len(data)), received(data))[1]  # type: ignore[method-assign]
        asked = [connection.request(messages.SwInterfaceGetTable(sw_if_index=i)) for i in range(100)]
        replies = await asyncio.gather(*asked)
        assert [reply.vrf_id for reply in replies] == [2 * i for i in range(100)]
        assert len(chunks) == 1
        assert connection.statistics["sw_interface_get_table"].count == 100
        connection.close()

    simulated(scenario())


def test_refusal_says_what_and_why(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.SwInterfaceSetTable, lambda _: messages.SwInterfaceSetTableReply(retval=-114))
        connection = await open_to(vpp)
        reason = r"sw_interface_set_table: ADDRESS_FOUND_FOR_INTERFACE \(-114\); remove"
        with pytest.raises(VppError, match=reason) as caught:
            await connection.request(messages.SwInterfaceSetTable(sw_if_index=1))
        assert (caught.value.retval, caught.value.message) == (-114, "sw_interface_set_table")
        assert connection.statistics["sw_interface_set_table"].errors == 1
        connection.close()

    simulated(scenario())


def test_an_invalid_message_hurts_nobody_else(simulated):
    async def scenario():
        connection = await open_to(ScriptedVpp())
        with pytest.raises(InvalidMessage):
            await connection.request(messages.AfPacketDelete(host_if_name="x" * 70))
        await connection.request(messages.AfPacketDelete(host_if_name="x"))
        connection.close()

    simulated(scenario())


@pytest.mark.parametrize("size", [1, 7, 16, 33])
def test_frames_may_come_in_any_pieces(size: int):
    frames = [header(n) + bytes([n % 256]) * n for n in (2, 5, 40, 300)]
    stream, reader = b"".join(frames), FrameReader()
    found = [body for i in range(0, len(stream), size) for body in reader.feed(stream[i : i + size])]
    assert found == [frame[16:] for frame in frames]


def test_dump_collects_and_stream_yields(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.SwInterfaceDump, lambda _: details(5))
        connection = await open_to(vpp)
        found = await connection.dump(messages.SwInterfaceDump())
        assert [one.sw_if_index for one in found] == list(range(5))
        assert [one async for one in connection.stream(messages.SwInterfaceDump())] == found
        assert connection.statistics["sw_interface_dump"].count == 2
        connection.close()

    simulated(scenario())


def test_a_stream_left_early_does_not_block_the_next_dump(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.SwInterfaceDump, lambda _: details(5))
        connection = await open_to(vpp)
        stream = connection.stream(messages.SwInterfaceDump())
        assert (await anext(stream)).sw_if_index == 0
        await stream.aclose()  # type: ignore[attr-defined]
        assert len(await connection.dump(messages.SwInterfaceDump())) == 5
        connection.close()

    simulated(scenario())


def test_events_reach_subscribers_until_they_leave_also_in_a_storm(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp)
        seen: list[int] = []

        def broken(_: object) -> None:
            raise RuntimeError("a bug of one subscriber")

        connection.subscribe(messages.SwInterfaceEvent, broken)
        leave = connection.subscribe(messages.SwInterfaceEvent, lambda event: seen.append(event.sw_if_index))
        session = vpp.sessions[0]
        for index in range(5000):
            session.send(messages.SwInterfaceEvent(sw_if_index=index))
        await connection.request(messages.ControlPing())
        assert seen == list(range(5000))
        leave()
        session.send(messages.SwInterfaceEvent())
        await connection.request(messages.ControlPing())
        assert len(seen) == 5000
        connection.close()

    simulated(scenario())


def test_keepalive_is_answered(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp)
        vpp.sessions[0].send(messages.MemclntKeepalive(), 99)
        await asyncio.sleep(0.1)
        assert vpp.received[-1] == messages.MemclntKeepaliveReply()
        connection.close()

    simulated(scenario())


def test_late_and_duplicate_replies_are_counted_and_ignored(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        twice = messages.CreateLoopbackReply(sw_if_index=3)
        vpp.on(messages.CreateLoopback, lambda _: [twice, twice])
        connection = await open_to(vpp)
        assert await connection.request(messages.CreateLoopback()) == twice
        vpp.sessions[0].send(twice, 4711)
        vpp.sessions[0].transport.write(header(2) + b"\x7f\xff")
        await connection.request(messages.ControlPing())
        assert connection.counters.stray_replies == 2
        assert connection.counters.unknown_messages == 1
        connection.close()

    simulated(scenario())


def test_a_cancelled_request_is_forgotten(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp)
        vpp.on(messages.CreateLoopback, lambda _: None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.request(messages.CreateLoopback()), 1)
        vpp.sessions[0].send(messages.CreateLoopbackReply(), 4)
        await connection.request(messages.ControlPing())
        assert connection.alive
        connection.close()

    simulated(scenario())


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        pytest.param(header(1 << 30), "does not speak", id="huge frame"),
        pytest.param(header(0), "does not speak", id="empty frame"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak", id="another protocol"),
    ],
)
def test_nonsense_ends_the_connection_with_a_reason(simulated, frame: bytes, reason: str):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.CreateLoopback, lambda _: None)
        connection = await open_to(vpp)
        waiting = asyncio.ensure_future(connection.request(messages.CreateLoopback()))
        await asyncio.sleep(0.1)
        vpp.sessions[0].transport.write(frame)
        with pytest.raises(ProtocolError, match=reason):
            await waiting
        with pytest.raises(ProtocolError):
            await connection.request(messages.ControlPing())

    simulated(scenario())


def test_the_reply_of_another_request_ends_the_connection(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.CreateLoopback, lambda _: messages.DeleteLoopbackReply())
        connection = await open_to(vpp)
        with pytest.raises(ProtocolError, match="delete_loopback_reply as the answer to create_loopback"):
            await connection.request(messages.CreateLoopback())

    simulated(scenario())


def test_loss_in_the_middle_fails_all_who_wait(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp, unanswered=3)
        vpp.on(messages.ControlPing, lambda _: None)
        vpp.on(messages.CreateLoopback, lambda _: None)
        waiting = [asyncio.ensure_future(connection.request(messages.CreateLoopback())) for _ in range(5)]
        waiting.append(asyncio.ensure_future(connection.dump(messages.SwInterfaceDump())))  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        vpp.sessions[0].transport.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 6
        assert "VPP closed" in str(await connection.lost())

    simulated(scenario())


def test_silence_is_a_loss_after_the_time_out(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.CreateLoopback, lambda _: None)
        connection = await open_to(vpp, timeout=8)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionLost, match="did not answer create_loopback"):
            await connection.request(messages.CreateLoopback())
        assert 8 <= asyncio.get_running_loop().time() - began <= 10

    simulated(scenario())


def test_slow_answers_one_after_the_other_are_no_loss(simulated):
    """A hundred packet rings at a quarter of a second each take longer than the time-out."""

    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.AfPacketCreateV3, lambda _: None)
        connection = await open_to(vpp, timeout=2)
        waiting = [asyncio.ensure_future(connection.request(messages.AfPacketCreateV3())) for _ in range(100)]
        first = 4  # three requests belong to the hand-shake
        for context in range(first, first + 100):
            await asyncio.sleep(0.25)
            vpp.sessions[0].send(messages.AfPacketCreateV3Reply(sw_if_index=context), context)
        replies = await asyncio.gather(*waiting)
        assert [reply.sw_if_index for reply in replies] == list(range(first, first + 100))
        connection.close()

    simulated(scenario())


def test_a_silent_hand_shake_times_out(simulated):
    async def scenario():
        with pytest.raises(ConnectionLost, match="did not shake hands in 3 s"):
            await Connection.open(in_memory(asyncio.Protocol), settings=ConnectionSettings(timeout=3))

    simulated(scenario())


def test_unanswered_requests_are_bounded(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        held: list[int] = []
        connection = await open_to(vpp, unanswered=10)
        vpp.on(messages.CreateLoopback, lambda _: (held.append(1), messages.CreateLoopbackReply())[1])
        waiting = [asyncio.ensure_future(connection.request(messages.CreateLoopback())) for _ in range(95)]
        waiting[15].cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(outcome, messages.CreateLoopbackReply) for outcome in outcomes) == 94
        answered: list[Any] = []
        for _ in range(25):
            connection.post(messages.CreateLoopback(), lambda reply, error: answered.append((reply, error)))
        assert connection.full
        await connection.capacity()
        await connection.request(messages.ControlPing())
        assert answered == [(messages.CreateLoopbackReply(), None)] * 25
        connection.close()

    simulated(scenario())


def test_whoever_gets_its_turn_and_does_not_use_it_passes_it_on(simulated):
    async def scenario():
        connection = await open_to(ScriptedVpp(), unanswered=2)
        bad = messages.AfPacketDelete(host_if_name="x" * 70)
        waiting: list[Any] = [asyncio.ensure_future(connection.request(bad)) for _ in range(6)]
        first = [asyncio.ensure_future(connection.request(messages.ControlPing())) for _ in range(2)]
        last = [asyncio.ensure_future(connection.request(messages.ControlPing())) for _ in range(6)]
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*first, *waiting, *last, return_exceptions=True)
        assert sum(isinstance(outcome, InvalidMessage) for outcome in outcomes) == 6
        connection.close()

    simulated(scenario())


def test_what_vpp_lacks_is_named_with_its_version(simulated):
    async def scenario():
        connection = await open_to(ScriptedVpp(without=(messages.AfPacketCreateV3, messages.IpRouteAddDelV2Reply)))
        with pytest.raises(MissingMessages, match=r"VPP 26\.06-scripted lacks af_packet_create_v3") as caught:
            connection.require([messages.AfPacketCreateV3, messages.IpRouteAddDelV2, messages.IpTableDump])
        assert len(caught.value.missing) == 2
        with pytest.raises(MissingMessages):
            await connection.request(messages.AfPacketCreateV3())
        await connection.request(messages.ControlPing())
        connection.close()

    simulated(scenario())


class _Narrow(asyncio.Transport):
    """A transport that takes one write, and then wants a pause."""

    def __init__(self, protocol: Connection, inner: asyncio.Transport) -> None:
        super().__init__()
        self.protocol, self.inner = protocol, inner
        self.writes = 0

    def write(self, data: Any) -> None:
        self.writes += 1
        self.inner.write(data)
        self.protocol.pause_writing()

    def abort(self) -> None:
        self.inner.abort()


def test_nothing_is_written_while_the_socket_is_full(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp)
        assert connection._transport is not None
        narrow = connection._transport = _Narrow(connection, connection._transport)
        waiting = [asyncio.ensure_future(connection.request(messages.ControlPing()))]
        await asyncio.sleep(0.1)
        waiting += [asyncio.ensure_future(connection.request(messages.ControlPing())) for _ in range(1000)]
        await asyncio.sleep(0.1)
        assert narrow.writes == 1
        assert len([one for one in waiting if one.done()]) == 1
        while not all(one.done() for one in waiting):
            connection.resume_writing()
            await asyncio.sleep(0.1)
        assert narrow.writes <= 3
        connection.close()

    simulated(scenario())


def test_bytes_in_flight_are_bounded(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        connection = await open_to(vpp, bytes_in_flight=1000)
        vpp.on(messages.CliInband, lambda _: None)
        waiting = [asyncio.ensure_future(connection.request(messages.CliInband(cmd="x" * 400))) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert len([m for m in vpp.received if isinstance(m, messages.CliInband) and m.cmd[0] == "x"]) == 3
        connection.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ConnectionLost}

    simulated(scenario())


def test_contexts_start_again_and_pass_over_those_in_use():
    vpp = ScriptedVpp()
    dialogue = Dialogue(clock=lambda: 0.0, table={entry.name: entry.index for entry in vpp.table()})
    contexts: list[int] = []
    dialogue.request(messages.ControlPing(), lambda reply, error: None)
    dialogue._context = 0xFFFFFFFE
    for _ in range(2):
        dialogue.take()
        dialogue.request(messages.ControlPing(), lambda reply, error: None)
        contexts.append(int.from_bytes(dialogue.take()[22:26], "big"))
    assert contexts == [0xFFFFFFFF, 2]


async def test_over_a_unix_socket(tmp_path):
    vpp = ScriptedVpp(pid=77)
    path = str(tmp_path / "api.sock")
    server = await asyncio.get_running_loop().create_unix_server(lambda: Session(vpp), path)
    first = await Connection.open(unix_socket(path))
    second = await Connection.open(unix_socket(path))
    assert first.incarnation.source is StartSource.PROCESS
    assert first.incarnation.same(second.incarnation)
    vpp.on(messages.CliInband, lambda request: messages.CliInbandReply(reply=request.cmd))
    long = "long " * 200_000
    assert (await first.request(messages.CliInband(cmd=long))).reply == long
    first.close()
    second.close()
    server.close()


def test_errors_survive_a_copy():
    error = pickle.loads(pickle.dumps(VppError(-170, "nat44_ed_plugin_enable_disable")))
    assert (error.name, error.retval) == ("FEATURE_ALREADY_ENABLED", -170)
    assert VppError(-9999, "x").name == "UNKNOWN_9999"


def test_a_dump_with_a_cursor_is_continued(simulated):
    async def main() -> None:
        vpp = ScriptedVpp()
        details, reply = messages.Nat44EdOutputInterfaceDetails, messages.Nat44EdOutputInterfaceGetReply
        parts = {
            0: [details(sw_if_index=1), details(sw_if_index=2), reply(retval=-165, cursor=5)],
            5: [details(sw_if_index=3), reply(retval=-165, cursor=9)],
            9: [details(sw_if_index=4), reply()],
        }
        vpp.on(messages.Nat44EdOutputInterfaceGet, lambda request: parts[request.cursor])
        connection = await Connection.open(vpp.connect)
        found = await connection.dump(messages.Nat44EdOutputInterfaceGet())
        assert [each.sw_if_index for each in found] == [1, 2, 3, 4]
        assert [each.sw_if_index async for each in connection.stream(messages.Nat44EdOutputInterfaceGet(cursor=5))] == [
            3,
            4,
        ]
        assert connection.counters.stray_replies == 0
        connection.close()

    simulated(main())


def test_a_return_value_at_the_end_of_a_reply_is_read_there(simulated):
    async def main() -> None:
        vpp = ScriptedVpp()
        connection = await Connection.open(vpp.connect)
        vpp.on(messages.AclAddReplace, lambda _: messages.AclAddReplaceReply(acl_index=3, retval=-6))
        with pytest.raises(VppError, match="NO_SUCH_ENTRY"):
            await connection.request(messages.AclAddReplace(acl_index=3))
        vpp.on(messages.AclAddReplace, lambda _: messages.AclAddReplaceReply(acl_index=0xFFFFFFFE))
        assert (await connection.request(messages.AclAddReplace())).acl_index == 0xFFFFFFFE
        connection.close()

    simulated(main())
