# SPDX-License-Identifier: Apache-2.0
"""What the nodes of every rig look like from outside, so that a scenario finds the same on all of them.

A node has two links to others: `uplink0`, the NIC that VPP drives (as `host-uplink0`), on one underlay with those of
all nodes; and `mgmt0` of the host's own stack, on a management network that reaches no other node: what is sent to
another node's management address goes through VPP.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from contivpp_core.kubernetes import NODE_ID_ANNOTATION
from contivpp_sandbox.rigs.base import KubernetesObject

__all__ = [
    "MAIN_INTERFACE",
    "MANAGEMENT_LINK",
    "MANAGEMENT_NETWORK",
    "MANAGEMENT_PREFIX",
    "MOST_NODES",
    "SERVERS_ADDRESS",
    "UPLINK",
    "free_id",
    "management_address",
    "node_object",
]

UPLINK = "uplink0"
MAIN_INTERFACE = f"host-{UPLINK}"
MANAGEMENT_LINK = "mgmt0"
MANAGEMENT_NETWORK = "10.200.0.0/24"
MANAGEMENT_PREFIX = 24
MOST_NODES = 250
SERVERS_ADDRESS = "10.200.0.254"
"""Where real servers are, on the far end of every node's management link."""


def management_address(position: int) -> str:
    """Return the management address of the node at a place of the scenario's list, counted from 1."""
    return f"10.200.0.{position}"


def free_id(used: Collection[int]) -> int:
    """Return the smallest node ID, from 1 on, that no node has."""
    return next(number for number in range(1, len(used) + 2) if number not in used)


def node_object(
    name: str, position: int, found: KubernetesObject | None = None, *, node_id: int = 0
) -> dict[str, Any]:
    """Return a node's object as the API server would show it, annotated with the ID that the rig has claimed for it.

    Addresses and annotations that a given object states, stand.
    """
    shown: dict[str, Any] = copy.deepcopy(dict(found or {}))
    shown.setdefault("apiVersion", "v1")
    shown["kind"] = "Node"
    shown.setdefault("metadata", {})["name"] = name
    if node_id:
        annotations = shown["metadata"].get("annotations") or {}
        shown["metadata"]["annotations"] = {NODE_ID_ANNOTATION: str(node_id), **annotations}
    status = shown.get("status") or {}
    shown["status"] = status
    if not status.get("addresses"):
        status["addresses"] = [{"type": "InternalIP", "address": management_address(position)}]
    return shown
