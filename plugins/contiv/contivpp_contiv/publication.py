# SPDX-License-Identifier: Apache-2.0
"""What the others are told: this node's ID and addresses, published as long as the cluster does not have them.

What the cluster has is in the table `ClusterNode`. Nothing is published that is there already; what was lost is
published again at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from contivpp_contiv.membership import in_cluster, publisher
from contivpp_contiv.records import OWN_NODE
from contivpp_contiv.repeat import backoff
from contivpp_core.agent import Agent
from contivpp_core.errors import ContivError
from contivpp_core.node import CLUSTER_NODE, NODE_CONFIG, ClusterNode, NodeConfig
from contivpp_core.tasks import end

__all__ = ["Publication"]

log = logging.getLogger(__name__)

MIRROR_SECONDS = 5.0
"""How long the table may take to tell what was published, before it is published again."""


class Publication:
    """Publishes this node. `allowed` tells whether its ID is its own."""

    def __init__(self, agent: Agent, allowed: Callable[[], bool]) -> None:
        self._agent = agent
        self._allowed = allowed
        self._changed = asyncio.Event()
        self._unlisten: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to publish, unless there are no others."""
        if in_cluster(self._agent):
            self._changed.set()
            self._unlisten = self._agent.controller.listen(self._changed.set)
            self._task = asyncio.get_running_loop().create_task(self._publish(), name="contiv publisher")

    async def stop(self) -> None:
        """End; what was published stays."""
        self._unlisten()
        await end(self._task)

    def look(self) -> None:
        """Whether publishing is allowed may have changed."""
        self._changed.set()

    async def _publish(self) -> None:
        pauses = backoff(self._agent, "publication")
        while True:
            await self._changed.wait()
            self._changed.clear()
            own = self._unpublished()
            if own is None:
                continue
            try:
                await publisher(self._agent).publish(own)
            except ContivError as error:
                if not pauses.tries:
                    log.warning("the node's addresses cannot be published yet", extra={"error": str(error)})
                await pauses.pause()
                self._changed.set()
                continue
            pauses.reset()
            log.info("this node's addresses are published", extra={"addresses": own.vpp_addresses})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MIRROR_SECONDS):
                    while self._unpublished() == own:
                        await self._changed.wait()
                        self._changed.clear()
            self._changed.set()

    def _unpublished(self) -> ClusterNode | None:
        """Return this node as it is to be published, or None where nothing is to be done."""
        state, name = self._agent.state, self._agent.node_name
        own: ClusterNode | None = state.get(OWN_NODE.name, name)
        config: NodeConfig | None = state.get(NODE_CONFIG.name, name)
        if own is None or config is None or not self._allowed() or not self._agent.engine.table_ready(OWN_NODE.name):
            return None
        return None if state.get(CLUSTER_NODE.name, name) == own else own
