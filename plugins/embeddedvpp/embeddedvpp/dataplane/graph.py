# SPDX-License-Identifier: Apache-2.0
"""The packet graph: nodes with vectors between them, feature arcs, error counters, and where packets end.

Nodes have VPP's names and order. Frames enter by ``receive``; each node takes the whole vector that waits
for it and appends every packet to the vector of its next node, until nothing waits; then frames leave by
the ports of their interfaces, a vector for each. What a node does is in ``ethernet``, ``ip4_nodes``,
``icmp`` and ``arp``; plugins of a dataplane (ACL, NAT) add nodes and features the same way.

``tracer`` is called for every packet that is dropped, with node, receiving interface, reason and the
packet's bytes (from the IPv4 header on, or the whole frame before it was found).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .reasons import BLACKHOLED, NO_ERROR, TX_FAILED, Reason

if TYPE_CHECKING:
    from .forwarding import Action
    from .interfaces import Interface
    from .model import Dataplane
    from .trace import Describe, Trace, Tracing

Tracer = Callable[[str, "Interface", Reason, bytes], None]

# Which features an arc may have, in order; the arc's own end follows.
ARC_ORDER: dict[str, list[str]] = {
    "ip4-unicast": ["ip4-not-enabled"],
    "ip4-output": [],
    "arp": ["arp-disabled"],
}


class Packet:
    """A packet on its way, and what nodes found out about it.

    Its data begins at the IPv4 (or ARP) header; in the nodes of layer 2 it is the whole frame, with the features
    that are left for it, the split horizon group it came from, and whether layer 3 sent it.
    """

    __slots__ = (
        "action",
        "arc",
        "data",
        "destination",
        "ethernet",
        "features",
        "from_bvi",
        "local",
        "position",
        "rx",
        "shg",
        "source",
        "trace",
        "tx",
    )

    rx: Interface
    tx: Interface | None
    action: Action
    arc: tuple[Node, ...]
    position: int
    source: int
    destination: int
    trace: Trace  # only traced packets have one
    features: int
    shg: int
    from_bvi: bool

    def __init__(self, data: bytearray, ethernet: bytes, rx: Interface) -> None:
        self.data = data
        self.ethernet = ethernet
        self.rx = rx
        self.local = False  # made here: its TTL is not decremented


@dataclass(slots=True, eq=False)
class Node:
    """A node: its function takes a vector."""

    name: str
    process: Callable[[list[Packet]], None]
    pending: list[Packet] = field(default_factory=list)
    calls: int = 0
    packets: int = 0
    trace: Describe | None = None  # what it shows of a traced packet; see ``trace``
    trace_late: bool = False  # … after it has worked on it


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """A line of ``show errors``."""

    node: str
    reason: Reason
    count: int


class Graph:
    """Nodes, arcs and counters of one dataplane."""

    def __init__(self, dataplane: Dataplane) -> None:
        from .arp import Arp  # noqa: PLC0415 - these need the classes above
        from .ethernet import Ethernet  # noqa: PLC0415
        from .icmp import Icmp  # noqa: PLC0415
        from .ip4_frag import Fragmentation  # noqa: PLC0415
        from .ip4_nodes import Ip4  # noqa: PLC0415
        from .l2_nodes import Layer2  # noqa: PLC0415
        from .reassembly import Reassembly  # noqa: PLC0415
        from .trace import Tracing  # noqa: PLC0415
        from .vxlan import Vxlan  # noqa: PLC0415

        self.dataplane = dataplane
        self.nodes: dict[str, Node] = {}
        self.errors: dict[tuple[str, Reason], int] = {}
        self.tracer: Tracer | None = None
        self.output: dict[Interface, list[bytes]] = {}
        self.order: list[Node] = []
        self._input: deque[tuple[Interface, list[bytes]]] = deque()
        self._running = False
        self.started = dataplane.time()
        self.tracing = Tracing(self)
        self.trace: Tracing | None = None  # the same while packets are traced
        self.ethernet = Ethernet(self)
        self.ip4 = Ip4(self)
        self.fragmentation = Fragmentation(self)
        self.reassembly = Reassembly(self)
        self.icmp = Icmp(self)
        self.arp = Arp(self)
        self.udp_ports: dict[int, Node] = {}  # who takes what is for us
        self.layer2 = Layer2(self)
        self.vxlan = Vxlan(self)

    # -- building -----------------------------------------------------------------------------------

    def add_node(
        self,
        name: str,
        process: Callable[[list[Packet]], None],
        *,
        trace: Describe | None = None,
        trace_late: bool = False,
    ) -> Node:
        """Add a node; nodes run in the order of being added, again and again until nothing waits."""
        node = Node(name, process, trace=trace, trace_late=trace_late)
        self.nodes[name] = node
        self.order.append(node)
        return node

    def enable_feature(self, arc: str, node: str, interface: Interface, *, on: bool = True) -> None:
        """Put a node of ``ARC_ORDER`` on an interface's arc, or take it away."""
        enabled = [found.name for found in interface.arcs.get(arc, ())]
        if (node in enabled) == on:
            return
        if on:
            enabled.append(node)
            enabled.sort(key=ARC_ORDER[arc].index)
        else:
            enabled.remove(node)
        if enabled:
            interface.arcs[arc] = tuple(self.nodes[name] for name in enabled)
        else:
            del interface.arcs[arc]

    def start_arc(self, arc: str, interface: Interface, packet: Packet, end: Node) -> None:
        """Enqueue a packet at the first feature of an interface's arc, or at the arc's end."""
        chain = interface.arcs.get(arc)
        if chain is None:
            end.pending.append(packet)
            return
        packet.arc, packet.position = (*chain, end), 0
        chain[0].pending.append(packet)

    def next_feature(self, packet: Packet) -> None:
        """Enqueue a packet at what follows the feature it is in."""
        packet.position += 1
        packet.arc[packet.position].pending.append(packet)

    # -- running ------------------------------------------------------------------------------------

    def receive(self, interface: Interface, frames: list[bytes]) -> None:
        """Frames arrived; returns when all that follows is done (or, called by a node or port, is queued)."""
        self._input.append((interface, frames))
        self.run()

    def run(self) -> None:
        """Work until nothing waits and nothing is left to send."""
        if self._running:
            return
        self._running = True
        try:
            busy = True
            while busy:
                while self._input:
                    (self.trace or self.ethernet).receive(*self._input.popleft())
                busy = self._dispatch() if self.trace is None else self.trace.dispatch()
                if not busy and self.output:
                    self._transmit()
                    busy = bool(self._input or self.output or self.vxlan.encap_node.pending)
        finally:
            self._running = False
            if self.trace is not None:
                self.trace.finish()

    def _dispatch(self) -> bool:
        busy = False
        for node in self.order:
            vector = node.pending
            if vector:
                node.pending = []
                node.calls += 1
                node.packets += len(vector)
                node.process(vector)
                busy = True
        return busy

    def _transmit(self) -> None:
        output, self.output = self.output, {}
        for interface, frames in output.items():
            if self.trace is not None:
                self.trace.transmit(interface, frames)
            sent = interface.port.send(frames) if interface.port is not None else 0
            counters = interface.counters
            counters.tx_packets += sent
            counters.tx_bytes += sum(map(len, frames if sent == len(frames) else frames[:sent]))
            if sent < len(frames):
                counters.tx_error += len(frames) - sent
                self.count(f"{interface.name}-tx", TX_FAILED, len(frames) - sent)

    def invalidate(self) -> None:
        """Something that forwarding depends on has changed."""
        self.ip4.resolver.clear()

    # -- counting -----------------------------------------------------------------------------------

    def count(self, node: str, reason: Reason, number: int = 1) -> None:
        """Count without dropping."""
        key = (node, reason)
        self.errors[key] = self.errors.get(key, 0) + number

    def drop(self, packet: Packet, node: str, reason: Reason, *, counted_at: str = "") -> None:
        """Count the reason and end the packet; VPP counts some reasons at another node than where it happens."""
        self.count(counted_at or node, reason)
        self.discard(packet.rx, node, reason, packet.data, counted=(counted_at or node, reason))

    def punt(self, packet: Packet, node: str, reason: Reason, *, counted_at: str = "") -> None:
        """End a packet that VPP would hand to somebody outside of it, if anybody asked for that."""
        self.count(counted_at or node, reason)
        packet.rx.counters.punt += 1
        self._ended(packet.rx, node, reason, packet.data, (counted_at or node, reason), "punt")

    def blackhole(self, packet: Packet, node: str, why: Reason) -> None:
        """End a packet where VPP counts no reason of its own; the tracer still hears why.

        VPP then finds the error that ethernet-input wrote last, which says that there was none.
        """
        counted = ("ethernet-input", NO_ERROR) if packet.ethernet else ("null-node", BLACKHOLED)
        self.count(*counted)
        self.discard(packet.rx, node, why, packet.data, counted=counted)

    def discard(
        self,
        interface: Interface,
        node: str,
        reason: Reason,
        data: bytes | bytearray,
        counted: tuple[str, Reason] | None = None,
    ) -> None:
        """End a packet whose reason is counted already, at the node or where ``counted`` says."""
        interface.counters.drops += 1
        self._ended(interface, node, reason, data, counted or (node, reason), "drop")

    def _ended(  # noqa: PLR0917 - as above
        self,
        interface: Interface,
        node: str,
        reason: Reason,
        data: bytes | bytearray,
        counted: tuple[str, Reason],
        end: str,
    ) -> None:
        if self.tracer is not None:
            self.tracer(node, interface, reason, bytes(data))
        if self.trace is not None:
            self.trace.ended(interface, node, reason, data, counted, end)

    def error_counts(self) -> list[ErrorCount]:
        """All error counters, by node."""
        return [ErrorCount(node, reason, count) for (node, reason), count in sorted(self.errors.items())]

    def clear_errors(self) -> None:
        """``clear errors``."""
        self.errors.clear()
