# SPDX-License-Identifier: Apache-2.0
"""Renderers: pure functions from one record (and whatever it reads besides) to items and derived records.

A renderer sees the state through a view, which records every read. The engine (`contivpp_core.engine`) runs a renderer
again only when a read gives another result.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol, runtime_checkable

from contivpp_core.items import Item
from contivpp_core.records import Record
from contivpp_core.selectors import EVERYTHING, LabelSelector

__all__ = ["Renderer", "View"]


@runtime_checkable
class Renderer(Protocol):
    """A pure function over the records of one table.

    `reads` names the tables that it may read besides its own, `produces` the kinds of its items, `derives` the tables
    of its derived records. `render` has no side effects, no clock and no I/O; the order of its output has no meaning.
    """

    name: str
    table: str
    reads: frozenset[str]
    produces: frozenset[str]
    derives: frozenset[str]

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return what the record `key` asks for."""


class View(Protocol):
    """What a renderer may read: every read is recorded, also when it finds nothing."""

    def get(self, table: str, key: str) -> Any:
        """Return a record, or None."""

    def where(self, table: str, **index: str) -> tuple[Any, ...]:
        """Return the records with a value under one index, by key."""

    def select(
        self,
        table: str,
        *,
        namespaces: Iterable[str] | None = None,
        labels: LabelSelector = EVERYTHING,
        fields: tuple[str, ...] = (),
    ) -> tuple[tuple[Any, ...], ...]:
        """Return (key, *fields) of the selected records, by key; only these fields count as read."""

    def ready(self, table: str) -> bool:
        """Tell whether the table holds all that there is.

        Only for a renderer that must not guess: what it leaves out meanwhile stays in the dataplane as it is, but is
        not made either.
        """

    def call(self, function: Callable[..., Any], *arguments: Hashable) -> Any:
        """Return `function(view, *arguments)`, computed once for all readers; it must be pure."""
