# SPDX-License-Identifier: Apache-2.0
"""Copies of what the agent knows, taken in its event loop between two steps, for a thread to work on.

Records, items and what is there (`Actual`) are never changed in place, so the copies share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from contivpp_core.items import Found, Item, Owner
from contivpp_core.records import Record
from contivpp_core.scheduler import ItemState, Scheduler
from contivpp_core.scheduler.graph import Actual, Node
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
    tables: tuple[tuple[str, bool, tuple[Record, ...]], ...]
    seeds: tuple[Seed, ...]
    domains: Mapping[str, str]
    dumps: Dumps
    under_way: int

    def writes(self) -> list[Write]:
        """Return what fills the tables of another agent."""
        writes: list[Write] = []
        for name, ready, records in self.tables:
            writes += [Put(name, record) for record in records]
            writes += [Ready(name)] if ready else []
        return writes


def take(state: State, scheduler: Scheduler, dumps: Dumps) -> Snapshot:
    """Copy the observed tables and the graph."""
    observed = [rows for rows in state.tables() if not rows.table.derived]
    return Snapshot(
        state.revision,
        tuple((rows.table.name, rows.ready, tuple(rows.get(key) for key in rows)) for rows in observed),
        tuple(map(_seed, scheduler.graph)),
        scheduler.domain_state(),
        dumps,
        sum(node.running for node in scheduler.graph),
    )


def _seed(node: Node) -> Seed:
    failed = node.state in (ItemState.FAILED, ItemState.CONFLICT) and not node.foreign
    return Seed(
        node.key,
        node.descriptor.kind,
        node.owners,
        node.desired,
        node.former,
        node.released,
        node.actual,
        node.foreign,
        (node.error or node.reason) if failed else "",
    )
