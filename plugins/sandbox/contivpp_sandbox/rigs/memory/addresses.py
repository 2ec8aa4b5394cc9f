# SPDX-License-Identifier: Apache-2.0
"""Whose an address is, and which address a name has, in a rig in memory."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from contivpp_core.node import ClusterNode
from contivpp_ipam.config import IpamConfig
from contivpp_linux.kernel.values import Scope
from contivpp_sandbox.rigs.layout import MANAGEMENT_NETWORK, management_address
from contivpp_sandbox.rigs.memory.kubelet import Kubelets
from contivpp_sandbox.rigs.memory.node import MemoryNode
from contivpp_sandbox.rigs.memory.packets import dotted

__all__ = ["Addresses"]


class Addresses:
    """Pods' addresses are the kubelets' to know, VPPs' what their agents have published, hosts' what is configured."""

    def __init__(
        self, names: Sequence[str], nodes: Mapping[str, MemoryNode], kubelets: Kubelets, config: Mapping[str, Any]
    ) -> None:
        self._positions = {name: position for position, name in enumerate(names, 1)}
        self._nodes = nodes
        self._kubelets = kubelets
        self._vpp: dict[str, int] = {}  # by node, also of those that have left
        self._vpp_once: set[int] = set()
        self._others: dict[int, str] = {}  # of nodes and VPPs
        subnets = IpamConfig.model_validate(config.get("ipam") or {}).subnets()
        own = (subnets.pods, subnets.vpp_host, subnets.vxlan, subnets.service, IPv4Network(MANAGEMENT_NETWORK))
        self._cluster = [network for network in own if isinstance(network, IPv4Network)]
        link = subnets.node_interconnect
        self.link = link if isinstance(link, IPv4Network) else None
        """The network of the underlay; None where it is not known beforehand."""

    def refresh(self, published: Mapping[str, ClusterNode | None]) -> None:
        """Learn what nodes have now; what is not told of a node stays."""
        for name, node in published.items():
            if node is not None and node.vpp_addresses:
                self._vpp[name] = int(ipaddress.IPv4Interface(node.vpp_addresses[0]).ip)
                self._vpp_once.add(self._vpp[name])
        self._others = {address: f"vpp:{name}" for name, address in self._vpp.items() if name in self._nodes}
        for name, machine in self._nodes.items():
            for held in machine.host.namespace.stack.addresses:
                if held.address.version == 4 and held.scope != Scope.HOST:
                    self._others[int(held.address.ip)] = f"node:{name}"

    def find(self, target: str) -> int:
        """Return the address that an end of a probe stands for, the last one of what is gone; 0 if it never had one."""
        kind, _, name = target.partition(":")
        if "/" in target:
            return self._kubelets.addresses.get(target, 0)
        if kind == "node":
            return int(IPv4Address(management_address(self._positions[name])))
        if kind == "vpp":
            return self._vpp.get(name, 0)
        return int(IPv4Address(target))

    def vpp(self, node: str) -> IPv4Address | None:
        """Return the address of a node's VPP."""
        return IPv4Address(self._vpp[node]) if node in self._vpp else None

    def name(self, address: int) -> str:
        """Return whose an address is: a pod, node or VPP, else the address."""
        return self._kubelets.names.get(address) or self._others.get(address) or dotted(address)

    def is_outside(self, address: int) -> bool:
        """Tell whether an address can only be an outside host's."""
        found = IPv4Address(address)
        return not (
            address in self._others
            or address in self._vpp_once
            or any(found in network for network in self._cluster)
            or (self.link is not None and found in (self.link.network_address, self.link.broadcast_address))
        )
