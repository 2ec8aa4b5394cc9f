# SPDX-License-Identifier: Apache-2.0
"""What the kernel holds, as frozen values.

The same types say what is wanted and what was found, so they compare by `==`. For that each value takes
the form in which Linux lists it: a route's scope follows from its gateway, an IPv6 route without a metric
has 1024. Links are named, not numbered: an index is another one after a link was made anew, and differs
between namespaces. Links and sysctls carry much that nobody here sets; only fields that somebody uses are
read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

__all__ = [
    "OWN_PROTOCOL",
    "PROTOCOL_KERNEL",
    "TABLE_LOCAL",
    "TABLE_MAIN",
    "Address",
    "FollowedEvent",
    "FollowedLink",
    "Link",
    "LinkChanged",
    "LinkEvent",
    "LinkEventsLost",
    "LinkGone",
    "Namespace",
    "Neighbour",
    "NetworkNamespace",
    "Offload",
    "Route",
    "RouteGone",
    "RouteType",
    "Scope",
]

OWN_PROTOCOL = 86  # who installed a route or an address; free in iproute2's and FRRouting's lists
PROTOCOL_KERNEL = 2
TABLE_MAIN = 254
TABLE_LOCAL = 255
_DEFAULT_IPV6_METRIC = 1024


@dataclass(frozen=True, slots=True)
class NetworkNamespace:
    """Which namespace it is: a path alone is not enough, because a new one may appear at an old path."""

    path: str
    device: int
    inode: int


Namespace = str | NetworkNamespace | None
"""Where to act: a path, an identified namespace (refused when another one is at its path), None or "" for
the agent's own.
"""


class Scope:
    """Scopes of addresses and routes (rtnetlink(7))."""

    UNIVERSE = 0
    LINK = 253
    HOST = 254


class RouteType:
    """Kinds of routes (rtnetlink(7))."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    BLACKHOLE = 6
    UNREACHABLE = 7


class Offload(Enum):
    """What a network card may do for the kernel, as ethtool(8) names it."""

    RX_CHECKSUM = "rx-checksumming"
    TX_CHECKSUM = "tx-checksumming"
    SCATTER_GATHER = "scatter-gather"
    TSO = "tcp-segmentation-offload"
    GSO = "generic-segmentation-offload"
    GRO = "generic-receive-offload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface; `peer_index` is the other end of a veth, `peer_namespace` its namespace if
    another one.
    """

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 1500
    up: bool = False
    carrier: bool = False
    alias: str = ""
    promiscuous: bool = False
    all_multicast: bool = False
    peer_index: int | None = None
    peer_namespace: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a link. Older kernels (before 5.18) do not keep `protocol` and list 0."""

    link: str
    address: IPv4Interface | IPv6Interface
    scope: int = Scope.UNIVERSE
    protocol: int = OWN_PROTOCOL


@dataclass(frozen=True, slots=True)
class Route:
    """A route of one path. `on_link`: the gateway is reachable on `link` though no route says so."""

    destination: IPv4Network | IPv6Network
    link: str | None = None
    gateway: IPv4Address | IPv6Address | None = None
    metric: int = 0
    source: IPv4Address | IPv6Address | None = None
    table: int = TABLE_MAIN
    protocol: int = OWN_PROTOCOL
    type: int = RouteType.UNICAST
    on_link: bool = False
    scope: int | None = None

    def __post_init__(self) -> None:
        if self.destination.version == 6:
            object.__setattr__(self, "scope", Scope.UNIVERSE)
            if not self.metric and self.type != RouteType.LOCAL:
                object.__setattr__(self, "metric", _DEFAULT_IPV6_METRIC)
        elif self.scope is None:
            object.__setattr__(self, "scope", self._natural_scope())

    def _natural_scope(self) -> int:
        if self.type == RouteType.LOCAL:
            return Scope.HOST
        if self.type == RouteType.BROADCAST:
            return Scope.LINK
        return Scope.LINK if self.type == RouteType.UNICAST and self.gateway is None else Scope.UNIVERSE


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour; what ARP and neighbour discovery learn is never listed."""

    link: str
    address: IPv4Address | IPv6Address
    mac: str


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """A link appeared or changed."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkGone:
    """A link left the namespace."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkEventsLost:
    """The kernel dropped events, because they were read too slowly: list the links again."""


LinkEvent = LinkChanged | LinkGone | LinkEventsLost


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedLink:
    """A link of a followed namespace appeared, changed or went (`gone`)."""

    namespace: NetworkNamespace
    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    promiscuous: bool
    all_multicast: bool
    gone: bool = False


@dataclass(frozen=True, slots=True)
class RouteGone:
    """Somebody deleted an IPv4 route of ours in a followed namespace."""

    namespace: NetworkNamespace


FollowedEvent = FollowedLink | RouteGone | LinkEventsLost
