# SPDX-License-Identifier: Apache-2.0
"""Which ID is whose: what an agent does about its node's ID, as a pure function of what it sees.

Three places know a node's ID, and each may be lost: the agent's ledger, the book in which IDs are claimed
(`contivpp_core.identity`), and the annotation of the Node object. The book decides between two nodes that are both
there to claim; ledger and annotation tell what it said before it was lost, or put back to an older state. So an agent
that cannot be sure (it has just started, or never had an ID) looks for a moment before it claims anything: who was
sure before is faster, and annotations have time to appear. An agent that *holds* its ID has seen its own claim in the
book not longer ago than a freed ID rests, so nobody can have been given it since.

`observer` has what an agent remembers of a run, `identity` carries out what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

import msgspec

from contivpp_core.node import NodeClaim

__all__ = [
    "FIRST_CLAIM_SECONDS",
    "RECLAIM_SECONDS",
    "Adopt",
    "Claim",
    "Contested",
    "Decision",
    "Gone",
    "Hold",
    "Sight",
    "Surrender",
    "Wait",
    "abandoned",
    "contender",
    "decide",
    "taken",
]

RECLAIM_SECONDS = 1.0
"""How long an agent that has started looks, before it claims again what its ledger says and no annotation confirms."""
FIRST_CLAIM_SECONDS = 3.0
"""How long one without an ID looks: whoever has an ID comes first."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent sees. `node_id` is what ledger or configuration say (0: nothing).

    `nodes` are the Node objects that there are and the IDs that they are annotated with (0: none); None while that is
    not known for certain; where nobody tells of Node objects at all, `sourced` is False. `looked` is for how many
    seconds claims and this node's own object have been in sight, `seen` are the IDs that were taken at any time since.
    """

    name: str
    node_id: int = 0
    configured: bool = False
    held: bool = False
    claims: tuple[NodeClaim, ...] = ()
    nodes: Mapping[str, int] | None = None
    sourced: bool = True
    looked: float = 0.0
    seen: frozenset[int] = frozenset()
    now: float = 0.0
    rest: float = 600.0

    def entry(self, node_id: int) -> NodeClaim | None:
        """Return the book's entry of an ID."""
        return next((claim for claim in self.claims if claim.node_id == node_id), None)

    @property
    def present(self) -> bool:
        """Whether this node's own object is there, as far as anybody tells of such objects."""
        return not self.sourced or (self.nodes is not None and self.name in self.nodes)

    @property
    def annotated(self) -> int:
        """The ID that this node's object is annotated with, unless another's is as well; 0: none."""
        node_id = (self.nodes or {}).get(self.name, 0)
        return node_id if node_id and node_id not in self.of_others() else 0

    def of_others(self) -> dict[int, str]:
        """Return the IDs that other nodes' objects are annotated with, and those nodes."""
        nodes = sorted((self.nodes or {}).items(), reverse=True)
        return {node_id: name for name, node_id in nodes if node_id and name != self.name}


class Hold(msgspec.Struct, frozen=True):
    """The ID is this node's, and the book says so."""


class Wait(msgspec.Struct, frozen=True):
    """Nothing can be done yet; an ID that the node has already goes on to be used."""

    reason: str


class Claim(msgspec.Struct, frozen=True):
    """Claim an ID, in place of what the book says of it now."""

    wanted: NodeClaim
    over: NodeClaim | None


class Adopt(msgspec.Struct, frozen=True):
    """The book says that this node has an ID, which its ledger does not know."""

    node_id: int


class Surrender(msgspec.Struct, frozen=True):
    """Give up a claim that this node does not use."""

    held: NodeClaim


class Contested(msgspec.Struct, frozen=True):
    """The ID that this node uses is another's."""

    holder: str
    surrender: NodeClaim | None = None


class Gone(msgspec.Struct, frozen=True):
    """This node's object was deleted, and its ID freed."""

    freed: float


Decision = Hold | Wait | Claim | Adopt | Surrender | Contested | Gone


def decide(sight: Sight) -> Decision:
    """Return what is to be done about this node's ID."""
    return _stand(sight) if sight.node_id else _join(sight)


def _stand(sight: Sight) -> Decision:
    """Decide for a node that has an ID."""
    entry = sight.entry(sight.node_id)
    if holder := contender(sight):
        own = entry if entry is not None and entry.held and entry.name == sight.name else None
        return Contested(holder, own)
    if entry is not None and entry.held and entry.name == sight.name:
        if sight.held or _is_sure(sight):
            return _surplus(sight) or Hold()
        return Wait("the book's entry is being checked")
    if entry is not None and not entry.held and entry.name == sight.name and not sight.present:
        if sight.nodes is None:
            return Wait("the nodes of the cluster are not known yet")
        return Gone(entry.freed)
    if not (_is_sure(sight) or (sight.held and (entry is None or not entry.name))):
        return Wait("it is claimed again when the nodes of the cluster are known")
    return Claim(NodeClaim(node_id=sight.node_id, name=sight.name, replaces=_replaces(sight, sight.node_id)), entry)


def _is_sure(sight: Sight) -> bool:
    """Tell whether this node may rely on its ledger: nobody else can have been given its ID."""
    if sight.configured or (sight.held and sight.present):
        return True
    return sight.present and (sight.annotated == sight.node_id or sight.looked >= RECLAIM_SECONDS)


def contender(sight: Sight) -> str:
    """Return the other node that the ID of this one belongs to, or ""."""
    entry = sight.entry(sight.node_id)
    if entry is not None and entry.held and entry.name not in ("", sight.name):
        return entry.name
    if sight.configured or sight.held or (sight.nodes or {}).get(sight.name, 0) == sight.node_id:
        return ""
    return sight.of_others().get(sight.node_id, "")


def _surplus(sight: Sight) -> Surrender | None:
    """Return a claim of this node besides its ID's: of before the book was put back to an older state."""
    own = (claim for claim in sight.claims if claim.held and claim.name == sight.name)
    return next((Surrender(claim) for claim in own if claim.node_id != sight.node_id), None)


def _join(sight: Sight) -> Decision:
    """Decide for a node that has no ID, or has lost its ledger."""
    if not sight.present:
        return Wait(f"there is no Node object {sight.name} yet: see whether the cluster's state is mirrored")
    own = [claim.node_id for claim in sight.claims if claim.held and claim.name == sight.name]
    others = sight.of_others()
    if annotated := sight.annotated:
        entry = sight.entry(annotated)
        if annotated in own:
            return Adopt(annotated)
        if entry is None or not entry.held or not entry.name:
            return Claim(NodeClaim(node_id=annotated, name=sight.name), entry)
    rightful = [node_id for node_id in own if node_id not in others]
    if rightful:
        sure = sight.looked >= RECLAIM_SECONDS or not sight.sourced
        return Adopt(min(rightful)) if sure else Wait("the book's entry is being checked")
    if sight.looked < FIRST_CLAIM_SECONDS:
        return Wait("it is claimed when all who have an ID had time to say so")
    node_id = _smallest_free(sight)
    wanted = NodeClaim(node_id=node_id, name=sight.name, replaces=_replaces(sight, node_id))
    return Claim(wanted, sight.entry(node_id))


def _replaces(sight: Sight, node_id: int) -> int:
    annotated = (sight.nodes or {}).get(sight.name, 0)
    return annotated if annotated != node_id else 0


def taken(sight: Sight) -> frozenset[int]:
    """Return the IDs that a node without one cannot have now."""
    rests = {claim.node_id for claim in sight.claims if claim.held or sight.now < claim.freed + sight.rest}
    return frozenset(rests | sight.of_others().keys())


def _smallest_free(sight: Sight) -> int:
    used = taken(sight) | sight.seen
    return next(node_id for node_id in count(1) if node_id not in used)


def abandoned(
    sight: Sight, missing: Mapping[str, float], published: Iterable[str], grace: float
) -> list[NodeClaim | str]:
    """Return the claims of nodes that are gone, to be freed, and the names of those that only left what they published.

    `missing` is for how many seconds Node objects have been missing. An agent that does not see its own node's object
    knows too little: the cluster's state may just be mirrored anew.
    """
    if not (sight.sourced and sight.present and sight.held):
        return []
    gone = {name for name, seconds in missing.items() if seconds >= grace} - (sight.nodes or {}).keys() - {sight.name}
    claims = [claim for claim in sight.claims if claim.held and claim.name in gone]
    left = gone.intersection(published) - {claim.name for claim in claims}
    return [*claims, *sorted(left)]
