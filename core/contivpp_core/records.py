# SPDX-License-Identifier: Apache-2.0
"""What tables hold: frozen typed records, and the declaration of a table.

A record is an immutable value; equality of records decides whether anything happened at all, so a record
holds only the fields that something renders. A table declares how its records are keyed and indexed; the
state (`contivpp_core.state`) holds the rows, and renderers read them through a view
(`contivpp_core.renderers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["Record", "Table"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all records. Fields must be hashable values: strings, numbers, tuples, frozen structs.

    So a record cannot be part of a cycle, and the garbage collector need not look at it.
    """


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, eq=False)
class Table(Generic[R]):
    """The declaration of a table.

    `name` is unique in the agent, in the words of its kind (`LocalPod`). `key` gives the record's key, a string.
    `derived` tables are written by renderers only. `indexes` maps an index's name to the values under which a
    record is found by `view.where`. `labels` and `namespace` make `view.select` possible. `persistent` tables are
    kept in the ledger by the one who writes them.
    """

    name: str
    record: type[R]
    key: Callable[[R], str]
    derived: bool = False
    persistent: bool = False
    indexes: Mapping[str, Callable[[R], Iterable[str]]] = field(default_factory=dict)
    labels: Callable[[R], Mapping[str, str]] | None = None
    namespace: Callable[[R], str] | None = None


AnyTable = Table[Any]
