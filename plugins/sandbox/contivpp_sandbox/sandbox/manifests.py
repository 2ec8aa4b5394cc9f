# SPDX-License-Identifier: Apache-2.0
"""Reads Kubernetes YAML, as people write it for kubectl: documents, and lists of objects."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from contivpp_core.errors import ConfigError, ContivError
from contivpp_core.records import AnyTable
from contivpp_sandbox.objects import NAMESPACED, SERVED, record_of

__all__ = ["Scheduler", "read_manifests"]


class Scheduler:
    """Gives pods their nodes: those that run stay where they are, others go where the fewest are."""

    def __init__(self, nodes: Iterable[str], running: Mapping[str, str]) -> None:
        self._nodes = list(nodes)
        self._placed = dict(running)  # pods' nodes, by the pods' keys

    def expect(self, documents: Iterable[Any]) -> None:
        """Take in nodes that the same file has join."""
        for found in documents:
            metadata = found.get("metadata") if isinstance(found, Mapping) and found.get("kind") == "Node" else None
            if isinstance(metadata, Mapping) and metadata.get("name") not in (None, *self._nodes):
                self._nodes.append(str(metadata["name"]))

    def known(self, field: str, name: object) -> None:
        """Raise an error if there is no such node."""
        if name not in self._nodes:
            raise ContivError(f"{field}: there is no node {name}: nodes are {', '.join(self._nodes)}")

    def place(self, key: str, wanted: object) -> str:
        """Return the node of a pod; raise ContivError if that cannot be."""
        before = self._placed.get(key)
        if not self._nodes:
            raise ContivError("spec.nodeName: there is no node left for the pod: apply a Node first")
        if wanted is None:
            counts = Counter(self._placed.values())
            wanted = before or min(self._nodes, key=lambda name: (counts[name], self._nodes.index(name)))
        self.known("spec.nodeName", wanted)
        if before not in (None, wanted):
            raise ContivError(f"spec.nodeName: the pod runs on {before}, and pods do not move: delete it first")
        self._placed[key] = str(wanted)
        return str(wanted)


def read_manifests(
    name: str, scheduler: Scheduler | None, kinds: Mapping[str, AnyTable] = SERVED
) -> list[dict[str, Any]]:
    """Return the objects of a file (`-` is stdin), ready to apply; raise ConfigError with every fault.

    What an API server and a scheduler would fill in is filled in: the namespace `default`, and the node of a pod.
    Without a scheduler, for objects that are only to be named, nodes do not matter.
    """
    documents = list(_documents(name))
    if scheduler is not None:
        scheduler.expect(found for _, found in documents)
    faults: list[str] = []
    objects = []
    for place, found in documents:
        where = f"{name}: {place}"
        try:
            objects.append(_checked(found, scheduler, kinds))
        except ContivError as error:
            faults.append(f"{where}: {error}")
    seen: set[tuple[str, str, str]] = set()
    for each in objects:
        identity = (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        if identity in seen:
            faults.append(f"{name}: {' '.join(filter(None, identity))} is there twice: leave one out")
        seen.add(identity)
    if faults:
        raise ConfigError(faults)
    return objects


def _documents(name: str) -> Iterator[tuple[str, Any]]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        documents = list(yaml.safe_load_all(text))
    except OSError as error:
        raise ConfigError([f"{name}: {error.strerror}: name a file of Kubernetes YAML, or - for stdin"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{name}: byte {error.start}: the file must be UTF-8 text"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{name}: is no YAML: {' '.join(str(error).split())}"]) from error
    for number, document in enumerate(documents, 1):
        if isinstance(document, Mapping) and document.get("kind") == "List":
            items = document.get("items")
            if not isinstance(items, list):
                raise ConfigError([f"{name}: document {number}: items: must be a list of objects"])
            for index, item in enumerate(items):
                yield f"document {number}, item {index + 1}", item
        elif document is not None:
            yield f"document {number}", document


def _checked(found: Any, scheduler: Scheduler | None, kinds: Mapping[str, AnyTable]) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise ContivError(f"is no object, but {type(found).__name__}: write apiVersion, kind and metadata")
    result = dict(found)
    metadata = result.get("metadata")
    result["metadata"] = dict(metadata) if isinstance(metadata, Mapping) else {}
    if result.get("kind") in NAMESPACED:
        result["metadata"].setdefault("namespace", "default")
    if result.get("kind") == "Pod":
        spec = result.get("spec") or {}
        if not isinstance(spec, Mapping):
            raise ContivError("spec: must hold the pod's settings")
        result["spec"] = dict(spec)
        if scheduler is not None:
            key = f"{result['metadata']['namespace']}/{result['metadata'].get('name')}"
            result["spec"]["nodeName"] = scheduler.place(key, result["spec"].get("nodeName"))
        if result["spec"].get("hostNetwork"):
            raise ContivError("spec.hostNetwork: pods in the node's own network are not served yet: leave it out")
    if result.get("kind") == "NodeConfig" and scheduler is not None:
        scheduler.known("metadata.name", result["metadata"].get("name"))
    record_of(result, kinds)
    return result
