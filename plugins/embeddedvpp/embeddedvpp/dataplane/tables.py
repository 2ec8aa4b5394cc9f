# SPDX-License-Identifier: Apache-2.0
"""All forwarding tables of a dataplane: created, named, locked and found by version and table id.

A table lives while somebody locks it: the API (one lock, however often it was added) and every interface
bound to it. Deleting a table that an interface is in therefore answers success and leaves it in the dump,
as VPP does.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import DataplaneError, Retval
from .fib import API, INTERFACE, SPECIAL, EntryPool, FibSources, FibTable


class FibTables:
    """Tables by (IP version, table id); table 0 of both versions always exists."""

    def __init__(self) -> None:
        self.sources = FibSources()
        self.entries = EntryPool()
        self._tables: dict[tuple[int, int], FibTable] = {}
        self._next_index = {4: 0, 6: 0}
        self._seed = 0
        for version in (4, 6):
            self._create(version, 0, "").locks[SPECIAL] = 1

    def get(self, table_id: int, version: int = 4) -> FibTable:
        """The table, or DataplaneError -3."""
        table = self._tables.get((version, table_id))
        if table is None:
            raise DataplaneError(Retval.NO_SUCH_FIB, f"there is no IPv{version} table {table_id}")
        return table

    def find(self, table_id: int, version: int = 4) -> FibTable | None:
        """The table, or None."""
        return self._tables.get((version, table_id))

    def add(self, table_id: int, *, version: int = 4, name: str = "", source: int = API) -> FibTable:
        """Create the table, or lock the one that exists; as in VPP, a later name counts only if it has none."""
        table = self._tables.get((version, table_id)) or self._create(version, table_id, name)
        if table_id:
            table.locks[source] = 1
            if name and table.name == _default_name(version, table_id):
                table.name = name
        return table

    def delete(self, table_id: int, *, version: int = 4, source: int = API) -> None:
        """Give the lock back, with the routes of that source; table 0 and unknown tables are ignored."""
        table = self._tables.get((version, table_id))
        if table is not None and table_id:
            table.flush(source)
            self.unlock(table, source)

    def allocate(self, *, version: int = 4, name: str = "") -> FibTable:
        """Create a table with an id that is not in use (``ip_table_allocate``)."""
        table_id = 0
        while (version, table_id) in self._tables:
            table_id = self._seed = (1664525 * self._seed + 1013904223) & 0xFFFFFFFF  # VPP's random numbers
        return self.add(table_id, version=version, name=name)

    def bind(self, table: FibTable) -> None:
        """An interface enters the table."""
        table.locks[INTERFACE] = table.locks.get(INTERFACE, 0) + 1

    def unlock(self, table: FibTable, source: int = INTERFACE) -> None:
        """Take one lock away; the table goes with its last."""
        left = table.locks.get(source, 0) - 1
        if left > 0:
            table.locks[source] = left
            return
        table.locks.pop(source, None)
        if not table.locks:
            for entry in list(table):
                for contributor in list(entry.contributions):
                    table.delete(entry.address, entry.length, contributor)
            self._tables.pop((table.version, table.table_id), None)

    def __iter__(self) -> Iterator[FibTable]:
        return iter(list(self._tables.values()))

    def _create(self, version: int, table_id: int, name: str) -> FibTable:
        shown = name or _default_name(version, table_id)
        table = FibTable(self._next_index[version], table_id, shown, version, self.sources, self.entries)
        self._next_index[version] += 1
        self._tables[(version, table_id)] = table
        return table


def _default_name(version: int, table_id: int) -> str:
    return f"ipv{version}-VRF:{table_id}"
