# SPDX-License-Identifier: Apache-2.0
"""Somebody between client and VPP, for tests: passes messages on, with the faults of a plan.

    faults = Faults(seed=7)
    faults.plan(Fault.REFUSE, "> ip_route_add_del_v2", retval=-12)  # VPP never sees it
    faults.plan(Fault.CUT_AFTER, "> sw_interface_set_flags", nth=3) # VPP does it, and the connection is lost
    client = VppClient(through(faults, unix_socket("/run/vpp/api.sock")))

Each message is a point: `> NAME` for one to VPP, `< NAME` for one from VPP. It works over any way to a VPP, real or
not, and touches nothing but messages. What is behind a slow message waits for it: a stream keeps its order. The
hand-shake has points, too. Faults that answer in VPP's place (`REFUSE`, `REJECT`) are for requests only. Choose the
number with care: some mean that what is deleted is gone already, and a descriptor believes VPP. And a dump, or details,
that alone are lost look like a dump without these details: VPP's stream loses nothing in its middle.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from contivpp_core.testing.faults import Fault, Faults, Rule
from contivpp_vpp import messages
from contivpp_vpp.dialogue import answer_of
from contivpp_vpp.transports import Connect, ProtocolFactory
from contivpp_vpp.wire.codec import codec
from contivpp_vpp.wire.framing import FrameReader, header
from contivpp_vpp.wire.parser import declarations
from contivpp_vpp.wire.schema import class_name

__all__ = ["DEFAULT_RETVAL", "through"]

DEFAULT_RETVAL, REJECTED_RETVAL = -12, -73  # SYSCALL_ERROR_2 may go away, INVALID_ARGUMENT does not
_HELLO, _HELLO_REPLY = 15, 16
_NUMBER = struct.Struct(">H")
_CLIENT_CONTEXT = struct.Struct(">2xII")
_ANSWER = struct.Struct(">HIi")
_HELLO_NAMES = {_HELLO: "sockclnt_create", _HELLO_REPLY: "sockclnt_create_reply"}


def through(faults: Faults, connect: Connect) -> Connect:
    """Return a way to VPP that leads through the faults."""

    async def connect_through(factory: ProtocolFactory) -> asyncio.Transport:
        middle = _Middle(faults, factory())
        await connect(lambda: middle)
        assert middle.near is not None
        return middle.near

    return connect_through


class _Lane:
    """One direction: what is passed on, in order, some of it late."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._reader = FrameReader()
        self._late: deque[tuple[float, Callable[[], None]]] = deque()

    def frames(self, data: bytes) -> list[bytes]:
        return list(self._reader.feed(data))

    def send(self, body: bytes) -> None:
        self.then(lambda: self._write(header(len(body)) + body))

    def then(self, work: Callable[[], None], delay: float = 0.0) -> None:
        """Do it when everything before is done, and `delay` has passed."""
        if not delay and not self._late:
            work()
            return
        self._late.append((delay, work))
        if len(self._late) == 1:
            self._wait()

    def _wait(self) -> None:
        asyncio.get_running_loop().call_later(self._late[0][0], self._next)

    def _next(self) -> None:
        _, work = self._late[0]
        work()
        self._late.popleft()
        while self._late and not self._late[0][0]:
            self._late.popleft()[1]()
        if self._late:
            self._wait()


class _Middle(asyncio.Protocol):
    """What VPP's side of the connection talks to."""

    def __init__(self, faults: Faults, client: asyncio.Protocol) -> None:
        self.faults = faults
        self.client = client
        self.near: _Near | None = None
        self.far: asyncio.Transport
        self._names = dict(_HELLO_NAMES)
        self._answers: dict[int, int] = {}  # number of a request -> that of its reply
        self._to_vpp = _Lane(self._write_far)
        self._from_vpp = _Lane(client.data_received)
        self._over = False

    # --- what the transport to VPP calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.far = cast("asyncio.Transport", transport)
        self.near = _Near(self)
        self.client.connection_made(self.near)

    def data_received(self, data: bytes) -> None:
        for body in self._from_vpp.frames(data):
            number = _NUMBER.unpack_from(body)[0]
            if number == _HELLO_REPLY and not self._answers:
                self._learn(body)
            self._pass(f"< {self._names.get(number, number)}", body, self._from_vpp)

    def connection_lost(self, exc: Exception | None) -> None:
        self._from_vpp.then(lambda: self._lost(exc))

    def pause_writing(self) -> None:
        self.client.pause_writing()

    def resume_writing(self) -> None:
        self.client.resume_writing()

    # --- what the client's transport calls

    def write(self, data: bytes) -> None:
        for body in self._to_vpp.frames(data):
            self._pass(f"> {self._names.get(_NUMBER.unpack_from(body)[0], '?')}", body, self._to_vpp)

    def close(self) -> None:
        """The client goes; VPP learns of it."""
        self.far.close()
        asyncio.get_running_loop().call_soon(self._lost, None)

    # --- faults

    def _pass(self, point: str, body: bytes, lane: _Lane) -> None:
        if self._over:
            return
        rule = self.faults.strike(point)
        if rule is None:
            lane.send(body)
            return
        match rule.fault:
            case Fault.LOSE | Fault.LOSE_ANSWER:
                return
            case Fault.TWICE:
                lane.send(body)
                lane.send(body)
            case Fault.SLOW:
                lane.then(lambda: None, rule.seconds)
                lane.send(body)
            case Fault.TRUNCATE:
                lane.send(body[: max(2, len(body) // 2)])
            case Fault.REFUSE | Fault.REJECT:
                self._answer(rule, body, lane)
            case Fault.CUT | Fault.CALL:
                lane.then(lambda: self._end(rule))
            case Fault.CUT_AFTER | Fault.CALL_AFTER:
                lane.send(body)
                lane.then(lambda: self._end(rule))

    def _answer(self, rule: Rule, body: bytes, lane: _Lane) -> None:
        """Answer in VPP's place; what has no reply with a number (dumps, and what VPP itself says) is passed on."""
        number = self._answers.get(_NUMBER.unpack_from(body)[0])
        if lane is not self._to_vpp or number is None:
            self.faults.struck.pop()
            lane.send(body)
            return
        context = _CLIENT_CONTEXT.unpack_from(body)[1]
        given = DEFAULT_RETVAL if rule.fault is Fault.REFUSE else REJECTED_RETVAL
        self._from_vpp.send(_ANSWER.pack(number, context, rule.retval or given))

    def _end(self, rule: Rule) -> None:
        """The connection ends. VPP gets what was passed on before; the client gets nothing more."""
        self._over = True
        self.far.close()
        asyncio.get_running_loop().call_soon(self._lost, None)
        if rule.fault in (Fault.CALL, Fault.CALL_AFTER):
            asyncio.get_running_loop().call_soon(rule.call)

    def _lost(self, error: Exception | None) -> None:
        self._over = True
        if self.near is not None and not self.near.over:
            self.near.over = True
            self.client.connection_lost(error)

    # --- names

    def _learn(self, body: bytes) -> None:
        table = {e.name: e.index for e in codec(messages.SockclntCreateReply).decode(body).message_table}
        for name in declarations().messages:
            message = getattr(messages, class_name(name))
            number, answer = table.get(message.table_name()), answer_of(message)
            if number is None:
                continue
            self._names[number] = name
            if answer is not None and "retval" in getattr(answer, "__struct_fields__", ()):
                self._answers[number] = table.get(answer.table_name(), 0)

    def _write_far(self, data: bytes) -> None:
        if not self.far.is_closing():
            self.far.write(data)


class _Near(asyncio.Transport):
    """What the client writes to."""

    def __init__(self, middle: _Middle) -> None:
        super().__init__()
        self._middle = middle
        self.over = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._middle.far.get_extra_info(name, default)

    def write(self, data: Any) -> None:
        self._middle.write(bytes(data))

    def is_closing(self) -> bool:
        return self.over or self._middle.far.is_closing()

    def close(self) -> None:
        self._middle.close()

    def abort(self) -> None:
        self._middle.close()
