# SPDX-License-Identifier: Apache-2.0
"""Markers of completed sweeps: what makes the absence of a key in the cluster's store mean something.

The store's Kubernetes objects are a copy. A copy may be lost or not written yet, and an empty store looks like an
empty cluster. So the reflector, which writes it, leaves a marker for each kind: all objects of the kind that the API
server has are in the store, and a key that is not there is an object that does not exist. Without the marker a
missing key tells nothing.

The marker stands among the kind's keys, so that who deletes these by their prefix deletes it, too. Its value has a
random ID, another one for each sweep: one that was seen before a store was put back to an older state says nothing
about the store afterwards. The reflector writes it when its first sweep of a kind is complete after a start, and again
after a sweep that it makes because the store was wiped, replaced or put back.
"""

from __future__ import annotations

import secrets

import msgspec

from contivpp_core.cluster import OBJECTS, MalformedValue

__all__ = ["MARKER", "marked_kind", "marker_key", "marker_value", "sweep_of"]

MARKER = "_complete"
"""The last part of a marker's key; no namespace and no name of an object is written so."""


class _Marker(msgspec.Struct):
    sweep: str


def marker_key(kind: str) -> str:
    """Return the key of a kind's marker."""
    return f"{OBJECTS}{kind}/{MARKER}"


def marked_kind(key: str) -> str:
    """Return the kind whose marker a key is, or ""."""
    kind, _, rest = key.removeprefix(OBJECTS).partition("/")
    return kind if rest == MARKER and key.startswith(OBJECTS) else ""


def marker_value() -> bytes:
    """Return the value of a marker for a new sweep."""
    return msgspec.json.encode(_Marker(secrets.token_hex(8)))


def sweep_of(key: str, value: bytes) -> str:
    """Return the ID of the sweep that a marker is about; raise MalformedValue."""
    try:
        return msgspec.json.decode(value, type=_Marker).sweep
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedValue(f"{key}: {error}") from error
