# SPDX-License-Identifier: Apache-2.0
"""Random wishes for Linux: the links of pods by veth or by VPP, and what is set on them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from contivpp_core.items import Item
from contivpp_core.namespaces import HOST, Namespace
from contivpp_linux.items import Address, LinkUp, Mac, Mtu, Neighbour, Offload, Route, Settled, Sysctl, Veth
from contivpp_linux.marks import Mark

from .worlds import VppLink


def wishes(seed: int, pods: Sequence[Namespace], count: int = 6) -> list[list[Item]]:
    """Return wishes, with nothing among them, too."""
    chance = random.Random(seed)
    return [*(wish(chance, pods) for _ in range(count)), []]


def wish(chance: random.Random, pods: Sequence[Namespace]) -> list[Item]:
    """Return what a node wants of its kernel."""
    items: list[Item] = [Sysctl(namespace=HOST, name="net.ipv4.ip_forward", value=chance.choice("01"))]
    for number, namespace in enumerate(pods):
        items += pod(chance, namespace, number)
    return items


def pod(chance: random.Random, namespace: Namespace, number: int) -> Iterator[Item]:
    """A pod's link, with values that stay as they are wanted, or that are initial."""
    kind = chance.choice(("none", "veth", "veth", "tap"))
    if kind == "none":
        return
    link, address = "eth0", f"10.1.1.{2 + number}"
    initial = chance.random() < 0.5
    mark = ""
    if kind == "veth":
        veth = Veth(
            namespace=namespace,
            name=link,
            peer_namespace=HOST,
            peer_name=chance.choice((f"pod{number}", f"other{number}")),
            peer_mac=f"02:00:00:00:02:0{number}",
            alias=chance.choice(("one", "two")),
        )
        yield veth
        yield from host_side(chance, veth.peer_name, address)
        mark = Mark.of(veth, "a").alias
    else:
        yield VppLink(namespace=namespace, name=link)
    yield LinkUp(namespace=namespace, name="lo")
    yield LinkUp(namespace=namespace, name=link)
    mac = f"02:00:00:00:01:0{chance.choice((1, 2))}"
    yield Mac(namespace=namespace, link=link, mac=mac)
    yield Address(namespace=namespace, link=link, address=f"{address}/{chance.choice((32, 24))}")
    if chance.random() < 0.5:
        yield Address(namespace=namespace, link=link, address=f"fd00::{2 + number}/64")
    if chance.random() < 0.6:
        yield Offload(namespace=namespace, link=link, features=(("tx-checksumming", chance.random() < 0.5),))
    gateway = chance.choice(("169.254.1.1", "169.254.1.2"))
    yield Neighbour(namespace=namespace, link=link, address=gateway, mac="02:00:00:00:03:01", link_mac=mac)
    yield from lasting(chance, namespace, gateway, address, mark, initial=initial)


def lasting(
    chance: random.Random, namespace: Namespace, gateway: str, address: str, mark: str, *, initial: bool
) -> Iterator[Item]:
    """What is initial, or stays as it is wanted."""
    link = "eth0"
    values = (
        Mtu(namespace=namespace, link=link, mtu=chance.choice((1400, 1450)), initial=initial),
        Route(namespace=namespace, destination=f"{gateway}/32", link=link, scope="link", initial=initial),
        Route(namespace=namespace, destination="0.0.0.0/0", link=link, gateway=gateway, initial=initial),
        Sysctl(
            namespace=namespace, name=f"net.ipv4.conf.{link}.forwarding", value=chance.choice("01"), initial=initial
        ),
    )
    yield from values
    if initial:
        yield Settled(namespace=namespace, link=link, initial=values, mark=mark)
    else:
        yield Route(namespace=namespace, destination="10.9.0.0/16", link=link, gateway=gateway, source=address)


def host_side(chance: random.Random, link: str, address: str) -> Iterator[Item]:
    """The way from the host to the pod."""
    yield LinkUp(namespace=HOST, name=link)
    if chance.random() < 0.5:
        yield Mtu(namespace=HOST, link=link, mtu=1450)
    for metric in chance.sample((0, 10), chance.choice((1, 2))):
        yield Route(namespace=HOST, destination=f"{address}/32", link=link, scope="link", metric=metric)
    yield Neighbour(namespace=HOST, link=link, address=address, mac=f"02:00:00:00:01:0{chance.choice((1, 2))}")
