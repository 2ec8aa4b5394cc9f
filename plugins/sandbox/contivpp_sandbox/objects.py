# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects on their way into an agent's tables, as the API server's watch would bring them.

Objects that Kubernetes would refuse are taken as they are, as long as they have the shape of their kind: agents must
stand them. Kinds that nothing renders yet are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from contivpp_core.errors import ContivError
from contivpp_core.kubernetes import KINDS, decode
from contivpp_core.records import Record
from contivpp_core.state import Delete, Put, Ready, Write

__all__ = ["NAMESPACED", "TABLES", "ObjectError", "delete_write", "full_list", "kind_of", "put_write"]

TABLES = tuple(table.name for table in KINDS.values())
"""The tables that objects come to."""
NAMESPACED = ("Pod",)
"""The kinds whose objects are in namespaces."""


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
    table = KINDS[kind_of(found.get("kind"))]
    record: Record = decode(table.record, found)
    return Put(table.name, record)


def delete_write(kind: str, namespace: str, name: str) -> Delete:
    """Return the write that removes an object."""
    table = KINDS[kind_of(kind)]
    return Delete(table.name, f"{namespace}/{name}" if kind in NAMESPACED else name)


def full_list(writes: Iterable[Write]) -> list[Write]:
    """Return the writes, and that everything there is has now been told."""
    return [*writes, *(Ready(table) for table in TABLES)]
