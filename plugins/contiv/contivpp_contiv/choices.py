# SPDX-License-Identifier: Apache-2.0
"""The choices of an ADD: address, kind of interface, MTU, metric; made once, stored in one ledger transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

import msgspec

from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.cni.network import PodOptions, parse_options
from contivpp_contiv.cni.request import CniRequest
from contivpp_contiv.cni.result import PreviousResult
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.records import ENCODER, LOCAL_POD, PODS, LocalPod
from contivpp_core.agent import Agent
from contivpp_core.errors import NotReady, RequestError
from contivpp_core.events import AddressReply, AddressRequest
from contivpp_core.ledger import LedgerWrite
from contivpp_core.namespaces import Namespace
from contivpp_core.state import Put

__all__ = ["HOOK_SECONDS", "Choices"]

HOOK_SECONDS = 10.0
POLL_SECONDS = 0.02
POD_RECORD_SECONDS = 5.0  # how long an ADD may be ahead of its Pod object
METRIC_STEP = 100  # between the routes of a pod's interfaces
AF_PACKET_CURE = "give VPP TAPs (modprobe vhost_net on the host), or set contiv.afPacketLimit at your own risk"

Wiring = Literal["tap", "afpacket"]


class Choices:
    """Makes the choices, and knows how many AF_PACKET interfaces VPP has or had."""

    def __init__(self, agent: Agent, config: ContivConfig) -> None:
        self._agent = agent
        self._config = config
        self._af_packet: set[str] = set()  # keys of attachments that have, or had, AF_PACKET interfaces in VPP

    def take_over(self, pods: Iterable[LocalPod]) -> None:
        """Count attachments of the ledger."""
        self._af_packet.update(pod.key for pod in pods if pod.wiring == "afpacket")

    def forget(self, key: str) -> None:
        """Count an attachment no more: nothing of it is in VPP."""
        self._af_packet.discard(key)

    def mtu(self, asked: int | None) -> int:
        """Return an interface's MTU in bytes: what the underlay leaves to pods, or less if that is asked for."""
        return self._config.mtu_for(asked)

    def options(self, request: CniRequest, previous: PreviousResult | None) -> PodOptions:
        """Return what is asked for, if it is possible here."""
        options = parse_options(request.config, request.arguments, request.interface)
        if options.mtu is not None and options.mtu > self.mtu(None):
            raise RequestError(
                f"mtu: {options.mtu} is more than the {self.mtu(None)} bytes that the underlay leaves to pods",
                code=ErrorCode.INVALID_CONFIG,
                details="packets between nodes would be lost; lower it, or raise contiv.underlayMTU if the network can",
            )
        if previous is None:
            return options
        if previous.interface(request.interface, request.netns) is not None:
            raise RequestError(
                f"prevResult: an earlier plugin made {request.interface} already: remove one of the two from the list",
                code=ErrorCode.INVALID_CONFIG,
            )
        return msgspec.structs.replace(options, default_route=options.default_route and not previous.has_default_route)

    async def record(self, key: str, netns: Namespace, request: CniRequest, options: PodOptions) -> LocalPod:
        """Make the choices and store them; once begun, this goes to its end."""
        address = options.address or await self._annotated_address(request)
        wiring = await self._wiring()
        if wiring == "afpacket":
            if reason := self._without_af_packet():
                raise NotReady(reason, details=AF_PACKET_CURE)
            self._af_packet.add(key)
        pod = LocalPod(
            container_id=request.container_id,
            interface=request.interface,
            namespace=request.pod_namespace,
            name=request.pod_name,
            netns=netns,
            address=address,
            gateway="",
            wiring=wiring,
            mtu=self.mtu(options.mtu),
            vrf=self._config.pod_vrf_id,
            network=request.network,
            own_mac=options.mac,
            own_mtu=options.mtu,
            metric=self._metric(netns),
            default_route=options.default_route,
            routes=options.routes,
            sysctls=options.sysctls,
            dns=options.dns,
        )
        work = asyncio.ensure_future(self._store(pod))
        work.add_done_callback(lambda done: self._unclaim_failed(key, done))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait((work,))
            raise

    async def _store(self, wanted: LocalPod) -> LocalPod:
        """Get an address, the wanted one if one is, and store the attachment together with it."""
        agent, key = self._agent, wanted.key
        asked = AddressRequest(owner=key, namespace=wanted.namespace, pod=wanted.name, wanted=wanted.address)
        reply = await agent.hooks.request("allocate_address", HOOK_SECONDS, agent=agent, request=asked)
        if not isinstance(reply, AddressReply):
            raise RequestError("no plugin gives addresses: enable 'ipam', or another plugin that does")
        pod = msgspec.structs.replace(wanted, address=reply.address, gateway=reply.gateway)
        try:
            await agent.ledger.commit(*reply.writes, LedgerWrite(PODS, key, ENCODER.encode(pod)))
        except Exception:
            await agent.hooks.request("release_address", HOOK_SECONDS, agent=agent, owner=key)
            raise
        await agent.controller.write(f"CNI ADD {pod.pod}", [Put(LOCAL_POD.name, pod)], urgent=True)
        return pod

    async def _annotated_address(self, request: CniRequest) -> str:
        """Return the address that the pod's annotation asks for; the Pod object may still be on its way."""
        agent = self._agent
        if not (request.pod_namespace and agent.sourced("Pod")):
            return ""
        name = f"{request.pod_namespace}/{request.pod_name}"
        give_up = asyncio.get_running_loop().time() + POD_RECORD_SECONDS
        while (record := agent.state.get("Pod", name)) is None:
            if asyncio.get_running_loop().time() >= give_up:
                raise NotReady(f"pod {name} is not known yet: its Pod object has not arrived")
            await asyncio.sleep(POLL_SECONDS)
        return str(record.annotation("ip"))

    def _metric(self, netns: Namespace) -> int:
        """Return what tells the routes of this interface from those of the pod's others; 0 for the first one."""
        others = self._agent.state.table(LOCAL_POD.name).where("netns", str(netns))
        taken = {pod.metric for pod in others}
        return next(metric for metric in range(0, METRIC_STEP * (len(taken) + 1), METRIC_STEP) if metric not in taken)

    # --- the kind of interface

    async def _wiring(self) -> Wiring:
        """Return how the pod is connected: as configured, or by what VPP can do."""
        if self._config.pod_interface != "auto":
            return self._config.pod_interface
        support = await self._agent.plugin("vpp").tap_support()  # type: ignore[attr-defined]
        return "tap" if support.usable else "afpacket"

    async def shortage(self) -> str:
        """Say why no further interface can be had in VPP, or ""."""
        if await self._wiring() == "tap":
            return ""
        reason = self._without_af_packet()
        return f"{reason}: {AF_PACKET_CURE}" if reason else ""

    def _without_af_packet(self) -> str:
        """Refuse one AF_PACKET pod too many: better one pod without a network than a VPP that serves nobody."""
        limit = self._config.af_packet_limit
        if limit and len(self._af_packet) >= limit:
            number = len(self._af_packet)
            return f"{number} pods have AF_PACKET interfaces, and VPP 26.06 hangs when 16 have packets at once"
        return ""

    def _unclaim_failed(self, key: str, stored: asyncio.Future[LocalPod]) -> None:
        if stored.cancelled() or stored.exception() is not None:
            self._af_packet.discard(key)
