# SPDX-License-Identifier: Apache-2.0
"""The network between the nodes, in memory: one switch that learns where MAC addresses are.

Each station is plugged in by the outside of a link. The switch drops what is larger than its MTU, silently, as
switches do, and can lose frames by chance and be cut into parts.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from contivpp_linux.kernel.memory_links import MemoryLink
from contivpp_sandbox.rigs.memory.notes import UNDERLAY, Notes
from contivpp_sandbox.rigs.memory.packets import frame_ends

__all__ = ["Switch"]

_HEADER, _TAG = 14, 4  # bytes of Ethernet, and of an 802.1Q tag
_GROUP = 1  # the bit of a MAC address that is a group's
_SEED = 26


class Switch:
    """The underlay. Stations have names: those of nodes, and others'."""

    def __init__(self, *, mtu: int, loss: float, notes: Notes) -> None:
        self.mtu = mtu
        self.loss = loss
        self._notes = notes
        self._random = random.Random(_SEED)  # every run is the same
        self._links: dict[str, MemoryLink] = {}
        self._where: dict[bytes, str] = {}
        self._part: dict[str, int] = {}  # 0, the part of all that were not cut off, is left out
        self._parts = 0

    def connect(self, name: str, link: MemoryLink) -> None:
        """Plug a station in; a former one of that name is unplugged."""
        self.disconnect(name)
        self._links[name] = link
        link.outside = self._receiver(name)

    def disconnect(self, name: str) -> None:
        """Unplug a station; nothing happens if there is none."""
        link = self._links.pop(name, None)
        if link is not None:
            link.outside = None
        self._where = {mac: station for mac, station in self._where.items() if station != name}

    def partition(self, *names: str) -> None:
        """Cut these stations off from all others; among themselves they still talk."""
        self._parts += 1
        self._part.update(dict.fromkeys(names, self._parts))

    def heal(self) -> None:
        """Join all parts again."""
        self._part.clear()

    def _receiver(self, name: str) -> Callable[[bytes], None]:
        def receive(frame: bytes) -> None:
            self._forward(name, frame)

        return receive

    def _forward(self, name: str, frame: bytes) -> None:
        size = len(frame) - _HEADER - (_TAG if frame[12:14] == b"\x81\x00" else 0)
        if size > self.mtu:
            self._lost(f"a packet of {size} bytes from {name} is larger than the MTU, {self.mtu}", frame)
            return
        if self.loss and self._random.random() < self.loss:
            self._lost(f"a frame from {name} was lost by chance", frame)
            return
        target, source = frame[:6], frame[6:12]
        self._where[source] = name
        known = None if target[0] & _GROUP else self._where.get(target)
        for other in (known,) if known is not None else tuple(self._links):
            if other != name:
                self._deliver(name, other, frame, wanted=known is not None)

    def _deliver(self, name: str, other: str, frame: bytes, *, wanted: bool) -> None:
        link = self._links.get(other)
        if self._part.get(name, 0) != self._part.get(other, 0):
            self._lost(f"{name} and {other} are cut off from each other", frame)
        elif link is not None:
            if wanted and not link.up:
                self._lost(f"the link of {other} is down", frame)
            link.receive(frame)

    def _lost(self, reason: str, frame: bytes) -> None:
        self._notes.lost(UNDERLAY, reason, *frame_ends(frame))
