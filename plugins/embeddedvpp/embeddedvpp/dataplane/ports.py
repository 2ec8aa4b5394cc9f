# SPDX-License-Identifier: Apache-2.0
"""Where frames come from and go to: the port of an interface, and the one that lives in memory.

A port hands received frames to the graph in vectors and sends the frames that it is given. What touches the
kernel is in ``afpacket`` and ``tap``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .interfaces import Interface
    from .model import Dataplane

VECTOR_SIZE = 256  # frames handed to the graph at once, as in VPP


class Port(Protocol):
    """What an interface needs of its port."""

    input_node: str

    def send(self, frames: list[bytes]) -> int:
        """Send; return how many were sent, the rest is lost and counted."""

    def close(self, *, keep: bool = False) -> None:
        """Release everything; ``keep`` leaves a persistent device in the kernel."""


class LoopbackPort:
    """The port of loopN: what is sent comes in again, as VPP's simulated Ethernet does it."""

    input_node = "ethernet-input"

    def __init__(self, dataplane: Dataplane, interface: Interface) -> None:
        self.dataplane = dataplane
        self.interface = interface

    def send(self, frames: list[bytes]) -> int:
        """Back to the input of the same interface; if it is bridged, that is where its bridge domain floods to."""
        counters = self.interface.counters
        counters.tx_packets += len(frames)  # as VPP counts: at loopN-tx, and the graph at loopN-output
        counters.tx_bytes += sum(map(len, frames))
        self.dataplane.graph.receive(self.interface, frames)
        return len(frames)

    def close(self, *, keep: bool = False) -> None:
        """Nothing to release."""


class MemoryPort:
    """A port without a kernel: frames are injected by calls and come out at a function or another port."""

    input_node = "af-packet-input"

    def __init__(
        self, dataplane: Dataplane, interface: Interface, on_transmit: Callable[[bytes], None] | None = None
    ) -> None:
        self.dataplane = dataplane
        self.interface = interface
        self.on_transmit = on_transmit
        self.peer: MemoryPort | None = None
        self.sent: list[bytes] = []  # frames sent while nobody is attached
        self._queue: list[bytes] = []
        self._delivering = False
        self._closed = False

    def inject(self, frames: bytes | Sequence[bytes]) -> None:
        """Let frames arrive, and everything that follows from them happen."""
        self._queue.extend([frames] if isinstance(frames, bytes) else frames)
        if self._delivering:
            return  # a peer answered while frames of this port are being handled: they go next
        self._delivering = True
        try:
            while self._queue and not self._closed:
                batch, self._queue = self._queue[:VECTOR_SIZE], self._queue[VECTOR_SIZE:]
                self.dataplane.graph.receive(self.interface, batch)
        finally:
            self._delivering = False

    def send(self, frames: list[bytes]) -> int:
        """To the peer, the function, or the list of sent frames."""
        if self.peer is not None:
            self.peer.inject(frames)
        elif self.on_transmit is not None:
            for frame in frames:
                self.on_transmit(frame)
        else:
            self.sent.extend(frames)
        return len(frames)

    def close(self, *, keep: bool = False) -> None:
        """Unlink from the peer; its link goes down."""
        self._closed = True
        if self.peer is not None:
            self.peer.peer = None
            self.peer.dataplane.set_link_state(self.peer.interface.sw_if_index, up=False)
            self.peer = None


def add_memory_interface(
    dataplane: Dataplane,
    name: str,
    *,
    mac: bytes | None = None,
    on_transmit: Callable[[bytes], None] | None = None,
    device_class: str = "af-packet",
    instance: int | None = None,
) -> MemoryPort:
    """An interface of a device class whose port is in memory; its link is up."""
    number = dataplane.interfaces.free_instance(device_class) if instance is None else instance
    interface = dataplane.add_interface(name, device_class=device_class, instance=number, mac=mac)
    port = MemoryPort(dataplane, interface, on_transmit)
    interface.port = port
    dataplane.set_link_state(interface.sw_if_index, up=True)
    return port


def link(one: MemoryPort, other: MemoryPort) -> None:
    """Connect two ports by a cable."""
    one.peer, other.peer = other, one
