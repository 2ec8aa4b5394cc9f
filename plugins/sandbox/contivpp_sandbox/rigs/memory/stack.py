# SPDX-License-Identifier: Apache-2.0
"""The IPv4 host stack of a namespace in memory: ARP, sending and receiving by what the kernel in memory holds.

It does as Linux does by default: it answers ARP for any of its addresses, takes packets for any of them on any link,
does not forward, fragments what does not fit, and puts fragments together. It learns neighbours and forgets them
after a minute. What is above IPv4 is in `flows` (what this host asked) and `servers` (what it answers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from contivpp_linux.kernel.memory_links import MemoryLink, MemoryNamespace
from contivpp_sandbox.rigs.memory.flows import Flow, FlowKey
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.packets import (
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP,
    IPV4,
    TIME_EXCEEDED,
    TOO_LARGE,
    UDP,
    UNREACHABLE,
    Arp,
    Ipv4,
    arp,
    dotted,
    fragments,
    ipv4,
    mac_bytes,
    parse_arp,
    parse_ipv4,
    valid_transport,
)
from contivpp_sandbox.rigs.memory.reassembly import PathMtus, Reassembly
from contivpp_sandbox.rigs.memory.servers import Ports, Servers
from contivpp_sandbox.rigs.memory.tables import Hop, Tables, TooLarge, Unreachable

__all__ = ["Host"]

_TYPE_IPV4, _TYPE_ARP = IPV4.to_bytes(2, "big"), ARP.to_bytes(2, "big")
NEIGHBOUR_SECONDS = 60.0
_ANY_MTU = 1500  # where nothing can be sent anyway
_QUEUE = 16  # packets that wait for one neighbour
_FIRST_PORT, _LAST_PORT = 32768, 60999  # as in Linux


class _Neighbour(NamedTuple):
    mac: bytes
    expires: float


class Host:
    """One host: a namespace, the name that it answers with, and the ports that it serves."""

    def __init__(
        self,
        name: str,
        namespace: MemoryNamespace,
        *,
        ports: Ports,
        notes: Notes,
        time: Callable[[], float],
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.tables = Tables(namespace)
        self.notes = notes
        self.servers = Servers(self, ports)
        self.flows: dict[FlowKey, Flow] = {}
        self._time = time
        self._learnt: dict[tuple[MemoryLink, int], _Neighbour] = {}
        self._waiting: dict[tuple[MemoryLink, int], list[bytes]] = {}
        self._reassembly = Reassembly()
        self._path_mtus = PathMtus(time)
        self._identification = 0
        self._port = _FIRST_PORT - 1

    def attach(self) -> None:
        """Listen at every link that is there now."""
        for link in self.namespace.links.values():
            if link.listener is None and link.name != "lo":
                link.listener = self._listener(link)

    def free_port(self) -> int:
        """Return a port (or ICMP identifier) for a new flow."""
        self._port = self._port + 1 if self._port < _LAST_PORT else _FIRST_PORT
        return self._port

    def unresolved(self) -> str:
        """Tell for which neighbour packets wait; empty if for none."""
        for link, address in self._waiting:
            return f"no answer to ARP for {dotted(address)} on {link.name}"
        return ""

    def forget_waiting(self) -> None:
        """Drop packets that wait for neighbours."""
        self._waiting.clear()

    # --- sending

    def send(self, hop: Hop, packet: Ipv4, *, do_not_fragment: bool = False) -> None:
        """Send a packet by a way that `tables` found; raise Unreachable where the host itself cannot."""
        link = hop.link
        if link.name == "lo":
            if not link.up:
                raise Unreachable("lo is down")
            self._take(packet)
            return
        if not (link.up and link.carrier):
            raise Unreachable(f"{link.name} is down" if not link.up else f"{link.name} has no carrier")
        mtu, length = self._path_mtus.towards(packet.target, link.mtu), len(packet.payload) + 20
        if do_not_fragment and length > mtu:
            where = link.name if mtu == link.mtu else f"the path to {dotted(packet.target)}"
            raise TooLarge(f"{length} bytes do not fit the MTU of {where}, {mtu}", mtu)
        self._identification += 1
        packet = packet._replace(identification=self._identification)
        for part in fragments(packet, mtu):
            self._resolve(link, hop.next_hop, hop.source, ipv4(part, do_not_fragment=do_not_fragment))

    def mtu_towards(self, target: int) -> int:
        """Return the largest packet for an address, in bytes, as far as it is known."""
        try:
            return self._path_mtus.towards(target, self.tables.hop(target).link.mtu)
        except Unreachable:
            return _ANY_MTU

    def reply(self, packet: Ipv4, payload: bytes) -> None:
        """Answer a packet, from the address that it was sent to; a failure is noted."""
        answer = Ipv4(packet.target, packet.source, packet.protocol, payload)
        try:
            self.send(self.tables.hop(answer.target), answer)
        except Unreachable as error:
            self.notes.lost(self.name, str(error), answer.source, answer.target)

    def _resolve(self, link: MemoryLink, address: int, source: int, packet: bytes) -> None:
        mac = self.tables.mac(link.name, address)
        if mac is None:
            known = self._learnt.get((link, address))
            if known is None or known.expires <= self._time():
                queue = self._waiting.setdefault((link, address), [])
                queue.append(packet)
                del queue[:-_QUEUE]
                own = mac_bytes(link.mac)
                question = arp(Arp(ARP_REQUEST, own, source, address), bytes(6))
                link.transmit(BROADCAST + own + _TYPE_ARP + question)
                return
            mac = known.mac
        link.transmit(mac + mac_bytes(link.mac) + _TYPE_IPV4 + packet)

    # --- receiving

    def _listener(self, link: MemoryLink) -> Callable[[bytes], None]:
        def receive(frame: bytes) -> None:
            if frame[:6] != BROADCAST and frame[:6] != mac_bytes(link.mac):
                self._refuse_frame(link, frame)
            elif frame[12:14] == _TYPE_IPV4:
                packet = parse_ipv4(frame[14:])
                if packet is None:
                    self.notes.lost(self.name, f"{link.name} received a malformed IPv4 packet")
                else:
                    self._take(packet)
            elif frame[12:14] == _TYPE_ARP:
                self._arp(link, frame[14:])

        return receive

    def _refuse_frame(self, link: MemoryLink, frame: bytes) -> None:
        packet = parse_ipv4(frame[14:]) if frame[12:14] == _TYPE_IPV4 else None
        if packet is not None:
            text = f"{link.name} received a frame for another MAC address, {frame[:6].hex(':')}"
            self.notes.lost(self.name, text, packet.source, packet.target)

    def _arp(self, link: MemoryLink, data: bytes) -> None:
        found = parse_arp(data)
        if found is None:
            return
        for_us = self.tables.is_own(found.target)
        key = (link, found.sender)
        if found.sender and (for_us or key in self._learnt or key in self._waiting):
            self._learnt[key] = _Neighbour(found.sender_mac, self._time() + NEIGHBOUR_SECONDS)
        own = mac_bytes(link.mac)
        if found.operation == ARP_REQUEST and for_us:
            answer = arp(Arp(ARP_REPLY, own, found.target, found.sender), found.sender_mac)
            link.transmit(found.sender_mac + own + _TYPE_ARP + answer)
        for packet in self._waiting.pop(key, ()):
            link.transmit(found.sender_mac + own + _TYPE_IPV4 + packet)

    def _take(self, packet: Ipv4) -> None:
        """A packet arrived."""
        if not self.tables.is_own(packet.target):
            text = f"has no address {dotted(packet.target)}, and does not forward"
            self.notes.lost(self.name, text, packet.source, packet.target)
            return
        whole = self._reassembly.take(packet)
        if whole is None:
            return
        packet = whole
        if not valid_transport(packet):
            text = "received a packet with a wrong checksum or length"
            self.notes.lost(self.name, text, packet.source, packet.target)
        elif packet.protocol == ICMP:
            self._icmp(packet)
        else:
            self._transport(packet)

    def _transport(self, packet: Ipv4) -> None:
        data = packet.payload
        peer_port, port = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        flow = self.flows.get((packet.protocol, port, packet.source, peer_port))
        if flow is not None:
            flow.receive(packet)
        elif packet.protocol == UDP:
            self.servers.udp(packet)
        else:
            self.servers.tcp(packet)

    def _icmp(self, packet: Ipv4) -> None:
        data = packet.payload
        if data[0] == ECHO_REQUEST:
            self.servers.echo(packet)
        elif data[0] == ECHO_REPLY:
            flow = self.flows.get((ICMP, int.from_bytes(data[4:6], "big"), packet.source, 0))
            if flow is not None:
                flow.receive(packet)
        elif data[0] in (UNREACHABLE, TIME_EXCEEDED):
            self._failed(packet)

    def _failed(self, packet: Ipv4) -> None:
        """A host or router refuses a packet of ours, of which it quotes the beginning."""
        kind, code = packet.payload[:2]
        quoted = packet.payload[8:]
        if len(quoted) < 28 or not self.tables.is_own(int.from_bytes(quoted[12:16], "big")):
            return
        header = (quoted[0] & 15) * 4
        protocol, peer = quoted[9], int.from_bytes(quoted[16:20], "big")
        ports = quoted[header : header + 8]
        key = (protocol, int.from_bytes(ports[:2], "big"), peer, int.from_bytes(ports[2:4], "big"))
        if protocol == ICMP:
            key = (ICMP, int.from_bytes(ports[4:6], "big"), peer, 0)
        flow, router = self.flows.get(key), dotted(packet.source)
        if (kind, code) == (UNREACHABLE, TOO_LARGE):
            mtu, length = int.from_bytes(packet.payload[6:8], "big"), int.from_bytes(quoted[2:4], "big")
            self._path_mtus.learn(peer, mtu)
            if flow is not None:
                reason = f"{length} bytes do not fit the next hop's MTU, {mtu}"
                flow.too_large(mtu, f"ICMP fragmentation needed, from {router}: {reason}")
        elif flow is not None:
            name = "destination unreachable" if kind == UNREACHABLE else "time exceeded"
            flow.refuse(f"ICMP {name}, code {code}, from {router}")
