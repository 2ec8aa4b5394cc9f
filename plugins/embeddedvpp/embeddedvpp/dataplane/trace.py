# SPDX-License-Identifier: Apache-2.0
"""Traces of packets: which nodes one went through, and what each saw. (VPP's ``trace add`` and ``show trace``.)

While nothing is traced the graph asks one question for each vector of frames and each round of its nodes, and packets
know nothing of traces. While something is, ``Tracing`` runs the nodes in the graph's place: a traced packet goes
through a node alone, and every packet and frame that appears meanwhile — a fragment, an ICMP error, an answer — takes
its trace on, as VPP copies it. A node therefore does nothing for being traced. What it shows is an IPv4 header if its
name begins with "ip4-", else nothing, or the ``trace`` that it gave to ``Graph.add_node``: a function from a packet to
lines, called before the node works, or after with ``trace_late=True``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .trace_text import arp_text, frame_text, ip4_text

if TYPE_CHECKING:
    from .graph import Graph, Node, Packet
    from .interfaces import Interface
    from .reasons import Reason

Describe = Callable[["Packet"], str]
INPUT_NODES = {  # device class → node that can be told to trace
    "af-packet": "af-packet-input",
    "tap": "virtio-input",
}


class Trace:
    """What happened to one packet: time in seconds, node, and text of several lines."""

    def __init__(self) -> None:
        self.records: list[tuple[float, str, str]] = []


class Tracing:
    """Which packets are to be traced, the traces, and the graph's work while there are any."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.remaining: dict[str, int] = {}
        self.traces: list[Trace] = []
        self._current: Trace | None = None
        self._frames: dict[int, tuple[bytes, Trace]] = {}  # frames on their way out, by identity

    # -- asked by the CLI ---------------------------------------------------------------------------

    def add(self, node: str, count: int) -> None:
        """Trace the next packets of an input node, in addition to those that it still has to; 0 ends that."""
        self.remaining[node] = self.remaining.get(node, 0) + count if count else 0
        self.graph.trace = self if any(self.remaining.values()) else None

    def clear(self) -> None:
        """Forget everything, also what is still to be traced."""
        self.remaining.clear()
        self.traces.clear()
        self.graph.trace = None

    # -- in the graph's place -----------------------------------------------------------------------

    def receive(self, interface: Interface, frames: list[bytes]) -> None:
        """Frames arrived."""
        node = interface.port.input_node if interface.port is not None else ""
        plain: list[bytes] = []
        for frame in frames:
            trace = self._trace_of(interface, node, frame)
            if trace is None:
                plain.append(frame)
                continue
            if plain:
                self.graph.ethernet.receive(interface, plain)
                plain = []
            self._record(trace, "ethernet-input", frame_text(frame, inside=False))
            self._run(trace, lambda frame=frame: self.graph.ethernet.receive(interface, [frame]))  # type: ignore[misc]
        if plain:
            self.graph.ethernet.receive(interface, plain)

    def dispatch(self) -> bool:
        """A round of all nodes that have packets; False if none has."""
        busy = False
        for node in self.graph.order:
            vector = node.pending
            if not vector:
                continue
            busy = True
            node.pending = []
            node.calls += 1
            node.packets += len(vector)
            plain: list[Packet] = []
            for packet in vector:
                trace = getattr(packet, "trace", None)
                if trace is None:
                    plain.append(packet)
                    continue
                if plain:
                    node.process(plain)
                    plain = []
                self._process(node, packet, trace)
            if plain:
                node.process(plain)
        return busy

    def finish(self) -> None:
        """The graph has nothing more to do."""
        self._frames.clear()
        if not any(self.remaining.values()):
            self.graph.trace = None

    # -- told by nodes ------------------------------------------------------------------------------

    def visit(self, node: str, text: str) -> None:
        """The packet that is being worked on passed a node of VPP that is none here."""
        if self._current is not None:
            self._record(self._current, node, text)

    def transmit(self, interface: Interface, frames: list[bytes]) -> None:
        """Frames leave."""
        for frame in frames:
            known = self._frames.get(id(frame))
            if known is not None:
                driver = interface.device_class.replace("-", "_")
                head = f"{driver}: hw_if_index {interface.sw_if_index} tx-queue 0 len {len(frame)}"
                inside = frame_text(frame).replace("\n", "\n  ")
                self._record(known[1], f"{interface.name}-tx", f"{head}\n  {inside}")

    def ended(  # noqa: PLR0917 - the graph calls it
        self,
        interface: Interface,
        node: str,
        why: Reason,
        data: bytes | bytearray,
        counted: tuple[str, Reason],
        end: str,
    ) -> None:
        """A packet ended at a node by "drop" or "punt"; ``counted`` is what VPP shows, ``why`` what is known here."""
        trace = self._current
        if trace is None:
            return
        if node.startswith("ip4-") and node != "ip4-drop":
            self._record(trace, f"ip4-{end}", _forward_text(data))
        self._record(trace, f"error-{end}", f"rx:{interface.name}")
        at, reason = counted
        known = f" ({why.description})" if why is not reason else ""
        self._record(trace, end, f"{at}: {reason.description}{known}")

    # -- inside -------------------------------------------------------------------------------------

    def _trace_of(self, interface: Interface, node: str, frame: bytes) -> Trace | None:
        """The trace of a frame that came: the one it left with, or a new one."""
        known = self._frames.get(id(frame))
        if known is not None:
            return known[1]
        if not self.remaining.get(node):
            return None
        self.remaining[node] -= 1
        trace = Trace()
        self.traces.append(trace)
        driver = "virtio" if node == "virtio-input" else node.removesuffix("-input").replace("-", "_")
        queue = "vring 0" if driver == "virtio" else "rx-queue 0"
        self._record(trace, node, f"{driver}: hw_if_index {interface.sw_if_index} {queue} len {len(frame)}")
        return trace

    def _process(self, node: Node, packet: Packet, trace: Trace) -> None:
        place = len(trace.records)
        at = self.graph.dataplane.time()
        text = "" if node.trace_late else describe(node.name, packet, node.trace)
        trace.records.append((at, node.name, text))
        self._run(trace, lambda: node.process([packet]))
        if node.trace_late:
            trace.records[place] = (at, node.name, describe(node.name, packet, node.trace))
        if node.name == "interface-output":
            del trace.records[place]  # each interface has its own

    def _run(self, trace: Trace, work: Callable[[], None]) -> None:
        """Do something for a traced packet; all that comes of it takes the trace on."""
        nodes = [(node, len(node.pending)) for node in self.graph.order]
        queues = {interface: len(frames) for interface, frames in self.graph.output.items()}
        self._current = trace
        try:
            work()
        finally:
            self._current = None
        for node, before in nodes:
            for packet in node.pending[before:]:
                if getattr(packet, "trace", None) is None:
                    packet.trace = trace
        for interface, frames in self.graph.output.items():
            for frame in frames[queues.get(interface, 0) :]:
                self._sent(trace, interface, frame)

    def _sent(self, trace: Trace, interface: Interface, frame: bytes) -> None:
        self._frames[id(frame)] = (frame, trace)
        text = f"{interface.name} flags 0x00000000\n{frame_text(frame)}"
        self._record(trace, f"{interface.name}-output", text)

    def _record(self, trace: Trace, node: str, text: str) -> None:
        trace.records.append((self.graph.dataplane.time(), node, text))


def describe(node: str, packet: Packet, own: Describe | None = None) -> str:
    """What a node shows of a packet."""
    if own is not None:
        return own(packet)
    if node.startswith("ip4-"):
        return ip4_text(packet.data)
    return arp_text(packet.data) if node.startswith("arp-") else ""


def _forward_text(data: bytes | bytearray) -> str:
    return f"  fib:0 adj:0 flow:0x00000000\n{ip4_text(data)}"
