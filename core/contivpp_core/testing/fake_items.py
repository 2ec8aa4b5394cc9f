# SPDX-License-Identifier: Apache-2.0
"""The items of the dataplane in memory (`contivpp_core.testing.dataplane`)."""

from __future__ import annotations

from typing import ClassVar

from contivpp_core.items import Item

__all__ = [
    "FakeAddress",
    "FakeEnd",
    "FakeFilter",
    "FakeLink",
    "FakePair",
    "FakePort",
    "FakeRoute",
    "FakeVrf",
    "Refused",
]


class Refused(Exception):
    """The fake dataplane refuses an operation."""


class FakePort(Item, frozen=True, kw_only=True):
    """A port; another model means another port."""

    kind: ClassVar[str] = "fake/port"
    name: str
    model: str = "a"

    @property
    def key(self) -> str:
        return f"fake/port/{self.name}"


class FakeVrf(Item, frozen=True, kw_only=True):
    """The VRF of a port: cannot be changed while the port has an address."""

    kind: ClassVar[str] = "fake/vrf"
    port: str
    vrf: int

    @property
    def key(self) -> str:
        return f"fake/vrf/{self.port}"


class FakeAddress(Item, frozen=True, kw_only=True):
    """An address of a port, in a VRF."""

    kind: ClassVar[str] = "fake/address"
    port: str
    address: int
    vrf: int

    @property
    def key(self) -> str:
        return f"fake/address/{self.port}/{self.address}"


class FakeRoute(Item, frozen=True, kw_only=True):
    """A route over a port; the dataplane keeps it when the port goes."""

    kind: ClassVar[str] = "fake/route"
    prefix: int
    port: str

    @property
    def key(self) -> str:
        return f"fake/route/{self.prefix}"


class FakeFilter(Item, frozen=True, kw_only=True):
    """A filter on a port; it may only be taken off while the port is down, unless nobody wants it any more."""

    kind: ClassVar[str] = "fake/filter"
    port: str
    rules: int

    @property
    def key(self) -> str:
        return f"fake/filter/{self.port}"


class FakeLink(Item, frozen=True, kw_only=True):
    """A port is up; whatever `requires` names is applied before."""

    kind: ClassVar[str] = "fake/link"
    port: str
    requires: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"fake/link/{self.port}"


class FakePair(Item, frozen=True, kw_only=True):
    """Two values of a port, which are set one after the other: an update may end half-way."""

    kind: ClassVar[str] = "fake/pair"
    port: str
    values: tuple[int, int]

    @property
    def key(self) -> str:
        return f"fake/pair/{self.port}"


class FakeEnd(Item, frozen=True, kw_only=True):
    """A setting at the far end of a port, in another domain: it goes with the port."""

    kind: ClassVar[str] = "far/end"
    port: str
    value: int

    @property
    def key(self) -> str:
        return f"far/end/{self.port}"
