# SPDX-License-Identifier: Apache-2.0
"""Services and EndpointSlices; `contivpp_core.kubernetes` decodes them with all other kinds.

A cluster may have a hundred thousand endpoints: they are plain values that the garbage collector does not look at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import Any

import msgspec

from contivpp_core.kubernetes_shapes import ANNOTATION_PREFIX, Meta, Pairs, Shape, missing, pairs
from contivpp_core.records import Record, Table

__all__ = [
    "ENDPOINT_SLICE",
    "SERVICE",
    "SHAPES",
    "Endpoint",
    "EndpointPort",
    "EndpointSlice",
    "Service",
    "ServicePort",
]

SERVICE_LABEL = "kubernetes.io/service-name"
_DEFAULT_AFFINITY_SECONDS = 10800


class ServicePort(msgspec.Struct, frozen=True, order=True, gc=False):
    """A port of a service. `name` may be empty; it is that of the endpoints' port. `node_port` 0: there is none."""

    name: str
    port: int
    protocol: str = "TCP"
    node_port: int = 0


class Service(Record, frozen=True, kw_only=True):
    """A service. Without `cluster_ips` it is headless, or has a name elsewhere as its value (`ExternalName`).

    Of a load balancer's addresses only those that are to be served here are kept (`ipMode` is not `Proxy`).
    """

    namespace: str
    name: str
    labels: Pairs = ()
    annotations: Pairs = ()
    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    load_balancer_source_ranges: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    affinity_seconds: int = 0
    """So long a client goes to the same endpoint (`sessionAffinity: ClientIP`); 0: each connection to any."""
    external_local: bool = False
    """`externalTrafficPolicy: Local`: what comes from outside goes to endpoints on this node only."""
    internal_local: bool = False
    """`internalTrafficPolicy: Local`: what comes from this node goes to endpoints on it only."""
    health_check_node_port: int = 0

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class EndpointPort(msgspec.Struct, frozen=True, order=True, gc=False):
    """A port of all endpoints of a slice. `port` 0: the API names none, every port is meant."""

    name: str
    port: int
    protocol: str = "TCP"


class Endpoint(msgspec.Struct, frozen=True, order=True, gc=False):
    """One endpoint. The API says that one of its addresses is as good as another: the first is kept.

    What the API leaves out is filled in as it asks: `ready` is true, `serving` is `ready`, `terminating` is false.
    """

    address: str
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone: str = ""
    for_zones: tuple[str, ...] = ()
    """The hint: clients of these zones are to use it; empty: there is no hint."""
    for_nodes: tuple[str, ...] = ()
    """The hint: clients on these nodes are to use it; empty: there is no hint."""


class EndpointSlice(Record, frozen=True, kw_only=True):
    """A part of a service's endpoints, all of one type of address (`IPv4`, `IPv6`, `FQDN`)."""

    namespace: str
    name: str
    service: str = ""
    """The name of the service, in the same namespace; empty: it belongs to none."""
    address_type: str
    ports: tuple[EndpointPort, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


SERVICE: Table[Service] = Table(
    "Service",
    Service,
    lambda service: service.key,
    indexes={"namespace": lambda service: (service.namespace,)},
    labels=lambda service: dict(service.labels),
    namespace=lambda service: service.namespace,
)
ENDPOINT_SLICE: Table[EndpointSlice] = Table(
    "EndpointSlice",
    EndpointSlice,
    lambda piece: piece.key,
    indexes={"service": lambda piece: (f"{piece.namespace}/{piece.service}",) if piece.service else ()},
    namespace=lambda piece: piece.namespace,
)


# --- the API's shapes


class _ServicePort(Shape):
    port: int
    name: str | None = None
    protocol: str | None = None
    node_port: int | None = None


class _ClientIP(Shape):
    timeout_seconds: int | None = None


class _AffinityConfig(Shape):
    client_ip: _ClientIP | None = msgspec.field(default=None, name="clientIP")


class _ServiceSpec(Shape):
    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    load_balancer_source_ranges: list[str] | None = None
    ports: list[_ServicePort] | None = None
    session_affinity: str | None = None
    session_affinity_config: _AffinityConfig | None = None
    external_traffic_policy: str | None = None
    internal_traffic_policy: str | None = None
    health_check_node_port: int | None = None


class _Ingress(Shape):
    ip: str | None = None
    ip_mode: str | None = None


class _LoadBalancer(Shape):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(Shape):
    load_balancer: _LoadBalancer | None = None


class _ServiceObject(Shape):
    metadata: Meta
    spec: _ServiceSpec | None = None
    status: _ServiceStatus | None = None


class _SliceMeta(Shape):
    name: str
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None


class _Conditions(Shape, gc=False):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Named(Shape):
    name: str


class _Hints(Shape):
    for_zones: list[_Named] | None = None
    for_nodes: list[_Named] | None = None


class _Endpoint(Shape):
    addresses: list[str]
    conditions: _Conditions | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: _Hints | None = None


class _EndpointPort(Shape):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class _SliceObject(Shape):
    metadata: _SliceMeta
    address_type: str
    endpoints: list[_Endpoint] | None = None
    ports: list[_EndpointPort] | None = None


def _service(found: _ServiceObject) -> Service:
    meta, spec = found.metadata, found.spec or _ServiceSpec()
    if not meta.namespace:
        raise missing("namespace", "$.metadata")
    cluster_ips = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    return Service(
        namespace=meta.namespace,
        name=meta.name,
        labels=pairs(meta.labels),
        annotations=pairs(meta.annotations, ANNOTATION_PREFIX),
        type=spec.type or "ClusterIP",
        cluster_ips=tuple([address for address in cluster_ips if address and address != "None"]),
        external_ips=tuple(spec.external_ips or ()),
        load_balancer_ips=_load_balancer_ips(found.status),
        load_balancer_source_ranges=tuple(spec.load_balancer_source_ranges or ()),
        ports=tuple(
            [
                ServicePort(port.name or "", port.port, port.protocol or "TCP", port.node_port or 0)
                for port in spec.ports or ()
            ]
        ),
        affinity_seconds=_affinity(spec) if spec.session_affinity == "ClientIP" else 0,
        external_local=spec.external_traffic_policy == "Local",
        internal_local=spec.internal_traffic_policy == "Local",
        health_check_node_port=spec.health_check_node_port or 0,
    )


def _affinity(spec: _ServiceSpec) -> int:
    config = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config is not None and config.client_ip is not None else None
    return seconds or _DEFAULT_AFFINITY_SECONDS


def _load_balancer_ips(status: _ServiceStatus | None) -> tuple[str, ...]:
    if status is None or status.load_balancer is None:
        return ()
    entries = status.load_balancer.ingress or ()
    return tuple([entry.ip for entry in entries if entry.ip and entry.ip_mode != "Proxy"])


def _endpoint_slice(found: _SliceObject) -> EndpointSlice:
    meta = found.metadata
    if not meta.namespace:
        raise missing("namespace", "$.metadata")
    return EndpointSlice(
        namespace=meta.namespace,
        name=meta.name,
        service=(meta.labels or {}).get(SERVICE_LABEL, ""),
        address_type=found.address_type,
        ports=tuple(
            [EndpointPort(port.name or "", port.port or 0, port.protocol or "TCP") for port in found.ports or ()]
        ),
        endpoints=tuple([_endpoint(each) for each in found.endpoints or () if each.addresses]),
    )


def _endpoint(found: _Endpoint) -> Endpoint:
    conditions, hints = found.conditions, found.hints
    ready = serving = True
    terminating = False
    if conditions is not None:
        ready = conditions.ready is not False
        serving = ready if conditions.serving is None else conditions.serving
        terminating = conditions.terminating is True
    # A hundred thousand endpoints are on a few hundred nodes.
    node, zone = intern(found.node_name or ""), intern(found.zone or "")
    if hints is None:
        return Endpoint(found.addresses[0], node, ready, serving, terminating, zone)
    return Endpoint(
        found.addresses[0],
        node,
        ready,
        serving,
        terminating,
        zone,
        tuple([each.name for each in hints.for_zones or ()]),
        tuple([each.name for each in hints.for_nodes or ()]),
    )


SHAPES: Mapping[type[Record], tuple[type[Any], Callable[[Any], Record]]] = {
    Service: (_ServiceObject, _service),
    EndpointSlice: (_SliceObject, _endpoint_slice),
}
"""How each record is decoded: the API's shape, and what makes the record of it."""
