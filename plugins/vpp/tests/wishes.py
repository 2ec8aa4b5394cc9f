# SPDX-License-Identifier: Apache-2.0
"""Random wishes for VPP: each is what a node could want, and one after the other they leave nothing as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Literal

from contivpp_core.items import Item
from contivpp_core.namespaces import HOST, Namespace
from contivpp_vpp.items import (
    Address,
    AfPacket,
    BridgeDomain,
    BridgeMember,
    InterfaceVrf,
    L2FibEntry,
    LinkUp,
    Loopback,
    Mac,
    Mtu,
    Nat44,
    Nat44Address,
    Nat44Interface,
    Nat44Mapping,
    NatBackend,
    Neighbour,
    NeighbourSettings,
    Path,
    PhysicalInterface,
    Route,
    SubInterface,
    Tag,
    Tap,
    Unnumbered,
    VrfTable,
    VxlanTunnel,
)

from .worlds import NICS, HostLink

FEATURES: tuple[Literal["inside+outside", "inside", "outside", "output"], ...] = (
    "inside+outside",
    "inside",
    "outside",
    "output",
)
ALL_SORTS = ("none", "tap", "afpacket", "loopback")
PODS = ("a", "b", "c")
SOMEWHERE = Namespace("/nowhere/netns", 4, 4026532000)


def wishes(seed: int, count: int = 6, *, real: bool) -> list[list[Item]]:
    """Return wishes, with nothing among them, too; those of a real VPP, or what an embedded one has of them."""
    chance = random.Random(seed)
    if real:
        return [*(wish_of_real(chance) for _ in range(count)), []]
    return [*([item for item in wish(chance) if not _only_real(item)] for _ in range(count)), []]


def _only_real(item: Item) -> bool:
    """Tell whether the embedded VPP lacks it: IPv6."""
    return isinstance(item, Address | Route) and ":" in (item.address if isinstance(item, Address) else item.prefix)


def wish(chance: random.Random) -> list[Item]:
    """Return what a node wants."""
    vrf = chance.choice((0, 1, 2))
    items = [*uplink(chance, chance.choice(NICS)), *gateway(chance, vrf), *overlay(chance)]
    items += [item for number, name in enumerate(PODS) for item in pod(chance, name, number, vrf, ALL_SORTS)]
    return [*items, *tables_of(chance, items)]


def wish_of_real(chance: random.Random) -> list[Item]:
    """Return what a node wants that has no NIC and no links of Linux, but IPv6 and NAT44."""
    vrf = chance.choice((0, 1, 2))
    items = [*gateway(chance, vrf), *overlay(chance)]
    items += [item for number, name in enumerate(PODS) for item in pod(chance, name, number, vrf, ("none", "loopback"))]
    items += nat44(chance, [each.name for each in items if isinstance(each, Loopback)])
    return [*items, *tables_of(chance, items)]


def tables_of(chance: random.Random, items: list[Item]) -> list[Item]:
    """Return the VRFs that items name."""
    tables = {each.vrf for each in items if isinstance(each, InterfaceVrf | Route) and each.vrf}
    tables |= {each.encap_vrf for each in items if isinstance(each, VxlanTunnel) and each.encap_vrf}
    paths = (path for each in items if isinstance(each, Route) for path in each.paths)
    tables |= {path.via_vrf for path in paths if path.via_vrf}
    backends = (each.backends for each in items if isinstance(each, Nat44Mapping))
    tables |= {backend.vrf for some in backends for backend in some if backend.vrf}
    return [VrfTable(vrf=table, label=chance.choice(("red", "blue"))) for table in sorted(tables)]


def uplink(chance: random.Random, nic: str) -> Iterator[Item]:
    """The NIC, which VPP has by itself, and a VLAN of it."""
    if chance.random() < 0.2:
        return
    yield PhysicalInterface(name="uplink", device=f"host-{nic}")
    yield Address(interface="uplink", address=f"192.168.16.{chance.choice((1, 2))}/24")
    yield Mtu(interface="uplink", mtu=chance.choice((1500, 9000)))
    mac = Mac(interface="uplink", mac=f"02:01:00:00:00:0{chance.choice((1, 2))}")
    yield mac
    yield LinkUp(interface="uplink", requires=chance.choice(((), (mac.key,))))
    if chance.random() < 0.6:
        yield Tag(interface="uplink", tag=chance.choice(("north", "south")))
    yield Route(prefix="0.0.0.0/0", paths=(Path(interface="uplink", next_hop="192.168.16.254"),))
    yield NeighbourSettings(family="ip4", max_age_seconds=chance.choice((0, 30)))
    if chance.random() < 0.5:
        yield NeighbourSettings(family="ip6", max_number=chance.choice((100, 200)), recycle=True)
    vlans = [100, 200]
    chance.shuffle(vlans)
    for name, vlan in zip(("vlan1", "vlan2"), vlans, strict=True):
        if chance.random() < 0.6:
            yield SubInterface(name=name, parent="uplink", vlan=vlan)
            yield Address(interface=name, address=f"10.50.{vlan}.1/24")
            yield LinkUp(interface=name, requires=("vpp/link-up/uplink",))


def gateway(chance: random.Random, vrf: int) -> Iterator[Item]:
    """What every pod's interface borrows its address from, and routes."""
    yield Loopback(name="gateway", instance=chance.choice((100, 101)))
    yield Address(interface="gateway", address="10.1.1.1/24", vrf=vrf)
    yield Address(interface="gateway", address="fd00:1::1/64", vrf=vrf)
    yield LinkUp(interface="gateway")
    if vrf:
        yield InterfaceVrf(interface="gateway", vrf=vrf)
    yield Route(vrf=vrf, prefix="10.1.0.0/16", paths=(Path(kind="drop"),))
    if vrf:
        yield Route(vrf=vrf, prefix="0.0.0.0/0", paths=(Path(kind="lookup", via_vrf=0),))
    ways = [Path(interface="gateway", next_hop=f"10.1.1.{number}", weight=number) for number in (2, 3)]
    some = chance.sample(ways, chance.choice((1, 2)))
    yield Route(vrf=vrf, prefix="10.77.0.0/16", paths=tuple(some))
    yield Route(vrf=vrf, prefix="fd00:77::/32", paths=(Path(interface="gateway", next_hop="fd00:1::2"),))
    yield Route(vrf=vrf, prefix="10.78.0.0/16", paths=(Path(next_hop="10.1.1.9", via_vrf=chance.choice((None, 0))),))


def pod(chance: random.Random, name: str, number: int, vrf: int, sorts: Sequence[str]) -> Iterator[Item]:
    """A pod's interface, of one kind or another."""
    kind = chance.choice(sorts)
    if kind == "none":
        return
    mac = f"02:fe:00:00:0{chance.choice((0, 1))}:0{number}"
    own = "" if number == 1 else f"02:fe:00:01:00:0{number}"  # by it, what was left half made is known
    if kind == "tap":
        where = chance.choice((HOST, SOMEWHERE))
        yield Tap(name=name, host_name=f"eth{number}", namespace=where, host_mac=mac, initial_mac=True)
    elif kind == "afpacket":
        yield HostLink(name=f"veth{number}")
        yield AfPacket(name=name, host_name=f"veth{number}", mac=own)
    else:
        yield Loopback(name=name, instance=number, mac=own)
    if vrf:
        yield InterfaceVrf(interface=name, vrf=vrf)
    address = f"10.1.1.{10 + number}"
    hop = Path(interface=name, next_hop=address)
    needed = [
        Unnumbered(interface=name, donor="gateway", vrf=vrf),
        Mtu(interface=name, mtu=chance.choice((1400, 1450))),
        Neighbour(interface=name, address=address, mac=mac),
        Route(vrf=vrf, prefix=f"{address}/32", paths=(hop,)),
    ]
    yield from needed
    yield LinkUp(interface=name, requires=tuple(item.key for item in needed))


def overlay(chance: random.Random) -> Iterator[Item]:
    """A bridge domain with tunnels to other nodes."""
    if chance.random() < 0.2:
        return
    flags = {name: chance.random() < 0.5 for name in ("learn", "flood", "unknown_unicast_flood", "arp_termination")}
    yield BridgeDomain(bd_id=1, name=chance.choice(("vxlanBD", "other")), **flags)
    yield Loopback(name="bvi", instance=200, mac="12:2b:00:00:00:01")
    yield Address(interface="bvi", address="192.168.30.1/24")
    yield BridgeMember(bridge_domain=1, interface="bvi", bvi=True, split_horizon_group=chance.choice((0, 1)))
    yield LinkUp(interface="bvi")
    for number in (2, 3):
        if chance.random() < 0.3:
            continue
        end = f"192.168.16.{number + chance.choice((0, 10))}"
        tunnel = VxlanTunnel(
            source="192.168.16.1", destination=end, vni=chance.choice((10, 11)), encap_vrf=chance.choice((0, 0, 3))
        )
        mac = f"12:2b:00:00:00:0{number}"
        yield tunnel
        yield BridgeMember(bridge_domain=1, interface=tunnel.name, split_horizon_group=1)
        yield L2FibEntry(bridge_domain=1, mac=mac, interface=tunnel.name)
        yield LinkUp(interface=tunnel.name)
        yield Neighbour(interface="bvi", address=f"192.168.30.{number}", mac=mac)
        hop = Path(interface="bvi", next_hop=f"192.168.30.{number}")
        yield Route(prefix=f"10.1.{number}.0/24", paths=(hop,))


def nat44(chance: random.Random, interfaces: Sequence[str]) -> Iterator[Item]:
    """NAT44 with services."""
    if chance.random() < 0.2:
        return
    yield Nat44(sessions=chance.choice((1000, 1000, 2000)), forwarding=True, udp_seconds=chance.choice((5, 300)))
    for name in interfaces:
        if chance.random() < 0.6:
            yield Nat44Interface(interface=name, feature=chance.choice(FEATURES))
    for last in (1, 2):
        if chance.random() < 0.6:
            yield Nat44Address(address=f"192.168.77.{last}", twice_nat=chance.random() < 0.5)
    backends = [
        NatBackend(address=f"10.1.1.{last}", port=8080, probability=chance.choice((1, 15)), vrf=chance.choice((0, 1)))
        for last in range(2, 7)
    ]
    for port in (80, 443):
        if chance.random() < 0.7:
            yield Nat44Mapping(
                protocol="tcp",
                address="10.96.0.1",
                port=port,
                backends=tuple(chance.sample(backends, chance.randint(1, 4))),
                self_twice_nat=chance.random() < 0.5,
                affinity_seconds=chance.choice((0, 0, 60)),
                label=chance.choice(("web", "other")),
            )
