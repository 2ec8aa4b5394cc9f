# SPDX-License-Identifier: Apache-2.0
"""Copies of what the agent knows, taken in its event loop between two steps, for a thread to work on.

Records, items and what is there (`Actual`) are never changed in place, so the copies share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from contivpp_core.items import Found, Item, Owner
from contivpp_core.records import Record
from contivpp_core.scheduler import ItemState, Scheduler
from contivpp_core.scheduler.graph import Actual
from contivpp_core.state import Put, Ready, State, Write

__all__ = ["Dumps", "Seed", "Snapshot", "take"]

Dumps = Mapping[str, Mapping[str, list[Found]]]
"""What was read: domain -> kind -> objects."""


class Seed(NamedTuple):
    """What the scheduler knows of one key. `failure` is why its last operation failed, if it did."""

    key: str
    kind: str
    owners: Mapping[Owner, Item]
    desired: Item | None
    former: Item | None
    released: frozenset[str] | None
    actual: Actual | None
    foreign: bool
    failure: str


class Snapshot(NamedTuple):
    """Everything that a plan starts from. `domains` says why a domain cannot be used, or ""."""

    revision: int
    tables: tuple[tuple[str, bool, list[Record]], ...]
    nodes: list[tuple[Any, ...]]
    domains: Mapping[str, str]
    dumps: Dumps

    def writes(self) -> Iterator[Write]:
        """Yield what fills the tables of another agent."""
        for name, ready, records in self.tables:
            yield from (Put(name, record) for record in records)
            if ready:
                yield Ready(name)

    def seeds(self) -> dict[str, Seed]:
        """Return what the scheduler knew, by key."""
        return {node[0]: _seed(*node) for node in self.nodes}

    @property
    def under_way(self) -> int:
        """The number of operations that were in flight."""
        return sum(node[-1] for node in self.nodes)


_COPIED = attrgetter(
    *("key", "descriptor.kind", "owners", "desired", "former", "released", "actual", "foreign"),
    *("state", "error", "reason", "running"),
)


def take(state: State, scheduler: Scheduler, dumps: Dumps) -> Snapshot:
    """Copy the observed tables and the graph: nothing else has its turn meanwhile, so only references are copied."""
    return Snapshot(
        state.revision,
        tuple((rows.table.name, rows.ready, rows.unordered()) for rows in state.tables() if not rows.table.derived),
        list(map(_COPIED, scheduler.graph)),
        scheduler.domain_state(),
        dumps,
    )


def _seed(*copied: Any) -> Seed:
    *known, foreign, state, error, reason, _ = copied
    failed = state in (ItemState.FAILED, ItemState.CONFLICT) and not foreign
    return Seed._make([*known, foreign, (error or reason) if failed else ""])
