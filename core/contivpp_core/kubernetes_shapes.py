# SPDX-License-Identifier: Apache-2.0
"""What the shapes of all Kubernetes objects have in common. Go encodes empty lists and maps as null: both are empty."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["ANNOTATION_PREFIX", "Meta", "Pairs", "Shape", "missing", "pairs"]

ANNOTATION_PREFIX = "contivpp.io/"
"""Only annotations that begin so are kept."""

Pairs = tuple[tuple[str, str], ...]


class Shape(msgspec.Struct, rename="camel", gc=False):
    """Base of the shapes: the API's JSON, as far as it is read. It is a tree, and never part of a cycle."""


class Meta(Shape):
    """The metadata of an object."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


def pairs(values: Mapping[str, str] | None, prefix: str = "") -> Pairs:
    """Return labels or annotations whose names begin with the prefix, in order."""
    if not values:
        return ()
    if not prefix:
        return tuple(sorted(values.items()))
    return tuple(sorted([pair for pair in values.items() if pair[0].startswith(prefix)]))


def missing(field: str, where: str) -> msgspec.ValidationError:
    """Return the error that msgspec raises for a missing field."""
    return msgspec.ValidationError(f"Object missing required field `{field}` - at `{where}`")
