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
from contivpp_core.records import AnyTable, Record

__all__ = ["NAMESPACED", "SERVED", "ObjectError", "kind_of", "record_of"]

SERVED = {name: KINDS[name] for name in ("Pod", "Namespace", "Node", "NodeConfig")}
"""The kinds that something here makes use of."""

NAMESPACED = ("Pod", "Service", "EndpointSlice", "NetworkPolicy")
"""The kinds whose objects are in namespaces."""


class ObjectError(ContivError):
    """An object cannot be taken; the message says which, and why."""


def kind_of(name: object, kinds: Mapping[str, AnyTable] = SERVED) -> str:
    """Return the name of a kind that is served, or raise ObjectError."""
    if not isinstance(name, str) or not name:
        raise ObjectError("an object must say its kind")
    if name not in kinds:
        raise ObjectError(f"objects of kind {name} are not served yet: known are {', '.join(kinds)}")
    return name


def record_of(found: Mapping[str, Any], kinds: Mapping[str, AnyTable] = SERVED) -> Record:
    """Return the record for an object of one of these kinds; raise ObjectError or MalformedObject."""
    return decode(kinds[kind_of(found.get("kind"), kinds)].record, found)  # type: ignore[no-any-return]
