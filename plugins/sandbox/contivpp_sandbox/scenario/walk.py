# SPDX-License-Identifier: Apache-2.0
"""Goes through a scenario's steps, and knows which nodes, pods and objects there are at each of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contivpp_core.errors import ContivError
from contivpp_core.kubernetes import Pod
from contivpp_ipam.subnets import ClusterSubnets
from contivpp_sandbox.objects import NAMESPACED, record_of
from contivpp_sandbox.rigs.base import ObjectReference
from contivpp_sandbox.scenario.model import DeleteItem, Item, ProbeItem, RestartItem

__all__ = ["Walk"]

Fault = tuple[str, str]


class Walk:
    """What there is at a step; `take` goes on by one item."""

    def __init__(self, nodes: Sequence[str], subnets: ClusterSubnets) -> None:
        self._nodes = tuple(dict.fromkeys(nodes))
        self._joined = set(nodes)
        self._services = subnets.service
        self._there: dict[ObjectReference, Any] = {ObjectReference("Node", "", name): None for name in nodes}
        self._once: set[str] = set()  # pods that there are or were
        self._doubtful: set[str] = set()  # objects that are wrong themselves: nothing more is said about them

    def take(self, path: str, item: Item) -> Iterator[Fault]:
        """Return the faults of an item, and take in what it does."""
        match item:
            case DeleteItem():
                yield from self._delete(path, item)
            case RestartItem():
                yield from self._restart(path, item)
            case ProbeItem():
                yield from self._probe(path, item)
            case _:
                yield from self._apply(path, item)

    # --- objects

    def _apply(self, path: str, found: Mapping[str, Any]) -> Iterator[Fault]:
        try:
            record = record_of(found)
        except ContivError as error:
            self._doubtful.add(_key(found))
            yield path, str(error)
            return
        if isinstance(record, Pod):
            yield from self._apply_pod(f"{path}.spec.nodeName", record)
            return
        kind, name = str(found["kind"]), str(found["metadata"]["name"])
        self._there[ObjectReference(kind, "", name)] = record
        if kind in ("Node", "NodeConfig"):
            yield from self._known(f"{path}.metadata.name", name)
        if kind == "Node" and name in self._nodes:
            self._joined.add(name)

    def _apply_pod(self, path: str, pod: Pod) -> Iterator[Fault]:
        reference = ObjectReference("Pod", pod.namespace, pod.name)
        former = self._there.get(reference)
        self._there[reference] = pod
        self._once.add(pod.key)
        if isinstance(former, Pod) and former.node and former.node != pod.node:
            yield path, f"{pod.key} runs on {former.node}: a pod does not move, delete it first"
        elif pod.node:
            yield from self._is_joined(path, pod.node)

    def _delete(self, path: str, item: DeleteItem) -> Iterator[Fault]:
        reference = ObjectReference(item.kind, item.namespace if item.kind in NAMESPACED else "", item.name)
        if reference not in self._there:
            if "/".join(filter(None, reference[1:])) not in self._doubtful:
                yield path, f"there is no {reference} at this step"
            return
        del self._there[reference]
        if item.kind == "Node":
            self._joined.discard(item.name)
            pods = [key for key, pod in self._there.items() if isinstance(pod, Pod) and pod.node == item.name]
            for key in pods:
                del self._there[key]

    def _restart(self, path: str, item: RestartItem) -> Iterator[Fault]:
        if item.what == "datastore":
            yield path, "restarts of the datastore are not served yet"
        if item.node is not None:
            yield from self._is_joined(f"{path}.node", item.node)

    # --- nodes

    def _known(self, path: str, name: str) -> Iterator[Fault]:
        if name not in self._nodes:
            yield path, f"there is no node {name}: nodes are {', '.join(self._nodes)}"

    def _is_joined(self, path: str, name: str) -> Iterator[Fault]:
        yield from self._known(path, name)
        if name in self._nodes and name not in self._joined:
            yield path, f"node {name} has left before this step"

    # --- probes

    def _probe(self, path: str, probe: ProbeItem) -> Iterator[Fault]:
        if probe.protocol == "SCTP":
            yield f"{path}.protocol", "SCTP probes are not served yet"
        yield from self._source(f"{path}.from", probe.source_end)
        yield from self._target(f"{path}.to", probe.target)
        if probe.via is not None:
            yield from self._is_joined(f"{path}.via", probe.via)

    def _source(self, path: str, name: str) -> Iterator[Fault]:
        kind, _, node = name.partition(":")
        if "/" in name:
            pod = self._pod(name)
            if pod is not None:
                yield from self._runs(path, pod)
            elif name not in self._doubtful:
                yield path, f"there is no pod {name} at this step"
        elif kind == "node":
            yield from self._is_joined(path, node)
        elif kind == "vpp":
            yield path, f"VPP sends no probes ({name}): give namespace/pod, node:NAME or an address"
        else:
            yield from self._address(path, name)

    def _target(self, path: str, name: str) -> Iterator[Fault]:
        kind, _, node = name.partition(":")
        if "/" in name:
            pod = self._pod(name)
            if pod is not None:
                yield from self._runs(path, pod)
            elif name not in self._once | self._doubtful:
                yield path, f"there is no pod {name} at this step, and there was none before"
        elif kind in ("node", "vpp"):
            yield from self._known(path, node)
        else:
            yield from self._address(path, name)

    def _address(self, path: str, text: str) -> Iterator[Fault]:
        address = ipaddress.ip_address(text)
        if address.version != 4:
            yield path, f"IPv6 is not served yet ({text})"
        elif address in self._services:
            yield path, f"services are not served yet ({text} is in {self._services})"
        elif address.is_multicast or address.is_unspecified or address.is_loopback or address.is_reserved:
            yield path, f"{text} is no address that a host can have"

    def _pod(self, name: str) -> Pod | None:
        pod: Pod | None = self._there.get(ObjectReference("Pod", *name.split("/", 1)))
        return pod

    def _runs(self, path: str, pod: Pod) -> Iterator[Fault]:
        if pod.host_network:
            yield path, f"{pod.key} has hostNetwork: give node:{pod.node or 'NAME'}, whose stack it uses"
        elif not pod.node:
            yield path, f"{pod.key} does not run: it has no spec.nodeName"


def _key(found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    if not isinstance(metadata, Mapping):
        return ""
    return "/".join(str(metadata[part]) for part in ("namespace", "name") if metadata.get(part))
