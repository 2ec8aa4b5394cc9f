# SPDX-License-Identifier: Apache-2.0
"""One connection to VPP, under asyncio.

    connection = await Connection.open(unix_socket("/run/vpp/api.sock"))
    reply = await connection.request(messages.CreateLoopback())

Requests are pipelined: whatever is asked in one turn of the loop is written at once. `request` and `post` wait for
room in their order; `send_all` takes from its iterable what there is room for. Once there was none, nobody gets in
before half is free: else each answer would bring one message, in a write of its own. When VPP answers nothing for
`timeout` seconds although something waits, or sends nonsense, the connection is lost: all who wait get ConnectionLost,
nobody hangs. To connect again is the work of `client`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from contivpp_vpp import messages
from contivpp_vpp.answers import Answered, Batch, nothing, settle
from contivpp_vpp.dialogue import Counters, Dialogue, MessageStatistics
from contivpp_vpp.errors import ConnectionLost, MissingMessages, ProtocolError, VppError
from contivpp_vpp.incarnation import Incarnation, from_process, from_uptime
from contivpp_vpp.transports import Connect
from contivpp_vpp.wire.base import Details, Dump, Event, Message, Reply, Request
from contivpp_vpp.wire.errors import InvalidMessage

ReplyType = TypeVar("ReplyType", bound=Reply)
_Waiting = tuple[Message | None, Answered, asyncio.Future[Any] | None]
"""Who waits for room: a message with its callback and the future of its reply, or a turn to send."""
DetailsType = TypeVar("DetailsType", bound=Details)
EventType = TypeVar("EventType", bound=Event)

_ENOUGH = 64 << 10
"""So many bytes are written at once, without waiting for the end of the turn: VPP begins while more is made."""


@dataclass(frozen=True)
class ConnectionSettings:
    """Limits. `dumps` is how many run at once: VPP answers a long one without looking at anything else."""

    timeout: float = 15.0
    unanswered: int = 1024
    bytes_in_flight: int = 4 << 20
    dumps: int = 1


class Connection(asyncio.Protocol):
    """A connection after its hand-shake; made by `open`."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._dialogue = Dialogue(clock=self._loop.time)
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Future[ConnectionLost] = self._loop.create_future()
        self._waiting: deque[_Waiting] = deque()
        self._dumps = asyncio.Semaphore(settings.dumps)
        self._flush_planned = False
        self._paused = False
        self._watch_handle: asyncio.TimerHandle | None = None
        self.version = ""
        self.incarnation: Incarnation

    @classmethod
    async def open(
        cls, connect: Connect, *, name: str = "contivpp", settings: ConnectionSettings | None = None
    ) -> Connection:
        """Connect and shake hands. Raises OSError or ConnectionLost."""
        connection = cls(settings or ConnectionSettings())
        try:
            async with asyncio.timeout(connection.settings.timeout):
                await connect(lambda: connection)
                await connection._hello(name)
        except TimeoutError:
            error = ConnectionLost(f"VPP did not shake hands in {connection.settings.timeout:g} s")
            connection._lose(error)
            raise error from None
        except BaseException:
            connection._lose(ConnectionLost("the hand-shake failed"))
            raise
        connection._watch(connection._oldest(), 0.0, 0)
        return connection

    async def _hello(self, name: str) -> None:
        greeted: asyncio.Future[Any] = self._loop.create_future()
        self._dialogue.hello(name, settle(greeted))
        self._plan_flush()
        await greeted
        self.version = self._dialogue.version = (await self.request(messages.ShowVersion())).version
        pid = (await self.request(messages.ControlPing())).vpe_pid
        assert self._transport is not None
        self.incarnation = from_process(self._transport, pid) or await self._by_uptime(pid)

    async def _by_uptime(self, pid: int) -> Incarnation:
        try:
            clock = (await self.request(messages.CliInband(cmd="show clock"))).reply
        except (VppError, MissingMessages):
            clock = ""
        return from_uptime(clock, self._loop.time(), pid)

    # What users call

    def require(self, wanted: Iterable[type[Message]]) -> None:
        """Raise MissingMessages, naming VPP's version, unless VPP has all of these as they are declared here."""
        self._dialogue.require(wanted)

    async def request(self, message: Request[ReplyType]) -> ReplyType:
        """Send, and wait for the reply. Raises VppError for a negative return value."""
        reply: asyncio.Future[ReplyType] = self._loop.create_future()
        self._post(message, settle(reply), reply)
        return await reply

    def post(self, message: Request[ReplyType], answered: Callable[[ReplyType | None, Exception | None], None]) -> None:
        """Send as soon as there is room; `answered(reply, error)` is called once, with one of them, and never at once.

        What waits is kept as it is, without an end: whoever makes messages by the thousand should use `send_all`.
        """
        try:
            self._post(message, answered, None)
        except (InvalidMessage, MissingMessages) as error:
            self._loop.call_soon(answered, None, error)

    async def send_all(
        self, requests: Iterable[Request[Any]], refused: Callable[[Request[Any], Exception], None]
    ) -> None:
        """Send many and wait for the last answer. `refused(request, error)` is called for each that fails.

        Requests are taken from the iterable as there is room for them; replies are not decoded. Raises the reason when
        the connection is lost: `refused` has then been called for all that were taken and have no answer.
        """
        ended: asyncio.Future[None] = self._loop.create_future()
        batch = Batch(refused, settle(ended))
        dialogue, each, more = self._dialogue, iter(requests), True
        while more:
            await self.capacity()
            room = self.settings.unanswered - dialogue.unanswered
            more = dialogue.send_batch(batch, each, room, _ENOUGH)
            self._plan_flush()
        batch.complete = True
        if batch.left:
            await ended
        self._check_alive()

    @property
    def full(self) -> bool:
        """Whether as many requests as allowed are without an answer, or VPP does not read as fast as we write."""
        dialogue, settings = self._dialogue, self.settings
        return (
            dialogue.unanswered >= settings.unanswered
            or dialogue.bytes_in_flight >= settings.bytes_in_flight
            or (self._paused and dialogue.outgoing_size >= _ENOUGH)
        )

    async def capacity(self) -> None:
        """Wait until there is room for a request; first come, first served."""
        self._check_alive()
        if not self.full and not self._waiting:
            return
        while True:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((None, nothing, turn))
            try:
                await turn
            finally:
                # Who leaves without sending (cancelled, or refused) must not keep the next from its turn.
                self._loop.call_soon(self._admit)
            self._check_alive()
            if not self.full:
                return

    async def dump(self, message: Dump[DetailsType]) -> list[DetailsType]:
        """All details."""
        found: list[DetailsType] = []
        ended: asyncio.Future[None] = self._loop.create_future()
        await self._begin(message, found.append, settle(ended))
        await ended
        return found

    async def stream(self, message: Dump[DetailsType]) -> AsyncIterator[DetailsType]:
        """Details as they come. VPP does not wait for a slow reader: what came is kept here."""
        found: deque[DetailsType] = deque()
        news = asyncio.Event()
        outcome: list[Exception | None] = []

        def details(one: DetailsType) -> None:
            found.append(one)
            news.set()

        def ended(_: Any, error: Exception | None) -> None:
            outcome.append(error)
            news.set()

        await self._begin(message, details, ended)
        while True:
            while found:
                yield found.popleft()
            if outcome:
                break
            news.clear()
            await news.wait()
        if outcome[0] is not None:
            raise outcome[0]

    async def _begin(
        self, message: Dump[DetailsType], details: Callable[[DetailsType], None], ended: Callable[[Any, Any], None]
    ) -> None:
        await self._dumps.acquire()

        def finish(reply: Any, error: Exception | None) -> None:
            self._dumps.release()
            ended(reply, error)

        try:
            await self.capacity()
            self._dialogue.dump(message, details, finish)
        except BaseException:
            self._dumps.release()
            raise
        self._plan_flush()

    def subscribe(self, event: type[EventType], callback: Callable[[EventType], None]) -> Callable[[], None]:
        """Call back for each event of the class, as long as this connection lives; the result ends it.

        That VPP sends such events must be asked for by a request of its own (`want_interface_events` …).
        """
        return self._dialogue.subscribe(event, callback)

    @property
    def table(self) -> Mapping[str, int]:
        """The messages that this VPP has: name and CRC, with their numbers."""
        return self._dialogue.table

    @property
    def statistics(self) -> Mapping[str, MessageStatistics]:
        """By the name of the request."""
        return self._dialogue.statistics

    @property
    def unanswered(self) -> int:
        """How many requests wait for an answer."""
        return self._dialogue.unanswered

    @property
    def counters(self) -> Counters:
        """What came without having been asked for."""
        return self._dialogue.counters

    @property
    def alive(self) -> bool:
        return not self._lost.done()

    async def lost(self) -> ConnectionLost:
        """Wait for the end of the connection; the reason."""
        return await asyncio.shield(self._lost)

    def close(self, reason: str = "closed") -> None:
        """End the connection; VPP cleans up what belongs to the client."""
        self._lose(ConnectionLost(reason))

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._lost.done():
            return
        try:
            self._dialogue.receive(data)
        except ProtocolError as error:
            self._lose(error)
            return
        if self._dialogue.outgoing:
            self._plan_flush()
        if self._waiting:
            self._admit()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(ConnectionLost(f"the connection to VPP broke: {exc}" if exc else "VPP closed the connection"))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._plan_flush()
        if self._waiting:
            self._admit()

    # Inside

    def _check_alive(self) -> None:
        if self._lost.done():
            reason = self._lost.result()
            raise type(reason)(*reason.args)

    def _plan_flush(self) -> None:
        """Write once in a turn of the loop; in between only when there is enough to keep VPP busy."""
        if self._paused:
            return
        if self._dialogue.outgoing_size >= _ENOUGH:
            self._flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._planned_flush)

    def _planned_flush(self) -> None:
        self._flush_planned = False
        self._flush()

    def _flush(self) -> None:
        if self._transport is not None and not self._paused and self._dialogue.outgoing:
            self._transport.write(self._dialogue.take())

    def _post(self, message: Message, answered: Answered, reply: asyncio.Future[Any] | None) -> None:
        self._check_alive()
        if self.full or self._waiting:
            self._waiting.append((message, answered, reply))
        else:
            self._dialogue.request(message, answered)
            self._plan_flush()

    def _admit(self) -> None:
        """Let in those who wait, in their order, once half of the room is free, and until there is none."""
        dialogue, settings = self._dialogue, self.settings
        if 2 * dialogue.unanswered > settings.unanswered or 2 * dialogue.bytes_in_flight > settings.bytes_in_flight:
            return
        granted = 0
        while self._waiting and not self.full and dialogue.unanswered + granted < settings.unanswered:
            message, answered, turn = self._waiting.popleft()
            if turn is not None and turn.done():  # cancelled meanwhile
                continue
            if message is not None:
                self._send(message, answered)
            elif turn is not None:
                turn.set_result(None)
                granted += 1
        self._plan_flush()

    def _send(self, message: Message, answered: Answered) -> None:
        """Send for somebody who waited, and who learns of a message that cannot be sent by its callback."""
        try:
            self._dialogue.request(message, answered)
        except Exception as error:
            self._loop.call_soon(answered, None, error)

    def _oldest(self) -> int:
        oldest = self._dialogue.oldest()
        return oldest[0] if oldest else 0

    def _watch(self, context: int, waited: float, progress: int) -> None:
        """Lose the connection when one request is the oldest for too long, and no details come either.

        VPP may need long for many requests (a packet ring takes it a quarter of a second), so it is not the age
        of a request that counts, but that nothing moves.
        """
        step = self.settings.timeout / 8
        oldest = self._dialogue.oldest()
        dumping = self._dialogue.dumping and progress != self._dialogue.progress
        if oldest is None or oldest[0] != context or dumping:
            waited = 0.0
        if oldest is not None and waited >= self.settings.timeout:
            self._lose(ConnectionLost(f"VPP did not answer {oldest[1]} for {waited:g} s"))
            return
        self._watch_handle = self._loop.call_later(
            step, self._watch, oldest[0] if oldest else 0, waited + step, self._dialogue.progress
        )

    def _lose(self, error: ConnectionLost) -> None:
        if self._lost.done():
            return
        self._lost.set_result(error)
        if self._watch_handle is not None:
            self._watch_handle.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._dialogue.fail(error)
        while self._waiting:
            message, answered, turn = self._waiting.popleft()
            if message is not None:
                answered(None, error)
            elif turn is not None and not turn.done():
                turn.set_result(None)
