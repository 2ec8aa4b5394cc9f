# SPDX-License-Identifier: Apache-2.0
"""ICMP: echo requests answered, errors sent, and the echo client behind the CLI's ``ping``."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import reasons
from .errors import DataplaneError, Retval
from .forwarding import Throttle, checksum, ip4_packet
from .graph import Packet
from .trace_text import ip4_text

if TYPE_CHECKING:
    from .fib import FibTable
    from .graph import Graph
    from .interfaces import Interface
    from .reasons import Reason

ECHO_REPLY, DESTINATION_UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 8, 11
TTL_EXCEEDED = (TIME_EXCEEDED, 0)
HOST_UNREACHABLE = (DESTINATION_UNREACHABLE, 1)
PORT_UNREACHABLE = (DESTINATION_UNREACHABLE, 3)
FRAGMENTATION_NEEDED = (DESTINATION_UNREACHABLE, 4)
HOST_PROHIBITED = (DESTINATION_UNREACHABLE, 10)
ERROR_PERIOD = 1e-5  # seconds between two errors for one pair of addresses
ERROR_LIMIT = 576  # longest error message
ECHO_TTL, ERROR_TTL, PING_TTL = 64, 255, 254


@dataclass(frozen=True, slots=True)
class EchoReply:
    """An answer to ``ping``."""

    source: int
    sequence: int
    ttl: int
    size: int  # of the ICMP message
    sw_if_index: int
    seconds: float


class Icmp:
    """The ICMP nodes and the echo client."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.input = graph.add_node("ip4-icmp-input", self._input)
        self._echo = graph.add_node("ip4-icmp-echo-request", self._echo_request)
        self._throttle = Throttle(ERROR_PERIOD)
        self._identifiers = itertools.count(1)
        self._waiting: dict[tuple[int, int], tuple[float, Callable[[EchoReply], None]]] = {}

    # -- received -----------------------------------------------------------------------------------

    def _input(self, vector: list[Packet]) -> None:
        for packet in vector:
            data = packet.data
            start = (data[0] & 15) * 4
            if len(data) < start + 8:
                self.graph.drop(packet, "ip4-icmp-input", reasons.ICMP_TOO_SHORT)
            elif data[start] == ECHO_REQUEST:
                self._echo.pending.append(packet)
            elif data[start] != ECHO_REPLY or not self._echo_reply(packet, start):
                self.graph.punt(packet, "ip4-icmp-input", reasons.ICMP_UNKNOWN_TYPE)

    def _echo_request(self, vector: list[Packet]) -> None:
        target = self.graph.nodes["ip4-load-balance"].pending
        for packet in vector:
            data = packet.data
            size = (data[0] & 15) * 4
            data[size] = ECHO_REPLY
            total = int.from_bytes(data[size + 2 : size + 4], "big") + (ECHO_REQUEST << 8)
            data[size + 2 : size + 4] = ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
            data[12:16], data[16:20] = data[16:20], data[12:16]
            data[8] = ECHO_TTL
            data[10:12] = b"\0\0"
            data[10:12] = checksum(data[:size]).to_bytes(2, "big")
            packet.source, packet.destination = packet.destination, packet.source
            packet.local = True
            target.append(packet)
        self.graph.count("ip4-icmp-input", reasons.ICMP_ECHO_REPLIES, len(vector))

    def _echo_reply(self, packet: Packet, start: int) -> bool:
        data = packet.data
        key = (
            int.from_bytes(data[start + 4 : start + 6], "big"),
            int.from_bytes(data[start + 6 : start + 8], "big"),
        )
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return False
        sent, callback = waiting
        seconds = self.graph.dataplane.time() - sent
        callback(EchoReply(packet.source, key[1], data[8], len(data) - start, packet.rx.sw_if_index, seconds))
        return True

    # -- errors -------------------------------------------------------------------------------------

    def error(self, packet: Packet, node: str, reason: Reason, kind: tuple[int, int], value: int = 0) -> None:
        """Drop a packet for a reason and tell its sender, unless that is not allowed or too often."""
        if self.graph.trace is not None:
            self.graph.trace.visit("ip4-icmp-error", ip4_text(packet.data))
        if reason is reasons.DROP_ROUTE:
            self.graph.blackhole(packet, node, reason)
        else:
            self.graph.drop(packet, node, reason, counted_at="ip4-input" if node == "ip4-rewrite" else "")
        if not _may_be_answered(packet):
            return
        now = self.graph.dataplane.time()
        source = self.graph.ip4.resolver.source_address(packet.rx, packet.source)
        if source is None or self._throttle.check((packet.destination, packet.source), now):
            self.graph.count("ip4-icmp-error", reasons.ICMP_DROP)
            return
        counted = reasons.ICMP_TTL_SENT if kind[0] == TIME_EXCEEDED else reasons.ICMP_UNREACH_SENT
        self.graph.count("ip4-icmp-error", counted)
        quoted = bytes(packet.data[: ERROR_LIMIT - 28])
        message = bytearray(bytes((*kind, 0, 0)) + value.to_bytes(4, "big") + quoted)
        message[2:4] = checksum(message).to_bytes(2, "big")
        self.originate(packet.rx, ip4_packet(source, packet.source, 1, bytes(message), ttl=ERROR_TTL))

    def originate(self, interface: Interface, data: bytearray, node: str = "ip4-lookup") -> None:
        """Send a packet of our own, looked up in the table of an interface."""
        packet = Packet(data, b"", interface)
        packet.source = int.from_bytes(data[12:16], "big")
        packet.destination = int.from_bytes(data[16:20], "big")
        packet.local = True
        self.graph.nodes[node].pending.append(packet)

    # -- ping ---------------------------------------------------------------------------------------

    def send_echo(
        self,
        destination: int,
        callback: Callable[[EchoReply], None],
        *,
        identifier: int,
        sequence: int,
        size: int = 56,
        table: FibTable | None = None,
        source: int | None = None,
        via: Interface | None = None,
    ) -> None:
        """Send one echo request; the callback is called when its answer comes (see ``forget_echo``)."""
        table = table or (via.fib4 if via is not None else self.graph.dataplane.fibs.get(0))
        action = self.graph.ip4.resolver.resolve(table, destination).actions[0]
        interface = via or action.interface
        if interface is None:
            raise DataplaneError(Retval.NO_SUCH_ENTRY, "no route leads to the destination")
        if source is None:
            source = self.graph.ip4.resolver.source_address(interface, destination)
        if source is None:
            raise DataplaneError(Retval.NO_SUCH_ENTRY, f"{interface.name} has no address to ping from")
        numbers = identifier.to_bytes(2, "big") + sequence.to_bytes(2, "big")
        message = bytearray(
            bytes((ECHO_REQUEST, 0, 0, 0)) + numbers + bytes(index & 255 for index in range(size))
        )
        message[2:4] = checksum(message).to_bytes(2, "big")
        self._waiting[(identifier, sequence)] = (self.graph.dataplane.time(), callback)
        self.originate(interface, ip4_packet(source, destination, 1, bytes(message), ttl=PING_TTL))
        self.graph.run()

    def forget_echo(self, identifier: int, sequence: int) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop((identifier, sequence), None)

    async def ping(
        self,
        destination: int,
        *,
        sequence: int = 1,
        timeout: float = 1.0,
        size: int = 56,
        table: FibTable | None = None,
        source: int | None = None,
        via: Interface | None = None,
    ) -> EchoReply | None:
        """One echo request and its answer, or None when none came in time."""
        answer: asyncio.Future[EchoReply] = asyncio.get_running_loop().create_future()
        identifier = next(self._identifiers) & 0xFFFF

        def answered(reply: EchoReply) -> None:
            if not answer.done():
                answer.set_result(reply)

        self.send_echo(
            destination,
            answered,
            identifier=identifier,
            sequence=sequence,
            size=size,
            table=table,
            source=source,
            via=via,
        )
        try:
            return await asyncio.wait_for(answer, timeout)
        except TimeoutError:
            return None
        finally:
            self.forget_echo(identifier, sequence)


def _may_be_answered(packet: Packet) -> bool:
    """RFC 1122: no error about an error, a later fragment, a broadcast, or from what is no host's address."""
    data = packet.data
    if packet.local or packet.source in (0, 0xFFFFFFFF) or packet.source >> 28 == 14:
        return False
    if packet.destination == 0xFFFFFFFF or packet.destination >> 28 == 14 or packet.ethernet[:1] == b"\xff":
        return False
    if (data[6] & 0x1F) or data[7]:
        return False
    start = (data[0] & 15) * 4
    return data[9] != 1 or (len(data) > start and data[start] in (0, 8, 13, 14, 15, 16, 17, 18))
