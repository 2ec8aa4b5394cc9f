# SPDX-License-Identifier: Apache-2.0
"""Network policies; `contivpp_core.kubernetes` decodes them with all other kinds.

The API tells "nothing is said" from "said, and empty": a peer without a pod selector is not one with an empty selector.
Here `None` is the former. A list of peers or ports that is missing or empty is the same to the API: all of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from contivpp_core.kubernetes_shapes import Meta, Shape, missing, pairs
from contivpp_core.records import Record, Table
from contivpp_core.selectors import EVERYTHING, LabelSelector, Requirement

__all__ = ["NETWORK_POLICY", "SHAPES", "AddressBlock", "NetworkPolicy", "PolicyPeer", "PolicyPort", "PolicyRule"]

_OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}  # whether they take values


class PolicyPort(msgspec.Struct, frozen=True, order=True, gc=False, omit_defaults=True):
    """Ports of one protocol: all of them (`port` 0, no `name`), `port`, `port` to `end_port`, or a pod's by `name`."""

    protocol: str = "TCP"
    port: int = 0
    end_port: int = 0
    name: str = ""


class AddressBlock(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Addresses of a network, less those of the networks in `excluded`."""

    cidr: str
    excluded: tuple[str, ...] = ()


class PolicyPeer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Either `block`, or pods: those that `pods` selects (None: all) in the namespaces that `namespaces` selects
    (None: the policy's own).
    """

    pods: LabelSelector | None = None
    namespaces: LabelSelector | None = None
    block: AddressBlock | None = None


class PolicyRule(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is allowed: any of `peers` (empty: everybody) at any of `ports` (empty: all)."""

    peers: tuple[PolicyPeer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()


class NetworkPolicy(Record, frozen=True, kw_only=True):
    """A network policy. It isolates the pods that `pods` selects in a direction, and allows what a rule allows."""

    namespace: str
    name: str
    pods: LabelSelector = EVERYTHING
    isolates_ingress: bool = True
    isolates_egress: bool = False
    ingress: tuple[PolicyRule, ...] = ()
    egress: tuple[PolicyRule, ...] = ()

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


NETWORK_POLICY: Table[NetworkPolicy] = Table(
    "NetworkPolicy",
    NetworkPolicy,
    lambda policy: policy.key,
    indexes={"namespace": lambda policy: (policy.namespace,)},
    namespace=lambda policy: policy.namespace,
)


# --- the API's shapes


class _Requirement(Shape):
    key: str
    operator: str
    values: list[str] | None = None


class _Selector(Shape):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Requirement] | None = None


class _Block(Shape):
    cidr: str
    excluded: list[str] | None = msgspec.field(default=None, name="except")


class _Peer(Shape):
    pod_selector: _Selector | None = None
    namespace_selector: _Selector | None = None
    ip_block: _Block | None = None


class _Port(Shape):
    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class _Ingress(Shape):
    peers: list[_Peer] | None = msgspec.field(default=None, name="from")
    ports: list[_Port] | None = None


class _Egress(Shape):
    peers: list[_Peer] | None = msgspec.field(default=None, name="to")
    ports: list[_Port] | None = None


class _PolicySpec(Shape):
    pod_selector: _Selector | None = None
    policy_types: list[str] | None = None
    ingress: list[_Ingress] | None = None
    egress: list[_Egress] | None = None


class _PolicyObject(Shape):
    metadata: Meta
    spec: _PolicySpec | None = None


def _selector(found: _Selector | None) -> LabelSelector | None:
    if found is None:
        return None
    expressions = []
    for each in found.match_expressions or ():
        takes_values = _OPERATORS.get(each.operator)
        if takes_values is None or takes_values is not bool(each.values):
            raise msgspec.ValidationError(f"Invalid requirement of label {each.key!r}: {each.operator} {each.values}")
        expressions.append(Requirement(each.key, each.operator, tuple(sorted(set(each.values or ())))))
    return LabelSelector(pairs(found.match_labels), tuple(expressions))


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise msgspec.ValidationError(f"{error} - at `ipBlock`") from error


def _peer(found: _Peer) -> PolicyPeer:
    block = found.ip_block
    return PolicyPeer(
        _selector(found.pod_selector),
        _selector(found.namespace_selector),
        None if block is None else AddressBlock(_network(block.cidr), tuple(map(_network, block.excluded or ()))),
    )


def _port(found: _Port) -> PolicyPort:
    protocol, port = found.protocol or "TCP", found.port
    if isinstance(port, str):
        return PolicyPort(protocol, name=port)
    return PolicyPort(protocol, port or 0, found.end_port or 0)


def _rule(found: _Ingress | _Egress) -> PolicyRule:
    return PolicyRule(tuple(map(_peer, found.peers or ())), tuple(map(_port, found.ports or ())))


def _policy(found: _PolicyObject) -> NetworkPolicy:
    spec, meta = found.spec or _PolicySpec(), found.metadata
    if not meta.namespace:
        raise missing("namespace", "$.metadata")
    types = spec.policy_types or ["Ingress", *(["Egress"] if spec.egress else [])]
    if unknown := set(types) - {"Ingress", "Egress"}:
        raise msgspec.ValidationError(f"Invalid policy type {min(unknown)!r} - at `$.spec.policyTypes`")
    return NetworkPolicy(
        namespace=meta.namespace,
        name=meta.name,
        pods=_selector(spec.pod_selector) or EVERYTHING,
        isolates_ingress="Ingress" in types,
        isolates_egress="Egress" in types,
        ingress=tuple(map(_rule, spec.ingress or ())),
        egress=tuple(map(_rule, spec.egress or ())),
    )


SHAPES: Mapping[type[Record], tuple[type[Any], Callable[[Any], Record]]] = {NetworkPolicy: (_PolicyObject, _policy)}
"""How the record is decoded: the API's shape, and what makes the record of it."""
