# SPDX-License-Identifier: Apache-2.0
"""EndpointSlices of services, as Kubernetes' controller makes them: from selectors and pods' readiness. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MANAGED_BY", "slices_of"]

Object = Mapping[str, Any]

MANAGED_BY = "contivpp-sandbox"
_SERVICE = "kubernetes.io/service-name"
_MANAGER = "endpointslice.kubernetes.io/managed-by"


def slices_of(services: Iterable[Object], pods: Iterable[Object], slices: Iterable[Object]) -> list[dict[str, Any]]:
    """Return the slices that should be: one for each service with a selector, unless somebody else made one for it."""
    given = {
        (each["metadata"]["namespace"], (each["metadata"].get("labels") or {}).get(_SERVICE))
        for each in slices
        if (each["metadata"].get("labels") or {}).get(_MANAGER) != MANAGED_BY
    }
    every = list(pods)
    return [
        _slice(service, [pod for pod in every if _selects(service, pod)])
        for service in services
        if service["spec"].get("selector")
        and (service["metadata"]["namespace"], service["metadata"]["name"]) not in given
    ]


def _selects(service: Object, pod: Object) -> bool:
    if pod["metadata"]["namespace"] != service["metadata"]["namespace"] or not pod.get("status", {}).get("podIP"):
        return False
    if pod["status"].get("phase") in ("Succeeded", "Failed"):
        return False
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in service["spec"]["selector"].items())


def _slice(service: Object, pods: list[Object]) -> dict[str, Any]:
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    ports = [
        {"name": each.get("name", ""), "protocol": each.get("protocol", "TCP"), "port": number}
        for each in service["spec"].get("ports") or ()
        if (number := _number(each, pods))
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": f"{name[:40]}-sandbox",
            "labels": {_SERVICE: name, _MANAGER: MANAGED_BY},
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(pod) for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))],
        "ports": ports,
    }


def _number(port: Object, pods: Iterable[Object]) -> int:
    """Return the port of the pods; 0 if none of them has a port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = (
        int(each["containerPort"])
        for pod in pods
        for container in pod["spec"]["containers"]
        for each in container.get("ports") or ()
        if each.get("name") == target
    )
    return next(named, 0)


def _endpoint(pod: Object) -> dict[str, Any]:
    metadata = pod["metadata"]
    conditions = pod["status"].get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    leaving = "deletionTimestamp" in metadata
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready and not leaving, "serving": ready, "terminating": leaving},
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"]},
    }
