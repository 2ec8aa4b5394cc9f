# SPDX-License-Identifier: Apache-2.0
"""From a rehearsal to what people read: for each key what it was, what it is, and what it waits for."""

from __future__ import annotations

from contivpp_core.items import Item
from contivpp_core.plan.rehearsal import Rehearsal
from contivpp_core.plan.result import Blocked, Change, fields_of
from contivpp_core.scheduler import ItemState
from contivpp_core.scheduler.graph import Node

__all__ = ["compared"]


def compared(rehearsal: Rehearsal) -> tuple[tuple[Change, ...], tuple[Blocked, ...]]:
    """Return what changed and what is not as wanted, in the order of domain, kind and key."""
    keys = {*rehearsal.before, *rehearsal.nodes, *(key for _, key in rehearsal.steps)}
    changes = (_change(rehearsal, key) for key in keys)
    blocked = (_blocked(node, usable=rehearsal.usable(node.descriptor.domain)) for node in rehearsal.nodes.values())
    return (
        tuple(sorted(filter(None, changes), key=lambda change: (change.domain, change.kind, change.key))),
        tuple(sorted(filter(None, blocked), key=lambda waiting: (waiting.domain, waiting.kind, waiting.key))),
    )


def _change(rehearsal: Rehearsal, key: str) -> Change | None:
    """Return what changed at a key; one that nobody wants and that is gone is no node any more."""
    node, old = rehearsal.nodes.get(key), rehearsal.before.get(key)
    new = node.actual.item if node is not None and node.actual is not None else None
    verbs = rehearsal.verbs(key)
    action = _action(old, new, verbs)
    if not action:
        return None
    kind = "/".join(key.split("/", 2)[:2])
    return Change(
        key=key,
        kind=kind,
        domain=rehearsal.domain(kind),
        action=action,
        old=old,
        new=new,
        fields=fields_of(old, new),
        owners=_owners(rehearsal, key),
        operations=verbs,
        drift=rehearsal.drifted(key),
    )


def _owners(rehearsal: Rehearsal, key: str) -> tuple[str, ...]:
    """Return who wants the item, or wanted it."""
    node, seed = rehearsal.nodes.get(key), rehearsal.seed(key)
    owners = (node.owners if node is not None else {}) or (seed.owners if seed is not None else {})
    return tuple(sorted(map(str, owners)))


def _action(old: Item | None, new: Item | None, verbs: tuple[str, ...]) -> str:
    if old is None and new is None:
        return "delete" if "delete" in verbs else ""  # something of ours that is no item
    if old is None:
        return "create"
    if new is None:
        return "delete"
    if not verbs:
        return ""
    return "update" if set(verbs) == {"update"} else "recreate"


def _blocked(node: Node, *, usable: bool) -> Blocked | None:
    there = node.actual.item if node.actual is not None else None
    if node.desired is None:
        needs = "delete" if there is not None else ""
    elif there is None:
        needs = "create"
    elif not node.descriptor.equal(node.desired, there):
        needs = "update"
    else:  # as wanted, but what it is in should be made again
        needs = "recreate" if usable and node.state in (ItemState.PENDING, ItemState.REMOVING) else ""
    if not needs:
        return None
    return Blocked(
        key=node.key,
        kind=node.descriptor.kind,
        domain=node.descriptor.domain,
        needs=needs,
        state=node.state.value,
        reason=node.reason or node.error,
        owners=tuple(sorted(map(str, node.owners))),
    )
