# SPDX-License-Identifier: Apache-2.0
"""Items of VPP's NAT44 (endpoint dependent): its being on, its interfaces, its addresses, and the mappings of services.

They are exported by `contivpp_vpp.items`, which says what items have in common. What kills VPP is refused when an item
is made: VPP counts the backends of a mapping in a byte, adds up their probabilities in a byte, and divides by the sum.
"""

from __future__ import annotations

from socket import AF_INET, inet_pton
from typing import ClassVar, Literal

import msgspec
from msgspec.structs import force_setattr

from contivpp_core.items import Item
from contivpp_vpp.values import TAG_PREFIX

__all__ = ["MOST_BACKENDS", "Nat44", "Nat44Address", "Nat44Interface", "Nat44Mapping", "NatBackend"]

MOST_BACKENDS = 254
"""VPP stands 255 in a message, and one is not real (`contivpp_vpp.descriptors.nat44_mapping`)."""

_MOST_PROBABILITY = 255
_LONGEST_AFFINITY = 86400  # the longest that Kubernetes knows; it is written into the tag
_LONGEST_TAG = 63


class Nat44(Item, frozen=True, kw_only=True):
    """NAT44 is on. `sessions` is the size of its table, for each worker: another size makes everything anew.

    With `forwarding`, what no mapping and no session is for passes unchanged.
    """

    kind: ClassVar[str] = "vpp/nat44"
    sessions: int = 63 * 1024
    forwarding: bool = False
    udp_seconds: int = 300
    tcp_established_seconds: int = 7440
    tcp_transitory_seconds: int = 240
    icmp_seconds: int = 60

    def __post_init__(self) -> None:
        for field in (
            "sessions",
            "udp_seconds",
            "tcp_established_seconds",
            "tcp_transitory_seconds",
            "icmp_seconds",
        ):
            if not 0 < getattr(self, field) < 1 << 32:
                raise ValueError(f"NAT44: {field} {getattr(self, field)} is not between 1 and {(1 << 32) - 1}")

    @property
    def key(self) -> str:
        return "vpp/nat44/on"


class Nat44Interface(Item, frozen=True, kw_only=True):
    """What NAT44 does on an interface: translate at input as inside, outside or both, or at output."""

    kind: ClassVar[str] = "vpp/nat44-interface"
    interface: str
    feature: Literal["inside+outside", "inside", "outside", "output"] = "inside+outside"

    @property
    def key(self) -> str:
        return f"vpp/nat44-interface/{self.interface}"


class Nat44Address(Item, frozen=True, kw_only=True):
    """An address of the pool for sources; with `twice_nat` of the pool for sources of what is sent to a mapping."""

    kind: ClassVar[str] = "vpp/nat44-address"
    address: str
    twice_nat: bool = False

    def __post_init__(self) -> None:
        _check_address("NAT44 address", self.address)

    @property
    def key(self) -> str:
        return f"vpp/nat44-address/{'twice-nat' if self.twice_nat else 'pool'}/{self.address}"


class NatBackend(msgspec.Struct, frozen=True, kw_only=True, order=True, gc=False):
    """Where connections to a mapping lead. `vrf` is the one in which the answers enter VPP.

    Its share is its probability among those of all backends. It is checked as part of a mapping.
    """

    address: str
    port: int
    probability: int = 15
    vrf: int = 0

    @property
    def endpoint(self) -> tuple[str, int, int]:
        """What VPP knows a backend by."""
        return self.address, self.port, self.vrf


class Nat44Mapping(Item, frozen=True, kw_only=True):
    """Connections to an address and port go to one of the backends. Without a backend there is no mapping.

    `twice_nat`: the backend sees an address of the twice-NAT pool instead of the client's; `self_twice_nat`: only if
    the client is the backend itself. With `affinity_seconds`, a client is led to the same backend for so long. `label`
    is shown in VPP.
    """

    kind: ClassVar[str] = "vpp/nat44-mapping"
    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    backends: tuple[NatBackend, ...]
    twice_nat: bool = False
    self_twice_nat: bool = False
    affinity_seconds: int = 0
    label: str = ""

    def __post_init__(self) -> None:
        if reason := _problem_of_backends(self.backends) or self._problem():
            raise ValueError(f"mapping {self.protocol} {self.address}:{self.port}: {reason}")
        _check_address("mapping", self.address)
        force_setattr(self, "backends", tuple(sorted(self.backends)))

    def _problem(self) -> str:
        if self.protocol not in ("tcp", "udp"):
            return "the protocol is neither tcp nor udp"
        if not 0 < self.port < 1 << 16:
            return "the port is not between 1 and 65535"
        if self.twice_nat and self.self_twice_nat:
            return "twice-NAT for all clients and for the backend itself exclude each other"
        if not 0 <= self.affinity_seconds <= _LONGEST_AFFINITY:
            return f"an affinity of {self.affinity_seconds} s is not between 0 and {_LONGEST_AFFINITY}"
        if "\0" in self.label or self.label.startswith("@") or len(self.tag.encode()) > _LONGEST_TAG:
            return f"label {self.label!r} is too long for VPP's tag, begins with @, or contains NUL"
        return ""

    @property
    def key(self) -> str:
        return f"vpp/nat44-mapping/{self.protocol}/{self.address}/{self.port}"

    @property
    def tag(self) -> str:
        """What marks the mapping as ours in VPP. It carries the affinity, which VPP does not tell."""
        affinity = f"@{self.affinity_seconds}/" if self.affinity_seconds else ""
        return f"{TAG_PREFIX}{affinity}{self.label}"


def _problem_of_backends(backends: tuple[NatBackend, ...]) -> str:
    """What is wrong; a node has a hundred thousand of them, so that what is right is only compared."""
    total = 0
    endpoints = set()
    for backend in backends:
        address, port, probability, vrf = backend.address, backend.port, backend.probability, backend.vrf
        try:
            first = inet_pton(AF_INET, address)[0]
        except OSError:
            first = 0
        if not (0 < port < 65536 and 0 < probability < 256 and 0 <= vrf < 0xFFFFFFFF and 0 < first < 224):
            return _problem_of_backend(backend)
        total += probability
        endpoints.add((address, port, vrf))
    if not 0 < len(backends) <= MOST_BACKENDS:
        return f"{len(backends)} backends, 1 to {MOST_BACKENDS} are possible"
    if total > _MOST_PROBABILITY:
        return f"the sum of its backends' probabilities is {total}, at most {_MOST_PROBABILITY} is possible"
    return "a backend is named twice" if len(endpoints) < len(backends) else ""


def _problem_of_backend(backend: NatBackend) -> str:
    where = f"backend {backend.address}:{backend.port}"
    if not 0 < backend.port < 1 << 16:
        return f"{where}: the port is not between 1 and 65535"
    if not 0 < backend.probability <= _MOST_PROBABILITY:
        return f"{where}: probability {backend.probability} is not between 1 and {_MOST_PROBABILITY}"
    if not 0 <= backend.vrf < 0xFFFFFFFF:
        return f"{where}: there is no VRF {backend.vrf}"
    return f"{where}: {backend.address!r} is not the IPv4 address of a machine"


def parts_of_tag(tag: str) -> tuple[int, str]:
    """Return affinity and label in a mapping's tag; raise ValueError where it is not as ours are."""
    text = tag.removeprefix(TAG_PREFIX)
    if not text.startswith("@"):
        return 0, text
    affinity, _, label = text[1:].partition("/")
    return int(affinity), label


def _check_address(what: str, address: str) -> None:
    """Raise ValueError for what is not IPv4 in its only form, or no address of a machine."""
    try:
        first = inet_pton(AF_INET, address)[0]
    except OSError:
        raise ValueError(f"{what}: {address!r} is no IPv4 address") from None
    if not 0 < first < 224:
        raise ValueError(f"{what}: {address} is not the address of a machine")
