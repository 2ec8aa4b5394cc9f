# SPDX-License-Identifier: Apache-2.0
"""The dialogue with VPP, without any input or output: bytes in, bytes out, callbacks.

Requests are numbered by a context, which VPP repeats in the answer; any number may be under way. A dump has
no end mark of its own: a control_ping behind it does that, as VPP answers in order. The asyncio side,
time-outs and back-pressure limits are in `connection`.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from contivpp_vpp import messages
from contivpp_vpp.errors import ConnectionLost, MissingMessages, ProtocolError, VppError
from contivpp_vpp.wire import base
from contivpp_vpp.wire.codec import codec
from contivpp_vpp.wire.errors import MalformedMessage
from contivpp_vpp.wire.framing import FrameReader, header
from contivpp_vpp.wire.parser import declarations
from contivpp_vpp.wire.schema import Kind, class_name

log = logging.getLogger(__name__)

_NUMBER = struct.Struct(">H")
_NUMBER_CONTEXT = struct.Struct(">HI")
_HELLO, _HELLO_REPLY = 15, 16  # the two numbers that are the same in every VPP
_LAST_CONTEXT = 0xFFFFFFFF
_AGAIN = -165  # EAGAIN

Answered = Callable[[Any, Exception | None], None]


@dataclass(slots=True)
class MessageStatistics:
    """What became of the requests of one name; seconds."""

    count: int = 0
    errors: int = 0
    total_latency: float = 0.0
    max_latency: float = 0.0


class _Pending:
    """A request without an answer."""

    __slots__ = ("answered", "route", "size", "started")

    def __init__(self, route: _Route, answered: Answered, started: float, size: int) -> None:
        self.route = route
        self.answered = answered
        self.started = started
        self.size = size


class _Route:
    """What is the same for all requests of a class, looked up once."""

    __slots__ = ("answer", "answer_number", "decode", "encode", "name", "number", "retval", "statistics")

    def __init__(self, message: type[base.Message], answer: type[base.Message], table: Mapping[str, int]) -> None:
        self.name = message.MESSAGE
        self.number = table[message.table_name()]
        self.encode = codec(message).encode_fast
        self.answer = answer
        self.answer_number = table[answer.table_name()]
        self.decode = codec(answer).decode
        self.retval = codec(answer).retval
        self.statistics = MessageStatistics()


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
        self._pending[context] = _Pending(route, answered, self.clock(), len(body))
        self.bytes_in_flight += len(body)

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
            self._count(route.statistics, started, error)
            if rest is None or error is not None:
                ended(None, error)
            else:
                self.dump(replace(message, cursor=rest), details, ended)

        self.request(messages.ControlPing(), end)

    def _write(self, body: bytes) -> None:
        self.outgoing += (header(len(body)), body)

    def _next_context(self) -> int:
        context = self._context
        while True:
            context = context + 1 if context < _LAST_CONTEXT else 1
            if context not in self._pending and context not in self._dumps:
                self._context = context
                return context

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
        try:
            for body in self._reader.feed(data):
                self._frame(body)
        except MalformedMessage as error:
            raise ProtocolError(f"VPP {self.version}: {error}") from error

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
            self._reply(cls, number, context, body)
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
            self._call(answered, reply, VppError(reply.retval, "sockclnt_create") if reply.retval < 0 else None)

    def _reply(self, cls: type[base.Message], number: int, context: int, body: bytes) -> None:
        pending = self._pending.get(context)
        if pending is None:
            self._unexpected(cls, context, body)
            return
        route = pending.route
        if number != route.answer_number:
            raise MalformedMessage(f"{cls.MESSAGE} as the answer to {route.name}")
        reply, error = None, None
        retval = route.retval.unpack_from(body)[0] if len(body) >= route.retval.size else 0
        if retval < 0:
            error = VppError(retval, route.name)
        else:
            reply = route.decode(body)
        del self._pending[context]
        self.bytes_in_flight -= pending.size
        self.progress += 1
        self._count(route.statistics, pending.started, error)
        self._call(pending.answered, reply, error)

    def _unexpected(self, cls: type[base.Message], context: int, body: bytes) -> None:
        """A reply without a request: of a dump with a cursor, or of nobody."""
        dump = self._dumps.get(context)
        if dump is None or "cursor" not in cls.__struct_fields__:
            self.counters.stray_replies += 1
            return
        reply: Any = codec(cls).decode(body)
        dump.rest = reply.cursor if reply.retval == _AGAIN else None

    def _count(self, statistics: MessageStatistics, started: float, error: Exception | None) -> None:
        latency = self.clock() - started
        statistics.count += 1
        statistics.errors += error is not None
        statistics.total_latency += latency
        statistics.max_latency = max(statistics.max_latency, latency)

    def _details(self, cls: type[base.Message], context: int, body: bytes) -> None:
        dump = self._dumps.get(context)
        if dump is None:
            self.counters.stray_replies += 1
            return
        if cls is not dump.route.answer:
            raise MalformedMessage(f"{cls.MESSAGE} as an answer to {dump.route.name}")
        self.progress += 1
        self._call(dump.details, dump.route.decode(body))

    def _event(self, cls: type[base.Event], body: bytes) -> None:
        self.counters.events += 1
        subscribers = self._subscribers.get(cls)
        if subscribers:
            event = codec(cls).decode(body)
            for subscriber in tuple(subscribers):
                self._call(subscriber, event)

    def _keepalive(self, context: int) -> None:
        """VPP asks whether the client lives; without an answer it drops the client."""
        self.counters.keepalives += 1
        reply = messages.MemclntKeepaliveReply
        number = self.table.get(reply.table_name())
        if number is not None:
            self._write(codec(reply).encode(reply(), number=number, context=context))

    @staticmethod
    def _call(callback: Callable[..., None], *arguments: Any) -> None:
        """A callback that raises is a bug of its owner, and no reason to lose the others' answers."""
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback for an answer of VPP failed")

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
            return context, pending.route.name, pending.started
        return None

    def take(self) -> bytes:
        """What must be written; it counts as written then."""
        data = b"".join(self.outgoing)
        self.outgoing.clear()
        return data

    def fail(self, error: ConnectionLost) -> None:
        """The connection is gone: everybody who waits is told."""
        hello, self._hello = self._hello, None
        if hello is not None:
            self._call(hello, None, error)
        pending, self._pending = self._pending, {}
        for entry in pending.values():
            self._count(entry.route.statistics, entry.started, error)
            self._call(entry.answered, None, error)
        self.bytes_in_flight = 0
        self.outgoing.clear()
