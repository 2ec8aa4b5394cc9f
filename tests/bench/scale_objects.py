# SPDX-License-Identifier: Apache-2.0
"""A large cluster as the API server tells of it: raw JSON, one object each, with what real objects carry besides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["ENDPOINTS", "address", "endpoint_slice", "network_policy", "node", "pod", "service"]

ENDPOINTS = 10

_MANAGED = [
    {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-26T12:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:ports": {}, "f:selector": {}}},
    }
]


def address(first: int, number: int) -> str:
    """Return an address of 10.<first + …>.…, another one for each number."""
    return f"10.{first + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _object(
    kind: str, number: int, name: str, version: str = "v1", labels: dict[str, str] | None = None, **parts: Any
) -> bytes:
    metadata = {
        "name": name,
        "namespace": f"team-{number % 7}",
        "uid": f"7f3b2c1e-{number & 0xFFFF:04x}-4d2a-9c1b-0242ac120002",
        "resourceVersion": "123456",
        "generation": 1,
        "creationTimestamp": "2026-11-26T12:00:00Z",
        "labels": labels or {"app": name},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        "managedFields": _MANAGED,
    }
    return msgspec.json.encode({"apiVersion": version, "kind": kind, "metadata": metadata, **parts})


def service(number: int) -> bytes:
    """Return a service with one port."""
    cluster_ip = address(96, number)
    return _object(
        "Service",
        number,
        f"service-{number:05}",
        spec={
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "selector": {"app": f"service-{number:05}"},
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        status={"loadBalancer": {}},
    )


def endpoint_slice(number: int, *, moved: int = 0) -> bytes:
    """Return the slice of a service; `moved` gives its first endpoint another address."""
    name = f"service-{number:05}"
    return _object(
        "EndpointSlice",
        number,
        f"{name}-x7k2p",
        "discovery.k8s.io/v1",
        {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller"},
        addressType="IPv4",
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
        endpoints=list(_endpoints(number, moved)),
    )


def _endpoints(number: int, moved: int) -> Iterator[dict[str, Any]]:
    for index in range(ENDPOINTS):
        at = number * ENDPOINTS + index
        where = address(20, moved) if moved and not index else address(1, at)
        yield {
            "addresses": [where],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{at % 500:03}",
            "targetRef": {"kind": "Pod", "name": f"pod-{at:06}", "namespace": "team-0", "uid": f"{at:032x}"},
            "zone": f"zone-{at % 3}",
        }


def pod(number: int) -> bytes:
    """Return a pod that runs."""
    return _object(
        "Pod",
        number,
        f"pod-{number:05}",
        labels={"app": f"service-{number % 1000:05}", "tier": f"t{number % 5}"},
        spec={
            "nodeName": f"node-{number % 500:03}",
            "containers": [{"name": "main", "image": "example.org/main:1", "ports": [{"containerPort": 8080}]}],
        },
        status={
            "phase": "Running",
            "podIP": address(1, number),
            "podIPs": [{"ip": address(1, number)}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    )


def node(number: int) -> bytes:
    """Return a node."""
    status = {"addresses": [{"type": "InternalIP", "address": address(200, number)}]}
    return _object("Node", number, f"node-{number:03}", labels={"zone": f"zone-{number % 3}"}, status=status)


def network_policy(number: int) -> bytes:
    """Return a network policy."""
    peers = [{"podSelector": {"matchLabels": {"tier": f"t{number % 5}"}}}]
    return _object(
        "NetworkPolicy",
        number,
        f"policy-{number:04}",
        "networking.k8s.io/v1",
        spec={
            "podSelector": {"matchLabels": {"app": f"service-{number:05}"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"port": 8080, "protocol": "TCP"}]}],
        },
    )
