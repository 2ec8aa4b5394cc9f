# SPDX-License-Identifier: Apache-2.0
"""Two nodes with one ID: what this node says about itself."""

from __future__ import annotations

from collections.abc import Iterable

from contivpp_core.faults import FAULT, Fault
from contivpp_core.items import Item
from contivpp_core.kubernetes import NODE, NODE_ID_ANNOTATION, Node
from contivpp_core.node import NODE_CLAIM, NODE_CONFIG, NodeClaim, NodeConfig
from contivpp_core.records import Record
from contivpp_core.renderers import View

__all__ = ["ContestRenderer", "advice"]


def advice(name: str, node_id: int, holder: str, *, configured: bool = False) -> str:
    """Return what is wrong with node `name`, whose ID belongs to node `holder`, and what to do."""
    cure = "change contiv.nodeID here" if configured else f"drain {name}: without pods it takes another ID by itself"
    other = f"if {holder} should not have it, drain {holder}, remove its state folder, and delete its Node object"
    state = f"{name} keeps its pods' addresses, and is cut off from the other nodes until that is mended"
    return f"has ID {node_id}, which is node {holder}'s: {state}: {cure}; or, {other}"


class ContestRenderer:
    """NodeConfig -> the fault that another node has this one's ID."""

    name = "contiv-contest"
    table = NODE_CONFIG.name
    reads = frozenset({NODE_CLAIM.name, NODE.name})
    produces: frozenset[str] = frozenset()
    derives = frozenset({FAULT.name})

    def __init__(self, *, configured: bool) -> None:
        self._configured = configured

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the fault, if there is one."""
        own: NodeConfig = view.get(self.table, key)
        claim: NodeClaim | None = view.get(NODE_CLAIM.name, str(own.node_id))
        if claim is not None and claim.held and claim.name != key:
            reason = advice(key, own.node_id, claim.name, configured=self._configured)
            yield Fault(subject=f"node {key}", reason=reason)
            return
        annotated: tuple[Node, ...] = view.where(NODE.name, node_id=str(own.node_id))
        if others := [node.name for node in annotated if node.name != key]:
            reason = f"has ID {own.node_id}, and node {others[0]} is annotated with it ({NODE_ID_ANNOTATION})"
            cure = "remove the annotation from whichever node it is wrong on"
            yield Fault(subject=f"node {key}", reason=f"{reason}: {cure}")
