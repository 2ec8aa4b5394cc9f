# SPDX-License-Identifier: Apache-2.0
"""One client of the binary API, without a socket: bytes in, bytes out.

``feed`` takes what arrived, ``send`` is called with what is to be sent: once for all requests of one ``feed`` unless
the budget ran out. A dump is a generator; ``run`` continues it in slices, so that packets are forwarded meanwhile.
A handler that waits for the kernel is a coroutine: it holds up its own client only. A client that breaks the framing
is closed. Like VPP, requests that are unknown, cut short or name a client index that does not exist are not answered.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any

from ..dataplane import DataplaneError
from ..wire.codec import Codec, CodecError
from .errors import Refusal
from .handlers import HANDLERS
from .vpp import Vpp

LOG = logging.getLogger(__name__)
HEADER = struct.Struct(">QII")
LARGEST = 16 << 20  # bytes of one message from a client
BATCH = 256 << 10  # bytes collected before they are sent in the middle of a dump
REFUSED = dict.fromkeys(("stats_index", "sw_if_index", "vrf_id", "max_number", "max_age"), 0xFFFFFFFF)  # VPP's ~0


class ApiSession:
    """The server's side of one connection."""

    def __init__(
        self,
        vpp: Vpp,
        send: Callable[[bytes], object],
        *,
        on_close: Callable[[], object] = lambda: None,
        on_work: Callable[[], object] | None = None,
    ) -> None:
        self.vpp = vpp
        self.name = ""
        self.closed = False
        self.handle = vpp.register(self)
        self._send = send
        self._on_close = on_close
        self._on_work = on_work
        self._buffer = bytearray()
        self._requests: deque[bytes] = deque()
        self._details: Iterator[bytes] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._out: list[bytes] = []
        self._out_size = 0

    def feed(self, data: bytes, *, budget: float | None = None) -> bool:
        """Handle what arrived; true when the budget (seconds) ended first: then ``run`` must be called again."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER.size and not self.closed:
            _, length, _ = HEADER.unpack_from(self._buffer, at)
            if not 2 <= length <= LARGEST:
                LOG.warning("client %s: a message of %d bytes is not possible, closing", self.name, length)
                self.close()
                return False
            end = at + HEADER.size + length
            if end > len(self._buffer):
                break
            self._requests.append(bytes(self._buffer[at + HEADER.size : end]))
            at = end
        del self._buffer[:at]
        return self.run(budget=budget)

    def run(self, *, budget: float | None = None) -> bool:
        """Go on with dumps and requests; true when there is more to do."""
        end = perf_counter() + budget if budget is not None else None
        while not self.closed and self._waiting is None:
            if self._details is not None:
                message = next(self._details, None)
                if message is None:
                    self._details = None
                else:
                    self.emit(message)
            elif self._requests:
                self._handle(self._requests.popleft())
            else:
                break
            if end is not None and perf_counter() > end:
                self.flush()
                return True
        self.flush()
        return False

    def close(self) -> None:
        """End of the connection, from either side."""
        if not self.closed:
            self.flush()
            self.closed = True
            self.vpp.unregister(self.handle)
            if self._waiting is not None:
                self._waiting.cancel()
            self._on_close()

    def send_event(self, name: str, fields: dict[str, Any]) -> None:
        """Send a message that nobody asked for just now."""
        self.emit(self._encode(name, fields))
        if self._on_work is None:
            self.flush()
        else:
            self._on_work()

    def emit(self, message: bytes) -> None:
        """Queue a message with its frame."""
        self._out.append(HEADER.pack(0, len(message), 0) + message)
        self._out_size += len(message)
        if self._out_size > BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what is queued, by one call."""
        if self._out and not self.closed:
            data, self._out, self._out_size = b"".join(self._out), [], 0
            self._send(data)

    # -- inside -----------------------------------------------------------------------------------------------

    def _encode(self, name: str, fields: dict[str, Any]) -> bytes:
        number = self.vpp.messages.by_name[name]
        codec = self.vpp.messages.by_id[number]
        message = codec.make(**fields)
        message._vl_msg_id = number
        return codec.encode(message)

    def _handle(self, data: bytes) -> None:
        codec = self.vpp.messages.by_id.get(int.from_bytes(data[:2], "big"))
        handler = HANDLERS.get(codec.definition.name) if codec else None
        if codec is None or handler is None:
            LOG.warning("client %s: no handler for message id %d", self.name, int.from_bytes(data[:2], "big"))
            return
        try:
            request = codec.decode(data)
        except CodecError as error:
            LOG.warning("client %s: message dropped: %s", self.name, error)
            return
        self.vpp.traced(self.name, codec.definition.name)
        if codec.definition.name == "sockclnt_create":
            target: ApiSession | None = self
        else:
            target = self.vpp.sessions.get(request.client_index)
        try:
            result = handler(self.vpp, request, self)
        except (DataplaneError, Refusal) as error:
            self._refuse(codec, request, target, error)
            return
        if inspect.isawaitable(result):
            self._waiting = asyncio.ensure_future(self._wait(result, codec, request, target))
            if inspect.iscoroutine(result):  # a client that leaves at once takes it along before its first step
                self._waiting.add_done_callback(lambda _: result.close())
        else:
            self._answer(codec, request, target, result)

    def _refuse(
        self, codec: Codec, request: Any, target: ApiSession | None, error: DataplaneError | Refusal
    ) -> None:
        LOG.info("client %s: %s refused with %d: %s", self.name, codec.definition.name, error.retval, error)
        service = self.vpp.messages.services[codec.definition.name]
        if not service.stream:
            self._answer(codec, request, target, {"retval": int(error.retval)})

    async def _wait(
        self, result: Awaitable[Any], codec: Codec, request: Any, target: ApiSession | None
    ) -> None:
        try:
            self._answer(codec, request, target, await result)
        except (DataplaneError, Refusal) as error:
            self._refuse(codec, request, target, error)
        self._waiting = None
        self.flush()
        if self._on_work is None:
            self.run()
        else:
            self._on_work()

    def _answer(self, codec: Codec, request: Any, target: ApiSession | None, result: Any) -> None:
        if target is None:
            if inspect.isgenerator(result):
                result.close()
            return
        service = self.vpp.messages.services[codec.definition.name]
        if service.stream:
            self._details = (
                self._encode(service.reply, {"context": request.context, **fields}) for fields in result
            )
            return
        fields = {"context": request.context, **(result or {})}
        if fields.get("retval", 0) < 0:
            declared = self.vpp.messages.by_id[self.vpp.messages.by_name[service.reply]].definition.fields
            names = {field.name for field in declared}
            fields = {name: value for name, value in REFUSED.items() if name in names} | fields
        target.emit(self._encode(service.reply, fields))
        if target is not self:
            target.flush()
        if codec.definition.name == "sockclnt_delete" and fields["response"] == 1:
            self.close()
