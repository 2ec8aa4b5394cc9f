# SPDX-License-Identifier: Apache-2.0
"""Whether agents know what the API server has, and agree about each other. Pure, over what they were asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from contivpp_core.kubernetes import MalformedObject, decode
from contivpp_core.node import CLUSTER_NODE
from contivpp_core.records import AnyTable
from contivpp_ksr.resources import RESOURCES

__all__ = ["OWN_TABLES", "disagreements", "records_of", "rows_of"]

Rows = Mapping[str, Mapping[str, Any]]
"""The records of a table by key, as the agents' API tells them."""

OWN_TABLES = ("ClusterNode", "OwnNode")
"""What agents are asked for beside the kinds of the API server."""


def records_of(kind: str, objects: Iterable[Mapping[str, Any]]) -> Rows:
    """Return what agents should know of all objects of a kind."""
    table: AnyTable = RESOURCES[kind].table
    found = {}
    for each in objects:
        try:
            record = decode(table.record, msgspec.json.encode(each))
        except MalformedObject:
            continue  # its last good record stands, as far as anybody has one
        content = {"key": table.key(record), **msgspec.structs.asdict(record)}
        found[table.key(record)] = json.loads(msgspec.json.encode(content))
    return found


def rows_of(answer: Mapping[str, Any]) -> Rows:
    """Return the records of an agent's answer."""
    return {each["key"]: each for each in answer["records"]}


def disagreements(
    wanted: Mapping[str, Rows], agents: Mapping[str, Mapping[str, Rows]], ids: Mapping[str, int]
) -> list[str]:
    """Return a line for each table of each agent that is not as it should be.

    `wanted` are the API server's kinds, `agents` the tables of each node, `ids` the nodes' IDs.
    """
    lines = []
    for node, tables in agents.items():
        for kind, rows in wanted.items():
            if different := _different(rows, tables[RESOURCES[kind].table.name]):
                lines.append(f"{node} does not know as the API server has it: {kind} {different}")
        cluster, own = tables[CLUSTER_NODE.name], tables["OwnNode"].get(node)
        if own is None or cluster.get(node) != own:
            lines.append(f"{node} is not published as it is: {cluster.get(node)}, {own}")
        known = {name: cluster[name]["node_id"] for name in ids if name in cluster}
        if known != ids:
            lines.append(f"{node} knows the nodes {known}, and not {dict(ids)}")
        for other, others in agents.items():
            if node < other and (different := _different(cluster, others[CLUSTER_NODE.name])):
                lines.append(f"{node} and {other} know different nodes: {different}")
    return lines


def _different(one: Rows, other: Rows) -> str:
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
