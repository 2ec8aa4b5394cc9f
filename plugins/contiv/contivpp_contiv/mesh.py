# SPDX-License-Identifier: Apache-2.0
"""How a node reaches the others: a full mesh of VXLAN tunnels, or routes over the link that all nodes share.

The overlay is one bridge domain in each node, which learns nothing and floods nothing: every node's MAC, and the tunnel
behind it, is a static entry, so an unknown frame is dropped and never sent to all. Tunnels are in one split-horizon
group: nothing goes from one to another. A tunnel is known by its two ends; when an end gets another address, the new
tunnel is made first, then the peer's MAC moves over, then the old tunnel goes.

A node that cannot be right (an ID or address that is another's already, an ID out of range) is left out and named; the
others do not feel it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from contivpp_contiv import names
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.node import is_ipv4_host
from contivpp_contiv.records import PEER, UPLINK, Peer, Uplink
from contivpp_core.faults import FAULT, Fault
from contivpp_core.items import Item
from contivpp_core.node import (
    CLUSTER_NODE,
    NODE_CLAIM,
    NODE_CONFIG,
    NODE_SUBNETS,
    ClusterNode,
    NodeClaim,
    NodeConfig,
    NodeSubnets,
)
from contivpp_core.records import Record
from contivpp_core.renderers import View
from contivpp_vpp import items as vpp

__all__ = ["BRIDGE_DOMAIN", "OverlayRenderer", "PeerRenderer", "PeersRenderer"]

BVI_INSTANCE = 16002
BRIDGE_DOMAIN = 1
SPLIT_HORIZON_GROUP = 1


class PeersRenderer:
    """ClusterNode -> the peers of this node, and the nodes that cannot be."""

    name = "contiv-peers"
    table = CLUSTER_NODE.name
    reads = frozenset({NODE_CONFIG.name, NODE_CLAIM.name, NODE_SUBNETS.name, UPLINK.name})
    produces: frozenset[str] = frozenset()
    derives = frozenset({PEER.name, FAULT.name})

    def __init__(self, node_name: str, config: ContivConfig) -> None:
        self._own = node_name
        self._overlay = config.node_to_node_transport == "vxlan"

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the peer, or why it is none."""
        node: ClusterNode = view.get(self.table, key)
        if key == self._own or view.call(_is_gone, key, node.node_id):
            return
        if reason := self._fault(view, node):
            yield Fault(subject=f"node {key}", reason=reason)
            return
        if node.vpp_addresses:
            unusable = {each for each in node.management_addresses if _is_taken(view, each, self._own)}
            yield Peer(
                name=key,
                node_id=node.node_id,
                vpp_address=node.vpp_addresses[0].partition("/")[0],
                management_addresses=tuple(each for each in node.management_addresses if each not in unusable),
            )
            if unusable - {each.partition("/")[0] for each in node.vpp_addresses}:
                reason = f"its management addresses {', '.join(sorted(unusable))} are no host's, or the cluster's own"
                yield Fault(subject=f"node {key}", reason=f"{reason}: no route leads to them")

    def _fault(self, view: View, node: ClusterNode) -> str:
        holder = view.call(_holder_of_id, node.node_id, self._own)
        config: NodeConfig | None = view.get(NODE_CONFIG.name, self._own)
        cure = f"its agent's status says what to do on node {node.name if holder != node.name else self._own}"
        if config is not None and config.node_id == node.node_id:
            reason = f"has ID {node.node_id}, as this node has, and the ID is node {holder}'s: it is not connected"
            return f"{reason}; {cure}"
        if holder != node.name:
            return f"says that it has ID {node.node_id}, which is node {holder}'s: it is not connected; {cure}"
        if view.get(NODE_SUBNETS.name, node.name) is None:
            return f"has ID {node.node_id}, for which ipam's networks have no subnet: enlarge them, or lower the ID"
        if wrong := [each for each in node.vpp_addresses if not is_ipv4_host(each)]:
            return f"has a VPP address that is not the IPv4 address of a host: {', '.join(wrong)}"
        addresses = [ipaddress.IPv4Interface(each) for each in node.vpp_addresses]
        if not addresses:
            return ""  # it has not got one yet
        address = str(addresses[0].ip)
        holder = view.call(_holder_of_address, address, self._own)
        if holder != node.name:
            cure = "give one of them another address, by its NodeConfig object's mainVPPInterface.ip"
            return f"has the VPP address {address}, which is node {holder}'s: it is not connected; {cure}"
        return self._unreachable(view.get(UPLINK.name, self._own), addresses[0].ip)

    def _unreachable(self, uplink: Uplink | None, address: ipaddress.IPv4Address) -> str:
        if uplink is None:
            return ""
        link = ipaddress.IPv4Interface(uplink.address).network
        if address in link or (self._overlay and uplink.gateway):
            return ""
        cure = "" if self._overlay else ": without the overlay all nodes must be on one link"
        cure = cure or ", and there is no gateway: set ipam.defaultGateway"
        return f"has the VPP address {address}, which is not on this node's link {link}{cure}"


def _is_gone(view: View, name: str, node_id: int) -> bool:
    """Tell whether a node's ID was freed; what it published may be left for a while."""
    claim: NodeClaim | None = view.get(NODE_CLAIM.name, str(node_id))
    return claim is not None and not claim.held and claim.name == name


def _holder_of_id(view: View, node_id: int, own: str) -> str:
    """Return the node that an ID belongs to: whoever claimed it; without a claim this node, or the first by name."""
    claim = view.get(NODE_CLAIM.name, str(node_id))
    if claim is not None and claim.held:
        return str(claim.name)
    config: NodeConfig | None = view.get(NODE_CONFIG.name, own)
    if config is not None and config.node_id == node_id:
        return own
    nodes: tuple[ClusterNode, ...] = view.where(CLUSTER_NODE.name, node_id=str(node_id))
    return min(node.name for node in nodes)


def _holder_of_address(view: View, address: str, own: str) -> str:
    """Return the node that a VPP address belongs to: this one, else the first by ID of those that have theirs."""
    uplink: Uplink | None = view.get(UPLINK.name, own)
    if uplink is not None and uplink.address.partition("/")[0] == address:
        return own
    nodes: tuple[ClusterNode, ...] = view.where(CLUSTER_NODE.name, address=address)
    rightful = [n for n in nodes if n.name != own and view.call(_holder_of_id, n.node_id, own) == n.name]
    return min(rightful or nodes, key=lambda node: (node.node_id, node.name)).name


def _is_taken(view: View, address: str, own: str) -> bool:
    """Tell whether a route to a management address would lead elsewhere than to a host of its own."""
    if "/" in address or not is_ipv4_host(address) or view.where(CLUSTER_NODE.name, address=address):
        return True
    uplink: Uplink | None = view.get(UPLINK.name, own)
    subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, own)
    networks = [subnets.pod_network, subnets.vpp_host_network, subnets.vxlan_address] if subnets else []
    inside = any(ipaddress.ip_address(address) in ipaddress.ip_interface(each).network for each in networks if each)
    return inside or (uplink is not None and uplink.address.partition("/")[0] == address)


class OverlayRenderer:
    """NodeConfig -> this node's part of the overlay: the bridge domain, and the loopback that takes part in it."""

    name = "contiv-overlay"
    table = NODE_CONFIG.name
    reads = frozenset({NODE_SUBNETS.name})
    produces = frozenset(
        {
            *("vpp/loopback", "vpp/interface-vrf", "vpp/mtu", "vpp/address", "vpp/link-up"),
            *("vpp/bridge-domain", "vpp/bridge-member"),
        }
    )
    derives: frozenset[str] = frozenset()

    def __init__(self, config: ContivConfig) -> None:
        self._config = config

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the bridge domain and its BVI; nothing without the overlay."""
        node: NodeConfig = view.get(self.table, key)
        subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, key)
        if subnets is None or self._config.node_to_node_transport != "vxlan":
            return
        interface, vrf = names.BVI_INTERFACE, self._config.pod_vrf_id
        yield vpp.BridgeDomain(bd_id=BRIDGE_DOMAIN, name="vxlanBD")
        yield vpp.Loopback(name=interface, instance=BVI_INSTANCE, mac=names.bvi_mac(node.node_id))
        member = vpp.BridgeMember(bridge_domain=BRIDGE_DOMAIN, interface=interface, bvi=True)
        yield member
        if vrf:
            yield vpp.InterfaceVrf(interface=interface, vrf=vrf)
        mtu = vpp.Mtu(interface=interface, mtu=self._config.pod_mtu)
        yield mtu
        yield vpp.Address(interface=interface, address=subnets.vxlan_address, vrf=vrf)
        yield vpp.LinkUp(interface=interface, requires=(member.key, mtu.key))


class PeerRenderer:
    """Peer -> the way to it."""

    name = "contiv-peer"
    table = PEER.name
    reads = frozenset({UPLINK.name, NODE_SUBNETS.name})
    produces = frozenset(
        {"vpp/vxlan", "vpp/link-up", "vpp/bridge-member", "vpp/l2fib", "vpp/neighbour", "vpp/route"}
    )
    derives: frozenset[str] = frozenset()

    def __init__(self, node_name: str, config: ContivConfig) -> None:
        self._own = node_name
        self._overlay = config.node_to_node_transport == "vxlan"
        self._vni = config.vxlan_vni
        self._vrf = config.pod_vrf_id

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the tunnel to the peer, and the routes to what is behind it."""
        peer: Peer = view.get(self.table, key)
        uplink: Uplink | None = view.get(UPLINK.name, self._own)
        subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, key)
        if uplink is None or subnets is None:
            return
        if self._overlay:
            far = subnets.vxlan_address.partition("/")[0]
            yield from self._tunnel(peer, uplink.address.partition("/")[0], far)
            hop, vrf = vpp.Path(interface=names.BVI_INTERFACE, next_hop=far), self._vrf
        else:
            hop, vrf = vpp.Path(interface=uplink.interface, next_hop=peer.vpp_address), 0
        behind = [subnets.pod_subnet, subnets.vpp_host_subnet]
        behind += [f"{address}/32" for address in peer.management_addresses]
        yield from (vpp.Route(vrf=vrf, prefix=prefix, paths=(hop,)) for prefix in behind)
        if vrf:
            lookup = vpp.Path(kind="lookup", via_vrf=vrf)
            yield from (vpp.Route(prefix=f"{each}/32", paths=(lookup,)) for each in peer.management_addresses)

    def _tunnel(self, peer: Peer, source: str, far: str) -> Iterable[Item]:
        tunnel = vpp.VxlanTunnel(source=source, destination=peer.vpp_address, vni=self._vni)
        mac = names.bvi_mac(peer.node_id)
        yield tunnel
        yield vpp.LinkUp(interface=tunnel.name)
        yield vpp.BridgeMember(
            bridge_domain=BRIDGE_DOMAIN, interface=tunnel.name, split_horizon_group=SPLIT_HORIZON_GROUP
        )
        yield vpp.L2FibEntry(bridge_domain=BRIDGE_DOMAIN, mac=mac, interface=tunnel.name)
        yield vpp.Neighbour(interface=names.BVI_INTERFACE, address=far, mac=mac)
