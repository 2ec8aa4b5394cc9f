# SPDX-License-Identifier: Apache-2.0
"""Records back to objects in Kubernetes' shape: what the cluster's store holds.

`kubernetes.decode(kind, encode(record)) == record`, and equal records have equal bytes. So there is one decoder for
what comes from the API server and what comes from the store, people who know Kubernetes can read the store, and writers
compare bytes. What no record holds is not in it: a pod of 4 KB has 300 bytes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from contivpp_core.kubernetes import (
    NODE_ADDRESSES_ANNOTATION,
    NODE_ID_ANNOTATION,
    Namespace,
    Node,
    NodeSettings,
    Pod,
)
from contivpp_core.kubernetes_policies import NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule
from contivpp_core.kubernetes_services import SERVICE_LABEL, Endpoint, EndpointSlice, Service
from contivpp_core.records import Record
from contivpp_core.selectors import LabelSelector

__all__ = ["encode"]

Object = dict[str, Any]


def encode(record: Record) -> bytes:
    """Return the object that the record stands for, as JSON; KeyError for a record that is no Kubernetes object."""
    return msgspec.json.encode(_ENCODERS[type(record)](record))


def _given(**values: Any) -> Object:
    """Return what is not empty; a trailing underscore is no part of a name."""
    return {name.rstrip("_"): value for name, value in values.items() if value}


def _metadata(record: Any, **more: Any) -> Object:
    return _given(
        name=record.name,
        namespace=getattr(record, "namespace", ""),
        labels=dict(getattr(record, "labels", ())),
        annotations=dict(getattr(record, "annotations", ())),
        **more,
    )


def _pod(pod: Pod) -> Object:
    ports = [{"containerPort": port.port, **_given(name=port.name, protocol=port.protocol)} for port in pod.ports]
    status = _given(phase=pod.phase, podIPs=[{"ip": address} for address in pod.addresses])
    if pod.ready:
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    return {
        "metadata": _metadata(pod, uid=pod.uid, deletionTimestamp="1970-01-01T00:00:00Z" if pod.deleting else ""),
        **_given(
            spec=_given(nodeName=pod.node, hostNetwork=pod.host_network, containers=[{"ports": ports}] * bool(ports)),
            status=status,
        ),
    }


def _namespace(namespace: Namespace) -> Object:
    return {"metadata": _metadata(namespace)}


def _node(node: Node) -> Object:
    addresses = [{"type": entry.type, "address": entry.address} for entry in node.addresses]
    metadata = _metadata(node)
    if node.node_id or node.published:
        told = {NODE_ID_ANNOTATION: str(node.node_id or ""), NODE_ADDRESSES_ANNOTATION: node.published}
        metadata["annotations"] = {name: value for name, value in told.items() if value}
    return {"metadata": metadata, **_given(status=_given(addresses=addresses))}


def _node_settings(settings: NodeSettings) -> Object:
    def interface(found: Any) -> Object:
        return _given(interfaceName=found.name, ip=found.address)

    spec = _given(
        mainVPPInterface=interface(settings.main_interface),
        otherVPPInterfaces=[interface(each) for each in settings.other_interfaces],
        gateway=settings.gateway,
    )
    return {"metadata": _metadata(settings), **_given(spec=spec)}


def _service(service: Service) -> Object:
    ports = [
        {"port": port.port, **_given(name=port.name, protocol=port.protocol, nodePort=port.node_port)}
        for port in service.ports
    ]
    affinity: Object = {}
    if service.affinity_seconds:
        config = {"clientIP": {"timeoutSeconds": service.affinity_seconds}}
        affinity = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}
    spec = {
        **_given(
            type=service.type,
            clusterIPs=service.cluster_ips,
            externalIPs=service.external_ips,
            loadBalancerSourceRanges=service.load_balancer_source_ranges,
            ports=ports,
            externalTrafficPolicy="Local" if service.external_local else "",
            internalTrafficPolicy="Local" if service.internal_local else "",
            healthCheckNodePort=service.health_check_node_port,
        ),
        **affinity,
    }
    ingress = [{"ip": address} for address in service.load_balancer_ips]
    status = {"loadBalancer": {"ingress": ingress}} if ingress else {}
    return {"metadata": _metadata(service), **_given(spec=spec, status=status)}


def _endpoint_slice(piece: EndpointSlice) -> Object:
    metadata = _metadata(piece)
    if piece.service:
        metadata["labels"] = {SERVICE_LABEL: piece.service}
    return {
        "metadata": metadata,
        "addressType": piece.address_type,
        **_given(
            ports=[_given(name=port.name, port=port.port, protocol=port.protocol) for port in piece.ports],
            endpoints=[_endpoint(each) for each in piece.endpoints],
        ),
    }


def _endpoint(endpoint: Endpoint) -> Object:
    conditions: Object = {}
    if not endpoint.ready:
        conditions["ready"] = False
    if endpoint.serving is not endpoint.ready:
        conditions["serving"] = endpoint.serving
    if endpoint.terminating:
        conditions["terminating"] = True
    hints = _given(
        forZones=[{"name": name} for name in endpoint.for_zones],
        forNodes=[{"name": name} for name in endpoint.for_nodes],
    )
    return {
        "addresses": [endpoint.address],
        **_given(conditions=conditions, nodeName=endpoint.node, zone=endpoint.zone, hints=hints),
    }


def _selector(selector: LabelSelector) -> Object:
    expressions = [
        {"key": each.key, "operator": each.operator, **_given(values=each.values)} for each in selector.expressions
    ]
    return _given(matchLabels=dict(selector.labels), matchExpressions=expressions)


def _peer(peer: PolicyPeer) -> Object:
    found: Object = {}
    if peer.pods is not None:
        found["podSelector"] = _selector(peer.pods)
    if peer.namespaces is not None:
        found["namespaceSelector"] = _selector(peer.namespaces)
    if peer.block is not None:
        found["ipBlock"] = {"cidr": peer.block.cidr, **_given(except_=peer.block.excluded)}
    return found


def _policy_port(port: PolicyPort) -> Object:
    return _given(protocol=port.protocol, port=port.name or port.port, endPort=port.end_port)


def _rules(rules: Iterable[PolicyRule], peers: str) -> list[Object]:
    return [
        {
            **({peers: [_peer(each) for each in rule.peers]} if rule.peers else {}),
            **_given(ports=[_policy_port(each) for each in rule.ports]),
        }
        for rule in rules
    ]


def _policy(policy: NetworkPolicy) -> Object:
    directions = (("Ingress", policy.isolates_ingress), ("Egress", policy.isolates_egress))
    spec = {
        "podSelector": _selector(policy.pods),
        "policyTypes": [name for name, isolated in directions if isolated],
        **_given(ingress=_rules(policy.ingress, "from"), egress=_rules(policy.egress, "to")),
    }
    return {"metadata": _metadata(policy), "spec": spec}


_ENCODERS: Mapping[type[Record], Callable[[Any], Object]] = {
    Pod: _pod,
    Namespace: _namespace,
    Node: _node,
    NodeSettings: _node_settings,
    Service: _service,
    EndpointSlice: _endpoint_slice,
    NetworkPolicy: _policy,
}
