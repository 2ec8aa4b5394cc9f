# SPDX-License-Identifier: Apache-2.0
"""A node's renderers with everything that they stand on, and what they make of a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.mesh import OverlayRenderer, PeerRenderer, PeersRenderer
from contivpp_contiv.node import (
    GatewayRenderer,
    HostAddressRenderer,
    HostLinkRenderer,
    HostRouteRenderer,
    OwnNodeRenderer,
    UplinkRenderer,
)
from contivpp_contiv.records import TABLES
from contivpp_core.faults import FAULT
from contivpp_core.kubernetes import TABLES as KUBERNETES_TABLES
from contivpp_core.node import CLUSTER_NODE, NODE_CONFIG, ClusterNode, NodeConfig
from contivpp_core.node import TABLES as NODE_TABLES
from contivpp_core.renderers import Renderer
from contivpp_core.state import Put, Ready, Write
from contivpp_core.testing.laws import rendered
from contivpp_ipam.config import IpamConfig
from contivpp_ipam.plugin import ClusterSubnetsRenderer, SubnetsRenderer

OWN = "n1"
ALL_TABLES = (*KUBERNETES_TABLES, *NODE_TABLES, FAULT, *TABLES)


def renderers(ipam: dict[str, Any] | None = None, **settings: Any) -> list[Renderer]:
    """Return the renderers of node n1."""
    config = ContivConfig.model_validate(settings)
    subnets = IpamConfig.model_validate(ipam or {}).subnets()
    return [
        SubnetsRenderer(subnets),
        ClusterSubnetsRenderer(subnets),
        GatewayRenderer(config),
        UplinkRenderer(config),
        HostLinkRenderer(config),
        HostAddressRenderer(OWN),
        HostRouteRenderer(OWN),
        OwnNodeRenderer(),
        PeersRenderer(OWN, config),
        OverlayRenderer(config),
        PeerRenderer(OWN, config),
    ]


def own(node_id: int = 1) -> Put:
    """Return the write that makes this node n1."""
    return Put(NODE_CONFIG.name, NodeConfig(name=OWN, node_id=node_id))


def node(name: str, node_id: int, *addresses: str, management: tuple[str, ...] = ()) -> Put:
    """Return the write of a node of the cluster; without addresses it has the computed one."""
    given = addresses or (f"192.168.16.{node_id}/24",)
    return Put(
        CLUSTER_NODE.name,
        ClusterNode(name=name, node_id=node_id, vpp_addresses=given, management_addresses=management),
    )


class Outcome:
    """What the renderers gave."""

    def __init__(self, writes: Iterable[Write], ipam: dict[str, Any] | None = None, **settings: Any) -> None:
        ready = [Ready(table.name) for table in ALL_TABLES if not table.derived]
        owners, self.derived = rendered(ALL_TABLES, lambda: renderers(ipam, **settings), [[*ready, *writes]])
        self.items = {key: next(iter(values.values())) for key, values in owners.items()}
        self.owners = owners

    def keys(self, kind: str) -> set[str]:
        """Return the identities of a kind's items."""
        return {key.removeprefix(f"{kind}/") for key in self.items if key.startswith(f"{kind}/")}

    def faults(self) -> dict[str, str]:
        """Return the faults by subject."""
        return {fault.subject: fault.reason for fault in self.derived["Fault"]}
