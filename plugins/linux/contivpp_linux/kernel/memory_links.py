# SPDX-License-Identifier: Apache-2.0
"""Links and namespaces in memory.

A link is a loopback, one end of a veth pair, or *plugged*: its other end is a callback of whoever built
the rig, as a TAP's is a program. Frames are bytes; a link that is down, or has no carrier, drops and
counts them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from .memory_stack import MemoryStack, refuse
from .values import FollowedLink, Link, NetworkNamespace, Offload

__all__ = ["Frames", "MemoryLink", "MemoryNamespace", "check_mac", "check_mtu", "check_name"]

Frames = Callable[[bytes], None]

_NAME_LENGTH = 15
_MIN_MTU, _MAX_MTU = 68, 65535
_SG_NEEDED = (Offload.TSO, Offload.GSO)
_CONF = {
    "ipv4": {"forwarding": "0", "rp_filter": "0", "proxy_arp": "0", "arp_ignore": "0", "accept_local": "0"},
    "ipv6": {"disable_ipv6": "0", "forwarding": "0", "accept_ra": "1", "accept_dad": "1", "proxy_ndp": "0"},
}
_GLOBAL = {"net/ipv4/ip_forward": "0"}


def _default_offloads() -> dict[Offload, bool]:
    return {offload: offload is not Offload.GRO for offload in Offload}


@dataclass(eq=False)
class MemoryLink:
    """A link; `listener` gets the frames that arrive at it, as a socket of its namespace would."""

    namespace: MemoryNamespace
    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool = False
    alias: str = ""
    promiscuous: bool = False
    all_multicast: bool = False
    peer: MemoryLink | None = None
    outside: Frames | None = None
    listener: Frames | None = None
    dropped: int = 0
    wanted_offloads: dict[Offload, bool] = field(default_factory=_default_offloads)

    @property
    def carrier(self) -> bool:
        """A veth has carrier while both ends are up."""
        return self.peer is None or (self.up and self.peer.up)

    def transmit(self, frame: bytes) -> None:
        """Send a frame out of the link, to its peer or to the outside."""
        if not (self.up and self.carrier):
            self.dropped += 1
        elif self.peer is not None:
            self.peer.receive(frame)
        elif self.outside is not None:
            self.outside(frame)

    def receive(self, frame: bytes) -> None:
        """Have a frame arrive from the peer or from outside."""
        if self.up and self.listener is not None:
            self.listener(frame)
        else:
            self.dropped += 1

    def offloads(self) -> dict[Offload, bool]:
        """Return what is in force: some offloads need others."""
        found = dict(self.wanted_offloads)
        for offload in _SG_NEEDED:
            found[offload] = found[offload] and found[Offload.SCATTER_GATHER]
        found[Offload.TSO] = found[Offload.TSO] and found[Offload.TX_CHECKSUM]
        return found

    def seen(self, *, gone: bool) -> FollowedLink:
        """Return the link as those who follow its namespace are told of it."""
        return FollowedLink(
            namespace=self.namespace.identity,
            index=self.index,
            name=self.name,
            mac=self.mac,
            mtu=self.mtu,
            up=self.up and not gone,
            promiscuous=self.promiscuous,
            all_multicast=self.all_multicast,
            gone=gone,
        )

    def value(self) -> Link:
        """Return the link as a listing shows it."""
        peer = self.peer
        foreign = peer is not None and peer.namespace is not self.namespace
        return Link(
            index=self.index,
            name=self.name,
            kind=self.kind,
            mac=self.mac,
            mtu=self.mtu,
            up=self.up,
            carrier=self.carrier,
            alias=self.alias,
            promiscuous=self.promiscuous,
            all_multicast=self.all_multicast,
            peer_index=None if peer is None else peer.index,
            peer_namespace=self.namespace.number_of(peer.namespace) if peer is not None and foreign else None,
        )


class MemoryNamespace:
    """A namespace: links by name, the network layer, sysctls."""

    def __init__(self, identity: NetworkNamespace) -> None:
        self.identity = identity
        self.links: dict[str, MemoryLink] = {}
        self.stack = MemoryStack()
        self.followed = False
        self.sysctls = dict(_GLOBAL)
        self._last_index = 0
        self._numbers: list[MemoryNamespace] = []
        for name in ("all", "default"):
            self._add_conf(name)
        self.insert(MemoryLink(self, 0, "lo", "", "00:00:00:00:00:00", 65536))

    def number_of(self, other: MemoryNamespace) -> int:
        """Return the number by which this namespace knows another."""
        if other not in self._numbers:
            self._numbers.append(other)
        return self._numbers.index(other)

    def find(self, name: str) -> MemoryLink:
        """Return a link."""
        if name not in self.links:
            raise refuse(errno.ERANGE if len(name) > _NAME_LENGTH else errno.ENODEV)
        return self.links[name]

    def insert(self, link: MemoryLink) -> None:
        """Take a link in; it keeps its index if that is free."""
        if link.name in self.links:
            raise refuse(errno.EEXIST)
        if link.index == 0 or any(other.index == link.index for other in self.links.values()):
            self._last_index += 1
            link.index = self._last_index
        self._last_index = max(self._last_index, link.index)
        link.namespace = self
        self.links[link.name] = link
        self._add_conf(link.name)
        self.stack.disable_ipv6(link.name, disabled=self.sysctls["net/ipv6/conf/default/disable_ipv6"] == "1")

    def remove(self, link: MemoryLink) -> None:
        """Let a link go, with all it holds."""
        del self.links[link.name]
        link.up = False
        self.stack.link_gone(link.name)
        self.sysctls = {name: value for name, value in self.sysctls.items() if not _is_conf(name, link.name)}

    def rename(self, link: MemoryLink, name: str) -> None:
        """Give a link another name."""
        if name == link.name:
            return
        check_name(name)
        if name in self.links:
            raise refuse(errno.EEXIST)
        old = link.name
        del self.links[old]
        self.links[name] = link
        link.name = name
        self.stack.link_renamed(old, name)
        self.sysctls = {
            path.replace(f"/{old}/", f"/{name}/") if _is_conf(path, old) else path: value
            for path, value in self.sysctls.items()
        }

    def set_up(self, link: MemoryLink, *, up: bool) -> None:
        """Set a link up or down."""
        if up != link.up:
            link.up = up
            (self.stack.link_up if up else self.stack.link_down)(link.name)

    def write_sysctl(self, path: str, value: str) -> None:
        """Write a sysctl, with the effect that this one has."""
        if path not in self.sysctls:
            raise refuse(errno.ENOENT)
        if not value.strip().lstrip("-").isdigit():
            raise refuse(errno.EINVAL)
        text = str(int(value))
        self.sysctls[path] = text
        if path.endswith("/disable_ipv6"):
            self._disable_ipv6(path.split("/")[3], text)

    def link_sysctls(self, link: str) -> dict[str, str]:
        """Return the sysctls of a link that have another value than new links get."""
        own = ((path, value) for path, value in self.sysctls.items() if _is_conf(path, link))
        default = {path: value for path, value in self.sysctls.items() if _is_conf(path, "default")}
        return {
            path: value
            for path, value in own
            if default[path.replace(f"/conf/{link}/", "/conf/default/")] != value
        }

    def _disable_ipv6(self, name: str, text: str) -> None:
        names = ["default", *self.links] if name == "all" else [name]
        for each in names:
            self.sysctls[f"net/ipv6/conf/{each}/disable_ipv6"] = text
            if each in self.links:
                self.stack.disable_ipv6(each, disabled=text != "0")

    def _add_conf(self, name: str) -> None:
        for family, settings in _CONF.items():
            for key, value in settings.items():
                inherited = self.sysctls.get(f"net/{family}/conf/default/{key}", value)
                self.sysctls[f"net/{family}/conf/{name}/{key}"] = inherited


def _is_conf(path: str, link: str) -> bool:
    return path.startswith((f"net/ipv4/conf/{link}/", f"net/ipv6/conf/{link}/"))


def check_name(name: str) -> None:
    """Refuse a name that no link can have."""
    if len(name.encode()) > _NAME_LENGTH:
        raise refuse(errno.ERANGE, "Attribute failed policy validation")
    if name in ("", ".", "..") or any(char in "/:" or char.isspace() for char in name):
        raise refuse(errno.EINVAL)


def check_mtu(mtu: int) -> None:
    """Refuse an MTU that no veth can have."""
    if not _MIN_MTU <= mtu <= _MAX_MTU:
        raise refuse(errno.EINVAL, "mtu out of range")


def check_mac(mac: str) -> None:
    """Refuse a MAC address that no link can have: zero, or a group's."""
    data = bytes.fromhex(mac.replace(":", ""))
    if not any(data) or data[0] & 1:
        raise refuse(errno.EADDRNOTAVAIL)
