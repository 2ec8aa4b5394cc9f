# SPDX-License-Identifier: Apache-2.0
"""A peer for tests that speaks VPP's API and does what the test says: the dialogue only, no dataplane.

    vpp = ScriptedVpp()
    vpp.on(messages.IpTableAddDel, lambda request: messages.IpTableAddDelReply(retval=-81))
    connection = await Connection.open(vpp.connect)

Messages without a script get a reply of zeros; dumps get no details. A script returns one message, a list (the
details of a dump), or None for silence. `session.send` speaks unasked; `sessions[-1].transport.close()` is a loss.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, TypeVar, cast

from contivpp_vpp import messages
from contivpp_vpp.dialogue import answer_of
from contivpp_vpp.transports import ProtocolFactory, in_memory
from contivpp_vpp.wire.base import Dump, Event, Message
from contivpp_vpp.wire.codec import codec
from contivpp_vpp.wire.framing import FrameReader, header

MessageType = TypeVar("MessageType", bound=Message)
Script = Callable[[Any], Any]
_CLIENT = 7


class ScriptedVpp:
    """A VPP by script; any number of sessions."""

    def __init__(self, *, without: tuple[type[Message], ...] = (), pid: int = 1, uptime: float = 100.0) -> None:
        known: list[type[Message]] = [
            cls for name in messages.__all__ if hasattr(cls := getattr(messages, name), "MESSAGE")
        ]
        self.numbers = {cls: 15 + index for index, cls in enumerate(_shakers_first(known)) if cls not in without}
        self.classes = {number: cls for cls, number in self.numbers.items()}
        self.sessions: list[Session] = []
        self.received: list[Message] = []
        self._scripts: dict[type[Message], Script] = {}
        self.on(messages.ShowVersion, lambda _: messages.ShowVersionReply(version="26.06-scripted"))
        self.on(messages.ControlPing, lambda _: messages.ControlPingReply(vpe_pid=pid))
        self.on(messages.CliInband, lambda _: messages.CliInbandReply(reply=f"Time now {uptime:.6f}"))

    def on(self, message: type[MessageType], script: Callable[[MessageType], Any]) -> None:
        """What to answer to such a message."""
        self._scripts[message] = script

    async def connect(self, factory: ProtocolFactory) -> asyncio.Transport:
        """A way to this peer, for `Connection.open` and `VppClient`."""
        return await in_memory(lambda: Session(self))(factory)

    def answer(self, request: Message) -> list[Message]:
        """What goes back for a request."""
        self.received.append(request)
        script = self._scripts.get(type(request))
        answer = answer_of(type(request))
        if script is None:
            given: Any = [] if isinstance(request, Dump) or answer is None else answer()
        else:
            given = script(request)
        if given is None:
            return []
        return list(given) if isinstance(given, list | tuple) else [given]

    def table(self) -> tuple[messages.MessageTableEntry, ...]:
        return tuple(
            messages.MessageTableEntry(index=number, name=cls.table_name()) for cls, number in self.numbers.items()
        )


def _shakers_first(known: list[type[Message]]) -> list[type[Message]]:
    shakers: list[type[Message]] = [messages.SockclntCreate, messages.SockclntCreateReply]
    return shakers + [cls for cls in known if cls not in shakers]


class Session(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, vpp: ScriptedVpp) -> None:
        self._vpp = vpp
        self._reader = FrameReader()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._vpp.sessions.append(self)

    def data_received(self, data: bytes) -> None:
        for body in self._reader.feed(data):
            self._received(body)

    def _received(self, body: bytes) -> None:
        cls = self._vpp.classes[struct.unpack_from(">H", body)[0]]
        if cls is messages.SockclntCreate:
            answer = messages.SockclntCreateReply(index=_CLIENT, message_table=self._vpp.table())
            self.send(answer, struct.unpack_from(">2xI", body)[0])
            return
        if cls is messages.MemclntKeepaliveReply:
            self._vpp.received.append(codec(cls).decode(body))
            return
        client, context = struct.unpack_from(">2xII", body)
        assert client == _CLIENT
        for message in self._vpp.answer(codec(cls).decode(body)):
            self.send(message, context)

    def send(self, message: Message, context: int = 0) -> None:
        """Say something, asked or not."""
        self.transport.write(self.frame(message, context))

    def frame(self, message: Message, context: int = 0) -> bytes:
        """The bytes of a message; for tests that deal them out themselves."""
        client = 0 if isinstance(message, Event) else _CLIENT
        number = self._vpp.numbers[type(message)]
        body = codec(type(message)).encode(message, number=number, client_index=client, context=context)
        return header(len(body)) + body
