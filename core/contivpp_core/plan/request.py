# SPDX-License-Identifier: Apache-2.0
"""What a plan is asked for: the body of `POST /v1/plan`.

    {"config": {"name": "agent.yaml", "text": "..."},
     "manifests": [{"place": "pods.yaml: document 1", "object": {...}}],
     "replace": false, "live": false}

Everything may be left out: then it is told what would change now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from contivpp_core import kubernetes
from contivpp_core.errors import ConfigError, ContivError
from contivpp_core.kubernetes import KINDS, MalformedObject
from contivpp_core.records import Record
from contivpp_core.state import Delete, Put, State, Write

__all__ = ["ConfigFile", "Manifest", "PlanRequest", "object_writes", "parse"]


class ConfigFile(msgspec.Struct, frozen=True):
    """A configuration as it is written; `name` is for messages."""

    name: str
    text: str


class Manifest(msgspec.Struct, frozen=True):
    """A Kubernetes object, and where it stands."""

    place: str
    object: Any


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `replace`, no other objects of the manifests' kinds exist; otherwise they are added to the known ones."""

    config: ConfigFile | None = None
    manifests: tuple[Manifest, ...] = ()
    replace: bool = False
    live: bool = False


def parse(body: bytes) -> PlanRequest:
    """Return the request of a body."""
    try:
        return msgspec.json.decode(body or b"{}", type=PlanRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ContivError(f"the body is not a plan's request: {error}") from error


def object_writes(request: PlanRequest, state: State) -> tuple[list[Write], list[str]]:
    """Return what the objects write, and which of them concern no table. Raises ConfigError with all that are wrong."""
    faults: list[str] = []
    ignored: list[str] = []
    records: dict[str, dict[str, Record]] = defaultdict(dict)
    for place, found in _objects(request.manifests):
        kind = found.get("kind") if isinstance(found, dict) else None
        if not isinstance(kind, str):
            faults.append(f"{place}: is no Kubernetes object: it has no kind")
            continue
        if (table := KINDS.get(kind)) is None:
            ignored.append(f"{place}: {kind}: the agent reads no objects of this kind")
            continue
        try:
            record: Record = kubernetes.decode(table.record, _placed(found) if table.namespace else found)
        except MalformedObject as error:
            faults.append(f"{place}: {error}")
            continue
        if (key := table.key(record)) in records[table.name]:
            faults.append(f"{place}: {kind} {key} stands in the manifests twice")
        records[table.name][key] = record
    if faults:
        raise ConfigError(faults)
    writes: list[Write] = []
    for name, some in records.items():
        if request.replace:
            writes += [Delete(name, key) for key in state.table(name) if key not in some]
        writes += [Put(name, record) for record in some.values()]
    return writes, ignored


def _objects(manifests: Iterable[Manifest]) -> Iterable[tuple[str, Any]]:
    """Yield each object; a list (`kubectl get -o yaml` gives one) is what it holds."""
    for manifest in manifests:
        found = manifest.object
        if isinstance(found, dict) and str(found.get("kind", "")).endswith("List"):
            for number, each in enumerate(found.get("items") or (), 1):
                yield f"{manifest.place}, item {number}", each
        else:
            yield manifest.place, found


def _placed(found: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a kind with namespaces in the one it gets where it names none."""
    metadata = found.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("namespace"):
        return found
    return {**found, "metadata": {**metadata, "namespace": "default"}}
