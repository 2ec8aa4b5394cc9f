# SPDX-License-Identifier: Apache-2.0
"""When a cluster in memory has come to rest.

Agents publish what they are in the store, and the others act on it: the cluster has settled when every agent has seen
the store's last revision, has nothing left to do, and the store has not changed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from contivpp_core.agent import Agent
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_datastore.plugin import DatastorePlugin
from contivpp_sandbox.rigs.memory.node import MemoryNode

__all__ = ["settled", "unapplied"]

_APPLIED = ("applied", "shadowed")
_POLL_SECONDS = 0.05


async def settled(nodes: Mapping[str, MemoryNode], store: MemoryKVStore, deadline: float) -> list[str]:
    """Wait, at most `deadline` seconds; return a line for each node that has not settled then."""
    waiting: set[str] = set()
    try:
        async with asyncio.timeout(deadline):
            while True:
                revision = store.revision
                for node in nodes.values():
                    waiting = {node.name}
                    await _at_rest(node.running(), revision)
                await asyncio.sleep(_POLL_SECONDS)
                if store.revision == revision and all(node.running().ready for node in nodes.values()):
                    return []
    except TimeoutError:
        return [f"node {name}: not settled within {deadline:g} s" for name in sorted(waiting)]


async def _at_rest(agent: Agent, revision: int) -> None:
    mirror = agent.plugin("datastore")
    assert isinstance(mirror, DatastorePlugin)
    await mirror.caught_up(revision)
    while True:
        await agent.controller.settled()
        if agent.ready:
            return
        await asyncio.sleep(_POLL_SECONDS)


def unapplied(node: MemoryNode) -> list[str]:
    """Return a line for all on a node that is not as it should be."""
    agent = node.running()
    lines = [f"{name}: {state.reason}" for name, state in sorted(agent.readiness().items()) if not state.ok]
    lines += [f"renderer {owner}: {error}" for owner, error in agent.engine.failures.items()]
    lines += [
        f"{item.key} is {item.state}: {item.reason}"
        for item in agent.scheduler.items()
        if item.state not in _APPLIED
    ]
    return [f"node {node.name}: {line}" for line in lines]
