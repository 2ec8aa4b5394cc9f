# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects that the whole agent reads: pods, namespaces, nodes, services and their endpoints, policies.

A record holds only the fields that something renders, so that the many changes of an object that concern nobody
are no change. Objects are decoded straight from the API's JSON into these fields; whatever else an object holds is
skipped. A malformed object is an error that names it, for its reader to report and pass over.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from contivpp_core.cluster import is_node_id
from contivpp_core.errors import ContivError
from contivpp_core.kubernetes_policies import NETWORK_POLICY, NetworkPolicy
from contivpp_core.kubernetes_policies import SHAPES as POLICY_SHAPES
from contivpp_core.kubernetes_services import (
    ENDPOINT_SLICE,
    SERVICE,
    SHAPES,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Service,
    ServicePort,
)
from contivpp_core.kubernetes_shapes import ANNOTATION_PREFIX, Meta, Pairs, Shape, missing, pairs
from contivpp_core.records import AnyTable, Record, Table

__all__ = [
    "ANNOTATION_PREFIX",
    "ENDPOINT_SLICE",
    "KINDS",
    "NAMESPACE",
    "NETWORK_POLICY",
    "NODE",
    "NODE_ADDRESSES_ANNOTATION",
    "NODE_ID_ANNOTATION",
    "NODE_SETTINGS",
    "POD",
    "SERVICE",
    "TABLES",
    "ContainerPort",
    "Endpoint",
    "EndpointPort",
    "EndpointSlice",
    "InterfaceSettings",
    "MalformedObject",
    "Namespace",
    "NetworkPolicy",
    "Node",
    "NodeAddress",
    "NodeSettings",
    "Pod",
    "Service",
    "ServicePort",
    "decode",
    "shape_of",
]


NODE_ID_ANNOTATION = f"{ANNOTATION_PREFIX}node-id"
"""The annotation of a Node object that holds the node's ID, as a decimal number."""
NODE_ADDRESSES_ANNOTATION = f"{ANNOTATION_PREFIX}addresses"
"""The annotation of a Node object in which the node tells its addresses (`contivpp_core.published`)."""


class MalformedObject(ContivError):
    """An object does not have the shape of its kind; the message names object and field."""


class ContainerPort(msgspec.Struct, frozen=True, order=True, gc=False):
    """A port that a container declares; `name` may be empty."""

    name: str
    port: int
    protocol: str = "TCP"


class Pod(Record, frozen=True, kw_only=True):
    """A pod. `phase` is the API's; a pod that is being deleted keeps it, and has `deleting` set."""

    namespace: str
    name: str
    uid: str = ""
    labels: Pairs = ()
    annotations: Pairs = ()
    node: str = ""
    host_network: bool = False
    phase: str = ""
    ready: bool = False
    deleting: bool = False
    addresses: tuple[str, ...] = ()
    ports: tuple[ContainerPort, ...] = ()

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def annotation(self, name: str) -> str:
        """Return the annotation `contivpp.io/<name>`, or "" where there is none."""
        return dict(self.annotations).get(ANNOTATION_PREFIX + name, "")


class Namespace(Record, frozen=True, kw_only=True):
    """A namespace."""

    name: str
    labels: Pairs = ()


class NodeAddress(msgspec.Struct, frozen=True, order=True, gc=False):
    """One of a node's addresses: `type` is the API's (`InternalIP`, `ExternalIP`, `Hostname`)."""

    type: str
    address: str


class Node(Record, frozen=True, kw_only=True):
    """A node.

    `node_id` is the ID of contivpp that it is annotated with; 0: none, or none that can be read. `published` is what it
    is annotated with of its addresses (`contivpp_core.published` reads that).
    """

    name: str
    labels: Pairs = ()
    addresses: tuple[NodeAddress, ...] = ()
    node_id: int = 0
    published: str = ""


class InterfaceSettings(msgspec.Struct, frozen=True, order=True, gc=False):
    """An interface of VPP by VPP's name, and its address with prefix length; empty: one is found or computed."""

    name: str = ""
    address: str = ""


class NodeSettings(Record, frozen=True, kw_only=True):
    """What an operator says about one node: a `NodeConfig` object (`nodeconfig.contiv.vpp/v1`)."""

    name: str
    main_interface: InterfaceSettings = InterfaceSettings()
    other_interfaces: tuple[InterfaceSettings, ...] = ()
    gateway: str = ""


def _label_map(record: Pod | Namespace | Node) -> Mapping[str, str]:
    return dict(record.labels)


POD: Table[Pod] = Table(
    "Pod",
    Pod,
    lambda pod: pod.key,
    indexes={
        "namespace": lambda pod: (pod.namespace,),
        "node": lambda pod: (pod.node,) if pod.node else (),
        "address": lambda pod: pod.addresses,
    },
    labels=_label_map,
    namespace=lambda pod: pod.namespace,
)
NAMESPACE: Table[Namespace] = Table(
    "Namespace", Namespace, lambda namespace: namespace.name, labels=_label_map
)
NODE: Table[Node] = Table(
    "Node",
    Node,
    lambda node: node.name,
    indexes={
        "address": lambda node: tuple(sorted({entry.address for entry in node.addresses})),
        "node_id": lambda node: (str(node.node_id),) if node.node_id else (),
    },
    labels=_label_map,
)
NODE_SETTINGS: Table[NodeSettings] = Table("NodeSettings", NodeSettings, lambda settings: settings.name)
TABLES: tuple[AnyTable, ...] = (POD, NAMESPACE, NODE, NODE_SETTINGS, SERVICE, ENDPOINT_SLICE, NETWORK_POLICY)
"""Every agent has these tables."""


# --- the API's shapes


class _Port(Shape):
    container_port: int
    name: str | None = None
    protocol: str | None = None


class _Container(Shape):
    ports: list[_Port] | None = None
    restart_policy: str | None = None


class _PodSpec(Shape):
    node_name: str | None = None
    host_network: bool | None = None
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None


class _PodIP(Shape):
    ip: str = ""


class _Condition(Shape):
    type: str
    status: str


class _PodStatus(Shape):
    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: list[_PodIP] | None = msgspec.field(default=None, name="podIPs")
    conditions: list[_Condition] | None = None


class _PodObject(Shape):
    metadata: Meta
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _NamespaceObject(Shape):
    metadata: Meta


class _NodeStatus(Shape):
    addresses: list[NodeAddress] | None = None


class _NodeObject(Shape):
    metadata: Meta
    status: _NodeStatus | None = None


class _Interface(Shape):
    interface_name: str | None = None
    ip: str | None = None


class _NodeConfigSpec(Shape):
    main_vpp_interface: _Interface | None = msgspec.field(default=None, name="mainVPPInterface")
    other_vpp_interfaces: list[_Interface] | None = msgspec.field(default=None, name="otherVPPInterfaces")
    gateway: str | None = None


class _NodeConfigObject(Shape):
    metadata: Meta
    spec: _NodeConfigSpec | None = None


_READY = ("Ready", "True")


def _pod(found: _PodObject) -> Pod:
    spec, status = found.spec or _PodSpec(), found.status or _PodStatus()
    if not found.metadata.namespace:
        raise missing("namespace", "$.metadata")
    containers = spec.containers or []
    if spec.init_containers:  # one that restarts always is a sidecar: it serves next to the others
        containers = [*containers, *(each for each in spec.init_containers if each.restart_policy == "Always")]
    addresses = [entry.ip for entry in status.pod_ips or () if entry.ip] or (
        [status.pod_ip] if status.pod_ip else []
    )
    # Lists, where a generator would do: an agent makes thousands of pods at once, and lists are made in half the time.
    ports = [
        ContainerPort(port.name or "", port.container_port, port.protocol or "TCP")
        for container in containers
        for port in container.ports or ()
    ]
    return Pod(
        namespace=found.metadata.namespace,
        name=found.metadata.name,
        uid=found.metadata.uid,
        labels=pairs(found.metadata.labels),
        annotations=pairs(found.metadata.annotations, ANNOTATION_PREFIX),
        node=spec.node_name or "",
        host_network=bool(spec.host_network),
        phase=status.phase or "",
        ready=_READY in [(entry.type, entry.status) for entry in status.conditions or ()],
        deleting=found.metadata.deletion_timestamp is not None,
        addresses=tuple(dict.fromkeys(addresses)),
        ports=tuple(ports),
    )


def _namespace(found: _NamespaceObject) -> Namespace:
    return Namespace(name=found.metadata.name, labels=pairs(found.metadata.labels))


def _node(found: _NodeObject) -> Node:
    addresses = (found.status or _NodeStatus()).addresses or ()
    annotations = found.metadata.annotations or {}
    annotated = annotations.get(NODE_ID_ANNOTATION, "")
    return Node(
        name=found.metadata.name,
        labels=pairs(found.metadata.labels),
        addresses=tuple(dict.fromkeys(addresses)),
        node_id=int(annotated) if is_node_id(annotated) else 0,
        published=annotations.get(NODE_ADDRESSES_ANNOTATION, ""),
    )


def _node_settings(found: _NodeConfigObject) -> NodeSettings:
    spec = found.spec or _NodeConfigSpec()
    return NodeSettings(
        name=found.metadata.name,
        main_interface=_interface(spec.main_vpp_interface or _Interface(), "mainVPPInterface"),
        other_interfaces=tuple(_interface(each, "otherVPPInterfaces") for each in spec.other_vpp_interfaces or ()),
        gateway=_address(spec.gateway, "gateway"),
    )


def _interface(found: _Interface, field: str) -> InterfaceSettings:
    try:
        address = str(ipaddress.ip_interface(found.ip)) if found.ip else ""
    except ValueError as error:
        raise msgspec.ValidationError(f"{error} - at `$.spec.{field}.ip`") from error
    if found.ip and "/" not in found.ip:
        raise msgspec.ValidationError(f"{found.ip} has no prefix length - at `$.spec.{field}.ip`")
    return InterfaceSettings(found.interface_name or "", address)


def _address(found: str | None, field: str) -> str:
    try:
        return str(ipaddress.ip_address(found)) if found else ""
    except ValueError as error:
        raise msgspec.ValidationError(f"{error} - at `$.spec.{field}`") from error


_KINDS: Mapping[type[Record], tuple[type[Any], Callable[[Any], Record]]] = {
    Pod: (_PodObject, _pod),
    Namespace: (_NamespaceObject, _namespace),
    Node: (_NodeObject, _node),
    NodeSettings: (_NodeConfigObject, _node_settings),
    **SHAPES,
    **POLICY_SHAPES,
}
KINDS: Mapping[str, AnyTable] = {
    "Pod": POD,
    "Namespace": NAMESPACE,
    "Node": NODE,
    "NodeConfig": NODE_SETTINGS,
    "Service": SERVICE,
    "EndpointSlice": ENDPOINT_SLICE,
    "NetworkPolicy": NETWORK_POLICY,
}
"""The API's kinds that are read, and the tables that hold them."""

_DECODERS = {kind: msgspec.json.Decoder(shape) for kind, (shape, _) in _KINDS.items()}

R = TypeVar("R", bound=Record)


def shape_of(kind: type[R]) -> tuple[type[Any], Callable[[Any], R]]:
    """Return the API's shape of a kind, and what makes the record of it (or raises `msgspec.ValidationError`).

    For readers of many objects at once: lists, and watches. Every shape has `metadata` with `name` and
    `resource_version`.
    """
    return _KINDS[kind]  # type: ignore[return-value]


def decode(kind: type[R], found: bytes | Mapping[str, Any]) -> R:
    """Return the record for an object of the API (JSON, or decoded JSON); raise `MalformedObject`."""
    shape, make = _KINDS[kind]
    try:
        if isinstance(found, bytes):
            return make(_DECODERS[kind].decode(found))  # type: ignore[return-value]
        return make(msgspec.convert(found, shape))  # type: ignore[return-value]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedObject(f"{kind.__name__} {_name(found)}: {error}") from error


def _name(found: bytes | Mapping[str, Any]) -> str:
    """Name an object whose shape is wrong, as far as it can be told."""
    try:
        data = msgspec.json.decode(found) if isinstance(found, bytes) else found
        metadata = data["metadata"]
        return (
            "/".join(str(metadata[part]) for part in ("namespace", "name") if metadata.get(part))
            or "without a name"
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return "without a name"
