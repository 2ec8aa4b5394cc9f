# SPDX-License-Identifier: Apache-2.0
"""The layer 2 FIB: which interface a MAC address of a bridge domain is behind.

Entries name their interface by sw_if_index and stay when the interface goes, as in VPP: whoever gets the
index next gets the frames, if it is a member of a bridge domain. Likewise entries that clients made stay when
their bridge domain goes, and belong to the domain that gets its index next. Only learnt entries are flushed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .interfaces import INVALID_INDEX


@dataclass(slots=True, eq=False)
class L2FibEntry:
    """A MAC address in a bridge domain."""

    domain: int  # the index of the bridge domain, not its id
    mac: bytes
    sw_if_index: int
    static: bool = False
    filter: bool = False
    bvi: bool = False
    learnt: bool = False
    sequence: tuple[int, int] = (0, 0)  # numbers of domain and interface when it was learnt
    updated: float = 0.0


class L2Fib:
    """Entries by (index of the domain, MAC address)."""

    def __init__(self) -> None:
        self.entries: dict[tuple[int, bytes], L2FibEntry] = {}

    def add(self, entry: L2FibEntry) -> None:
        """Add an entry in place of the one that is there."""
        self.entries[(entry.domain, entry.mac)] = entry

    def add_filter(self, domain: int, mac: bytes) -> None:
        """Drop frames from and to a MAC address."""
        self.add(L2FibEntry(domain, mac, INVALID_INDEX, static=True, filter=True))

    def delete(self, domain: int, mac: bytes, sw_if_index: int = 0) -> bool:
        """Remove an entry; with an index other than 0 only if it is the entry's. False if there is none."""
        entry = self.entries.get((domain, mac))
        if entry is None or sw_if_index not in (0, entry.sw_if_index):
            return False
        del self.entries[(domain, mac)]
        return True

    def flush(self, *, domain: int | None = None, sw_if_index: int | None = None) -> None:
        """Remove what was learnt in a domain, on an interface, or at all."""
        for key, entry in list(self.entries.items()):
            if entry.learnt and domain in (None, entry.domain) and sw_if_index in (None, entry.sw_if_index):
                del self.entries[key]

    def learnt(self, domain: int | None = None) -> int:
        """How many entries were learnt, in one domain or at all."""
        return sum(found.learnt and domain in (None, found.domain) for found in self)

    def __iter__(self) -> Iterator[L2FibEntry]:
        return iter(list(self.entries.values()))

    def __len__(self) -> int:
        return len(self.entries)
