# SPDX-License-Identifier: Apache-2.0
"""A rig of processes: a sandbox that lives as long as this process at most, driven as scenarios want it.

How probes are sent is in `probes`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contivpp_sandbox.rigs.base import (
    DEFAULT_UNDERLAY,
    KubernetesObject,
    ObjectReference,
    Probe,
    Restartable,
    RigError,
    RigUnavailable,
    Underlay,
    Verdict,
)
from contivpp_sandbox.rigs.netns.probes import Prober
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import MachineLacks, SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory
from contivpp_sandbox.sandbox.teardown import take_down
from contivpp_sandbox.sandbox.vpp import Dataplane
from contivpp_sandbox.servers.layout import Datastore

__all__ = ["NetnsRig"]

_GRACE_SECONDS = 0.2  # events that are on their way arrive


class NetnsRig:
    """Nodes in network namespaces."""

    def __init__(self, name: str, dataplane: Dataplane, datastore: Datastore = "embedded") -> None:
        self.name = name
        self._dataplane = dataplane
        self._datastore = datastore
        self._base: Path | None = None
        self._cluster: Cluster | None = None
        self._prober: Prober | None = None

    @property
    def cluster(self) -> Cluster:
        """The cluster, from the start on."""
        if self._cluster is None:
            raise RigError("the rig is not started")
        return self._cluster

    # --- life

    async def start(
        self, nodes: Sequence[str], config: Mapping[str, Any], underlay: Underlay = DEFAULT_UNDERLAY
    ) -> None:
        """Build the cluster, and wait until its agents are ready."""
        self._base = Path(tempfile.mkdtemp(prefix="contivpp-rig-"))
        directory = Directory(self._base, "rig")
        try:
            directory.make()
            inventory = Inventory(self._dataplane, underlay.mtu, config, datastore=self._datastore)
            self._cluster = Cluster(directory, inventory)
            self._prober = Prober(self._cluster)
            await self._cluster.up(nodes, with_parent=True)
            if underlay.loss:
                await self._cluster.underlay.lose(self._cluster.inventory.members, 100 * underlay.loss)
        except MachineLacks as error:
            raise RigUnavailable(f"the rig {self.name} cannot run here: {error}") from error
        except SandboxError as error:
            raise RigError(f"the rig {self.name} does not start: {error}") from error

    async def stop(self) -> None:
        """Take everything down."""
        if self._cluster is not None:
            await self._cluster.close()
        if self._base is not None:
            await take_down(Directory(self._base, "rig"))
            if self._base.exists():
                self._base.rmdir()
            self._base = self._cluster = self._prober = None

    # --- objects

    async def apply(self, objects: Sequence[KubernetesObject]) -> None:
        """Create or change objects; new pods are connected, and nodes that are not there join."""
        await self.cluster.apply(objects)
        self._learn()

    async def delete(self, references: Sequence[ObjectReference]) -> None:
        """Delete objects; pods are disconnected first, and nodes leave."""
        await self.cluster.delete(references)

    def _learn(self) -> None:
        assert self._prober is not None
        self._prober.learn()

    # --- restarts and time

    async def restart(self, what: Restartable, node: str | None, *, kill: bool) -> None:
        """Restart agent or VPP, on all nodes at once where none is named, or what has the cluster's state."""
        if node is not None and node not in self.cluster.nodes:
            raise RigError(f"there is no node {node}")
        if what == "datastore":
            await self.cluster.store.restart(what, kill=kill)
            return
        nodes = [self.cluster.nodes[node]] if node is not None else [*self.cluster.nodes.values()]
        for each in nodes:
            await each.stop(what, kill=kill)
        await asyncio.gather(*(each.start_vpp() if what == "vpp" else each.start_agent() for each in nodes))

    async def advance(self, seconds: float) -> None:
        """Let time pass, which takes this time."""
        await asyncio.sleep(seconds)

    async def settle(self, deadline: float) -> list[str]:
        """Wait until the agents have settled; pods that could not be connected are tried once more."""
        end = asyncio.get_running_loop().time() + deadline
        await asyncio.sleep(_GRACE_SECONDS)
        settled, lines = await self.cluster.settled(deadline)
        if settled and any(pod.failure for pod in self.cluster.pods.values()):
            await self.cluster.kubelet.retry()
            self._learn()
            settled, lines = await self.cluster.settled(max(end - asyncio.get_running_loop().time(), 0.0))
        failures = [
            f"node {pod.record.node}: pod {pod.key}: {pod.failure}"
            for pod in self.cluster.pods.values()
            if pod.failure
        ]
        return [*lines, *failures]

    # --- probes

    async def probe(self, probe: Probe) -> Verdict:
        """Send a probe, as often as it says."""
        assert self._prober is not None
        return await self._prober.probe(probe)
