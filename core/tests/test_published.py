# SPDX-License-Identifier: Apache-2.0
"""What a node tells of itself on its Node object."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.cluster import MalformedValue
from contivpp_core.kubernetes import Node
from contivpp_core.node import ClusterNode
from contivpp_core.published import cluster_node, published

ADDRESSES = st.lists(st.text(max_size=20), max_size=3).map(tuple)
NODES = st.builds(
    ClusterNode,
    name=st.just("node1"),
    node_id=st.integers(1, 2**31),
    vpp_addresses=ADDRESSES,
    management_addresses=ADDRESSES,
)


@given(NODES)
def test_what_a_node_tells_is_read_by_the_others(node: ClusterNode) -> None:
    assert cluster_node(Node(name="node1", node_id=node.node_id, published=published(node))) == node


@pytest.mark.parametrize(
    "node", [Node(name="a"), Node(name="a", node_id=1), Node(name="a", published="{}")], ids=["-", "ID", "addresses"]
)
def test_a_node_without_id_or_addresses_is_none_yet(node: Node) -> None:
    assert cluster_node(node) is None


@given(st.text(max_size=30) | st.just('{"vpp": "10.0.0.1"}') | st.just("[" * 100_000))
def test_other_text_is_malformed_or_tells_less(text: str) -> None:
    try:
        found = cluster_node(Node(name="a", node_id=1, published=text))
    except MalformedValue:
        return
    assert found is None or found.name == "a"
