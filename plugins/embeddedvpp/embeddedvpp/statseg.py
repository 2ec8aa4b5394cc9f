# SPDX-License-Identifier: Apache-2.0
"""The statistics segment: shared memory with counters, handed out over a socket, as readers of VPP's expect it.

Readers never talk to the server: they map the memory and follow pointers in it (``vpp_papi.vpp_stats``, GoVPP's
``statsclient`` and VPP's C library agree on the layout). What a pointer leads to may change only together with the
epoch. So whatever changes the shape (an interface, a first error at a node) is laid out anew elsewhere in the memory,
then directory pointer and epoch change; numbers change in place and at any time. A place is used again only after
several changes: a reader who is slow still finds what it looks for, and then sees that the epoch has changed.

The packet path counts in Python objects and knows nothing of this. They are copied once a second, and only while
somebody holds the memory. The kernel tells: it grants a write lease only on a file that nobody else has open or
mapped. Each reader therefore gets an opening of its own, for reading only.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import signal
import socket
import struct
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .dataplane import Interface, InterfaceEvent

if TYPE_CHECKING:
    from .api.vpp import Vpp

VERSION = 2
BASE = 0x1000000000  # where the segment would be in VPP's memory; readers subtract it
SIZE = 64 << 20  # what is not touched costs nothing; enough for 20,000 interfaces
START = 4096  # the header has the first page
GENERATIONS = 16  # layouts one after the other, then from the start again
INTERVAL = 1.0

SCALAR, SIMPLE, COMBINED, NAMES, SYMLINK, GAUGE = 1, 2, 3, 4, 6, 9
ENTRY = struct.Struct("=I4xQ128s")  # type, value or pointer, name
VECTOR_HEADER = struct.Struct("=IBBBx")  # length, size of this header in words, two that only VPP's allocator needs

SYSTEM = (
    ("/sys/heartbeat", SCALAR),
    ("/sys/last_stats_clear", SCALAR),
    ("/sys/boottime", SCALAR),
    ("/sys/last_update", SCALAR),
    ("/sys/vector_rate", GAUGE),
)
SIMPLE_COUNTERS = ("drops", "punt", "ip4", "ip6", "rx-no-buf", "rx-miss", "rx-error", "tx-error")
COMBINED_COUNTERS = ("rx", "tx")
FIRST_COUNTER = len(SYSTEM)  # places in the directory; symbolic links name them by number
ERRORS = FIRST_COUNTER + len(SIMPLE_COUNTERS) + len(COMBINED_COUNTERS)


class SegmentFull(MemoryError):
    """More interfaces than the segment has room for."""


class _Layout:
    """What readers see of one epoch."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.data = bytearray()
        self.places: dict[str, int] = {}  # where the numbers of a counter are
        self.directory = 0

    @property
    def end(self) -> int:
        """Where the next one can start."""
        return (self.start + len(self.data) + 63) & ~63

    def vector(self, length: int, content: bytes) -> int:
        """Append a vector; returns its place in the segment."""
        self.data += bytes(-len(self.data) % 16 + 8)
        self.data += VECTOR_HEADER.pack(length, 1, 0, 0)
        place = self.start + len(self.data)
        self.data += content
        return place

    def pointers(self, places: list[int]) -> int:
        """Append a vector of pointers; returns a pointer to it."""
        return BASE + self.vector(len(places), struct.pack(f"={len(places)}Q", *(BASE + each for each in places)))

    def text(self, text: str) -> int:
        """Append a string, whose length counts the zero at the end."""
        content = text.encode("ascii", "replace") + b"\0"
        return self.vector(len(content), content)


def _entry(kind: int, value: int, name: str) -> bytes:
    return ENTRY.pack(kind, value, name.encode("ascii", "replace")[:127])


class Segment:
    """The memory, and what is written to it."""

    def __init__(self, vpp: Vpp) -> None:
        self.vpp = vpp
        memory = os.memfd_create("embeddedvpp statistics", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, SIZE)
            # A memfd as it is made does not count as open for writing, and would never be granted a lease.
            self.descriptor = os.open(f"/proc/self/fd/{memory}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.close(memory)
        fcntl.fcntl(self.descriptor, fcntl.F_SETSIG, signal.SIGURG)  # should a lease be broken: ignored by default
        self._memory = mmap.mmap(self.descriptor, SIZE)
        self._words = memoryview(self._memory).cast("Q")
        self._words[0:3] = array("Q", (VERSION, BASE, 1))
        self._slots: list[Interface | None] = []
        self._links: dict[tuple[int, str], bytes] = {}  # directory entries by interface
        self._errors: dict[tuple[str, str], int] = {}  # place of an error counter; one that was seen stays
        self._layout = _Layout(START)
        self._stale = True
        self._heartbeat = 0
        self._started = vpp.dataplane.time()
        self._seen = (0, 0)  # calls of nodes, packets in them

    def close(self) -> None:
        """Let go of the memory; who has it, keeps it."""
        self._words.release()
        self._memory.close()
        os.close(self.descriptor)

    def shape_changed(self) -> None:
        """An interface came or went."""
        self._stale = True

    @property
    def held(self) -> bool:
        """True if anybody has the memory; also where the kernel does not say."""
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return True
        fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def open(self) -> int:
        """A descriptor for a reader."""
        return os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    def update(self) -> None:
        """Copy all counters; change the shape if necessary."""
        graph = self.vpp.dataplane.graph
        for node, reason in graph.errors:
            if (node, reason.name) not in self._errors:
                self._errors[node, reason.name] = len(self._errors)
                self._stale = True
        if self._stale:
            self._lay_out()
        self._write_interfaces()
        errors = array("Q", bytes(8 * len(self._errors)))
        for (node, reason), count in graph.errors.items():
            errors[self._errors[node, reason.name]] += count
        self._put("errors", errors)
        self._heartbeat += 1
        self._write_scalars()
        if self._stale:
            self._switch()
            self._stale = False

    # -- numbers ------------------------------------------------------------------------------------

    def _put(self, name: str, numbers: array[int]) -> None:
        place = self._layout.places[name] // 8
        self._words[place : place + len(numbers)] = numbers

    def _write_interfaces(self) -> None:
        counters = [slot.counters if slot is not None else None for slot in self._slots]
        for name in SIMPLE_COUNTERS:
            attribute = name.replace("-", "_")
            self._put(name, array("Q", [getattr(each, attribute) if each else 0 for each in counters]))
        rx, tx = array("Q"), array("Q")
        for each in counters:
            rx.extend((each.rx_packets, each.rx_bytes) if each else (0, 0))
            tx.extend((each.tx_packets, each.tx_bytes) if each else (0, 0))
        self._put("rx", rx)
        self._put("tx", tx)

    def _write_scalars(self) -> None:
        values = {
            "/sys/heartbeat": self._heartbeat,
            "/sys/boottime": int(self.vpp.started),
            "/sys/last_update": max(0, int(self.vpp.dataplane.time() - self._started)),
            "/sys/vector_rate": self._vector_rate(),
        }
        for number, (name, _) in enumerate(SYSTEM):
            self._words[(self._layout.directory + number * ENTRY.size) // 8 + 1] = values.get(name, 0)

    def _vector_rate(self) -> int:
        """Packets for each call of a node since the last time."""
        nodes = self.vpp.dataplane.graph.nodes.values()
        calls, packets = sum(node.calls for node in nodes), sum(node.packets for node in nodes)
        old_calls, old_packets = self._seen
        self._seen = (calls, packets)
        return max(0, packets - old_packets) // max(1, calls - old_calls)

    # -- shape --------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        """Put what there is now where no reader looks; numbers go there from now on."""
        old = self._layout
        new = self._filled(_Layout(old.end))
        if new.end > START + GENERATIONS * len(new.data):
            first = self._filled(_Layout(START))
            new = first if first.end <= old.start else new
        if new.end > SIZE:
            raise SegmentFull(f"the statistics of {len(self._slots)} interfaces do not fit into {SIZE >> 20} MiB")
        self._memory[new.start : new.start + len(new.data)] = bytes(new.data)
        self._layout = new

    def _filled(self, layout: _Layout) -> _Layout:
        pool = self.vpp.dataplane.interfaces
        slots = self._slots = [pool.find(index) for index in range(pool.capacity)]
        entries = [_entry(kind, 0, name) for name, kind in SYSTEM]
        for name in (*SIMPLE_COUNTERS, *COMBINED_COUNTERS):
            kind, width = (COMBINED, 16) if name in COMBINED_COUNTERS else (SIMPLE, 8)
            place = layout.places[name] = layout.vector(len(slots), bytes(width * len(slots)))
            entries.append(_entry(kind, layout.pointers([place]), f"/if/{name}"))
        place = layout.places["errors"] = layout.vector(len(self._errors), bytes(8 * len(self._errors)))
        entries.append(_entry(SIMPLE, layout.pointers([place]), "/node/errors"))
        names = layout.pointers([layout.text(slot.name if slot is not None else "deleted") for slot in slots])
        entries.append(_entry(NAMES, names, "/if/names"))
        entries += [
            _entry(SYMLINK, number << 32 | ERRORS, f"/err/{node}/{reason}")
            for (node, reason), number in self._errors.items()
        ]
        present = [slot for slot in slots if slot is not None]
        self._links = {(found.sw_if_index, found.name): self._interface_links(found) for found in present}
        content = b"".join((*entries, *self._links.values()))
        layout.directory = layout.vector(len(content) // ENTRY.size, content)
        return layout

    def _interface_links(self, interface: Interface) -> bytes:
        key = (interface.sw_if_index, interface.name)
        found = self._links.get(key)
        if found is None:
            name = interface.name.replace("/", "_")
            found = b"".join(
                _entry(SYMLINK, interface.sw_if_index << 32 | number, f"/interfaces/{name}/{counter}")
                for number, counter in enumerate((*SIMPLE_COUNTERS, *COMBINED_COUNTERS), FIRST_COUNTER)
            )
        return found

    def _switch(self) -> None:
        """Show the new layout."""
        self._words[3] = 1  # in progress: readers wait
        self._words[4] = BASE + self._layout.directory
        self._words[2] += 1
        self._words[3] = 0


class StatisticsServer:
    """Hands the segment out, and keeps it up to date while somebody has it."""

    def __init__(self, vpp: Vpp, listener: socket.socket) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._segment = Segment(vpp)
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._unsubscribe: Callable[[], None] = vpp.dataplane.subscribe_interfaces(self._interface_event)
        self._loop.add_reader(listener.fileno(), self._accept)

    @property
    def active(self) -> bool:
        """True while counters are copied."""
        return self._timer is not None

    def close(self) -> None:
        """Stop serving."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._unsubscribe()
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        self._segment.close()

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        with peer:
            peer.setblocking(False)
            self._segment.update()
            descriptor = self._segment.open()
            try:
                with suppress(OSError):  # the reader went at once
                    socket.send_fds(peer, [b""], [descriptor])
            finally:
                os.close(descriptor)
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._segment.held:
            self._timer = self._loop.call_later(INTERVAL, self._tick)
            self._segment.update()

    def _interface_event(self, event: InterfaceEvent, interface: Interface) -> None:
        if event is InterfaceEvent.STATE:
            return
        self._segment.shape_changed()
        if self._timer is not None and self._soon is None:
            self._soon = self._loop.call_soon(self._change_shape)

    def _change_shape(self) -> None:
        """Show at once what came or went; many changes in one go are one."""
        self._soon = None
        self._segment.update()
