# SPDX-License-Identifier: Apache-2.0
"""How the mirror recognises the store that it knows.

A wiped etcd that is filled again soon has passed the revision that an agent wants to go on from, and its cluster's ID
may be the old one. So the mirror remembers one key with the revision of its last change and a digest of its value. A
key whose last change lies behind the known revision cannot have another one in the same store. Markers of sweeps are
preferred: their values are random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from contivpp_core.kvstore import KeyValue, Listing, WatchEvent
from contivpp_core.markers import marked_kind

__all__ = ["Anchor", "anchor_in", "moved"]


class Anchor(msgspec.Struct, frozen=True):
    """A key, the revision of its last change, its value's digest, and the store's revision when that was known."""

    key: str
    changed: int
    digest: str
    revision: int

    def same(self, found: KeyValue | None) -> bool:
        """Tell whether the key is exactly as it was."""
        return found is not None and (found.revision, _digest(found.value)) == (self.changed, self.digest)

    def refutes(self, found: KeyValue | None) -> bool:
        """Tell whether a key as it is now proves that this is another store."""
        return found is not None and found.revision <= self.revision and not self.same(found)


def anchor_in(listing: Listing) -> Anchor | None:
    """Return an anchor for a listing; None if it is empty."""
    if not listing.items:
        return None
    best = max(listing.items, key=lambda item: (bool(marked_kind(item.key)), item.revision))
    return Anchor(best.key, best.revision, _digest(best.value), listing.revision)


def moved(anchor: Anchor | None, events: Iterable[WatchEvent], revision: int) -> Anchor | None:
    """Return the anchor after a batch of changes; None where the next connection has to list."""
    marked = anchor is not None and bool(marked_kind(anchor.key))
    last: WatchEvent | None = None
    for event in events:
        if (event.value is not None and not marked) or (anchor is not None and event.key == anchor.key):
            last = event
    if last is not None:
        lost = last.value is None
        anchor = None if lost else Anchor(last.key, last.revision, _digest(last.value or b""), revision)
    return None if anchor is None else msgspec.structs.replace(anchor, revision=max(anchor.revision, revision))


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
