# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a scenario that has the right shape: names that nothing has at that step, settings that no agent
would take, objects that have not the shape of their kind. And what this release does not serve yet: it is refused
here, by name, instead of giving a verdict that means nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.config import Source
from contivpp_core.errors import ConfigError, ContivError
from contivpp_core.kubernetes import Node, Pod
from contivpp_ipam.config import IpamConfig
from contivpp_ipam.plugin import IpamPlugin
from contivpp_sandbox.objects import put_write
from contivpp_sandbox.rigs.base import ObjectReference
from contivpp_sandbox.scenario.model import DeleteItem, Item, ProbeItem, RestartItem
from contivpp_vpp.plugin import VppPlugin

__all__ = ["check"]

Fault = tuple[str, str]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_RIGS_OWN = ("nodeName", "plugins", "stateDir", "runDir", "healthAddress")
_SECTIONS_OWN = {"contiv": ("nodeID", "cniSocket"), "vpp": ("apiSocket", "statsSocket", "cliSocket")}


def check(nodes: Sequence[str], config: Mapping[str, Any], items: Iterable[tuple[str, Item]]) -> list[Fault]:
    """Return every fault; `items` are what the steps hold, in order, each with its path in the file."""
    faults = [*_nodes(nodes)]
    pods, wrong = _config(config)
    faults += wrong
    walk = _Walk(nodes, pods)
    for path, item in items:
        faults += walk.take(path, item)
    return faults


def _nodes(nodes: Sequence[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, name in enumerate(nodes):
        if name in seen:
            yield f"nodes.{index}", f"{name} is named twice"
        seen.add(name)
    if len(seen) > 1:
        yield "nodes", "several nodes are not served yet: give one node"


def _config(config: Mapping[str, Any]) -> tuple[Network, list[Fault]]:
    """Check the settings as an agent would; return the subnet of pods, the default one where it is wrong."""
    faults = [(f"config.{name}", "is set by the rig: leave it out") for name in _RIGS_OWN if name in config]
    for section, names in _SECTIONS_OWN.items():
        given = config.get(section)
        faults += [
            (f"config.{section}.{name}", "is set by the rig: leave it out")
            for name in names
            if isinstance(given, Mapping) and name in given
        ]
    sections = [plugin.config_section() for plugin in (VppPlugin(), IpamPlugin(), ContivPlugin(serve=False))]
    settings = {name: value for name, value in config.items() if name not in _RIGS_OWN}
    try:
        checked = Source("config", {**settings, "nodeName": "node"}).check(sections)
    except ConfigError as error:
        for line in error.faults:
            path, _, reason = line.removeprefix("config: ").partition(": ")
            faults.append((f"config.{path}", reason) if reason else ("config", path))
        return IpamConfig.model_validate({}).subnets().pods, faults
    return checked.section("ipam", IpamConfig).subnets().pods, faults


class _Walk:
    """Goes through the steps, and knows what there is at each of them."""

    def __init__(self, nodes: Sequence[str], pods: Network) -> None:
        self._nodes = nodes
        self._subnet = pods
        self._there: dict[ObjectReference, Any] = {}
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

    def _apply(self, path: str, found: Mapping[str, Any]) -> Iterator[Fault]:
        try:
            write = put_write(found)
        except ContivError as error:
            self._doubtful.add(_key(found))
            yield path, str(error)
            return
        record = write.record
        if isinstance(record, Pod):
            self._there[ObjectReference("Pod", record.namespace, record.name)] = record
            self._once.add(record.key)
            if record.node and record.node not in self._nodes:
                yield f"{path}.spec.nodeName", f"there is no node {record.node}: nodes are {', '.join(self._nodes)}"
            return
        name = str(found["metadata"]["name"])
        self._there[ObjectReference(write.table, "", name)] = record
        if isinstance(record, Node) and name not in self._nodes:
            yield f"{path}.metadata.name", f"there is no node {name}: nodes are {', '.join(self._nodes)}"

    def _delete(self, path: str, item: DeleteItem) -> Iterator[Fault]:
        reference = ObjectReference(item.kind, item.namespace if item.kind == "Pod" else "", item.name)
        if self._there.pop(reference, None) is None and "/".join(filter(None, reference[1:])) not in self._doubtful:
            yield path, f"there is no {reference} at this step"

    def _restart(self, path: str, item: RestartItem) -> Iterator[Fault]:
        if item.what == "datastore":
            yield path, "restarts of the datastore are not served yet"
        if item.node is not None and item.node not in self._nodes:
            yield f"{path}.node", f"there is no node {item.node}: nodes are {', '.join(self._nodes)}"

    def _probe(self, path: str, probe: ProbeItem) -> Iterator[Fault]:
        if probe.protocol == "SCTP":
            yield f"{path}.protocol", "SCTP probes are not served yet"
        yield from ((f"{path}.from", reason) for reason in self._source(probe.source_end))
        yield from ((f"{path}.to", reason) for reason in self._target(probe.target))

    def _source(self, name: str) -> Iterator[str]:
        if "/" not in name:
            yield f"probes from {_what(name)} are not served yet: give namespace/pod"
            return
        pod = self._pod(name)
        if pod is not None:
            yield from self._runs(pod)
        elif name not in self._doubtful:
            yield f"there is no pod {name} at this step"

    def _target(self, name: str) -> Iterator[str]:
        if "/" in name:
            pod = self._pod(name)
            if pod is not None:
                yield from self._runs(pod)
            elif name not in self._once | self._doubtful:
                yield f"there is no pod {name} at this step, and there was none before"
        elif ":" in name or ipaddress.ip_address(name) not in self._subnet:
            yield f"probes to {_what(name)} are not served yet: give namespace/pod, or an address in {self._subnet}"

    def _pod(self, name: str) -> Pod | None:
        pod: Pod | None = self._there.get(ObjectReference("Pod", *name.split("/", 1)))
        return pod

    def _runs(self, pod: Pod) -> Iterator[str]:
        if pod.host_network:
            yield f"{pod.key} has hostNetwork: probes of the node's own stack are not served yet"
        elif not pod.node:
            yield f"{pod.key} does not run: it has no spec.nodeName"


def _key(found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    if not isinstance(metadata, Mapping):
        return ""
    return "/".join(str(metadata[part]) for part in ("namespace", "name") if metadata.get(part))


def _what(name: str) -> str:
    kind, colon, _ = name.partition(":")
    if colon and kind == "node":
        return f"a node's own stack ({name})"
    if colon and kind == "vpp":
        return f"VPP's own stack ({name})"
    return f"outside hosts and services ({name})"
