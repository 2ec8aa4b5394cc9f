# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects as a rig takes them, before they go into the cluster's store.

Objects that Kubernetes would refuse are taken as they are, as long as they have the shape of their kind: agents must
stand them. Kinds that nothing renders yet are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contivpp_core.errors import ContivError
from contivpp_core.kubernetes import KINDS, decode
from contivpp_core.records import Record

__all__ = ["NAMESPACED", "ObjectError", "kind_of", "record_of"]

SERVED = {name: table for name, table in KINDS.items() if name not in ("Service", "EndpointSlice")}
"""The kinds that something here makes use of."""

NAMESPACED = ("Pod",)
"""The kinds whose objects are in namespaces."""


class ObjectError(ContivError):
    """An object cannot be taken; the message says which, and why."""


def kind_of(name: object) -> str:
    """Return the name of a kind that is served, or raise ObjectError."""
    if not isinstance(name, str) or not name:
        raise ObjectError("an object must say its kind")
    if name not in SERVED:
        raise ObjectError(f"objects of kind {name} are not served yet: known are {', '.join(SERVED)}")
    return name


def record_of(found: Mapping[str, Any]) -> Record:
    """Return the record for an object; raise ObjectError or MalformedObject."""
    return decode(SERVED[kind_of(found.get("kind"))].record, found)  # type: ignore[no-any-return]
