# SPDX-License-Identifier: Apache-2.0
"""A rig of processes: a sandbox that lives as long as this process at most, driven as scenarios want it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from contivpp_sandbox.agent_routes import SETTLED_PATH
from contivpp_sandbox.probing import ATTEMPTS, RETRY_SECONDS
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
    summarise,
)
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import MachineLacks, SandboxError
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.pod import PodLink, SandboxPod
from contivpp_sandbox.sandbox.teardown import take_down
from contivpp_sandbox.sandbox.vpp import Dataplane

__all__ = ["NetnsRig"]

_GRACE_SECONDS = 0.2  # events that are on their way arrive
_AT_ONCE = 16  # repeats of a probe that are on their way together
_ANSWER_MARGIN = 10.0
_LONGEST_SECONDS = 600.0


class NetnsRig:
    """One node in network namespaces."""

    def __init__(self, name: str, dataplane: Dataplane) -> None:
        self.name = name
        self._dataplane = dataplane
        self._base: Path | None = None
        self._cluster: Cluster | None = None
        self._names: dict[str, str] = {}  # of pods by address, also those that are gone
        self._addresses: dict[str, str] = {}

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
        """Build the node, and wait until its agent is ready."""
        if len(nodes) != 1:
            raise RigError(f"{len(nodes)} nodes are not served yet: give one node")
        self._base = Path(tempfile.mkdtemp(prefix="contivpp-rig-"))
        directory = Directory(self._base, "rig")
        try:
            directory.make()
            node = SandboxNode(directory)
            self._cluster = Cluster(node)
            await node.up(nodes[0], self._dataplane, config=config, with_parent=True)
            await self._cluster.deliver()
        except MachineLacks as error:
            raise RigUnavailable(f"the rig {self.name} cannot run here: {error}") from error
        except SandboxError as error:
            raise RigError(f"the rig {self.name} does not start: {error}") from error

    async def stop(self) -> None:
        """Take everything down."""
        if self._base is not None:
            await take_down(Directory(self._base, "rig"))
            if self._base.exists():
                self._base.rmdir()
            self._base = self._cluster = None

    # --- objects

    async def apply(self, objects: Sequence[KubernetesObject]) -> None:
        """Create or change objects; new pods of this node are connected."""
        await self.cluster.apply(objects)
        self._learn()

    async def delete(self, references: Sequence[ObjectReference]) -> None:
        """Delete objects; pods are disconnected first."""
        await self.cluster.delete(references)

    def _learn(self) -> None:
        for pod in self.cluster.pods.values():
            if pod.address:
                self._names[pod.address] = pod.key
                self._addresses[pod.key] = pod.address

    # --- restarts and time

    async def restart(self, what: Restartable, node: str | None, *, kill: bool) -> None:
        """Restart agent or VPP."""
        own = self.cluster.node
        if node not in (None, own.name):
            raise RigError(f"there is no node {node}")
        if what == "agent":
            await own.stop("agent", kill=kill)
            await own.start_agent()
            await self.cluster.deliver()
        elif what == "vpp":
            await own.stop("vpp", kill=kill)
            await own.start_vpp()
        else:
            raise RigError(f"restarts of the {what} are not served yet")

    async def advance(self, seconds: float) -> None:
        """Let time pass, which takes this time."""
        await asyncio.sleep(seconds)

    async def settle(self, deadline: float) -> list[str]:
        """Wait until the agent has settled; pods that could not be connected are tried once more."""
        end = asyncio.get_running_loop().time() + deadline
        await asyncio.sleep(_GRACE_SECONDS)
        settled, lines = await self._settled(end)
        if settled and any(pod.failure for pod in self.cluster.pods.values()):
            await self.cluster.retry()
            self._learn()
            settled, lines = await self._settled(end)
        late = [] if settled else [f"not settled within {deadline:g} s"]
        failures = [f"pod {pod.key}: {pod.failure}" for pod in self.cluster.pods.values() if pod.failure]
        return [f"node {self.cluster.node.name}: {line}" for line in (*late, *lines, *failures)]

    async def _settled(self, end: float) -> tuple[bool, list[str]]:
        seconds = min(max(end - asyncio.get_running_loop().time(), 0.1), _LONGEST_SECONDS)
        target = f"{SETTLED_PATH}?seconds={seconds:.3f}"
        answer = await self.cluster.node.agent.get(target, seconds=seconds + _ANSWER_MARGIN)
        return bool(answer["settled"]), [str(line) for line in answer["unapplied"]]

    # --- probes

    async def probe(self, probe: Probe) -> Verdict:
        """Send a probe from a pod, as often as it says."""
        source = self.cluster.pods.get(probe.source)
        if source is None:
            raise RigError(f"probes from {probe.source} are not served yet: give a pod that runs, as namespace/name")
        if probe.protocol == "SCTP":
            raise RigError("SCTP probes are not served yet")
        if not source.address:
            return Verdict(verdict="denied", why=f"{probe.source} is not connected: {source.failure or 'no address'}")
        address = self._addresses.get(probe.target, "" if "/" in probe.target else probe.target)
        if not address:
            failure = self.cluster.pods[probe.target].failure if probe.target in self.cluster.pods else ""
            return Verdict(verdict="denied", why=f"{probe.target} has no address: {failure or 'it never had one'}")
        together = 1 if probe.source_port or probe.one_way else _AT_ONCE
        verdicts: list[Verdict] = []
        while (left := probe.repeat - len(verdicts)) > 0:
            batch = (self._once(source, address, probe) for _ in range(min(left, together)))
            verdicts += await asyncio.gather(*batch)
        return summarise(probe.expect, verdicts)

    async def _once(self, source: SandboxPod, address: str, probe: Probe) -> Verdict:
        """Send one probe. A target that is a pod is watched meanwhile: what it saw is told by nobody else."""
        directory = self.cluster.node.directory
        target = self.cluster.pods.get(self._names.get(address, ""))
        async with AsyncExitStack() as stack:
            watch: PodLink | None = None
            if target is not None and target.address == address and target.process.alive:
                watch = await stack.enter_async_context(target.connected(directory))
                await watch.ask("watch", protocol=probe.protocol)
            link = await stack.enter_async_context(source.connected(directory))
            if probe.one_way:
                return await self._one_way(link, watch, address, probe, target)
            result = await link.ask("probe", **_request(probe, address))
            name, _, seen = result["answer"].partition(" from ")
            if not seen and watch is not None:
                arrived = await watch.ask("arrival")
                seen = arrived["address"] if arrived else ""
        reached = (name or self._name_of(address),) if result["verdict"] == "allowed" else ()
        return Verdict(
            verdict=result["verdict"],
            reached=reached,
            seen_source=self._name_of(seen),
            source_address=seen,
            why=f"{source.key}: {result['why']}" if result["why"] else "",
        )

    async def _one_way(
        self, link: PodLink, watch: PodLink | None, address: str, probe: Probe, target: SandboxPod | None
    ) -> Verdict:
        if watch is None or target is None:
            why = f"nobody watches at {address}: nothing tells whether a packet of no flow arrives there"
            return Verdict(verdict="denied", why=why)
        why = ""
        for _ in range(ATTEMPTS):
            result = await link.ask("probe", **_request(probe, address))
            arrived = await watch.ask("arrival", wait=RETRY_SECONDS)
            if arrived:
                reached = f"{target.key}:{arrived['port']}" if arrived["port"] else target.key
                seen = arrived["address"]
                return Verdict(
                    verdict="allowed", reached=(reached,), seen_source=self._name_of(seen), source_address=seen
                )
            why = result["why"]
        return Verdict(verdict="denied", why=f"{target.key} saw nothing of it: {why}")

    def _name_of(self, address: str) -> str:
        return self._names.get(address, address)


def _request(probe: Probe, address: str) -> dict[str, Any]:
    return {
        "protocol": probe.protocol,
        "address": address,
        "port": probe.port,
        "source_port": probe.source_port,
        "size": probe.size,
        "do_not_fragment": probe.do_not_fragment,
        "one_way": probe.one_way,
    }
