# SPDX-License-Identifier: Apache-2.0
"""What an agent remembers, while it runs, of the claims and nodes that it has seen: for how long, and since when not.

All times are the event loop's, in seconds; nothing here is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from contivpp_contiv.claims import Sight, taken
from contivpp_core.node import NodeClaim

__all__ = ["Observer"]


class Observer:
    """The memory of one agent, from its start to its end. `rest` is for how long a freed ID rests."""

    def __init__(self, name: str, rest: float) -> None:
        self._name = name
        self._rest = rest
        self._since: float | None = None
        self._seen: frozenset[int] = frozenset()
        self._confirmed: float | None = None
        self._missing: dict[str, float] = {}

    def sight(
        self,
        node_id: int,
        claims: tuple[NodeClaim, ...],
        nodes: Mapping[str, int] | None,
        *,
        time: float,
        now: float,
        sourced: bool = True,
        configured: bool = False,
    ) -> Sight:
        """Return what is seen now, with what is remembered; `now` is the wall clock's."""
        return Sight(
            name=self._name,
            node_id=node_id,
            configured=configured,
            held=self.holds(time),
            claims=claims,
            nodes=nodes,
            sourced=sourced,
            looked=0.0 if self._since is None else time - self._since,
            seen=self._seen,
            now=now,
            rest=self._rest,
        )

    def note(self, sight: Sight, time: float, published: Iterable[str] = ()) -> None:
        """Remember a sight of the book itself, and which nodes have published something."""
        if self._confirmed is not None and not self.holds(time):
            self.cut_off()  # it was away for so long that what it knows is worth nothing
            self._confirmed = None
        if not sight.present:
            self._since, self._seen, self._missing = None, frozenset(), {}
            return
        self._since = time if self._since is None else self._since
        self._seen = frozenset() if sight.node_id else self._seen | taken(sight)
        if sight.nodes is None:
            self._missing = {}
            return
        names = {claim.name for claim in sight.claims if claim.held and claim.name}.union(published)
        self._missing = {name: self._missing.get(name, time) for name in names - sight.nodes.keys()}

    def missing(self, time: float) -> dict[str, float]:
        """Return for how long nodes have had no object, by name."""
        return {name: time - since for name, since in self._missing.items()}

    def confirm(self, time: float) -> None:
        """The book has just said that the ID is this node's."""
        self._confirmed = time

    def drop(self) -> None:
        """The ID is another's, or was given up."""
        self._confirmed = None

    def holds(self, time: float) -> bool:
        """Tell whether nobody else can have been given the ID yet."""
        return self._confirmed is not None and time - self._confirmed < self._rest

    def cut_off(self) -> None:
        """The book cannot be read: what was looked at so far does not count."""
        self._since, self._seen, self._missing = None, frozenset(), {}
