# SPDX-License-Identifier: Apache-2.0
"""Nodes as every plugin sees them: its own, what this machine has, and the others of the cluster.

`NodeConfig` has one record, written by whoever knows the node's ID; `NodeSubnets` is derived from it by the plugin that
manages addresses. `NetworkInterface`, `HostAddress` and `HostRoute` are what VPP and the host's kernel have by
themselves. `ClusterNode` is every node of the cluster, this one too, as it published itself in the cluster's store.
"""

from __future__ import annotations

from contivpp_core.records import AnyTable, Record, Table

__all__ = [
    "CLUSTER_NODE",
    "HOST_ADDRESS",
    "HOST_ROUTE",
    "NETWORK_INTERFACE",
    "NODE_CLAIM",
    "NODE_CONFIG",
    "NODE_SUBNETS",
    "TABLES",
    "ClusterNode",
    "HostAddress",
    "HostRoute",
    "NetworkInterface",
    "NodeClaim",
    "NodeConfig",
    "NodeSubnets",
]


class NodeConfig(Record, frozen=True, kw_only=True):
    """This node: its Kubernetes name, and its ID (from 1), from which its subnets follow."""

    name: str
    node_id: int


class NodeSubnets(Record, frozen=True, kw_only=True):
    """The subnets and addresses of a node, as text; lengths are in the subnets.

    `vpp_host_vpp` and `vpp_host_linux` are the two ends of the link between VPP and the host. `node_address` is empty
    where it comes from elsewhere (DHCP), `nat_loopback` is the address that hairpinned connections come from. The
    networks are the cluster's: every node's pod subnet is a part of `pod_network`, and so on.
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
    pod_network: str = ""
    vpp_host_network: str = ""
    service_network: str = ""
    default_gateway: str = ""


class NetworkInterface(Record, frozen=True, kw_only=True):
    """An interface that VPP has by itself, a NIC: not made by any plugin, and not one of VPP's own helpers.

    `name` is VPP's (`GigabitEthernet0/8/0`, `host-eth1`), `kind` its device type (`dpdk`, `af-packet`), `index` orders
    them as VPP found them, `mtu` is the largest IP packet in bytes that its link takes.
    """

    name: str
    kind: str
    index: int
    mac: str = ""
    mtu: int = 0


class HostAddress(Record, frozen=True, kw_only=True):
    """An address of the host's network namespace, with its prefix length, on `link`; loopback and link-local apart."""

    link: str
    address: str


class HostRoute(Record, frozen=True, kw_only=True):
    """A route of the host's main table that no plugin of ours made; the default route is `0.0.0.0/0`."""

    destination: str
    link: str
    gateway: str = ""


class ClusterNode(Record, frozen=True, kw_only=True):
    """A node of the cluster. `vpp_addresses` have a prefix length, and their first is the end of tunnels;
    `management_addresses` (the host's, which Kubernetes knows) have none.
    """

    name: str
    node_id: int
    vpp_addresses: tuple[str, ...] = ()
    management_addresses: tuple[str, ...] = ()


class NodeClaim(Record, frozen=True, kw_only=True):
    """A node ID, and the node that has claimed it.

    `freed` (seconds since 1970) is when the claim ended: since then the ID rests, and `name` is who had it; 0: it is
    held. `replaces` is the ID that the node had before, if it took this one instead (0: none). `name` is empty where
    somebody has the ID and nobody can read who.
    """

    node_id: int
    name: str
    freed: float = 0.0
    replaces: int = 0

    @property
    def held(self) -> bool:
        """Whether somebody has the ID."""
        return not self.freed


NODE_CONFIG = Table("NodeConfig", NodeConfig, key=lambda record: record.name)
NODE_SUBNETS = Table("NodeSubnets", NodeSubnets, key=lambda record: record.name, derived=True)
NETWORK_INTERFACE = Table("NetworkInterface", NetworkInterface, key=lambda record: record.name)
HOST_ADDRESS = Table(
    "HostAddress",
    HostAddress,
    key=lambda record: f"{record.link}/{record.address}",
    indexes={"link": lambda record: (record.link,)},
)
HOST_ROUTE = Table("HostRoute", HostRoute, key=lambda record: f"{record.destination}/{record.link}/{record.gateway}")
CLUSTER_NODE = Table(
    "ClusterNode",
    ClusterNode,
    key=lambda record: record.name,
    indexes={
        "node_id": lambda record: (str(record.node_id),),
        "address": lambda record: tuple(address.partition("/")[0] for address in record.vpp_addresses),
    },
)
NODE_CLAIM = Table(
    "NodeClaim",
    NodeClaim,
    key=lambda record: str(record.node_id),
    indexes={"name": lambda record: (record.name,) if record.held else ()},
)
TABLES: tuple[AnyTable, ...] = (
    NODE_CONFIG,
    NODE_SUBNETS,
    NETWORK_INTERFACE,
    HOST_ADDRESS,
    HOST_ROUTE,
    CLUSTER_NODE,
    NODE_CLAIM,
)
"""Every agent has these tables."""
