# SPDX-License-Identifier: Apache-2.0
"""What nodes that are gone have published is removed from the cluster's store.

Agents free the ID of a node that is gone, and remove its key where they may. A user of etcd with least rights writes no
key of another node: then the key is left to the reflector, which knows whether there is a Node object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from contivpp_core.backoff import Backoff
from contivpp_core.cluster import node_key, object_key
from contivpp_core.kvstore import Compare, DeleteKey, KVStore
from contivpp_core.node import NodeClaim
from contivpp_core.repeat import whenever

__all__ = ["Leftovers"]

log = logging.getLogger(__name__)


class Leftovers:
    """Removes the keys of nodes whose ID rests and that have no Node object. `nodes` are all Node objects by name,
    `claims` the book; `allowed` tells whether both are complete, and this process is to write.
    """

    def __init__(
        self,
        store: KVStore,
        nodes: Callable[[], Mapping[str, int]],
        claims: Callable[[], Iterable[NodeClaim]],
        *,
        allowed: Callable[[], bool],
    ) -> None:
        self._store, self._nodes, self._claims, self._allowed = store, nodes, claims, allowed
        self._done: dict[str, float] = {}  # when the ID was freed, of nodes whose key is removed
        self._wake = asyncio.Event()
        self._reason = ""

    def touch(self) -> None:
        """Something may have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Remove for ever."""
        await whenever(self._wake, self._once, self._tell, Backoff("leftovers"))

    def _tell(self, reason: str) -> None:
        if reason and self._reason != reason:
            log.warning("what a node has published cannot be removed", extra={"reason": reason})
        self._reason = reason

    async def _once(self) -> None:
        if not self._allowed():
            self._done.clear()  # the store may be another one afterwards
            return
        claims = tuple(self._claims())
        present = {*self._nodes(), *(claim.name for claim in claims if claim.held)}
        gone = {claim.name: claim.freed for claim in claims if not claim.held and claim.name not in present}
        self._done = {name: freed for name, freed in self._done.items() if gone.get(name) == freed}
        for name in sorted(gone.keys() - self._done.keys()):
            no_node = Compare(object_key("Node", "", name), 0)
            if (await self._store.transaction((no_node,), (DeleteKey(node_key(name)),))).succeeded:
                self._done[name] = gone[name]
