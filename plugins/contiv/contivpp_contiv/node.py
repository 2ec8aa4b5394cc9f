# SPDX-License-Identifier: Apache-2.0
"""What a node wants for itself: the gateway of its pods, its uplink, and the link to its own host.

In one VRF, which is the default, everything is reached by the longest prefix, and two routes drop what no node has: a
packet to a dead pod, or to a node that is gone, ends here and does not come back by the default route. With a VRF
for pods, the two VRFs point at each other, as the original's did.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from contivpp_contiv import names
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.records import HOST_LINK, OWN_NODE, REMEMBERED, UPLINK, HostLink, Uplink
from contivpp_core.faults import FAULT, Fault
from contivpp_core.items import Item
from contivpp_core.kubernetes import NODE, NODE_SETTINGS, Node, NodeSettings
from contivpp_core.namespaces import HOST
from contivpp_core.node import (
    HOST_ADDRESS,
    HOST_ROUTE,
    NETWORK_INTERFACE,
    NODE_CONFIG,
    NODE_SUBNETS,
    ClusterNode,
    HostAddress,
    HostRoute,
    NetworkInterface,
    NodeConfig,
    NodeSubnets,
)
from contivpp_core.records import Record
from contivpp_core.renderers import View
from contivpp_linux import items as linux
from contivpp_vpp import items as vpp

__all__ = [
    "GatewayRenderer",
    "HostAddressRenderer",
    "HostLinkRenderer",
    "HostRouteRenderer",
    "OwnNodeRenderer",
    "UplinkRenderer",
    "is_ipv4_host",
]

GATEWAY_INSTANCE, UPLINK_INSTANCE = 16000, 16001
"""Numbers of loopbacks in VPP (loop16000), far from what others use."""
EVERYWHERE = "0.0.0.0/0"
LONGEST_NAME = 43
"""How much of an interface's name fits into the mark that says whose it is (63 bytes)."""
BROADCAST = ipaddress.IPv4Address("255.255.255.255")
AF_PACKET = "af-packet"
"""VPP's name for the kind of interface that reads a link of Linux."""


class GatewayRenderer:
    """NodeConfig -> the gateway of the node's pods, and where the cluster's networks end."""

    name = "contiv-node"
    table = NODE_CONFIG.name
    reads = frozenset({NODE_SUBNETS.name})
    produces = frozenset(
        {
            *("vpp/loopback", "vpp/vrf", "vpp/interface-vrf", "vpp/address", "vpp/link-up", "vpp/route"),
            "vpp/neighbour-settings",
        }
    )
    derives: frozenset[str] = frozenset()

    def __init__(self, config: ContivConfig) -> None:
        self._vrf = config.pod_vrf_id
        self._max_age = config.neighbour_max_age_seconds
        self._overlay = config.node_to_node_transport == "vxlan"

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the gateway loopback with its address, in the VRF of pods, and the cluster's routes."""
        subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, key)
        if subnets is None:
            return
        if self._max_age:  # else VPP sends to a MAC that it once learned for ever, whoever has it now
            yield vpp.NeighbourSettings(family="ip4", max_age_seconds=self._max_age)
        gateway = names.GATEWAY_INTERFACE
        length = subnets.pod_subnet.rpartition("/")[2]
        yield vpp.Loopback(name=gateway, instance=GATEWAY_INSTANCE)
        if self._vrf:
            yield vpp.VrfTable(vrf=self._vrf, label="podVRF")
            yield vpp.InterfaceVrf(interface=gateway, vrf=self._vrf)
        yield vpp.Address(interface=gateway, address=f"{subnets.pod_gateway}/{length}", vrf=self._vrf)
        yield vpp.LinkUp(interface=gateway)
        networks = (subnets.pod_network, subnets.vpp_host_network)
        # Without the overlay it is the main VRF that knows the ways to the other nodes, and what is none.
        yield from (_drop(self._vrf if self._overlay else 0, network) for network in networks)
        if self._vrf:
            yield from self._between(subnets, networks)

    def _between(self, subnets: NodeSubnets, networks: tuple[str, ...]) -> Iterable[Item]:
        """Return the routes between the VRF of pods and the main one."""
        yield _lookup(self._vrf, EVERYWHERE, 0)
        yield _lookup(self._vrf, subnets.vpp_host_subnet, 0)
        if self._overlay:
            yield from (_lookup(0, network, self._vrf) for network in networks)
        else:
            yield _lookup(0, subnets.pod_subnet, self._vrf)


def _drop(vrf: int, prefix: str) -> vpp.Route:
    return vpp.Route(vrf=vrf, prefix=prefix, paths=(vpp.Path(kind="drop"),))


def _lookup(vrf: int, prefix: str, other: int) -> vpp.Route:
    return vpp.Route(vrf=vrf, prefix=prefix, paths=(vpp.Path(kind="lookup", via_vrf=other),))


class UplinkRenderer:
    """NodeConfig -> the interface that reaches the other nodes."""

    name = "contiv-uplink"
    table = NODE_CONFIG.name
    reads = frozenset({NODE_SUBNETS.name, NODE_SETTINGS.name, REMEMBERED.name, NETWORK_INTERFACE.name})
    produces = frozenset(
        {"vpp/physical", "vpp/loopback", "vpp/mac", "vpp/address", "vpp/mtu", "vpp/link-up", "vpp/route"}
    )
    derives = frozenset({UPLINK.name, FAULT.name})

    def __init__(self, config: ContivConfig) -> None:
        self._config = config

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the NIC with its address, gateway and MTU, and the other interfaces that the operator names."""
        subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, key)
        known = view.ready(NODE_SETTINGS.name)
        settings: NodeSettings | None = view.get((NODE_SETTINGS if known else REMEMBERED).name, key)
        if known and settings is None:
            settings = NodeSettings(name=key)
        if subnets is None or settings is None:
            return  # a guess would give VPP an address that is perhaps another's, and tell it to everybody
        others = [each for each in settings.other_interfaces if 0 < len(each.name) <= LONGEST_NAME]
        device = settings.main_interface.name or self._config.main_interface
        if not device and not view.ready(NETWORK_INTERFACE.name):
            return
        device = device or view.call(_first_nic, tuple(sorted(each.name for each in others)))
        address = settings.main_interface.address
        if address and not is_ipv4_host(address):
            reason = f"mainVPPInterface.ip {address} is not the IPv4 address of a host: it is not used"
            yield Fault(subject="mainVPPInterface", reason=reason)
            address = ""
        address = address or subnets.node_address
        if not address:
            reason = "no address: set ipam.nodeInterconnectCIDR, or mainVPPInterface.ip of the node's NodeConfig"
            yield Fault(subject="uplink", reason=reason)
            return
        nic: NetworkInterface | None = view.get(NETWORK_INTERFACE.name, device)
        mac = ""
        # Its first packet must have the MAC that stays; before VPP has told its interfaces, the name tells the kind.
        made_up = nic.kind == AF_PACKET if nic is not None else device.startswith("host-")
        identity = (subnets.node_address or address).partition("/")[0]  # it stays when the node gets another address
        if made_up and is_ipv4_host(identity):
            # VPP gives it another MAC at each start, and the other nodes would go on sending to the one they know.
            mac = names.uplink_mac(identity)
        yield from self._main(key, device, address, settings.gateway or subnets.default_gateway, mac)
        for other in others:
            yield from _nic(other.name, f"nic-{other.name}", other.address)
            if view.get(NETWORK_INTERFACE.name, other.name) is None:
                yield Fault(subject=f"interface {other.name}", reason="VPP has no interface of this name")
        if device and view.get(NETWORK_INTERFACE.name, device) is None:
            yield Fault(subject=f"interface {device}", reason="VPP has no interface of this name")

    def _main(self, key: str, device: str, address: str, gateway: str, mac: str) -> Iterable[Item | Record]:
        interface = names.UPLINK_INTERFACE if device else names.LOOPBACK_UPLINK
        yield Uplink(name=key, interface=interface, device=device, address=address, gateway=gateway)
        if device:
            yield from _nic(device, interface, address, mac)
            yield vpp.Mtu(interface=interface, mtu=self._config.underlay_mtu)
        else:
            yield vpp.Loopback(name=interface, instance=UPLINK_INSTANCE)
            yield vpp.Address(interface=interface, address=address)
            yield vpp.LinkUp(interface=interface)
        if not gateway:
            return
        if not is_ipv4_host(gateway) or ipaddress.ip_address(gateway) not in ipaddress.ip_interface(address).network:
            yield Fault(subject="gateway", reason=f"{gateway} is not on the link of {address}: it is not used")
            return
        yield vpp.Route(prefix=EVERYWHERE, paths=(vpp.Path(interface=interface, next_hop=gateway),))


def _nic(device: str, interface: str, address: str, mac: str = "") -> Iterable[Item]:
    yield vpp.PhysicalInterface(name=interface, device=device)
    if address:
        yield vpp.Address(interface=interface, address=address)
    requires: tuple[str, ...] = ()
    if mac:  # before anybody learns another one
        found = vpp.Mac(interface=interface, mac=mac)
        yield found
        requires = (found.key,)
    yield vpp.LinkUp(interface=interface, requires=requires)


def _first_nic(view: View, others: tuple[str, ...]) -> str:
    """Return VPP's name of its first NIC that is not among others, or ""."""
    found: list[tuple[int, str]] = [
        (index, name) for name, index in view.select(NETWORK_INTERFACE.name, fields=("index",)) if name not in others
    ]
    return min(found, default=(0, ""))[1]


class OwnNodeRenderer:
    """Uplink -> this node as the others see it."""

    name = "contiv-own-node"
    table = UPLINK.name
    reads = frozenset({NODE_CONFIG.name, NODE.name})
    produces: frozenset[str] = frozenset()
    derives = frozenset({OWN_NODE.name})

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the record that is to be published."""
        uplink: Uplink = view.get(self.table, key)
        config: NodeConfig | None = view.get(NODE_CONFIG.name, key)
        if config is None:
            return
        node: Node | None = view.get(NODE.name, key)
        addresses = node.addresses if node else ()
        management = {each.address for each in addresses if each.type == "InternalIP" and is_ipv4_host(each.address)}
        yield ClusterNode(
            name=key,
            node_id=config.node_id,
            vpp_addresses=(uplink.address,),
            management_addresses=tuple(sorted(management - {uplink.address.partition("/")[0]})),
        )


def is_ipv4_host(text: str) -> bool:
    """Tell whether a text is an IPv4 address, with a prefix length or without one, that a host can have."""
    try:
        address = ipaddress.ip_interface(text).ip
    except ValueError:  # whatever objects and values of the store hold
        return False
    refused = address.is_multicast or address.is_unspecified or address.is_loopback or address == BROADCAST
    return address.version == 4 and not refused


class HostLinkRenderer:
    """HostLink -> the link between VPP and the host's stack, and the host's routes to pods."""

    name = "contiv-host-link"
    table = HOST_LINK.name
    reads = frozenset({NODE_SUBNETS.name, NODE_CONFIG.name})
    produces = frozenset(
        {
            *("vpp/tap", "vpp/afpacket", "vpp/mtu", "vpp/address", "vpp/link-up"),
            *("linux/veth", "linux/link-up", "linux/offload", "linux/mtu", "linux/address", "linux/route"),
        }
    )
    derives: frozenset[str] = frozenset()

    def __init__(self, config: ContivConfig) -> None:
        self._config = config

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return both ends of the link, and the routes over it."""
        link: HostLink = view.get(self.table, key)
        subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, key)
        node: NodeConfig | None = view.get(NODE_CONFIG.name, key)
        if subnets is None or node is None:
            return
        yield from _ends(link.kind, names.host_interface_mac(node.node_id))
        interface, outer = names.HOST_INTERFACE, names.HOST_SIDE_LINK
        mtu = vpp.Mtu(interface=interface, mtu=self._config.pod_mtu)
        yield mtu
        yield vpp.Address(interface=interface, address=subnets.vpp_host_vpp)
        yield vpp.LinkUp(interface=interface, requires=(mtu.key,))
        yield linux.Mtu(namespace=HOST, link=outer, mtu=self._config.pod_mtu)
        yield linux.LinkUp(namespace=HOST, name=outer)
        yield linux.Address(namespace=HOST, link=outer, address=subnets.vpp_host_linux)
        source, gateway = (end.partition("/")[0] for end in (subnets.vpp_host_linux, subnets.vpp_host_vpp))
        networks = [subnets.pod_network, subnets.vpp_host_network]
        if self._config.route_service_cidr_to_vpp:
            networks.append(subnets.service_network)
        for network in networks:
            yield linux.Route(namespace=HOST, destination=network, link=outer, gateway=gateway, source=source)


def _ends(kind: str, mac: str) -> Iterable[Item]:
    interface, outer, inner = names.HOST_INTERFACE, names.HOST_SIDE_LINK, names.HOST_PEER_LINK
    if kind == "tap":
        yield vpp.Tap(name=interface, host_name=outer, namespace=HOST, mac=mac)
        return
    yield linux.Veth(namespace=HOST, name=outer, peer_namespace=HOST, peer_name=inner, alias=interface)
    yield linux.LinkUp(namespace=HOST, name=inner)
    # VPP reads whole frames from the veth: the kernel must fill in checksums, and must not leave segments to hardware.
    yield linux.Offload(namespace=HOST, link=outer, features=(("tx-checksumming", False),))
    yield vpp.AfPacket(name=interface, host_name=inner, mac=mac)


class HostAddressRenderer:
    """HostAddress -> VPP's route to an address of its own host."""

    name = "contiv-host-address"
    table = HOST_ADDRESS.name
    reads = frozenset({HOST_LINK.name, NODE_SUBNETS.name, UPLINK.name})
    produces = frozenset({"vpp/route"})
    derives = frozenset({FAULT.name})

    def __init__(self, node_name: str) -> None:
        self._node = node_name

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the route over the link to the host; VPP's own addresses, and pods', are not the host's."""
        found: HostAddress = view.get(self.table, key)
        subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, self._node)
        link: HostLink | None = view.get(HOST_LINK.name, self._node)
        if subnets is None or link is None:
            return
        address = ipaddress.ip_interface(found.address).ip
        if address.version != 4:
            return
        uplink: Uplink | None = view.get(UPLINK.name, self._node)
        if taken := _taken(address, subnets, uplink):
            yield Fault(subject=f"address {found.address} of link {found.link}", reason=f"{taken}: VPP does not use it")
            return
        hop = vpp.Path(interface=names.HOST_INTERFACE, next_hop=subnets.vpp_host_linux.partition("/")[0])
        yield vpp.Route(prefix=f"{address}/32", paths=(hop,))


def _taken(address: ipaddress.IPv4Address | ipaddress.IPv6Address, subnets: NodeSubnets, uplink: Uplink | None) -> str:
    if uplink is not None and address == ipaddress.ip_interface(uplink.address).ip:
        return "is VPP's own address"
    for what, network in (("pods", subnets.pod_network), ("links to hosts", subnets.vpp_host_network)):
        if address in ipaddress.ip_network(network):
            return f"is in the network of {what}, {network}"
    return ""


class HostRouteRenderer:
    """HostRoute -> what the operator should know: a route of the host that takes packets of the cluster's networks."""

    name = "contiv-host-route"
    table = HOST_ROUTE.name
    reads = frozenset({NODE_SUBNETS.name})
    produces: frozenset[str] = frozenset()
    derives = frozenset({FAULT.name})

    def __init__(self, node_name: str) -> None:
        self._node = node_name

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the fault, if the route lies inside a network of the cluster."""
        found: HostRoute = view.get(self.table, key)
        subnets: NodeSubnets | None = view.get(NODE_SUBNETS.name, self._node)
        if subnets is None:
            return
        destination = ipaddress.ip_network(found.destination)
        for field, text in (("podSubnetCIDR", subnets.pod_network), ("vppHostSubnetCIDR", subnets.vpp_host_network)):
            network = ipaddress.ip_network(text)
            if destination.version == network.version and destination.subnet_of(network):  # type: ignore[arg-type]
                reason = f"over {found.link} takes the host's packets to ipam.{field} {network}: change one of them"
                yield Fault(subject=f"route {key}", reason=reason)
