# SPDX-License-Identifier: Apache-2.0
"""What a node says when another has its ID."""

from __future__ import annotations

import pytest

from contivpp_contiv.contest import ContestRenderer
from contivpp_core.kubernetes import NODE, Node
from contivpp_core.node import NODE_CLAIM, NODE_CONFIG, NodeClaim, NodeConfig
from contivpp_core.state import Put, Ready
from contivpp_core.testing.laws import rendered

from .clusters import ALL_TABLES

OWN = Put(NODE_CONFIG.name, NodeConfig(name="a", node_id=3))


def claim(name: str, freed: float = 0.0) -> Put:
    return Put(NODE_CLAIM.name, NodeClaim(node_id=3, name=name, freed=freed))


def annotated(name: str, node_id: int) -> Put:
    return Put(NODE.name, Node(name=name, node_id=node_id))


@pytest.mark.parametrize(
    ("writes", "configured", "said"),
    [
        pytest.param([claim("a"), annotated("a", 3)], False, [], id="all is well"),
        pytest.param([], False, [], id="the book is lost"),
        pytest.param([claim("b", freed=5.0)], False, [], id="the ID rests"),
        pytest.param([claim("b")], False, ["has ID 3, which is node b's", "drain a", "drain b"], id="another has it"),
        pytest.param([claim("b")], True, ["change contiv.nodeID here"], id="another has what is configured here"),
        pytest.param([claim("a"), annotated("b", 3)], False, ["node b is annotated with it"], id="an annotation"),
        pytest.param([claim("b"), annotated("b", 3)], False, ["which is node b's"], id="one fault is enough"),
    ],
)
def test_what_is_said(writes, configured, said):
    ready = [Ready(table.name) for table in ALL_TABLES if not table.derived]
    batches = [[*ready, OWN, *writes]]
    _, derived = rendered(ALL_TABLES, lambda: [ContestRenderer(configured=configured)], batches)
    faults = list(derived.get("Fault", ()))
    assert len(faults) == bool(said)
    for fault in faults:
        assert fault.subject == "node a"
        assert all(part in fault.reason for part in said)
