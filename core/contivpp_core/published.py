# SPDX-License-Identifier: Apache-2.0
"""What a node tells of itself on its Node object, where no store of the cluster does: its addresses.

The annotation `contivpp.io/addresses` is JSON, `{"vpp": ["192.168.16.1/24"], "management": ["10.0.0.1"]}`; with
`contivpp.io/node-id` it makes the node's `ClusterNode`.
"""

from __future__ import annotations

import msgspec

from contivpp_core.cluster import MalformedValue
from contivpp_core.kubernetes import Node
from contivpp_core.node import ClusterNode

__all__ = ["cluster_node", "published"]


class _Addresses(msgspec.Struct, omit_defaults=True):
    vpp: tuple[str, ...] = ()
    management: tuple[str, ...] = ()


def published(node: ClusterNode) -> str:
    """Return the annotation `contivpp.io/addresses` of a node."""
    return msgspec.json.encode(_Addresses(node.vpp_addresses, node.management_addresses)).decode()


def cluster_node(node: Node) -> ClusterNode | None:
    """Return what a Node object tells of its node; None where it has no ID or tells nothing; raise MalformedValue."""
    if not node.node_id or not node.published:
        return None
    try:
        found = msgspec.json.decode(node.published, type=_Addresses)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedValue(f"Node {node.name}: annotation contivpp.io/addresses: {error}") from error
    return ClusterNode(
        name=node.name,
        node_id=node.node_id,
        vpp_addresses=found.vpp,
        management_addresses=found.management,
    )
