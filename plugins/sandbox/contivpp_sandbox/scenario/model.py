# SPDX-License-Identifier: Apache-2.0
"""What a scenario file says, as types.

The shape is checked here, field by field, and what one probe says against itself. What needs the whole file (is there
such a pod at this step?), and what this release does not serve, is in `checks`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from contivpp_sandbox.rigs.base import DEFAULT_UNDERLAY, Expectation, Probe, Restartable, Transport, Underlay
from contivpp_sandbox.rigs.layout import MOST_NODES

__all__ = [
    "DeleteItem",
    "Endpoint",
    "Item",
    "ProbeItem",
    "RestartItem",
    "Scenario",
    "Step",
    "UnderlayItem",
    "duration",
    "items",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
_LONGEST_SECONDS = 366 * 86400.0
_LARGEST_PAYLOAD = 65507  # of UDP in IPv4
_MOST_REPEATS = 1_000_000

Object = dict[str, Any]


def duration(value: object) -> float:
    """Return seconds, from a number of seconds or from text such as 500ms, 30s, 3h, 1h30m."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("give a time, such as 500ms, 30s, 3h or 1h30m")
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            raise ValueError(f"{value!r} is not a time: give one such as 500ms, 30s, 3h or 1h30m")
        value = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    if not 0 <= value <= _LONGEST_SECONDS:
        raise ValueError("a time must be between 0 and 366 days")
    return float(value)


def _endpoint(value: str) -> str:
    """Check `namespace/pod`, `node:NAME`, `vpp:NAME` or an address."""
    kind, colon, name = value.partition(":")
    if colon and kind in ("node", "vpp"):
        parts = [name]
    elif "/" in value:
        parts = value.split("/")
    else:
        parts = []
    if parts and len(parts) <= 2 and all(_NAME.fullmatch(part) for part in parts):
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is none of namespace/pod, node:NAME, vpp:NAME and an IP address") from None


def _is_address(endpoint: str) -> bool:
    return "/" not in endpoint and not endpoint.startswith(("node:", "vpp:"))


def _node_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name for a node: lower-case letters, digits, '-' and '.' may be in it")
    return value


def _answerer(value: str) -> str:
    """Check what may stand in `reaches`: an endpoint with a port; without one where there are no ports."""
    name, colon, port = value.rpartition(":")
    if colon and name not in ("node", "vpp") and port.isdecimal() and 0 < int(port) < 65536:
        try:
            return f"{_endpoint(name.strip('[]'))}:{int(port)}"
        except ValueError:
            pass
    return _endpoint(value)


def _listed(value: object) -> list[Any]:
    """Let one thing stand for a list of one."""
    return value if isinstance(value, list) else [value]


def _restart(value: object) -> object:
    return {"what": value} if isinstance(value, str) else value


Endpoint = Annotated[str, AfterValidator(_endpoint)]
Answerer = Annotated[str, AfterValidator(_answerer)]
Duration = Annotated[float, BeforeValidator(duration)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class DeleteItem(_Part):
    """An object to delete."""

    kind: str = Field(min_length=1)
    namespace: str = ""
    name: str = Field(min_length=1)


class RestartItem(_Part):
    """What to restart, on one node or on all; `kill` does not ask first."""

    what: Restartable
    node: str | None = None
    kill: bool = False


class ProbeItem(_Part):
    """A probe, and what it should find."""

    source_end: Endpoint = Field(alias="from")
    target: Endpoint = Field(alias="to")
    port: Port | None = None
    protocol: Transport = "TCP"
    source_port: Port | None = None
    via: str | None = Field(default=None, min_length=1)
    repeat: int = Field(default=1, ge=1, le=_MOST_REPEATS, strict=True)
    size: int | None = Field(default=None, ge=0, le=_LARGEST_PAYLOAD, strict=True)
    df: bool = Field(default=False, strict=True)
    one_way: bool = Field(default=False, strict=True)
    within: Duration | None = None
    expect: Expectation
    reaches: tuple[Answerer, ...] | None = None
    source: Endpoint | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ProbeItem:
        if self.protocol == "ICMP":
            for name, value in (("port", self.port), ("sourcePort", self.source_port)):
                if value is not None:
                    raise ValueError(f"{name}: ICMP has no ports")
        elif self.port is None:
            raise ValueError(f"port: is missing, a {self.protocol} probe needs one")
        if self.via is not None and not _is_address(self.source_end):
            raise ValueError("via: only an outside host chooses where its packets enter: give an address in from")
        if self.reaches is not None and self.expect != "allowed":
            raise ValueError(f"reaches: nothing answers where {self.expect} is expected")
        if self.source is not None and self.expect == "denied":
            raise ValueError("source: no server sees anything where denied is expected")
        return self

    def request(self) -> Probe:
        """Return what a rig needs to know."""
        return Probe(
            source=self.source_end,
            target=self.target,
            expect=self.expect,
            protocol=self.protocol,
            port=self.port or 0,
            source_port=self.source_port or 0,
            via=self.via or "",
            repeat=self.repeat,
            size=self.size,
            do_not_fragment=self.df,
            one_way=self.one_way,
        )


Item = DeleteItem | RestartItem | ProbeItem | Object


class Step(_Part):
    """One step: exactly one of its fields is given."""

    apply: Annotated[list[Object], BeforeValidator(_listed)] | None = None
    delete: Annotated[list[DeleteItem], BeforeValidator(_listed)] | None = None
    wait: Duration | None = None
    restart: Annotated[list[Annotated[RestartItem, BeforeValidator(_restart)]], BeforeValidator(_listed)] | None = None
    probe: Annotated[list[ProbeItem], BeforeValidator(_listed)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("a step must be a mapping with one of apply, delete, wait, restart, probe")
        known = [name for name in cls.model_fields if value.get(name) is not None]
        if len(known) != 1 and not set(value) - set(cls.model_fields):
            given = f"has {' and '.join(known)}" if known else "has none"
            raise ValueError(f"a step must have one of apply, delete, wait, restart, probe: this one {given}")
        return value

    @property
    def kind(self) -> str:
        """What the step does."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)


class UnderlayItem(_Part):
    """The network between the nodes; `mtu` in bytes, of IP packets."""

    mtu: int = Field(default=DEFAULT_UNDERLAY.mtu, ge=576, le=9216, strict=True)
    loss: float = Field(default=DEFAULT_UNDERLAY.loss, ge=0, le=1)

    def request(self) -> Underlay:
        """Return what a rig needs to know."""
        return Underlay(self.mtu, self.loss)


class Scenario(_Part):
    """A whole file."""

    nodes: list[Annotated[str, Field(max_length=253), AfterValidator(_node_name)]] = Field(
        min_length=1, max_length=MOST_NODES
    )
    underlay: UnderlayItem = UnderlayItem()
    config: dict[str, Any] = Field(default_factory=dict)
    steps: list[Step] = Field(min_length=1)


def items(data: Any) -> Iterator[tuple[str, Item]]:
    """Return what the steps of a file hold, in order and with their paths; what is wrong by itself is passed over.

    So all that can be said about a file is said at once, also when a part of it has not the right shape.
    """
    steps = data.get("steps") if isinstance(data, dict) else None
    for number, step in enumerate(steps if isinstance(steps, list) else ()):
        for kind, adapter in _ADAPTERS.items():
            given = step.get(kind) if isinstance(step, dict) else None
            for index, item in enumerate(_listed(given) if given is not None else ()):
                try:
                    yield f"steps.{number}.{kind}.{index}", adapter.validate_python(item)
                except ValidationError:
                    continue


_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "apply": TypeAdapter(Object),
    "delete": TypeAdapter(DeleteItem),
    "restart": TypeAdapter(Annotated[RestartItem, BeforeValidator(_restart)]),
    "probe": TypeAdapter(ProbeItem),
}
