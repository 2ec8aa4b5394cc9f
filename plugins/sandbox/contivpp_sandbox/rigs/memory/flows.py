# SPDX-License-Identifier: Apache-2.0
"""What a host asks: the client's side of one echo, one datagram or one TCP connection.

A flow ends with an answer, with a refusal, or not at all. `send` begins it, and sends again whatever has not been
answered. Packets go out and come in through the host (`stack`), which finds the flow by its key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from contivpp_sandbox.rigs.memory.packets import (
    ACK,
    ECHO_REQUEST,
    FIN,
    ICMP,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Ipv4,
    Segment,
    datagram,
    icmp,
    parse_tcp,
    segment,
)

__all__ = ["TCP_HEADERS", "EchoFlow", "Flow", "FlowKey", "TcpFlow", "TcpStray", "UdpFlow"]

FlowKey = tuple[int, int, int, int]
"""Protocol, own port (or ICMP identifier), the peer's address and port."""

Send = Callable[[Ipv4], None]
_FIRST_SEQUENCE = 0x20000000
_MODULUS = 0xFFFFFFFF
TCP_HEADERS = 40
_DEFAULT_LARGEST = 536  # bytes of a segment where the peer says nothing (RFC 9293)


class Flow(Protocol):
    """One flow; `answer` and `refused` tell its end."""

    answer: bytes | None
    refused: str
    key: FlowKey

    def send(self) -> None:
        """Send what has not been answered."""
        ...

    def receive(self, packet: Ipv4) -> None:
        """Take a packet of this flow."""
        ...

    def refuse(self, reason: str) -> None:
        """Take an ICMP error about this flow."""
        ...

    def too_large(self, mtu: int, reason: str) -> None:
        """A packet of this flow that must not be fragmented is larger than a link on its way takes."""
        ...


class _Base:
    protocol: ClassVar[int]

    def __init__(
        self, send: Send, *, source: int, target: int, source_port: int, port: int = 0, data: bytes = b""
    ) -> None:
        self._send = send
        self.source = source
        self.target = target
        self.source_port = source_port
        self.port = port
        self.data = data
        self.answer: bytes | None = None
        self.refused = ""
        self.key: FlowKey = (self.protocol, source_port, target, port)

    @property
    def done(self) -> bool:
        """Tell whether the flow has ended."""
        return self.answer is not None or bool(self.refused)

    def refuse(self, reason: str) -> None:
        """Take an ICMP error."""
        if not self.done:
            self.refused = reason

    def too_large(self, mtu: int, reason: str) -> None:
        """It is the asker who wants no fragments: tell so."""
        self.refuse(reason)

    def _out(self, payload: bytes) -> None:
        self._send(Ipv4(self.source, self.target, self.protocol, payload))


class EchoFlow(_Base):
    """An echo request; `port` is 0, the source port is the identifier."""

    protocol = ICMP

    def send(self) -> None:
        """Ask."""
        self._out(icmp(ECHO_REQUEST, 0, self.source_port.to_bytes(2, "big") + b"\0\1", self.data))

    def receive(self, packet: Ipv4) -> None:
        """An echo reply came; it must bring back what was sent."""
        if packet.payload[8:] == self.data:
            self.answer = b""


class UdpFlow(_Base):
    """One datagram, and the answer."""

    protocol = UDP

    def send(self) -> None:
        """Ask."""
        self._out(datagram(self.source, self.target, self.source_port, self.port, self.data))

    def receive(self, packet: Ipv4) -> None:
        """A datagram came."""
        self.answer = packet.payload[8:]


class TcpStray(_Base):
    """One segment in the middle of a connection that there is not."""

    protocol = TCP

    def send(self) -> None:
        """Send it."""
        part = Segment(self.source_port, self.port, _FIRST_SEQUENCE, _FIRST_SEQUENCE, ACK | PSH, self.data)
        self._out(segment(self.source, self.target, part))

    def receive(self, packet: Ipv4) -> None:
        """The server resets what it does not know: it has got the segment."""


class TcpFlow(_Base):
    """A TCP connection: connect, one request, one answer, close. Segments are as large as the path takes."""

    protocol = TCP

    def __init__(self, send: Send, *, largest: int = 1460, **ends: Any) -> None:
        super().__init__(send, **ends)
        self._largest = self._offered = largest
        self._connected = 0  # the server's first sequence number + 1, once it has answered
        self._received = b""
        self._sending = False
        self._anew = False  # the request is to be sent from its beginning

    def send(self) -> None:
        """Connect, or send the request again."""
        if not self._connected:
            self._part(SYN, _FIRST_SEQUENCE, 0, largest=self._offered)
        elif not self.done:
            self._request()

    def receive(self, packet: Ipv4) -> None:
        """Take a segment."""
        part = parse_tcp(packet.payload)
        if part is None:
            return
        end = _FIRST_SEQUENCE + 1 + len(self.data)
        if part.flags & RST:
            if self._connected or part.acknowledged == _FIRST_SEQUENCE + 1:
                self.refuse("the server reset the connection")
        elif part.flags & SYN:
            if part.acknowledged == _FIRST_SEQUENCE + 1 and not self._connected:
                self._connected = part.sequence + 1 & _MODULUS
                self._largest = min(self._largest, part.largest or _DEFAULT_LARGEST)
                self._request()
        elif self._connected and part.sequence == self._connected + len(self._received):
            self._received += part.payload
            if part.flags & FIN:
                self.answer = self._received
                self._part(FIN | ACK, end, part.sequence + len(part.payload) + 1)

    def too_large(self, mtu: int, reason: str) -> None:
        """TCP sends smaller segments."""
        if TCP_HEADERS < mtu < self._largest + TCP_HEADERS:
            self._largest = mtu - TCP_HEADERS
            if self._connected and not self.done:
                self._request()

    def _request(self) -> None:
        """Send the request; begin anew if meanwhile its segments turned out to be too large."""
        self._anew = True
        if self._sending:
            return
        self._sending = True
        try:
            while self._anew and not self.done:
                self._anew = False
                start, last = 0, False
                while not (last or self._anew):
                    piece = self.data[start : start + self._largest]
                    last = start + len(piece) >= len(self.data)
                    sequence = _FIRST_SEQUENCE + 1 + start
                    start += len(piece)
                    self._part(ACK | (PSH if last else 0), sequence, self._connected, piece)
        finally:
            self._sending = False

    def _part(self, flags: int, sequence: int, acknowledged: int, data: bytes = b"", *, largest: int = 0) -> None:
        part = Segment(self.source_port, self.port, sequence, acknowledged, flags, data, largest)
        self._out(segment(self.source, self.target, part))
