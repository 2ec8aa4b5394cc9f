# SPDX-License-Identifier: Apache-2.0
"""The dialogue with VPP, without any input or output: bytes in, bytes out, callbacks.

Requests are numbered by a context, which VPP repeats in the answer; any number may be under way. A dump has
no end mark of its own: a control_ping behind it does that, as VPP answers in order. The asyncio side,
time-outs and back-pressure limits are in `connection`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from msgspec.structs import replace

from contivpp_vpp import messages
from contivpp_vpp.answers import Answered, Batch, call
from contivpp_vpp.errors import ConnectionLost, MissingMessages, ProtocolError, VppError
from contivpp_vpp.wire import base
from contivpp_vpp.wire.codec import codec
from contivpp_vpp.wire.errors import InvalidMessage, MalformedMessage
from contivpp_vpp.wire.framing import FrameReader, header
from contivpp_vpp.wire.parser import declarations
from contivpp_vpp.wire.schema import Kind, class_name

_NUMBER = struct.Struct(">H")
_NUMBER_CONTEXT = struct.Struct(">HI")
_HELLO, _HELLO_REPLY = 15, 16  # the two numbers that are the same in every VPP
_LAST_CONTEXT = 0xFFFFFFFF
_AGAIN = -165  # EAGAIN

_Pending = tuple["_Route", Answered | None, float, int, Batch | None, Any]
"""A request without an answer: its route and callback, when it was sent, its size; its batch, and itself."""


@dataclass(slots=True)
class MessageStatistics:
    """What became of the requests of one name; seconds."""

    count: int = 0
    errors: int = 0
    total_latency: float = 0.0
    max_latency: float = 0.0


class _Route:
    """What is the same for all requests of a class, looked up once."""

    __slots__ = ("answer", "answer_number", "decode", "encode", "least", "name", "number", "retval", "statistics")

    def __init__(self, message: type[base.Message], answer: type[base.Message], table: Mapping[str, int]) -> None:
        self.name = message.MESSAGE
        self.number = table[message.table_name()]
        self.encode = codec(message).encode_fast
        self.answer = answer
        self.answer_number = table[answer.table_name()]
        self.decode = codec(answer).decode
        self.retval = codec(answer).retval.unpack_from
        self.least = codec(answer).retval.size
        self.statistics = MessageStatistics()


def _count(statistics: MessageStatistics, latency: float, error: Exception | None, number: int = 1) -> None:
    statistics.count += number
    statistics.total_latency += latency * number
    statistics.max_latency = max(statistics.max_latency, latency)
    if error is not None:
        statistics.errors += 1


@dataclass(slots=True)
class _Dump:
    route: _Route
    details: Callable[[Any], None]
    rest: int | None = None  # where VPP wants to be asked for more


@dataclass(slots=True)
class Counters:
    """What came that nobody waited for."""

    stray_replies: int = 0
    unknown_messages: int = 0
    keepalives: int = 0
    events: int = 0


def answer_of(message: type[base.Message]) -> type[base.Message] | None:
    """The class of the reply or details; None for an event."""
    answer = getattr(message, "REPLY", None) or getattr(message, "DETAILS", None)
    return answer if isinstance(answer, type) else None


@dataclass(eq=False)
class Dialogue:
    """One connection's dialogue. `outgoing` is what must be written; the owner takes it."""

    clock: Callable[[], float]
    version: str = "of unknown version"
    table: dict[str, int] = field(default_factory=dict)
    client_index: int = 0
    outgoing: list[bytes] = field(default_factory=list)
    outgoing_size: int = 0
    statistics: dict[str, MessageStatistics] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    bytes_in_flight: int = 0
    progress: int = 0  # counts answers: the owner sees by it that VPP is alive

    def __post_init__(self) -> None:
        self._reader = FrameReader()
        self._context = 0
        self._pending: dict[int, _Pending] = {}
        self._dumps: dict[int, _Dump] = {}
        self._routes: dict[type[base.Message], _Route] = {}
        self._incoming: dict[int, type[base.Message]] = {}
        self._subscribers: dict[type[base.Event], list[Callable[[Any], None]]] = {}
        self._hello: Answered | None = None

    # Sending

    def hello(self, name: str, answered: Answered) -> None:
        """The hand-shake: VPP answers with its table of messages."""
        self._hello = answered
        self._write(codec(messages.SockclntCreate).encode(messages.SockclntCreate(name=name), number=_HELLO))

    def request(self, message: base.Message, answered: Answered) -> None:
        """Send a request; `answered(reply, error)` is called once."""
        route = self._routes.get(type(message)) or self._route(type(message))
        context = self._next_context()
        body = route.encode(message, route.number, self.client_index, context)
        self._write(body)
        size = len(body)
        self._pending[context] = (route, answered, self.clock(), size, None, None)
        self.bytes_in_flight += size

    def send_batch(self, batch: Batch, requests: Iterator[base.Message], most: int, enough: int) -> bool:
        """Send up to `most` requests of a batch, or `enough` bytes; tell whether there may be more.

        Their replies are not decoded. They count as sent when this began.
        """
        route: _Route | None = None
        kind: type[base.Message] | None = None
        pending, outgoing, client, now = self._pending, self.outgoing, self.client_index, self.clock()
        taken, dumps = 0, self._dumps
        for request in islice(requests, most):
            taken += 1
            try:
                if type(request) is not kind or route is None:
                    kind = type(request)
                    route = self._routes.get(kind) or self._route(kind)
                context = self._context + 1
                if context in pending or context in dumps or context > _LAST_CONTEXT:
                    context = self._next_context()
                body = route.encode(request, route.number, client, context)
            except (InvalidMessage, MissingMessages) as error:
                kind = None
                call(batch.refused, request, error)
                continue
            self._context = context
            size = len(body)
            outgoing += (header(size), body)
            pending[context] = (route, None, now, size, batch, request)
            batch.left += 1
            self.bytes_in_flight += size
            self.outgoing_size += size
            if self.outgoing_size >= enough:
                return True
        return taken == most

    def dump(self, message: base.Message, details: Callable[[Any], None], ended: Answered) -> None:
        """Send a dump and the ping that ends it; `ended(None, error)` is called once.

        A dump with a cursor also has a reply, in which VPP may say that there is more (it gives itself a millisecond).
        """
        route = self._routes.get(type(message)) or self._route(type(message))
        context = self._next_context()
        self._write(route.encode(message, route.number, self.client_index, context))
        self._dumps[context] = _Dump(route, details)
        started = self.clock()

        def end(reply: Any, error: Exception | None) -> None:
            rest = self._dumps.pop(context).rest
            _count(route.statistics, self.clock() - started, error)
            if rest is None or error is not None:
                ended(None, error)
            else:
                self.dump(replace(message, cursor=rest), details, ended)

        self.request(messages.ControlPing(), end)

    def _write(self, body: bytes) -> None:
        size = len(body)
        self.outgoing += (header(size), body)
        self.outgoing_size += size

    def _next_context(self) -> int:
        context = self._context + 1
        while True:
            if context > _LAST_CONTEXT:
                context = 1
            if context not in self._pending and context not in self._dumps:
                self._context = context
                return context
            context += 1

    def _route(self, message: type[base.Message]) -> _Route:
        answer = answer_of(message)
        if answer is None:
            raise TypeError(f"{message.__name__} is not a request or dump")
        self.require([message])
        route = self._routes[message] = _Route(message, answer, self.table)
        self.statistics[route.name] = route.statistics
        return route

    def require(self, wanted: Iterable[type[base.Message]]) -> None:
        """Raise MissingMessages for what this VPP does not have with our layout."""
        missing = []
        for message in wanted:
            answer = answer_of(message)
            for cls in (message, answer) if answer else (message,):
                if cls.table_name() not in self.table:
                    missing.append(self._missing(cls))
        if missing:
            raise MissingMessages(self.version, sorted(set(missing)))

    def _missing(self, message: type[base.Message]) -> str:
        others = [name for name in self.table if name[:-9] == message.MESSAGE]
        found = f"has {others[0][-8:]}" if others else "has none"
        return f"{message.MESSAGE} ({message.CRC:08x}; it {found})"

    # Receiving

    def receive(self, data: bytes) -> None:
        """Handle bytes from VPP. Raises ProtocolError; the connection is then of no more use."""
        pending, now = self._pending, self.clock()  # one look at the clock is right for all that came together
        alike, last = 0, None  # successes of one batch are counted together
        unpack, least = _NUMBER_CONTEXT.unpack_from, _NUMBER_CONTEXT.size
        try:
            for body in self._reader.feed(data):
                if len(body) >= least:
                    number, context = unpack(body)
                    request = pending.get(context)
                    if request is not None and request[0].answer_number == number:
                        route, _, started, size, batch, _ = request
                        if batch is None or len(body) < route.least or route.retval(body)[0] < 0:
                            self._answer(request, context, body, now)
                            continue
                        if last is None or route is not last[0] or started != last[2]:
                            self._succeeded(last, alike, now)
                            alike, last = 0, request
                        del pending[context]
                        self.bytes_in_flight -= size
                        alike += 1
                        batch.left -= 1
                        if not batch.left:
                            batch.told(None, None)
                        continue
                self._frame(body)
        except MalformedMessage as error:
            raise ProtocolError(f"VPP {self.version}: {error}") from error
        finally:
            self._succeeded(last, alike, now)

    def _succeeded(self, last: _Pending | None, number: int, now: float) -> None:
        """So many requests of a batch have got the answer that they should; `last` is one of them."""
        if last is not None:
            route, _, started, *_ = last
            self.progress += number
            _count(route.statistics, now - started, None, number)

    def _frame(self, body: bytes) -> None:
        if self._hello is not None:
            self._hello_reply(body)
            return
        number = _NUMBER.unpack_from(body)[0]
        cls = self._incoming.get(number)
        if cls is None:
            self.counters.unknown_messages += 1
            return
        if len(body) < _NUMBER_CONTEXT.size:
            raise MalformedMessage(f"{cls.MESSAGE}: {len(body)} bytes have no context")
        context = _NUMBER_CONTEXT.unpack_from(body)[1]
        if issubclass(cls, base.Reply):
            self._reply(cls, context, body)
        elif issubclass(cls, base.Details):
            self._details(cls, context, body)
        elif issubclass(cls, base.Event):
            self._event(cls, body)
        else:
            self._keepalive(context)

    def _hello_reply(self, body: bytes) -> None:
        number = _NUMBER.unpack_from(body)[0]
        if number != _HELLO_REPLY:
            raise MalformedMessage(f"message {number} instead of the answer to the hand-shake")
        reply = codec(messages.SockclntCreateReply).decode(body)
        self.client_index = reply.index
        self.table = {entry.name: entry.index for entry in reply.message_table}
        for name, declaration in declarations().messages.items():
            cls: type[base.Message] = getattr(messages, class_name(name))
            index = self.table.get(cls.table_name())
            from_vpp = declaration.kind not in (Kind.REQUEST, Kind.DUMP) or cls is messages.MemclntKeepalive
            if index is not None and from_vpp:
                self._incoming[index] = cls
        answered, self._hello = self._hello, None
        if answered is not None:
            call(answered, reply, VppError(reply.retval, "sockclnt_create") if reply.retval < 0 else None)

    def _reply(self, cls: type[base.Message], context: int, body: bytes) -> None:
        """A reply that is not the one of its request."""
        pending = self._pending.get(context)
        if pending is not None:
            raise MalformedMessage(f"{cls.MESSAGE} as the answer to {pending[0].name}")
        self._unexpected(cls, context, body)

    def _answer(self, pending: _Pending, context: int, body: bytes, now: float) -> None:
        route, answered, started, size, batch, request = pending
        reply, error = None, None
        retval = route.retval(body)[0] if len(body) >= route.least else 0
        if retval < 0:
            error = VppError(retval, route.name)
        elif batch is None:
            reply = route.decode(body)
        del self._pending[context]
        self.bytes_in_flight -= size
        self.progress += 1
        _count(route.statistics, now - started, error)
        if answered is not None:
            call(answered, reply, error)
        elif batch is not None:
            batch.left -= 1
            if error is not None or not batch.left:
                batch.told(request, error)

    def _unexpected(self, cls: type[base.Message], context: int, body: bytes) -> None:
        """A reply without a request: of a dump with a cursor, or of nobody."""
        dump = self._dumps.get(context)
        if dump is None or "cursor" not in cls.__struct_fields__:
            self.counters.stray_replies += 1
            return
        reply: Any = codec(cls).decode(body)
        dump.rest = reply.cursor if reply.retval == _AGAIN else None

    def _details(self, cls: type[base.Message], context: int, body: bytes) -> None:
        dump = self._dumps.get(context)
        if dump is None:
            self.counters.stray_replies += 1
            return
        if cls is not dump.route.answer:
            raise MalformedMessage(f"{cls.MESSAGE} as an answer to {dump.route.name}")
        self.progress += 1
        call(dump.details, dump.route.decode(body))

    def _event(self, cls: type[base.Event], body: bytes) -> None:
        self.counters.events += 1
        subscribers = self._subscribers.get(cls)
        if subscribers:
            event = codec(cls).decode(body)
            for subscriber in tuple(subscribers):
                call(subscriber, event)

    def _keepalive(self, context: int) -> None:
        """VPP asks whether the client lives; without an answer it drops the client."""
        self.counters.keepalives += 1
        reply = messages.MemclntKeepaliveReply
        number = self.table.get(reply.table_name())
        if number is not None:
            self._write(codec(reply).encode(reply(), number=number, context=context))

    # Looking after

    def subscribe(self, event: type[base.Event], callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call back for each such event; the result ends it."""
        subscribers = self._subscribers.setdefault(event, [])
        subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in subscribers:
                subscribers.remove(callback)

        return unsubscribe

    @property
    def unanswered(self) -> int:
        return len(self._pending)

    @property
    def dumping(self) -> bool:
        return bool(self._dumps)

    def oldest(self) -> tuple[int, str, float] | None:
        """Context, name and time of the request that waits longest."""
        for context, pending in self._pending.items():
            return context, pending[0].name, pending[2]
        return None

    def take(self) -> bytes:
        """What must be written; it counts as written then."""
        data = b"".join(self.outgoing)
        self.outgoing.clear()
        self.outgoing_size = 0
        return data

    def fail(self, error: ConnectionLost) -> None:
        """The connection is gone: everybody who waits is told."""
        hello, self._hello = self._hello, None
        if hello is not None:
            call(hello, None, error)
        pending, now = list(self._pending.values()), self.clock()
        self._pending.clear()  # the same dictionary: this may be called in the middle of `receive`
        for route, answered, started, _, batch, request in pending:
            _count(route.statistics, now - started, error)
            if answered is not None:
                call(answered, None, error)
            elif batch is not None:
                batch.left -= 1
                batch.told(request, error)
        self.bytes_in_flight = 0
        self.take()
