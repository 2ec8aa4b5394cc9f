# SPDX-License-Identifier: Apache-2.0
"""What the absence of a key in the store tells: the rule that keeps an empty store from being taken for an empty
cluster.

A store may be wiped, put back to an older state, replaced by another one, or not be filled yet. So what the agent
knows stands until somebody who knows has written again:

- A Kubernetes kind is *vouched for* while its marker is in the store (`contivpp_core.markers`): the reflector has
  listed the kind, and the store holds that list. Only then its table becomes ready, only then a key that is missing
  from a list, or that is deleted, is a record that goes. New and changed keys count at once, always.
- When the store turns out to be another one than before (its revision went back, its cluster's ID or a key that has
  not changed is another), all sweeps known so far are spent: a marker that comes back with a restored backup does not
  vouch; the reflector sweeps again and writes one that does.
- Nodes publish themselves. The records of a node that is missing from a list (`ClusterNode`, `NodeClaim`) stand until
  it writes again, or the kind Node is vouched for and has no such node. A claim goes, too, when its node has another
  one. Those of the agent's own node go at once, so that it writes them again.
- A kind that comes to be vouched for is listed anew, and the difference is written.

Without a reflector (`reflected` false: rigs, and a store that is filled by hand) every list is the truth; so it is for
kinds that are not reflected.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from contivpp_core.cluster import MalformedValue
from contivpp_core.kubernetes import KINDS
from contivpp_core.kvstore import WatchEvent
from contivpp_core.markers import marked_kind, sweep_of
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM

__all__ = ["NODE_KIND", "Trust", "kind_of"]

NODE_KIND = "Node"
MOST_SWEEPS = 1000
_KIND_OF = {table.name: kind for kind, table in KINDS.items()}


def kind_of(table: str) -> str:
    """Return the kind that vouches for a table's keys."""
    return NODE_KIND if table in (CLUSTER_NODE.name, NODE_CLAIM.name) else _KIND_OF[table]


class _Remembered(msgspec.Struct):
    seen: list[str]
    spent: list[str]


class Trust:
    """Which kinds are vouched for now."""

    def __init__(self, *, reflected: bool) -> None:
        self.reflected = reflected
        self._sweeps: dict[str, str] = {}  # of the markers in the store, by kind
        self._seen: dict[str, None] = {}
        self._spent: set[str] = set()

    def vouched(self, kind: str) -> bool:
        """Tell whether a kind's missing keys are objects that do not exist."""
        if not self.reflected:
            return True
        sweep = self._sweeps.get(kind)
        return sweep is not None and sweep not in self._spent

    def doubted(self) -> list[str]:
        """Return the kinds that nobody vouches for."""
        return [kind for kind in sorted(KINDS) if not self.vouched(kind)]

    def listed(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Take the markers from a list of the store's keys and values."""
        self._sweeps.clear()
        for key, value in items:
            self._note(key, value)

    def changed(self, events: Iterable[WatchEvent]) -> tuple[set[str], bool]:
        """Take a batch; return the kinds whose deletions in it count, and whether a list is wanted now."""
        before = {kind for kind in KINDS if self.vouched(kind)}
        gone: set[str] = set()
        for event in events:
            if kind := marked_kind(event.key):
                if event.value is None:
                    self._sweeps.pop(kind, None)
                    gone.add(kind)
                else:
                    self._note(event.key, event.value)
        after = {kind for kind in KINDS if self.vouched(kind)}
        counting = before & after if not self.reflected else (before & after) - gone
        return counting, self.reflected and bool(after - counting)

    def replaced(self) -> None:
        """The store is another one: what vouched before does not any more."""
        self._spent = set(self._seen)

    # --- over a restart

    def remember(self) -> bytes:
        """Return what must survive a restart of the agent."""
        return msgspec.json.encode(_Remembered(list(self._seen), sorted(self._spent)))

    def recall(self, data: bytes) -> None:
        """Take what `remember` returned; what cannot be read is nothing."""
        try:
            found = msgspec.json.decode(data, type=_Remembered)
        except msgspec.MsgspecError:
            return
        self._seen = {**dict.fromkeys(found.seen), **self._seen}
        self._spent |= set(found.spent)

    def _note(self, key: str, value: bytes) -> None:
        kind = marked_kind(key)
        if not kind:
            return
        try:
            sweep = sweep_of(key, value)
        except MalformedValue:
            self._sweeps.pop(kind, None)
            return
        self._sweeps[kind] = sweep
        self._seen.pop(sweep, None)
        self._seen[sweep] = None
        while len(self._seen) > MOST_SWEEPS:
            self._spent.discard(oldest := next(iter(self._seen)))
            del self._seen[oldest]
