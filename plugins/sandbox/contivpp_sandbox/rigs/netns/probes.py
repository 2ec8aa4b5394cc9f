# SPDX-License-Identifier: Apache-2.0
"""Probes between pods, hosts of nodes, VPPs and outside hosts, by the responders of those that have one.

Who answered is told by the answer; who the server saw, by the answer, or else by a watch on its network. VPP has no
responder: it answers pings itself, and nothing tells who it saw.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from contivpp_sandbox.probing import ATTEMPTS, RETRY_SECONDS
from contivpp_sandbox.rigs.base import Probe, RigError, Verdict, summarise
from contivpp_sandbox.rigs.layout import MANAGEMENT_NETWORK
from contivpp_sandbox.sandbox.cluster import Cluster
from contivpp_sandbox.sandbox.station import Link, Station

__all__ = ["Prober"]

_AT_ONCE = 16  # repeats of a probe that are on their way together


@dataclass(frozen=True)
class _Target:
    """Where a probe goes: the address, what answers there if that is known, and whether it opens ports when asked."""

    address: str
    station: Station | None = None
    opens: bool = False
    why: str = ""  # why there is no address


class Prober:
    """Sends probes; `learn` takes in which addresses pods have now."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pods: dict[str, str] = {}  # by address, also those that are gone
        self._addresses: dict[str, str] = {}  # of pods, by name
        self._vpps: dict[str, str] = {}  # the last address of VPP, by node, also of those that have left
        self._vpps_once: set[str] = set()
        self._others: dict[str, str] = {}  # nodes and VPPs that are there, by address

    def learn(self) -> None:
        """Remember the addresses of pods."""
        for pod in self._cluster.pods.values():
            if pod.address and pod.pid:
                self._pods[pod.address] = pod.key
                self._addresses[pod.key] = pod.address

    async def _learn_nodes(self) -> None:
        self._vpps.update(await self._cluster.store.vpp_addresses())
        self._vpps_once.update(self._vpps.values())
        there = {address: f"vpp:{name}" for name, address in self._vpps.items() if name in self._cluster.nodes}
        self._others = {**there, **self._cluster.inventory.host_addresses()}

    async def probe(self, probe: Probe) -> Verdict:
        """Send a probe, as often as it says, and summarise."""
        if probe.protocol == "SCTP":
            raise RigError("SCTP probes are not served yet")
        self.learn()
        await self._learn_nodes()
        source, why = await self._source(probe)
        if source is None:
            return Verdict(verdict="denied", why=why)
        target = await self._target(probe.target)
        if not target.address:
            return Verdict(verdict="denied", why=target.why)
        if target.opens and target.station is not None and probe.protocol != "ICMP":
            await target.station.ask("open", protocol=probe.protocol, number=probe.port)
        together = 1 if probe.source_port or probe.one_way else _AT_ONCE
        verdicts: list[Verdict] = []
        while (left := probe.repeat - len(verdicts)) > 0:
            batch = (self._once(source, target, probe) for _ in range(min(left, together)))
            verdicts += await asyncio.gather(*batch)
        return summarise(probe.expect, verdicts)

    # --- the two ends

    async def _source(self, probe: Probe) -> tuple[Station | None, str]:
        """Return who sends, or None and why that cannot be."""
        name = probe.source
        kind, _, node = name.partition(":")
        if kind == "node":
            if node not in self._cluster.nodes:
                raise RigError(f"there is no node {node}")
            return self._cluster.nodes[node].host, ""
        if "/" in name:
            pod = self._cluster.pods.get(name)
            if pod is None or (not pod.pid and not pod.failure):
                raise RigError(f"there is no pod {name} that runs in a network of its own")
            if not pod.address:
                return None, f"{name} is not connected: {pod.failure or 'no address'}"
            return pod.station(self._cluster.directory), ""
        if kind == "vpp":
            raise RigError(f"VPP sends no probes ({name}): give namespace/pod, node:NAME or an address")
        return await self._outside(name, probe.via or self._first()), ""

    def _first(self) -> str:
        return next((place.name for place in self._cluster.inventory.members), "")

    async def _outside(self, address: str, via: str) -> Station:
        """Return an outside host, whose packets enter by a node ("": by the one they did before, or the first)."""
        host = await self._cluster.underlay.host(address)
        if via or not host.via:
            await self._cluster.underlay.enter_by(host, self._vpps.get(via or self._first(), ""))
            self._cluster.save()
        return host.station(self._cluster.directory)

    async def _target(self, name: str) -> _Target:
        kind, _, node = name.partition(":")
        if kind == "node" and node in self._cluster.inventory.nodes:
            return self._at(self._cluster.inventory.nodes[node].management)
        if kind == "vpp":
            return _Target(self._vpps.get(node, ""), why=f"{name} never had an address")
        if "/" in name:
            pod = self._cluster.pods.get(name)
            if pod is not None and pod.record.host_network and pod.address:
                return self._at(pod.address)
            if address := self._addresses.get(name, ""):
                return self._at(address)
            failure = pod.failure if pod is not None else ""
            return _Target("", why=f"{name} has no address: {failure or 'it never had one'}")
        if self._is_outside(name):
            return _Target(name, await self._outside(name, ""), opens=True)
        return self._at(name)

    def _at(self, address: str) -> _Target:
        """Return whoever has an address of the cluster now."""
        name = self._name_of(address)
        kind, _, node = name.partition(":")
        if kind == "node":
            place = self._cluster.nodes.get(node)
            return _Target(address, place.host if place is not None else None, opens=True)
        pod = self._cluster.pods.get(name)
        if pod is not None and pod.address == address and pod.process.alive:
            return _Target(address, pod.station(self._cluster.directory))
        return _Target(address)

    def _is_outside(self, address: str) -> bool:
        """Tell whether an address is nobody's in the cluster, and in none of its own networks."""
        if address in self._others or address in self._vpps_once:
            return False
        subnets = self._cluster.inventory.subnets()
        own = (subnets.pods, subnets.vpp_host, subnets.vxlan, subnets.service, ip_network(MANAGEMENT_NETWORK))
        link = subnets.node_interconnect
        found = ip_address(address)
        if link is not None and found in (link.network_address, link.broadcast_address):
            return False
        return not any(found in network for network in own)

    # --- one probe

    async def _once(self, source: Station, target: _Target, probe: Probe) -> Verdict:
        """Send one probe. Who answers is watched meanwhile: what it saw is told by nobody else."""
        address = target.address
        async with AsyncExitStack() as stack:
            watch: Link | None = None
            if target.station is not None:
                watch = await stack.enter_async_context(target.station.connected())
                await watch.ask("watch", protocol=probe.protocol)
            link = await stack.enter_async_context(source.connected())
            if probe.one_way:
                return await self._one_way(link, watch, address, probe)
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
            why=f"{source.title}: {result['why']}" if result["why"] else "",
        )

    async def _one_way(self, link: Link, watch: Link | None, address: str, probe: Probe) -> Verdict:
        if watch is None:
            why = f"nobody watches at {address}: nothing tells whether a packet of no flow arrives there"
            return Verdict(verdict="denied", why=why)
        name, why = self._name_of(address), ""
        for _ in range(ATTEMPTS):
            result = await link.ask("probe", **_request(probe, address))
            arrived = await watch.ask("arrival", wait=RETRY_SECONDS)
            if arrived:
                reached = f"{name}:{arrived['port']}" if arrived["port"] else name
                seen = arrived["address"]
                return Verdict(
                    verdict="allowed", reached=(reached,), seen_source=self._name_of(seen), source_address=seen
                )
            why = result["why"]
        return Verdict(verdict="denied", why=f"{name} saw nothing of it: {why}")

    def _name_of(self, address: str) -> str:
        return self._pods.get(address) or self._others.get(address) or address


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
