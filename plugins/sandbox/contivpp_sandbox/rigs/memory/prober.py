# SPDX-License-Identifier: Apache-2.0
"""Sends probes from hosts, follows them, and says what came of them and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from contivpp_sandbox.rigs.base import Probe, RigError, Verdict, summarise
from contivpp_sandbox.rigs.memory.flows import TCP_HEADERS, EchoFlow, Flow, TcpFlow, TcpStray, UdpFlow
from contivpp_sandbox.rigs.memory.notes import Arrival, Notes
from contivpp_sandbox.rigs.memory.packets import ICMP, TCP, UDP, Ipv4, dotted
from contivpp_sandbox.rigs.memory.stack import Host
from contivpp_sandbox.rigs.memory.tables import Hop, TooLarge, Unreachable

__all__ = ["PROTOCOLS", "Prober"]

PROTOCOLS = {"ICMP": ICMP, "TCP": TCP, "UDP": UDP}
ATTEMPTS = 4
RETRY_SECONDS = 1.0  # simulated, as all time here
_DEFAULT_SIZE = {ICMP: 56, UDP: 16, TCP: 16}
_BREATH = 64  # probes between two turns of the event loop


class Prober:
    """`name_of` gives an address its name: a pod's, or the address as text."""

    def __init__(self, notes: Notes, name_of: Callable[[int], str]) -> None:
        self._notes = notes
        self._name_of = name_of
        self._sent = 0

    async def probe(self, host: Host, target: int, probe: Probe) -> Verdict:
        """Send a probe to an address, as often as it says, and return one verdict."""
        verdicts = []
        for _ in range(probe.repeat):
            self._sent += 1
            if self._sent % _BREATH == 0:
                await asyncio.sleep(0)
            verdicts.append(await self._once(host, target, probe))
        return summarise(probe.expect, verdicts)

    async def _once(self, host: Host, target: int, probe: Probe) -> Verdict:
        self._notes.clear()
        try:
            hop = host.tables.hop(target)
        except Unreachable as error:
            return Verdict(verdict="denied", why=f"{host.name}: {error}")
        flow = _flow(host, hop, target, probe)
        host.flows[flow.key] = flow
        try:
            await self._attempts(flow, probe)
            return self._verdict(host, hop, target, flow, probe)
        finally:
            del host.flows[flow.key]
            host.forget_waiting()

    async def _attempts(self, flow: Flow, probe: Probe) -> None:
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(RETRY_SECONDS)
            self._notes.begin_attempt()
            flow.send()
            if self._done(flow, probe):
                return
        await asyncio.sleep(RETRY_SECONDS)

    def _done(self, flow: Flow, probe: Probe) -> bool:
        if probe.one_way and self._arrival(flow) is not None:
            return True
        return flow.answer is not None or bool(flow.refused)

    def _arrival(self, flow: Flow) -> Arrival | None:
        wanted = flow.key[0]
        return next((arrival for arrival in reversed(self._notes.arrivals) if arrival.protocol == wanted), None)

    def _verdict(self, host: Host, hop: Hop, target: int, flow: Flow, probe: Probe) -> Verdict:
        arrival = self._arrival(flow)
        verdict = self._ended(host, hop, target, flow, arrival if probe.one_way else None)
        if arrival is None:
            return verdict
        address = dotted(arrival.source)
        return replace(verdict, seen_source=self._name_of(arrival.source), source_address=address)

    def _ended(self, host: Host, hop: Hop, target: int, flow: Flow, arrival: Arrival | None) -> Verdict:
        """Say how a flow ended; `arrival` is given when that alone makes it allowed."""
        if arrival is not None:
            reached = f"{arrival.host}:{arrival.port}" if arrival.port else arrival.host
            return Verdict(verdict="allowed", reached=(reached,))
        if flow.answer is not None:
            answered = flow.answer.decode(errors="replace")
            return Verdict(verdict="allowed", reached=(answered or self._name_of(target),))
        if flow.refused:
            return Verdict(verdict="refused", why=flow.refused)
        waiting = host.unresolved()
        why = f"{host.name}: {waiting}" if waiting else self._notes.why(hop.source, target)
        return Verdict(verdict="denied", why=why or f"no answer from {dotted(target)}")


def _flow(host: Host, hop: Hop, target: int, probe: Probe) -> Flow:
    """Make the flow that a probe asks for."""
    protocol = PROTOCOLS.get(probe.protocol)
    if protocol is None:
        raise RigError(f"{probe.protocol} probes are not served yet")

    # TCP finds the largest segment of a path by itself, as Linux does: its packets are never fragmented.
    whole = probe.do_not_fragment or (protocol == TCP and not probe.one_way)

    def send(packet: Ipv4) -> None:
        try:
            host.send(hop, packet, do_not_fragment=whole)
        except TooLarge as error:
            flow.too_large(error.mtu, f"{host.name}: {error}")
        except Unreachable as error:
            host.notes.lost(host.name, str(error))

    size = _DEFAULT_SIZE[protocol] if probe.size is None else probe.size
    data = bytes(index & 0xFF for index in range(size))
    source_port = probe.source_port or host.free_port()
    ends: dict[str, Any] = {"source": hop.source, "target": target, "source_port": source_port, "data": data}
    flow: Flow
    if protocol == ICMP:
        flow = EchoFlow(send, **ends)
    elif protocol == UDP:
        flow = UdpFlow(send, port=probe.port, **ends)
    elif probe.one_way:
        flow = TcpStray(send, port=probe.port, **ends)
    else:
        flow = TcpFlow(send, port=probe.port, largest=host.mtu_towards(target) - TCP_HEADERS, **ends)
    return flow
