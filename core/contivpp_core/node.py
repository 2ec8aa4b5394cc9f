# SPDX-License-Identifier: Apache-2.0
"""What every plugin needs to know of its own node: who it is, and which subnets are its own.

`NodeConfig` has one record, written by whoever knows the node's ID. `NodeSubnets` is derived from it by the plugin
that manages addresses.
"""

from __future__ import annotations

from contivpp_core.records import Record, Table

__all__ = ["NODE_CONFIG", "NODE_SUBNETS", "NodeConfig", "NodeSubnets"]


class NodeConfig(Record, frozen=True, kw_only=True):
    """This node: its Kubernetes name, and its ID (from 1), from which its subnets follow."""

    name: str
    node_id: int


class NodeSubnets(Record, frozen=True, kw_only=True):
    """The subnets and addresses of this node, as text; lengths are in the subnets.

    `vpp_host_vpp` and `vpp_host_linux` are the two ends of the link between VPP and the host. `node_address` is empty
    where it comes from elsewhere (DHCP), `nat_loopback` is the address that hairpinned connections come from.
    """

    name: str
    pod_subnet: str
    pod_gateway: str
    nat_loopback: str
    vpp_host_subnet: str
    vpp_host_vpp: str
    vpp_host_linux: str
    node_address: str = ""
    vxlan_address: str = ""


NODE_CONFIG = Table("NodeConfig", NodeConfig, key=lambda record: record.name)
NODE_SUBNETS = Table("NodeSubnets", NodeSubnets, key=lambda record: record.name, derived=True)
