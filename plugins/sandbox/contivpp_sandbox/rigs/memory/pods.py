# SPDX-License-Identifier: Apache-2.0
"""The pods of a rig in memory: their objects with the status that a kubelet would report, and their sandboxes."""

from __future__ import annotations

import copy
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contivpp_core.kubernetes import Pod, decode
from contivpp_sandbox.rigs.base import KubernetesObject, container_id
from contivpp_sandbox.rigs.memory.packets import TCP, UDP
from contivpp_sandbox.rigs.memory.stack import Host

__all__ = ["Sandbox", "cni_address", "cni_failure", "served_ports", "with_status"]

_PROTOCOLS = {"TCP": TCP, "UDP": UDP}
_FOLDER = "/simulated/netns"  # no such folder is looked for anywhere; VPP takes 63 bytes


@dataclass
class Sandbox:
    """A pod with its sandbox: container, namespace, host stack. `failure`: why it could not be connected."""

    namespace: str
    name: str
    generation: int
    found: KubernetesObject
    host: Host | None = None
    address: int = 0
    failure: str = ""
    container: str = field(init=False)

    def __post_init__(self) -> None:
        self.container = container_id(self.namespace, self.name, self.uid, self.generation)

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def uid(self) -> str:
        """The object's UID, or one that a server would have given."""
        given = self.found["metadata"].get("uid")
        return str(given) if given else f"{self.namespace}.{self.name}.{self.generation}"

    @property
    def netns(self) -> str:
        """The path of the network namespace."""
        return f"{_FOLDER}/cni-{self.container[:16]}"

    def renew(self, generation: int) -> None:
        """Begin anew with another sandbox, as a kubelet does after a failure."""
        self.generation = generation
        self.container = container_id(self.namespace, self.name, self.uid, generation)


def served_ports(pod: Pod) -> set[tuple[int, int]]:
    """Return protocol number and port of what a pod declares and this rig can serve."""
    return {(_PROTOCOLS[port.protocol], port.port) for port in pod.ports if port.protocol in _PROTOCOLS}


def with_status(sandbox: Sandbox, *, deleting: bool = False) -> KubernetesObject:
    """Return the pod's object as a watch would show it now. A status that the object itself states, stands."""
    found: dict[str, Any] = copy.deepcopy(dict(sandbox.found))
    found["metadata"].setdefault("uid", sandbox.uid)
    if deleting:
        found["metadata"].setdefault("deletionTimestamp", "2030-01-01T00:00:00Z")
    status = found.setdefault("status", None) or {}
    found["status"] = status
    running = bool(sandbox.address)
    status.setdefault("phase", "Running" if running else "Pending")
    if running:
        address = str(ipaddress.IPv4Address(sandbox.address))
        status.setdefault("podIP", address)
        status.setdefault("podIPs", [{"ip": address}])
    status.setdefault("conditions", [{"type": "Ready", "status": "True" if running and not deleting else "False"}])
    return found


def declared(found: KubernetesObject) -> Pod:
    """Return the record of a pod's object."""
    return decode(Pod, found)


def cni_address(result: bytes) -> int:
    """Return the address in the result of ADD."""
    told: Mapping[str, Any] = json.loads(result)
    return int(ipaddress.IPv4Interface(told["ips"][0]["address"]).ip)


def cni_failure(result: bytes) -> str:
    """Return the text of a CNI error."""
    told: Mapping[str, Any] = json.loads(result) if result else {}
    details = f" ({told['details']})" if told.get("details") else ""
    return f"{told.get('msg', 'no explanation')}{details}, code {told.get('code', '?')}"
