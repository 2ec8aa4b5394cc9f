# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects on their way into an agent's tables, as the API server's watch would bring them.

Objects that Kubernetes would refuse are taken as they are, as long as they have the shape of their kind: agents must
stand them. Kinds that nothing renders yet are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from contivpp_core.errors import ContivError
from contivpp_core.kubernetes import Namespace, Node, Pod, decode
from contivpp_core.records import Record
from contivpp_core.state import Delete, Put, Ready, Write

__all__ = ["KINDS", "ObjectError", "delete_write", "full_list", "kind_of", "put_write"]

KINDS: Mapping[str, type[Pod] | type[Namespace] | type[Node]] = {"Pod": Pod, "Namespace": Namespace, "Node": Node}
"""The kinds that are served."""

class ObjectError(ContivError):
    """An object cannot be taken; the message says which, and why."""


def kind_of(name: object) -> str:
    """Return the name of a kind that is served, or raise ObjectError."""
    if not isinstance(name, str) or not name:
        raise ObjectError("an object must say its kind")
    if name not in KINDS:
        raise ObjectError(f"objects of kind {name} are not served yet: known are {', '.join(KINDS)}")
    return name


def put_write(found: Mapping[str, Any]) -> Put:
    """Return the write for an object; raise ObjectError or MalformedObject."""
    kind = kind_of(found.get("kind"))
    record: Record = decode(KINDS[kind], found)  # type: ignore[type-var]
    return Put(kind, record)


def delete_write(kind: str, namespace: str, name: str) -> Delete:
    """Return the write that removes an object."""
    kind = kind_of(kind)
    return Delete(kind, f"{namespace}/{name}" if kind == "Pod" else name)


def full_list(writes: Iterable[Write]) -> list[Write]:
    """Return the writes, and that everything there is has now been told."""
    return [*writes, *(Ready(kind) for kind in KINDS)]
