# SPDX-License-Identifier: Apache-2.0
"""The IPAM plugin: derives this node's subnets, and serves requests for pod addresses.

An address is chosen in memory and made durable by the caller, in one ledger transaction with its own record. So
nothing is lost if the agent dies at any moment: either both are stored, or neither is. The pointer of the round
robin is stored with each choice: after a restart an address that was just given back is not given out again first.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from typing import ClassVar

from contivpp_core.agent import Agent
from contivpp_core.config import ConfigSection
from contivpp_core.errors import AddressExhausted, NotReady, RequestError
from contivpp_core.events import AddressReply, AddressRequest
from contivpp_core.ledger import LedgerWrite
from contivpp_core.node import CLUSTER_NODE, NODE_CONFIG, NODE_SUBNETS
from contivpp_core.node import NodeSubnets as NodeSubnetsRecord
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.renderers import Renderer, View
from contivpp_ipam.allocator import AllocationError, Allocator, PoolExhaustedError
from contivpp_ipam.config import IpamConfig
from contivpp_ipam.subnets import ClusterSubnets

__all__ = ["IpamPlugin", "plugin"]

log = logging.getLogger(__name__)

SPACE = "ipam"
LAST = "last"
ADDRESS = "address/"


class SubnetsRenderer:
    """NodeConfig -> NodeSubnets of this node."""

    name = "ipam-subnets"
    table = NODE_CONFIG.name
    reads: frozenset[str] = frozenset()
    produces: frozenset[str] = frozenset()
    derives = frozenset({NODE_SUBNETS.name})

    def __init__(self, subnets: ClusterSubnets) -> None:
        self._subnets = subnets

    def render(self, view: View, key: str) -> Iterable[NodeSubnetsRecord]:
        """Return the subnets of the node; an ID out of range is an error that names the subnet."""
        node = view.get(self.table, key)
        yield _record(self._subnets, node.name, node.node_id)


class ClusterSubnetsRenderer:
    """ClusterNode -> NodeSubnets of the other nodes.

    A node whose ID is out of range has none: whoever needs them says so of this node, and the others are as they were.
    """

    name = "ipam-cluster-subnets"
    table = CLUSTER_NODE.name
    reads = frozenset({NODE_CONFIG.name})
    produces: frozenset[str] = frozenset()
    derives = frozenset({NODE_SUBNETS.name})

    def __init__(self, subnets: ClusterSubnets) -> None:
        self._subnets = subnets

    def render(self, view: View, key: str) -> Iterable[NodeSubnetsRecord]:
        """Return the subnets of another node."""
        node = view.get(self.table, key)
        if view.get(NODE_CONFIG.name, key) is None and 1 <= node.node_id <= self._subnets.largest_node_id:
            yield _record(self._subnets, node.name, node.node_id)


def _record(subnets: ClusterSubnets, name: str, node_id: int) -> NodeSubnetsRecord:
    own = subnets.for_node(node_id)
    return NodeSubnetsRecord(
        name=name,
        pod_subnet=str(own.pod_subnet),
        pod_gateway=str(own.pod_gateway),
        nat_loopback=str(own.nat_loopback),
        vpp_host_subnet=str(own.vpp_host_subnet),
        vpp_host_vpp=str(own.vpp_host_vpp),
        vpp_host_linux=str(own.vpp_host_linux),
        node_address=str(own.node_address) if own.node_address is not None else "",
        vxlan_address=str(own.vxlan_address),
        pod_network=str(subnets.pods),
        vpp_host_network=str(subnets.vpp_host),
        service_network=str(subnets.service),
        default_gateway=str(subnets.default_gateway or ""),
    )


class IpamPlugin(Plugin):
    """Subnets of the node and addresses of its pods."""

    name: ClassVar[str] = "ipam"

    def __init__(self) -> None:
        self._allocator: Allocator | None = None
        self._released: set[str] = set()  # given back, but perhaps not yet stored as free

    @hookimpl
    def config_section(self) -> ConfigSection:
        """Contribute the section `ipam`."""
        return ConfigSection("ipam", IpamConfig)

    @hookimpl
    def renderers(self, agent: Agent) -> list[Renderer]:
        """Contribute the renderers of subnets."""
        subnets = agent.config.section("ipam", IpamConfig).subnets()
        return [SubnetsRenderer(subnets), ClusterSubnetsRenderer(subnets)]

    @hookimpl
    def allocate_address(self, agent: Agent, request: AddressRequest) -> AddressReply:
        """Choose an address: the next free one, or the one that is asked for."""
        allocator, subnets = self._ready(agent)
        try:
            if request.wanted:
                address = allocator.allocate_specific(_parse(request.wanted), request.owner)
            else:
                address = allocator.allocate(request.owner)
        except PoolExhaustedError as error:
            cure = "delete pods, or give nodes larger pod subnets"
            raise AddressExhausted(str(error), code=11, details=cure) from error
        except AllocationError as error:
            raise RequestError(f"pod {request.namespace}/{request.pod}: {error}", code=7) from error
        self._released.discard(request.owner)
        writes = (
            LedgerWrite(SPACE, ADDRESS + request.owner, str(address).encode()),
            LedgerWrite(SPACE, LAST, str(allocator.last).encode()),
        )
        return AddressReply(address=str(address), gateway=subnets.pod_gateway, writes=writes)

    @hookimpl
    def address_shortage(self, agent: Agent) -> str | None:
        """Tell that the subnet is used up."""
        allocator, subnets = self._ready(agent)
        if allocator.free:
            return None
        return f"no address of {subnets.pod_subnet} is free: all {allocator.capacity} are in use"

    @hookimpl
    def release_address(self, agent: Agent, owner: str) -> tuple[LedgerWrite, ...]:
        """Give an address back. Nobody else gets it before the ledger holds it no more."""
        self._released.add(owner)
        return (LedgerWrite(SPACE, ADDRESS + owner, None),)

    def _ready(self, agent: Agent) -> tuple[Allocator, NodeSubnetsRecord]:
        subnets = agent.state.get(NODE_SUBNETS.name, agent.node_name)
        if subnets is None:
            reason = next((f for o, f in agent.engine.failures.items() if o.renderer == SubnetsRenderer.name), "")
            reason = reason or "its ID is not known yet"
            raise NotReady(f"the subnets of node {agent.node_name} are not known: {reason}")
        if self._allocator is None or str(self._allocator.subnet) != subnets.pod_subnet:  # a node may take another ID
            self._allocator = _restored(agent, subnets.pod_subnet)
        for owner in [o for o in self._released if agent.ledger.get(SPACE, ADDRESS + o) is None]:
            self._released.discard(owner)
            self._allocator.release(owner)
        return self._allocator, subnets


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(address)
    except ValueError as error:
        raise RequestError(f"contivpp.io/ip: {address!a} is not an IP address", code=7) from error


def _restored(agent: Agent, subnet: str) -> Allocator:
    """Return an allocator with what the ledger holds; addresses of another subnet are left to their pods."""
    network = ipaddress.ip_network(subnet)
    allocator = Allocator(network)
    entries = {}
    last = None
    for key, value in agent.ledger.items(SPACE).items():
        address = ipaddress.ip_address(value.decode())
        if key == LAST:
            last = address if address in network else None
        elif address in network:
            entries[key.removeprefix(ADDRESS)] = address
        else:
            log.warning("address outside the pod subnet", extra={"address": str(address), "subnet": subnet})
    allocator.restore(entries, last)
    return allocator


def plugin() -> IpamPlugin:
    """Return the plugin; its entry point calls this."""
    return IpamPlugin()
