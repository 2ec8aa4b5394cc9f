# SPDX-License-Identifier: Apache-2.0
"""What the store's keys and values mean for the agent's tables: pure functions.

The key alone says which record a value is about, so that a deletion, or a value that cannot be read, concerns that
record and no other.
"""

from __future__ import annotations

from typing import NamedTuple

from contivpp_core import kubernetes
from contivpp_core.cluster import IDS, NODES, OBJECTS, MalformedValue, decode_claim, decode_node
from contivpp_core.kubernetes import KINDS, MalformedObject
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM
from contivpp_core.records import AnyTable, Record

__all__ = ["ROOT", "TABLES", "Place", "place", "record"]

ROOT = "/contivpp/"
"""The prefix of all that is ours: one list and one watch see objects and nodes in one order."""

TABLES: tuple[AnyTable, ...] = (*KINDS.values(), CLUSTER_NODE, NODE_CLAIM)
"""The tables that are filled."""


class Place(NamedTuple):
    """Where a key's record is."""

    table: AnyTable
    key: str


def place(key: str) -> Place | None:
    """Return the place of a store's key; None if no table mirrors it; raise MalformedValue if it is no proper key."""
    if key.startswith(NODES):
        name = key.removeprefix(NODES)
        if not name or "/" in name:
            raise MalformedValue(f"{key}: a node's key is {NODES}NAME")
        return Place(CLUSTER_NODE, name)
    if key.startswith(IDS):
        number = key.removeprefix(IDS)
        if not number.isdecimal() or number.startswith("0"):
            raise MalformedValue(f"{key}: the key of a node ID is {IDS}NUMBER")
        return Place(NODE_CLAIM, number)
    if not key.startswith(OBJECTS):
        return None
    kind, *rest = key.removeprefix(OBJECTS).split("/")
    if kind not in KINDS:
        return None
    table = KINDS[kind]
    namespaced = table.namespace is not None
    if len(rest) != 2 or not all(rest) or (rest[0] == "_") is namespaced:
        form = "NAMESPACE/NAME" if namespaced else "_/NAME"
        raise MalformedValue(f"{key}: the key of a {kind} is {OBJECTS}{kind}/{form}")
    return Place(table, "/".join(rest) if namespaced else rest[1])


def record(key: str, value: bytes, where: Place) -> Record:
    """Return the record that a value holds; raise MalformedValue."""
    if where.table is CLUSTER_NODE:
        return decode_node(key, value)
    if where.table is NODE_CLAIM:
        return decode_claim(key, value)
    try:
        found: Record = kubernetes.decode(where.table.record, value)
    except (MalformedObject, RecursionError) as error:
        raise MalformedValue(f"{key}: {error}") from error
    if where.table.key(found) != where.key:
        raise MalformedValue(f"{key}: the value is about {where.table.key(found)}")
    return found
