# SPDX-License-Identifier: Apache-2.0
"""Forwarding tables as VPP keeps them: prefix, sources, paths.

A prefix has one *entry*; each *source* (interface, API, a plugin's own …) may give it paths, and the source
with the best priority is in force. The others are remembered and invisible in dumps until the better one
goes. This module only keeps what was said; ``forwarding`` resolves it to what is done with a packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from .errors import DataplaneError, Retval
from .interfaces import INVALID_INDEX

if TYPE_CHECKING:
    from .forwarding import LoadBalance

PREFIX_LENGTHS = {4: 32, 6: 128}


class PathType(IntEnum):
    """Path types with the numbers of VPP's ``fib_path_type``; others are refused."""

    NORMAL = 0
    LOCAL = 1
    DROP = 2
    ICMP_UNREACH = 5
    ICMP_PROHIBIT = 6


@dataclass(frozen=True, slots=True)
class Path:
    """One way to forward.

    NORMAL with interface and next hop is attached-nexthop, with interface alone attached, with next hop alone
    recursive in ``table_id``, with neither a lookup in ``table_id``.
    """

    type: PathType = PathType.NORMAL
    next_hop: int = 0
    sw_if_index: int = INVALID_INDEX
    table_id: int = 0
    weight: int = 1
    preference: int = 0
    flags: int = 0

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What makes two paths the same path: VPP ignores weight and preference."""
        return (self.type, self.next_hop, self.sw_if_index, self.table_id)

    @property
    def order(self) -> tuple[int, ...]:
        """VPP keeps paths sorted: by preference, kind of path, next hop, interface."""
        if self.type is PathType.NORMAL:
            attached = self.sw_if_index != INVALID_INDEX
            kind = (1 if self.next_hop else 2) if attached else (3 if self.next_hop else 5)
        else:
            kind = 6 if self.type is PathType.LOCAL else 4
        return (self.preference, kind, self.next_hop, self.sw_if_index, self.table_id)


class EntryFlag(IntFlag):
    """Flags of a source's contribution, as VPP's FIB entry flags mean them."""

    NONE = 0
    CONNECTED = 1
    ATTACHED = 2
    DROP = 4
    EXCLUSIVE = 8
    LOCAL = 16
    LOOSE_URPF_EXEMPT = 32


@dataclass(frozen=True, slots=True)
class FibSource:
    """A source of routes; the smaller (priority, slot) wins."""

    id: int
    name: str
    priority: int
    slot: int = 0


SPECIAL, INTERFACE, API, CLI = 1, 4, 8, 9
ADJACENCY, RECURSIVE_RESOLUTION, DEFAULT_ROUTE = 15, 18, 20
FIRST_CLIENT_SOURCE = 27
# id, name, priority of VPP's own sources, in the order of its enumeration; then those of its plugins, as they are
# loaded by default.
_BUILT_IN = (
    (0, "invalid", 0xFF),
    (1, "special", 0x00),
    (2, "classify", 0x01),
    (3, "proxy", 0x02),
    (4, "interface", 0x03),
    (5, "SR", 0x10),
    (6, "BIER", 0x20),
    (7, "6RD", 0x30),
    (8, "API", 0x80),
    (9, "CLI", 0x81),
    (10, "LISP", 0x90),
    (11, "MAP", 0xA0),
    (12, "DHCP", 0xB0),
    (13, "IPv6-proxy-nd", 0xC0),
    (14, "IPv6-nd", 0xC1),
    (15, "adjacency", 0xD0),
    (16, "mpls", 0xE0),
    (17, "attached_export", 0xF0),
    (18, "recursive-resolution", 0xFB),
    (19, "urpf-exempt", 0xFC),
    (20, "default-route", 0xFD),
    (21, "interpose", 0xFE),
    (22, "path-mtu", 0x10),
    (23, "cnat", 0x02),
    (24, "lb", 0x10),
    (25, "nat-low", 0xD0),
    (26, "nat-hi", 0x10),
)


class FibSources:
    """The registry of sources; plugins and clients add theirs, and the same name twice gives two."""

    def __init__(self) -> None:
        self.by_id = {number: FibSource(number, name, priority) for number, name, priority in _BUILT_IN}
        self._next = FIRST_CLIENT_SOURCE

    def add(self, name: str, priority: int) -> FibSource:
        """Allocate a source; among equal priorities the earlier one wins."""
        if self._next >= 255:
            raise DataplaneError(Retval.UNSPECIFIED, "all 255 FIB sources are in use")
        slot = sum(1 for source in self.by_id.values() if source.priority == priority)
        source = FibSource(self._next, name, priority, slot)
        self.by_id[source.id] = source
        self._next += 1
        return source

    def rank(self, source: int) -> tuple[int, int]:
        """Sort key of a source id."""
        found = self.by_id[source]
        return (found.priority, found.slot)

    def __iter__(self) -> Iterator[FibSource]:
        return iter(list(self.by_id.values()))


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one source says about a prefix."""

    paths: tuple[Path, ...]
    flags: EntryFlag = EntryFlag.NONE
    active: bool = True  # an adj-fib without an attached cover is in the dump, but forwards nothing


@dataclass(slots=True, eq=False)
class FibEntry:
    """A prefix, who contributes to it, and its counters (``/net/route/to``)."""

    address: int
    length: int
    number: int
    active: bool = True
    contributions: dict[int, Contribution] = field(default_factory=dict)  # best source first
    packets: int = 0
    bytes: int = 0

    @property
    def stats_index(self) -> int:
        """Its place in the route counters; an entry that forwards nothing has none."""
        return self.number if self.active else INVALID_INDEX

    @property
    def source(self) -> int:
        """The source in force."""
        return next(iter(self.contributions))

    @property
    def best(self) -> Contribution:
        """The contribution in force."""
        return next(iter(self.contributions.values()))

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths in force."""
        return self.best.paths

    @property
    def flags(self) -> EntryFlag:
        """The flags in force."""
        return self.best.flags


DROP_PATHS = (Path(type=PathType.DROP),)


class EntryPool:
    """Numbers entries for the statistics (``stats_index``); the number freed last is used first."""

    def __init__(self) -> None:
        self.slots: list[FibEntry | None] = []
        self._free: list[int] = []

    def new(self, address: int, length: int) -> FibEntry:
        """A numbered entry without contributions."""
        index = self._free.pop() if self._free else len(self.slots)
        entry = FibEntry(address, length, index)
        self.slots[index : index + 1] = [entry]
        return entry

    def free(self, entry: FibEntry) -> None:
        """Give the entry's number back."""
        self.slots[entry.number] = None
        self._free.append(entry.number)


class FibTable:
    """One table: entries by prefix length, looked up from the longest length in use."""

    def __init__(  # noqa: PLR0917 - made by FibTables alone
        self, index: int, table_id: int, name: str, version: int, sources: FibSources, pool: EntryPool
    ) -> None:
        self.index = index
        self.table_id = table_id
        self.name = name
        self.version = version
        self.bits = PREFIX_LENGTHS[version]
        self.locks: dict[int, int] = {}  # source id → count; the table lives while it has one
        self.cache: dict[int, LoadBalance] = {}  # destination → what to do; emptied by every change
        self._sources = sources
        self._by_length: dict[int, dict[int, FibEntry]] = {}
        self._search: list[tuple[int, dict[int, FibEntry]]] = []  # mask and entries, longest first
        self._pool = pool
        self._load_specials()

    def _load_specials(self) -> None:
        drops = [(0, 0, DEFAULT_ROUTE)]
        if self.version == 4:
            drops += [
                (0, 32, DEFAULT_ROUTE),
                (0xE0000000, 4, SPECIAL),
                (0xF0000000, 4, SPECIAL),
                (0xFFFFFFFF, 32, DEFAULT_ROUTE),
            ]
        else:  # link-local addresses are looked up in a table of each interface
            self.update(0xFE80 << 112, 10, SPECIAL, (Path(),))
        for address, length, source in drops:
            self.update(address, length, source, DROP_PATHS, EntryFlag.DROP)

    # -- change -------------------------------------------------------------------------------------

    def mask(self, length: int) -> int:
        """The network mask of a prefix length, as an int."""
        return ((1 << length) - 1) << (self.bits - length)

    def update(
        self, address: int, length: int, source: int, paths: Iterable[Path], flags: EntryFlag = EntryFlag.NONE
    ) -> FibEntry:
        """Replace the source's contribution; no paths at all is a drop."""
        entry = self._entry(address, length)
        kept = tuple(paths)
        if len(kept) > 1:
            kept = tuple(sorted(kept, key=lambda path: path.order))
        entry.contributions[source] = Contribution(kept or DROP_PATHS, flags)
        self._sort(entry)
        return entry

    def set_adjacency(self, address: int, paths: Iterable[Path], *, active: bool) -> None:
        """The /32 that a neighbour gives; inactive while the prefix that covers it is not attached there."""
        entry = self._entry(address, 32)
        entry.contributions[ADJACENCY] = Contribution(tuple(paths), EntryFlag.ATTACHED, active)
        self._sort(entry)

    def track(self, address: int) -> None:
        """An entry for a host that somebody (a tunnel) sends to, which forwards as the prefix that covers it does."""
        entry = self._entry(address, 32)
        entry.contributions[RECURSIVE_RESOLUTION] = Contribution(DROP_PATHS, active=False)
        self._sort(entry)

    def shown_paths(self, entry: FibEntry) -> tuple[Path, ...]:
        """The paths of an entry for dumps: a tracked host has those of its cover, or is itself the next hop."""
        if entry.source != RECURSIVE_RESOLUTION:
            return entry.paths
        cover = self.lookup(entry.address, 31)
        if cover.flags & (EntryFlag.ATTACHED | EntryFlag.CONNECTED):
            return (Path(next_hop=entry.address, sw_if_index=cover.paths[0].sw_if_index),)
        return cover.paths

    def path_add(
        self, address: int, length: int, source: int, paths: Iterable[Path], flags: EntryFlag = EntryFlag.NONE
    ) -> FibEntry:
        """Add paths to the source's contribution; the same path again changes its weight and preference."""
        old = self._contribution(address, length, source)
        merged = {path.identity: path for path in (old.paths if old else ())}
        merged.update({path.identity: path for path in paths})
        return self.update(address, length, source, merged.values(), flags | (old.flags if old else 0))

    def path_remove(self, address: int, length: int, source: int, paths: Iterable[Path]) -> None:
        """Remove paths; the contribution goes with its last path; what is not there is no error."""
        old = self._contribution(address, length, source)
        if old is None:
            return
        gone = {path.identity for path in paths}
        left = [path for path in old.paths if path.identity not in gone]
        if left:
            self.update(address, length, source, left, old.flags)
        else:
            self.delete(address, length, source)

    def delete(self, address: int, length: int, source: int) -> None:
        """Remove the source's contribution; what is not there is no error."""
        entry = self.get(address, length)
        if entry is None or entry.contributions.pop(source, None) is None:
            return
        if entry.contributions:
            self._sort(entry)
        else:
            entries = self._by_length[length]
            del entries[entry.address]
            self._pool.free(entry)
            if not entries:
                del self._by_length[length]
                self._index()

    def flush(self, source: int) -> None:
        """Remove everything that a source said."""
        for entry in list(self):
            self.delete(entry.address, entry.length, source)

    # -- read ---------------------------------------------------------------------------------------

    def get(self, address: int, length: int) -> FibEntry | None:
        """The entry of exactly this prefix."""
        return self._by_length.get(length, {}).get(address & self.mask(length))

    def lookup(self, address: int, longest: int = 128, *, inactive: bool = False) -> FibEntry:
        """The longest match not longer than ``longest``, if wanted among those that forward nothing, too."""
        for mask, entries in self._search:
            entry = entries.get(address & mask)
            if entry is not None and entry.length <= longest and (entry.active or inactive):
                return entry
        raise AssertionError("a FIB table always has its default route")

    def __iter__(self) -> Iterator[FibEntry]:
        """Entries by length and address; VPP's dump goes by length, too."""
        entries = [entry for group in self._by_length.values() for entry in group.values()]
        return iter(sorted(entries, key=lambda entry: (entry.length, entry.address)))

    def __len__(self) -> int:
        return sum(len(group) for group in self._by_length.values())

    # -- inside -------------------------------------------------------------------------------------

    def _contribution(self, address: int, length: int, source: int) -> Contribution | None:
        entry = self.get(address, length)
        return entry.contributions.get(source) if entry else None

    def _entry(self, address: int, length: int) -> FibEntry:
        if not 0 <= length <= self.bits:
            raise DataplaneError(Retval.INVALID_VALUE, f"prefix length {length} is not in 0…{self.bits}")
        entries = self._by_length.get(length)
        if entries is None:
            entries = self._by_length[length] = {}
            self._index()
        address &= self.mask(length)
        entry = entries.get(address)
        if entry is None:
            entry = entries[address] = self._pool.new(address, length)
        return entry

    def _index(self) -> None:
        self._search = [
            (self.mask(length), self._by_length[length]) for length in sorted(self._by_length, reverse=True)
        ]

    def _sort(self, entry: FibEntry) -> None:
        given = entry.contributions
        order = sorted(given, key=lambda source: (not given[source].active, self._sources.rank(source)))
        entry.active = given[order[0]].active
        entry.contributions = {source: entry.contributions[source] for source in order}
