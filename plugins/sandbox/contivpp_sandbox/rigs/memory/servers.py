# SPDX-License-Identifier: Apache-2.0
"""What a host answers: echo, UDP and TCP on the ports that it serves; other ports are refused as a kernel does.

A server's answer is its name and port, so that whoever asked learns who it was, whatever was done to addresses
between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Protocol

from contivpp_sandbox.rigs.memory.flows import TCP_HEADERS
from contivpp_sandbox.rigs.memory.notes import Arrival, Notes
from contivpp_sandbox.rigs.memory.packets import (
    ACK,
    ECHO_REPLY,
    FIN,
    ICMP,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    UNREACHABLE,
    Ipv4,
    Segment,
    datagram,
    icmp,
    ipv4,
    parse_tcp,
    segment,
)

__all__ = ["EVERY_PORT", "Ports", "Servers", "answer_text"]

Ports = Container[tuple[int, int]]
"""Pairs of protocol number and port."""

_PORT_UNREACHABLE = 3
_FIRST_SEQUENCE = 0x10000000
_CONNECTIONS = 4096  # kept; the oldest is forgotten, as a host under a SYN flood does
_MODULUS = 0xFFFFFFFF


class _Host(Protocol):
    name: str
    notes: Notes

    def reply(self, packet: Ipv4, payload: bytes) -> None: ...

    def mtu_towards(self, target: int) -> int: ...


@dataclass(slots=True)
class _Connection:
    """The server's side of a TCP connection: what it expects next, and what it sent."""

    expected: int
    answered: bool = False


def answer_text(name: str, port: int) -> bytes:
    """Return what a server answers."""
    return f"{name}:{port}".encode()


class _EveryPort(Container[tuple[int, int]]):
    def __contains__(self, port: object) -> bool:
        return True


EVERY_PORT: Ports = _EveryPort()


class Servers:
    """The servers of a host, on these ports."""

    def __init__(self, host: _Host, ports: Ports) -> None:
        self._host = host
        self.ports = ports
        self._connections: dict[tuple[int, int, int, int], _Connection] = {}

    def echo(self, packet: Ipv4) -> None:
        """Answer an echo request."""
        self._arrived(packet, 0, 0)
        data = packet.payload
        self._host.reply(packet, icmp(ECHO_REPLY, 0, data[4:8], data[8:]))

    def udp(self, packet: Ipv4) -> None:
        """Answer a datagram, or refuse it."""
        data = packet.payload
        peer_port, port = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        self._arrived(packet, peer_port, port)
        if (UDP, port) in self.ports:
            text = answer_text(self._host.name, port)
            self._host.reply(packet, datagram(packet.target, packet.source, port, peer_port, text))
        else:
            quoted = ipv4(packet)[:28]
            refusal = icmp(UNREACHABLE, _PORT_UNREACHABLE, bytes(4), quoted)
            self._host.reply(packet._replace(protocol=ICMP), refusal)

    def tcp(self, packet: Ipv4) -> None:
        """Take part in a connection, or refuse it."""
        part = parse_tcp(packet.payload)
        if part is None:
            return
        key = (packet.source, part.source_port, packet.target, part.target_port)
        connection = self._connections.get(key)
        reply = self._replier(packet, part)
        if part.flags & RST:
            self._connections.pop(key, None)
        elif part.flags & SYN:
            self._syn(packet, part, key, reply)
        elif connection is None:
            self._arrived(packet, part.source_port, part.target_port)
            reply(RST, part.acknowledged, 0)
        else:
            self._data(part, key, connection, reply)

    def _syn(
        self, packet: Ipv4, part: Segment, key: tuple[int, int, int, int], reply: Callable[..., None]
    ) -> None:
        self._arrived(packet, part.source_port, part.target_port)
        expected = part.sequence + 1 & _MODULUS
        if (TCP, part.target_port) not in self.ports:
            reply(RST | ACK, 0, expected)
            return
        if len(self._connections) >= _CONNECTIONS:
            del self._connections[next(iter(self._connections))]
        self._connections[key] = _Connection(expected)
        reply(SYN | ACK, _FIRST_SEQUENCE, expected, largest=self._host.mtu_towards(packet.source) - TCP_HEADERS)

    def _data(
        self, part: Segment, key: tuple[int, int, int, int], connection: _Connection, reply: Callable[..., None]
    ) -> None:
        begin = _FIRST_SEQUENCE + 1
        text = answer_text(self._host.name, part.target_port)
        if connection.answered and part.flags & FIN:
            reply(ACK, begin + len(text) + 1, part.sequence + len(part.payload) + 1)
            del self._connections[key]
            return
        if not connection.answered:
            known = connection.expected - part.sequence & _MODULUS  # bytes of it that are here already
            if known > len(part.payload):
                reply(ACK, begin, connection.expected)  # something before it is missing, or all is known: say so
                return
            connection.expected = part.sequence + len(part.payload) & _MODULUS
        if (connection.answered and part.payload) or part.flags & PSH:
            connection.answered = True
            reply(PSH | FIN | ACK, begin, connection.expected, text)

    def _replier(self, packet: Ipv4, part: Segment) -> Callable[..., None]:
        def reply(
            flags: int, sequence: int, acknowledged: int, payload: bytes = b"", *, largest: int = 0
        ) -> None:
            answer = Segment(part.target_port, part.source_port, sequence, acknowledged, flags, payload, largest)
            self._host.reply(packet, segment(packet.target, packet.source, answer))

        return reply

    def _arrived(self, packet: Ipv4, source_port: int, port: int) -> None:
        arrival = Arrival(self._host.name, packet.protocol, packet.source, source_port, port)
        self._host.notes.arrivals.append(arrival)
