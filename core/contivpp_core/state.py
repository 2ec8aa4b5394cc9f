# SPDX-License-Identifier: Apache-2.0
"""The state: tables of immutable records, written in batches by one writer.

A write is a batch of changes with a cause; it yields a revision. Writing a record that is equal to the old one is
no change, so nobody downstream hears of it. The state holds the rows, their indexes and which tables are ready
(their source has delivered a full list); who reads what is the renderer engine's business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from contivpp_core.clock import gently
from contivpp_core.errors import ContivError
from contivpp_core.records import AnyTable, Record
from contivpp_core.selectors import LabelSelector

__all__ = ["Change", "Delete", "Put", "Ready", "Rows", "State", "Write"]


class Put(NamedTuple):
    """Add a record to a table, or replace the one with the same key."""

    table: str
    record: Record


class Delete(NamedTuple):
    """Remove a record; a key that is not there is no change."""

    table: str
    key: str


class Ready(NamedTuple):
    """The table's source has delivered a full list (`ready`), or has lost that standing.

    `stale`: not the source has delivered it, but what the agent remembers of an earlier life; the source's own mark
    ends that.
    """

    table: str
    ready: bool = True
    stale: bool = False


Write = Put | Delete | Ready


class Change(NamedTuple):
    """What a write changed: `old` or `new` is None for an added or a removed record."""

    table: str
    key: str
    old: Any
    new: Any


_NO_LABELS: Mapping[str, str] = {}


class Rows:
    """The rows of one table, with its indexes."""

    def __init__(self, table: AnyTable) -> None:
        self.table = table
        self.ready = False
        self.stale = False
        self._rows: dict[str, Any] = {}
        self._indexes: dict[str, dict[str, set[str]]] = {name: defaultdict(set) for name in table.indexes}
        self._labels: dict[tuple[str, str], set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def get(self, key: str) -> Any:
        """Return the record, or None."""
        return self._rows.get(key)

    def records(self) -> list[Any]:
        """Return all records in the order of their keys."""
        return [self._rows[key] for key in sorted(self._rows)]

    def unordered(self) -> list[Any]:
        """Return all records in any order, without the price of one."""
        return list(self._rows.values())

    def where(self, index: str, value: str) -> tuple[Any, ...]:
        """Return the records with `value` under the index, in the order of their keys."""
        keys = self._indexes[index].get(value, ())
        return tuple([self._rows[key] for key in (sorted(keys) if len(keys) > 1 else keys)])

    def select(self, namespaces: tuple[str, ...] | None, selector: LabelSelector) -> list[tuple[str, Any]]:
        """Return (key, record) of the selected records, sorted by key."""
        pairs = selector.pairs()
        keys: Iterable[str] = self._rows
        if pairs:
            keys = set().union(*(self._labels.get(pair, ()) for pair in pairs))
        return [(key, self._rows[key]) for key in sorted(keys) if self.matches(self._rows[key], namespaces, selector)]

    def matches(self, record: Any, namespaces: tuple[str, ...] | None, selector: LabelSelector) -> bool:
        """Tell whether one record is selected."""
        table = self.table
        if namespaces is not None and (table.namespace is None or table.namespace(record) not in namespaces):
            return False
        return selector.matches(table.labels(record) if table.labels else {})

    def labels(self, record: Any) -> Mapping[str, str]:
        """Return the record's labels; empty for a table without labels."""
        return self.table.labels(record) if self.table.labels else _NO_LABELS

    def put(self, key: str, record: Any) -> Any:
        """Store a record and return the one before."""
        old = self._rows.get(key)
        if old is not None:
            self._unindex(key, old)
        self._rows[key] = record
        for name, values in self.table.indexes.items():
            for value in values(record):
                self._indexes[name][value].add(key)
        if self.table.labels:
            for pair in self.table.labels(record).items():
                self._labels[pair].add(key)
        return old

    def remove(self, key: str) -> Any:
        """Remove a record and return it, or None."""
        old = self._rows.pop(key, None)
        if old is not None:
            self._unindex(key, old)
        return old

    def _unindex(self, key: str, record: Any) -> None:
        for name, values in self.table.indexes.items():
            for value in values(record):
                _discard(self._indexes[name], value, key)
        for pair in self.labels(record).items():
            _discard(self._labels, pair, key)


def _discard(index: dict[Any, set[str]], value: Any, key: str) -> None:
    keys = index.get(value)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del index[value]


class _Batch:
    """What a batch has changed so far."""

    def __init__(self) -> None:
        self.before: dict[tuple[str, str], Any] = {}
        self.flips: list[str] = []


class State:
    """All tables. Only the controller writes, through `apply`."""

    def __init__(self, tables: Iterable[AnyTable] = ()) -> None:
        self.revision = 0
        self._tables: dict[str, Rows] = {}
        for table in tables:
            self.declare(table)

    def declare(self, table: AnyTable) -> None:
        """Add a table; its name must be new."""
        if table.name in self._tables:
            raise ContivError(f"table {table.name} is declared twice: rename one of them")
        self._tables[table.name] = Rows(table)

    def __contains__(self, table: str) -> bool:
        return table in self._tables

    def table(self, name: str) -> Rows:
        """Return the rows of a table."""
        try:
            return self._tables[name]
        except KeyError:
            raise ContivError(f"no table is named {name}: declare it by the hook 'tables'") from None

    def tables(self) -> list[Rows]:
        """Return all tables, by name."""
        return [self._tables[name] for name in sorted(self._tables)]

    def get(self, table: str, key: str) -> Any:
        """Return a record, or None."""
        return self.table(table).get(key)

    def ready(self, table: str) -> bool:
        """Tell whether the table's source has delivered a full list."""
        return self.table(table).ready

    def stale(self) -> list[str]:
        """Return the tables that are ready only by what the agent remembers, by name."""
        return [name for name in sorted(self._tables) if self._tables[name].stale]

    def apply(self, writes: Iterable[Write]) -> tuple[list[Change], list[str]]:
        """Carry out one batch; return what changed, and the tables whose readiness changed."""
        batch = _Batch()
        for write in writes:
            self._carry_out(write, batch)
        changes = [change for key, old in batch.before.items() if (change := self._change(key, old))]
        return self._result(batch, changes)

    async def apply_gently(self, writes: Iterable[Write]) -> tuple[list[Change], list[str]]:
        """Carry out one large batch, giving way to the event loop: who looks meanwhile sees a part of it."""
        batch = _Batch()
        async for write in gently(writes):
            self._carry_out(write, batch)
        changes = [change async for key, old in gently(batch.before.items()) if (change := self._change(key, old))]
        return self._result(batch, changes)

    def _carry_out(self, write: Write, batch: _Batch) -> None:
        rows = self.table(write.table)
        if isinstance(write, Put):
            record = write.record
            key = rows.table.key(record)
            if rows.get(key) != record:
                batch.before.setdefault((write.table, key), rows.put(key, record))
        elif isinstance(write, Delete):
            if rows.get(write.key) is not None:
                batch.before.setdefault((write.table, write.key), rows.remove(write.key))
        elif (rows.ready, rows.stale) != (write.ready, write.stale):
            rows.ready, rows.stale = write.ready, write.stale
            batch.flips.append(write.table)

    def _change(self, place: tuple[str, str], old: Any) -> Change | None:
        table, key = place
        new = self._tables[table].get(key)
        return Change(table, key, old, new) if new is not old and new != old else None

    def _result(self, batch: _Batch, changes: list[Change]) -> tuple[list[Change], list[str]]:
        if changes or batch.flips:
            self.revision += 1
        return changes, batch.flips
