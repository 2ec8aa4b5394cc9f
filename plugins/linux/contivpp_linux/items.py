# SPDX-License-Identifier: Apache-2.0
"""The items of Linux: what renderers may ask of the kernel, in any network namespace.

Keys hold the namespace's identity (device and inode), never its path: another pod's namespace at the same path is
another object. A *facet* (address, route, …) lives inside its link: it vanishes with the link, which may be a veth of
this plugin or a TAP of VPP; both provide `linux/link/<namespace>/<name>`. The kernel makes `lo` with the namespace, so
what is on `lo` depends on no link.

Values are canonical: addresses as `ipaddress` prints them, MACs in lower case; others are refused.

An *initial* value is applied when its link is new; what others make of it later is left as it is. A `Settled` item
marks the link as soon as all of its initial values are applied; a new wanted value is applied to a marked link, too.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from contivpp_core.items import Item
from contivpp_core.namespaces import Namespace

__all__ = [
    "Address",
    "LinkUp",
    "Mac",
    "Mtu",
    "Neighbour",
    "Offload",
    "Route",
    "Settled",
    "Sysctl",
    "Veth",
    "link_key",
    "link_up_key",
    "settled_key",
    "source_key",
]


def link_key(namespace: Namespace, name: str) -> str:
    """Return the key that whoever makes a link provides."""
    return f"linux/link/{namespace}/{name}"


def link_up_key(namespace: Namespace, name: str) -> str:
    """Return the key of a link's state."""
    return f"linux/link-up/{namespace}/{name}"


def settled_key(namespace: Namespace, link: str) -> str:
    """Return the key of the mark that a link's initial values are applied."""
    return f"linux/settled/{namespace}/{link}"


def source_key(namespace: Namespace, address: str) -> str:
    """Return the key that an address provides for routes which have it as their source; without prefix length."""
    return f"linux/source/{namespace}/{address}"


class Veth(Item, frozen=True, kw_only=True):
    """A pair of links, each end made in its own namespace; without MACs the kernel chooses them.

    `alias` is a label for people, kept in both ends' ifalias behind the mark that tells whose they are. With
    `initial_mac`, the MAC of the first end is given when the pair is made, and may be another one later.
    """

    kind: ClassVar[str] = "linux/veth"
    namespace: Namespace
    name: str
    peer_namespace: Namespace
    peer_name: str
    mac: str = ""
    peer_mac: str = ""
    alias: str = ""
    initial_mac: bool = False

    @property
    def key(self) -> str:
        """`linux/veth/<namespace>/<name>`, of the first end."""
        return f"linux/veth/{self.namespace}/{self.name}"


class LinkUp(Item, frozen=True, kw_only=True):
    """A link is up."""

    kind: ClassVar[str] = "linux/link-up"
    namespace: Namespace
    name: str

    @property
    def key(self) -> str:
        """`linux/link-up/<namespace>/<name>`."""
        return f"linux/link-up/{self.namespace}/{self.name}"


class Mtu(Item, frozen=True, kw_only=True):
    """A link's MTU. Without the item, it stays as it is."""

    kind: ClassVar[str] = "linux/mtu"
    namespace: Namespace
    link: str
    mtu: int
    initial: bool = False

    @property
    def key(self) -> str:
        """`linux/mtu/<namespace>/<link>`."""
        return f"linux/mtu/{self.namespace}/{self.link}"


class Mac(Item, frozen=True, kw_only=True):
    """A link's MAC address. Without the item, it stays as it is."""

    kind: ClassVar[str] = "linux/mac"
    namespace: Namespace
    link: str
    mac: str

    @property
    def key(self) -> str:
        """`linux/mac/<namespace>/<link>`."""
        return f"linux/mac/{self.namespace}/{self.link}"


class Address(Item, frozen=True, kw_only=True):
    """An address of a link, with its prefix length: `10.1.1.2/32`."""

    kind: ClassVar[str] = "linux/address"
    namespace: Namespace
    link: str
    address: str

    @property
    def key(self) -> str:
        """`linux/address/<namespace>/<link>/<address>`."""
        return f"linux/address/{self.namespace}/{self.link}/{self.address}"


class Route(Item, frozen=True, kw_only=True):
    """A route of the main table over one link that is up.

    A gateway needs no route of its own to be accepted: it is on the link. `source` must be the address of an Address
    item of the namespace. IPv6 knows no scope.
    """

    kind: ClassVar[str] = "linux/route"
    namespace: Namespace
    destination: str
    link: str
    gateway: str = ""
    scope: Literal["global", "link"] = "global"
    source: str = ""
    metric: int = 0
    initial: bool = False

    @property
    def key(self) -> str:
        """`linux/route/<namespace>/<destination>[/<metric>]`."""
        key = f"linux/route/{self.namespace}/{self.destination}"
        return f"{key}/{self.metric}" if self.metric else key


class Neighbour(Item, frozen=True, kw_only=True):
    """A permanent neighbour on a link that is up.

    With another MAC of the link the kernel forgets it: whoever knows the link's MAC says so by `link_mac`.
    """

    kind: ClassVar[str] = "linux/neighbour"
    namespace: Namespace
    link: str
    address: str
    mac: str
    link_mac: str = ""

    @property
    def key(self) -> str:
        """`linux/neighbour/<namespace>/<link>/<address>`."""
        return f"linux/neighbour/{self.namespace}/{self.link}/{self.address}"


class Sysctl(Item, frozen=True, kw_only=True):
    """A sysctl below `net`; one of a link (`net.ipv4.conf.eth0.x`) lives inside it. Without the item, it stays.

    `link` names the link with which an initial one is set, where its name does not.
    """

    kind: ClassVar[str] = "linux/sysctl"
    namespace: Namespace
    name: str
    value: str
    initial: bool = False
    link: str = ""

    @property
    def key(self) -> str:
        """`linux/sysctl/<namespace>/<name>`."""
        return f"linux/sysctl/{self.namespace}/{self.name}"


class Offload(Item, frozen=True, kw_only=True):
    """Offloads of a link by ethtool's names: `(("tx-checksumming", False), …)`. Without the item, they stay."""

    kind: ClassVar[str] = "linux/offload"
    namespace: Namespace
    link: str
    features: tuple[tuple[str, bool], ...]

    @property
    def key(self) -> str:
        """`linux/offload/<namespace>/<link>`."""
        return f"linux/offload/{self.namespace}/{self.link}"


class Settled(Item, frozen=True, kw_only=True):
    """All initial values of a link have been applied to it, and its ifalias says which.

    `mark` is what stands in the ifalias before that: the mark of a veth's first end, or nothing.
    """

    kind: ClassVar[str] = "linux/settled"
    namespace: Namespace
    link: str
    initial: tuple[Mtu | Route | Sysctl, ...]
    mark: str = ""

    @property
    def key(self) -> str:
        """`linux/settled/<namespace>/<link>`."""
        return settled_key(self.namespace, self.link)
