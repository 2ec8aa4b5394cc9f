# SPDX-License-Identifier: Apache-2.0
"""What can be done to the kernel, as frozen values.

An operation is data: it can be printed, compared, kept and replayed, and every implementation of the
kernel takes the same. `str(operation)` is the "what" of its error. Address, route and neighbour need no
operation of their own: they are added, replaced and deleted as the values that a listing returns.
"""

from __future__ import annotations

from dataclasses import dataclass

from .values import Address, Namespace, Neighbour, NetworkNamespace, Offload, Route

__all__ = [
    "Add",
    "CreateVeth",
    "Delete",
    "DeleteLink",
    "Facet",
    "Follow",
    "MoveLink",
    "Operation",
    "Replace",
    "SetLink",
    "SetOffloads",
    "SetSysctl",
    "describe",
    "sysctl_path",
    "where",
]

Facet = Address | Route | Neighbour


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """Make a veth pair, each end at once in its own namespace: no moment at which a half-made end has a
    foreign name.

    The first end is in the namespace of the batch, the other in `peer_namespace` (None: in the same one;
    "": in the agent's own). Without MAC or MTU the kernel chooses.
    """

    name: str
    peer_name: str
    peer_namespace: Namespace = None
    mac: str = ""
    peer_mac: str = ""
    mtu: int = 0
    peer_mtu: int = 0

    def __str__(self) -> str:
        return f"create veth {self.name} with peer {self.peer_name}"


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Delete a link; the other end of a veth goes with it."""

    link: str

    def __str__(self) -> str:
        return f"delete link {self.link}"


@dataclass(frozen=True, slots=True)
class MoveLink:
    """Move a link into another namespace, under a new name if one is given. It loses addresses and
    arrives down.
    """

    link: str
    namespace: Namespace
    name: str = ""

    def __str__(self) -> str:
        return f"move link {self.link} to {where(self.namespace)} as {self.name or self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLink:
    """Set what is not None: new name, MAC, MTU, alias, and up or down."""

    link: str
    name: str | None = None
    mac: str | None = None
    mtu: int | None = None
    alias: str | None = None
    up: bool | None = None

    def __str__(self) -> str:
        pairs = {"name": self.name, "mac": self.mac, "mtu": self.mtu, "alias": self.alias, "up": self.up}
        return f"set link {self.link} " + " ".join(f"{k}={v}" for k, v in pairs.items() if v is not None)


@dataclass(frozen=True, slots=True)
class Add:
    """Add; EEXIST if it is there already."""

    value: Facet

    def __str__(self) -> str:
        return f"add {describe(self.value)}"


@dataclass(frozen=True, slots=True)
class Replace:
    """Add, or overwrite what has the same identity: done twice, it is as done once."""

    value: Facet

    def __str__(self) -> str:
        return f"replace {describe(self.value)}"


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete; the error of an absent one says so (`KernelError.absent`)."""

    value: Facet

    def __str__(self) -> str:
        return f"delete {describe(self.value)}"


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Write a sysctl below `net`, as `net.ipv4.ip_forward` or, where a link's name has a dot,
    `net/ipv4/conf/a.b/x`.
    """

    name: str
    value: str

    def __str__(self) -> str:
        return f"set sysctl {self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class SetOffloads:
    """Switch offloads on or off, in this order; what one implies for another is the kernel's affair."""

    link: str
    offloads: tuple[tuple[Offload, bool], ...]

    def __str__(self) -> str:
        wanted = " ".join(f"{offload.value}={'on' if on else 'off'}" for offload, on in self.offloads)
        return f"set offloads of {self.link} {wanted}"


@dataclass(frozen=True, slots=True)
class Follow:
    """Tell of the links of the namespace from now on (`Kernel.watch_followed`), until it ends."""

    def __str__(self) -> str:
        return "follow the namespace"


Operation = CreateVeth | DeleteLink | MoveLink | SetLink | Add | Replace | Delete | SetSysctl | SetOffloads | Follow


def describe(value: Facet) -> str:
    """Return an address, route or neighbour in the words of ip(8)."""
    match value:
        case Address(link=link, address=address):
            return f"address {address} on {link}"
        case Neighbour(link=link, address=destination, mac=mac):
            return f"neighbour {destination} at {mac} on {link}"
    via = f" via {value.gateway}" if value.gateway is not None else ""
    return f"route {value.destination}{via} on {value.link}"


def where(namespace: Namespace) -> str:
    """Return a namespace's name for messages."""
    path = namespace.path if isinstance(namespace, NetworkNamespace) else namespace
    return path or "the agent's namespace"


def sysctl_path(name: str) -> str | None:
    """Return a sysctl's path below /proc/sys, None if the name is none below `net`.

    As with sysctl(8) the first separator decides: after a slash, dots are part of names.
    """
    slash, dot = name.find("/"), name.find(".")
    path = name if slash >= 0 and (dot < 0 or slash < dot) else name.replace(".", "/")
    parts = path.split("/")
    if len(parts) < 2 or parts[0] != "net" or any(part in ("", ".", "..") for part in parts) or "\0" in path:
        return None
    return path
