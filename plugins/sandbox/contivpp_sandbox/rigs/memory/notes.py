# SPDX-License-Identifier: Apache-2.0
"""What happens to the packets of a probe, noted while it runs: who got them, and where they were lost."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["UNDERLAY", "Arrival", "Loss", "Notes"]

UNDERLAY = "underlay"
"""Where a packet between nodes ends."""


class Arrival(NamedTuple):
    """A request reached a host: its name, what asked, and from where as the host saw it."""

    host: str
    protocol: int
    source: int
    source_port: int
    port: int


class Loss(NamedTuple):
    """A packet ended; the addresses tell whose it was (0: nobody's in particular)."""

    where: str
    reason: str
    source: int = 0
    target: int = 0
    asking: bool = False  # it makes room for a question by ARP: why that has no answer is what matters

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class Notes:
    """The notes of one probe; hosts and dataplanes share them."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.losses: list[Loss] = []
        self._last_attempt = 0  # how many losses were before it

    def clear(self) -> None:
        """Begin a new probe."""
        self.arrivals.clear()
        self.losses.clear()
        self._last_attempt = 0

    def begin_attempt(self) -> None:
        """Begin an attempt: packets that made neighbours known were lost before, for no lasting reason."""
        self._last_attempt = len(self.losses)

    def lost(self, where: str, reason: str, source: int = 0, target: int = 0, *, asking: bool = False) -> None:
        """Note a loss."""
        self.losses.append(Loss(where, reason, source, target, asking))

    def why(self, one: int, other: int) -> str:
        """Return the first loss of the last attempt between two addresses, in either direction.

        Without one it is an earlier one, else a question by ARP that the underlay lost, else the first of any packet.
        """
        wanted = {one, other}
        last = self.losses[self._last_attempt :]
        between = [loss for loss in (*last, *self.losses) if {loss.source, loss.target} == wanted]
        found = [loss for loss in between if not loss.asking]
        found = found or [loss for loss in last if loss.where == UNDERLAY and not loss.source]
        found = found or between or [loss for loss in self.losses if not loss.source]
        return str(found[0]) if found else ""
