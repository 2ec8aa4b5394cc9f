# SPDX-License-Identifier: Apache-2.0
"""This node's ID: claimed in the cluster's book, kept in the ledger, and used only then.

What is to be done is decided in `claims`, by what `observer` remembers; here it is carried out. Agents also free the
IDs of nodes that are gone. Any of them may, all at once: an entry is exchanged only if it still is what was seen, and
only while there is no Node object of that name, in one transaction; so it is freed once, a node that is back in that
moment keeps its ID, and an agent whose view is old can do no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from contivpp_contiv.claims import (
    Adopt,
    Claim,
    Contested,
    Decision,
    Gone,
    Hold,
    Sight,
    Surrender,
    Wait,
    abandoned,
    decide,
)
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.contest import advice
from contivpp_contiv.membership import id_book, in_cluster
from contivpp_contiv.observer import Observer
from contivpp_contiv.records import LOCAL_POD, PODS
from contivpp_contiv.repeat import backoff
from contivpp_core.agent import Agent
from contivpp_core.errors import ContivError
from contivpp_core.identity import IdBook
from contivpp_core.kubernetes import NODE
from contivpp_core.ledger import LedgerWrite
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, NODE_CONFIG, NodeClaim, NodeConfig
from contivpp_core.state import Change, Delete, Put, Ready, Write
from contivpp_core.tasks import end

__all__ = ["CONDITION", "Identity", "first_id"]

log = logging.getLogger(__name__)

SPACE, NODE_ID = "contiv.node", "id"
CONDITION = "contiv node ID"

COALESCE_SECONDS = 0.05
"""Changes that come within that time are looked at together."""
WAIT_SECONDS = 0.5
"""How often is looked again while something is open."""
ADDING_SECONDS = 1.0
"""Within that time, an ADD that has an address already is in the ledger."""
CONTEST_SECONDS = 5.0
"""For so long an ID must be another's before it is given up: a store that was put back is mended by then."""
MOST_TRIES = 1000
_TABLES = frozenset({NODE.name, NODE_CLAIM.name, CLUSTER_NODE.name})


def first_id(agent: Agent, config: ContivConfig) -> int | None:
    """Return the node's ID at a start; None where it has to be claimed first."""
    stored = agent.ledger.get(SPACE, NODE_ID)
    alone = None if in_cluster(agent) else 1  # nobody could have another
    return config.node_id or (int(stored) if stored else alone)


class Identity:
    """Keeps this node's ID claimed. `changed` is called when `held` may have become another."""

    def __init__(self, agent: Agent, config: ContivConfig, changed: Callable[[], None]) -> None:
        self._agent = agent
        self._configured = config.node_id is not None
        self._config = config
        self._changed = changed
        self._id = 0
        self._observer = Observer(agent.node_name, config.id_rest_seconds)
        self._due = 0.0
        self._contested: float | None = None  # since when the ID has been another's
        self._refused: set[str] = set()  # nodes that are gone, and whose IDs cannot be freed
        self._wake = asyncio.Event()
        self._unfollow: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    # --- life

    async def start(self) -> None:
        """Use the ID that is known, and begin to claim it."""
        self._id = first_id(self._agent, self._config) or 0
        await self._use()
        if not in_cluster(self._agent):
            return
        self._unfollow = self._agent.controller.follow(self._noticed)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=CONDITION)

    async def stop(self) -> None:
        """End; the claim stays."""
        self._unfollow()
        await end(self._task)

    @property
    def held(self) -> bool:
        """Whether the ID is this node's for certain."""
        told: NodeClaim | None = self._agent.state.get(NODE_CLAIM.name, str(self._id))
        contested = told is not None and told.held and told.name != self._agent.node_name
        return not contested and self._observer.holds(self._agent.clock.time())

    def _noticed(self, changes: list[Change], flips: list[str]) -> None:
        if not _TABLES.isdisjoint(flips) or any(change.table in _TABLES for change in changes):
            self._wake.set()

    async def _run(self) -> None:
        pauses = backoff(self._agent, CONDITION)
        while True:
            try:
                delay = await self._look()
            except Exception as error:  # the store does not answer, or the disk is full: whatever it is, it may pass
                self._observer.cut_off()
                if not pauses.tries:
                    log.warning("the node's ID cannot be checked now", extra={"error": str(error)})
                if not self._id:
                    self._say(f"cannot be claimed: {str(error) or type(error).__name__}")
                await pauses.pause()
                continue
            pauses.reset()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()
                await asyncio.sleep(COALESCE_SECONDS)
            self._wake.clear()

    def _say(self, reason: str = "") -> None:
        self._agent.set_condition(CONDITION, not reason, reason)

    # --- looking

    async def _look(self) -> float:
        """Do what there is to do; return for how many seconds nothing has to be, unless something changes."""
        time = self._agent.clock.time
        if not self._is_quiet():
            book = id_book(self._agent)
            for _ in range(MOST_TRIES):
                asked = time()
                sight = self._see(await book.claims())
                self._observer.note(sight, time(), self._published())
                sight = self._see(sight.claims)
                before = self.held
                again = await self._carry_out(book, decide(sight), asked)
                if before != self.held:
                    self._changed()
                if not again:
                    break
            await self._free(book, sight)
            self._due = time() + self._config.id_rest_seconds / 4
        if not self.held:
            return WAIT_SECONDS
        grace = self._config.node_gone_seconds
        left = [grace - seconds for seconds in self._observer.missing(time()).values()]
        soon = [seconds + COALESCE_SECONDS for seconds in left if seconds > 0]
        return max(0.0, min([self._due - time(), *(soon or [grace] * len(left))]))

    def _is_quiet(self) -> bool:
        """Tell whether the tables, too, say that all is as it was at the last look at the book."""
        time = self._agent.clock.time()
        if not self.held or time >= self._due or self._observer.missing(time):
            return False
        sight = self._see(tuple(self._agent.state.table(NODE_CLAIM.name).unordered()))
        names = {claim.name for claim in sight.claims if claim.held}.union(self._published())
        missing = sight.nodes is not None and not names <= sight.nodes.keys()
        return not missing and isinstance(decide(sight), Hold)

    def _see(self, claims: tuple[NodeClaim, ...]) -> Sight:
        table = self._agent.state.table(NODE.name)
        sourced = self._agent.sourced(NODE.name)
        known = sourced and table.ready and not table.stale
        return self._observer.sight(
            self._id,
            claims,
            {node.name: node.node_id for node in table.unordered()} if known else None,
            time=self._agent.clock.time(),
            now=self._agent.clock.now(),
            sourced=sourced,
            configured=self._configured,
        )

    def _published(self) -> list[str]:
        return list(self._agent.state.table(CLUSTER_NODE.name))

    # --- carrying out

    async def _carry_out(self, book: IdBook, decision: Decision, asked: float) -> bool:
        """Do what was decided; tell whether it is to be looked at again at once."""
        if not isinstance(decision, Contested):
            self._contested = None
        if isinstance(decision, Hold | Adopt | Claim):
            return await self._settle(book, decision, asked)
        if isinstance(decision, Surrender):
            log.warning("a claim is given up: this node has another ID", extra={"id": decision.held.node_id})
            return await book.surrender(decision.held, self._agent.clock.now())
        if isinstance(decision, Wait):
            self._say("" if self._id else f"{decision.reason}")
            return False
        self._observer.drop()
        if isinstance(decision, Gone):
            self._say(
                f"the Node object {self._agent.node_name} was deleted, and ID {self._id} freed: when the node is "
                "registered again soon, it has its ID back; to take it away for good, stop the agent"
            )
            return False
        return await self._give_way(book, decision)

    async def _settle(self, book: IdBook, decision: Hold | Adopt | Claim, asked: float) -> bool:
        node_id = self._id
        if isinstance(decision, Claim):
            node_id = decision.wanted.node_id
            if not await book.claim(decision.wanted, decision.over):
                return True  # another was faster
            log.info("ID %d is claimed", node_id)
        elif isinstance(decision, Adopt):
            node_id = decision.node_id
        if node_id != self._id:
            await self._agent.ledger.commit(LedgerWrite(SPACE, NODE_ID, str(node_id).encode()))
            self._id = node_id
            await self._use()
        self._observer.confirm(asked)
        self._say()
        return not isinstance(decision, Hold)

    async def _use(self) -> None:
        writes: list[Write] = [Ready(NODE_CONFIG.name)]
        if self._id:
            writes.append(Put(NODE_CONFIG.name, NodeConfig(name=self._agent.node_name, node_id=self._id)))
        self._say("" if self._id else "is not claimed yet")
        await self._agent.controller.write("node ID", writes)

    # --- another has this node's ID

    async def _give_way(self, book: IdBook, contested: Contested) -> bool:
        """Say that the ID is another's; take another one if no pod needs this one. Tell whether it was given up."""
        agent = self._agent
        reason = advice(agent.node_name, self._id, contested.holder, configured=self._configured)
        self._say(f"node {agent.node_name} {reason}")
        if contested.surrender is not None:
            return await book.surrender(contested.surrender, agent.clock.now())
        time = agent.clock.time()
        self._contested = time if self._contested is None else self._contested
        if self._configured or self._has_pods() or time - self._contested < CONTEST_SECONDS:
            return False
        # From now on no ADD gets an address; one that has got its own just now is waited for.
        await agent.controller.write("node ID given up", [Delete(NODE_CONFIG.name, agent.node_name)])
        await asyncio.sleep(ADDING_SECONDS)
        if self._has_pods():
            await agent.controller.write("node ID", [Put(NODE_CONFIG.name, self._own_config())])
            return False
        await agent.ledger.commit(LedgerWrite(SPACE, NODE_ID, None))
        log.warning("ID %d is node %s's: this node has no pods, and takes another", self._id, contested.holder)
        self._id = 0
        self._say("is not claimed yet")
        return True

    def _own_config(self) -> NodeConfig:
        return NodeConfig(name=self._agent.node_name, node_id=self._id)

    def _has_pods(self) -> bool:
        return bool(self._agent.ledger.items(PODS)) or len(self._agent.state.table(LOCAL_POD.name)) > 0

    # --- nodes that are gone

    async def _free(self, book: IdBook, sight: Sight) -> None:
        missing = self._observer.missing(self._agent.clock.time())
        gone = self._config.node_gone_seconds
        for left in abandoned(sight, missing, self._published(), gone):
            name = left.name if isinstance(left, NodeClaim) else left
            try:
                if isinstance(left, NodeClaim):
                    freed = await book.free(left, self._agent.clock.now())
                else:
                    freed = await book.forget(left)
            except ContivError as error:  # this agent may not be allowed to; another is, or what mirrors Kubernetes
                if name not in self._refused:
                    log.warning("node %s is gone, and this agent cannot free its ID: %s", name, error)
                self._refused.add(name)
                continue
            self._refused.discard(name)
            if freed:
                log.info("node %s is gone: its ID rests, and what it published is removed", name)
