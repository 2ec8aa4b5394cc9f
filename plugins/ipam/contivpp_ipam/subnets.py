# SPDX-License-Identifier: Apache-2.0
"""Every subnet and address of a node as a pure function of the cluster's networks and the node's ID.

The arithmetic is the original's, with its gaps closed: node IDs out of range are refused and never cut off, nothing
leaves its subnet (nor becomes an IPv4 broadcast address), and the node that uses block 0 is found again from a pod's
address. Where the networks come from is in ``config.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class NodeIdError(ValueError):
    """A node ID or an address does not fit the cluster's networks; the text names the field."""


@dataclass(frozen=True, slots=True)
class NodeSubnets:
    """What one node uses. Interfaces carry their subnet's prefix length."""

    node_id: int
    pod_subnet: Network
    pod_gateway: Address
    nat_loopback: Address
    vpp_host_subnet: Network
    vpp_host_vpp: Interface
    vpp_host_linux: Interface
    node_address: Interface | None
    vxlan_address: Interface


@dataclass(frozen=True, slots=True)
class ClusterSubnets:
    """The networks in force, after defaults and contivCIDR."""

    pods: Network
    pods_node_prefix: int
    vpp_host: Network
    vpp_host_node_prefix: int
    vxlan: Network
    service: Network
    node_interconnect: Network | None = None
    default_gateway: Address | None = None

    def limits(self) -> dict[str, int]:
        """The largest node ID that each field allows."""
        result = {
            "podSubnetOneNodePrefixLen": 1 << (self.pods_node_prefix - self.pods.prefixlen),
            "vppHostSubnetOneNodePrefixLen": 1 << (self.vpp_host_node_prefix - self.vpp_host.prefixlen),
            "vxlanCIDR": _last_host(self.vxlan),
        }
        if self.node_interconnect is not None:
            result["nodeInterconnectCIDR"] = _last_host(self.node_interconnect) - bool(self.default_gateway)
        return result

    @property
    def largest_node_id(self) -> int:
        return min(self.limits().values())

    def for_node(self, node_id: int) -> NodeSubnets:
        """All that belongs to a node; NodeIdError names every field that is too small for it."""
        if node_id < 1:
            raise NodeIdError(f"node ID {node_id}: the first node has ID 1")
        small = [f"{field} allows at most {limit}" for field, limit in self.limits().items() if node_id > limit]
        if small:
            raise NodeIdError(f"node ID {node_id} is too large: {', '.join(small)}")
        pods = _block(self.pods, self.pods_node_prefix, node_id)
        host = _block(self.vpp_host, self.vpp_host_node_prefix, node_id)
        return NodeSubnets(
            node_id=node_id,
            pod_subnet=pods,
            pod_gateway=pods[1],
            nat_loopback=pods[-2],
            vpp_host_subnet=host,
            vpp_host_vpp=_interface(host, 1),
            vpp_host_linux=_interface(host, 2),
            node_address=self._node_address(node_id),
            vxlan_address=_interface(self.vxlan, node_id),
        )

    def node_id_of_pod(self, address: Address) -> int:
        """The node whose pod subnet holds the address."""
        if address not in self.pods:
            raise NodeIdError(f"{address} is outside podSubnetCIDR {self.pods}")
        shift = self.pods.max_prefixlen - self.pods_node_prefix
        index = (int(address) - int(self.pods.network_address)) >> shift
        return index or 1 << (self.pods_node_prefix - self.pods.prefixlen)

    def _node_address(self, node_id: int) -> Interface | None:
        network = self.node_interconnect
        if network is None:
            return None
        gateway = self.default_gateway
        passes = gateway is not None and int(network[node_id]) >= int(gateway)
        return _interface(network, node_id + passes)


def _block(network: Network, prefix: int, node_id: int) -> Network:
    """The node's block; the node with the largest ID has block 0."""
    index = node_id % (1 << (prefix - network.prefixlen))
    base = int(network.network_address) + (index << (network.max_prefixlen - prefix))
    address = IPv4Address(base) if network.version == 4 else IPv6Address(base)
    return ip_network((address, prefix))


def _interface(network: Network, number: int) -> Interface:
    return ip_interface((network[number], network.prefixlen))


def _last_host(network: Network) -> int:
    return network.num_addresses - (2 if network.version == 4 else 1)
