# SPDX-License-Identifier: Apache-2.0
"""Attachments: what ADD, DEL and CHECK do.

An ADD makes every choice once (address, kind of interface), stores it in one ledger transaction, writes the record,
and waits until its items are applied. A failure or the deadline takes the record away again. A DEL is done when the
tombstone is stored: the tombstone keeps the address until every item of the attachment is known to be gone, also
across restarts of the agent. A DEL breaks off an ADD of the same attachment that is still going on.

Attachments are keyed by container ID and interface, so a late DEL of an old sandbox never touches the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Literal

import msgspec

from contivpp_contiv.cni.request import CniRequest, ErrorCode
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.locks import KeyedLocks
from contivpp_contiv.pods import pod_items
from contivpp_contiv.records import DECODER, ENCODER, LOCAL_POD, LocalPod, attachment_key
from contivpp_core.agent import Agent
from contivpp_core.errors import NotReady, RequestError
from contivpp_core.events import AddressReply, AddressRequest, PodUnwired, PodWired
from contivpp_core.ledger import LedgerWrite
from contivpp_core.namespaces import Namespace
from contivpp_core.node import NODE_SUBNETS
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_linux.kernel.errors import KernelError

__all__ = ["Attachments"]

log = logging.getLogger(__name__)

PODS = "contiv.pod"
TOMBSTONES = "contiv.tombstone"

POLL_SECONDS = 0.02
POD_RECORD_SECONDS = 5.0  # how long an ADD may be ahead of its Pod object
CLEAN_UP_SECONDS = 2.0  # how long an answer waits for things that are being taken down
HOOK_SECONDS = 10.0
BURIAL_RETRY_SECONDS = 5.0


class Attachments:
    """The attachments of this node."""

    def __init__(self, agent: Agent, config: ContivConfig) -> None:
        self._agent = agent
        self._config = config
        self._locks = KeyedLocks()
        self._adding: dict[str, asyncio.Task[LocalPod]] = {}
        self._burials: dict[str, asyncio.Task[None]] = {}
        self._af_packet: set[str] = set()  # keys of attachments that have, or had, AF_PACKET interfaces in VPP
        self._background: set[asyncio.Task[Any]] = set()

    # --- life

    async def start(self) -> None:
        """Take over what the ledger holds: attachments, and tombstones whose items may still be there."""
        ledger = self._agent.ledger
        stored = [DECODER.decode(value) for value in ledger.items(PODS).values()]
        pods = [msgspec.structs.replace(pod, mtu=self._config.pod_mtu) for pod in stored]  # it follows the underlay
        self._af_packet = {pod.key for pod in pods if pod.wiring == "afpacket"}
        writes: list[Write] = [*(Put(LOCAL_POD.name, pod) for pod in pods), Ready(LOCAL_POD.name)]
        await self._agent.controller.write("pods of the ledger", writes)
        for key, value in ledger.items(TOMBSTONES).items():
            tombstone = DECODER.decode(value)
            if tombstone.wiring == "afpacket":
                self._af_packet.add(key)
            self._agent.scheduler.expect(pod_items(tombstone))
            self._burials[key] = self._spawn(self._bury(tombstone))

    async def stop(self) -> None:
        """Leave everything as it is; the ledger knows what is unfinished."""
        tasks = [*self._adding.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # --- ADD

    async def add(self, request: CniRequest) -> LocalPod:
        """Connect a pod; return the attachment when every item of it is applied."""
        key = attachment_key(request.container_id, request.interface)
        async with self._locks.hold(key):
            task = asyncio.get_running_loop().create_task(self._add(key, request))
            self._adding[key] = task
            try:
                await asyncio.wait((task,))
            finally:
                task.cancel()
                await asyncio.wait((task,))  # a record that is being stored is stored before anybody else has the key
                del self._adding[key]
            if task.cancelled():
                raise NotReady(f"ADD of {key} was broken off: the attachment is being deleted, or the agent stops")
            return task.result()

    async def _add(self, key: str, request: CniRequest) -> LocalPod:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.add_deadline_seconds
        await self._until_ready(deadline)
        netns = await self._identify(request.netns)
        pod: LocalPod | None = self._agent.state.get(LOCAL_POD.name, key)
        if pod is not None and pod.netns != netns:
            await self._remove(pod, f"CNI ADD {pod.pod}: the container ID is used again for another sandbox")
            pod = None
        if pod is None:
            if burial := self._burials.get(key):
                await asyncio.wait((burial,), timeout=max(0.0, deadline - loop.time()))
            if key in self._burials:
                raise NotReady(f"{key} is still being taken down: see 'contivpp get items'")
            pod = await self._recorded(key, netns, request)
        try:
            keys = [item.key for item in pod_items(pod)]
            await self._agent.scheduler.waiters.until_applied(keys, deadline - loop.time())
        except RequestError as error:
            await self._remove(pod, f"CNI ADD {pod.pod} taken back: {error}")
            await self._buried(key)
            raise RequestError(
                f"pod {pod.pod} cannot be connected: {error}", code=error.code, details=error.details
            ) from error
        self._tell_wired(pod)
        return pod

    def _tell_wired(self, pod: LocalPod) -> None:
        event = PodWired(
            namespace=pod.namespace,
            name=pod.name,
            container_id=pod.container_id,
            interface=pod.interface,
            address=pod.address,
        )
        self._agent.hooks.emit("pod_wired", event)

    async def _until_ready(self, deadline: float) -> None:
        """Wait until the dataplanes are read."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._agent.scheduler.usable()
        if reason := self.not_ready():
            raise NotReady(f"the agent is not ready: {reason}", details="see 'contivpp get status'")

    def not_ready(self) -> str:
        """Say why no pod can be connected now, or ""."""
        for domain, reason in sorted(self._agent.scheduler.domain_state().items()):
            if reason:
                condition = self._agent.conditions.get(domain)
                return f"{domain}: {condition.reason if condition and not condition.ok else reason}"
        if self._agent.state.get(NODE_SUBNETS.name, self._agent.node_name) is None:
            failures = {str(owner): why for owner, why in self._agent.engine.failures.items()}
            return f"the node's subnets are not known {failures or ''}".rstrip()
        return ""

    async def _identify(self, path: str) -> Namespace:
        """Return which namespace is at a path now."""
        try:
            found = await self._agent.plugin("linux").kernel.identify(path)  # type: ignore[attr-defined]
        except KernelError as error:
            cure = "the sandbox may be gone; otherwise let the agent see the runtime's folder of namespaces"
            raise RequestError(f"CNI_NETNS: {error}", code=ErrorCode.INVALID_ENVIRONMENT, details=cure) from error
        return Namespace(path, found.device, found.inode)

    async def _recorded(self, key: str, netns: Namespace, request: CniRequest) -> LocalPod:
        """Make the choices and store them; once begun, this goes to its end."""
        wanted = await self._wanted_address(request)
        wiring = await self._wiring()
        if wiring == "afpacket":
            self._claim_af_packet(key)
        work = asyncio.ensure_future(self._record(key, netns, request, wanted=wanted, wiring=wiring))
        work.add_done_callback(lambda done: self._unclaim_failed(key, done))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait((work,))
            raise

    async def _record(
        self, key: str, netns: Namespace, request: CniRequest, *, wanted: str, wiring: Literal["tap", "afpacket"]
    ) -> LocalPod:
        agent = self._agent
        asked = AddressRequest(owner=key, namespace=request.pod_namespace, pod=request.pod_name, wanted=wanted)
        reply = await agent.hooks.request("allocate_address", HOOK_SECONDS, agent=agent, request=asked)
        if not isinstance(reply, AddressReply):
            raise RequestError("no plugin gives addresses: enable 'ipam', or another plugin that does")
        pod = LocalPod(
            container_id=request.container_id,
            interface=request.interface,
            namespace=request.pod_namespace,
            name=request.pod_name,
            netns=netns,
            address=reply.address,
            gateway=reply.gateway,
            wiring=wiring,
            mtu=self._config.pod_mtu,
            vrf=self._config.pod_vrf_id,
        )
        try:
            await agent.ledger.commit(*reply.writes, LedgerWrite(PODS, key, ENCODER.encode(pod)))
        except Exception:
            await agent.hooks.request("release_address", HOOK_SECONDS, agent=agent, owner=key)
            raise
        await agent.controller.write(f"CNI ADD {pod.pod}", [Put(LOCAL_POD.name, pod)], urgent=True)
        return pod

    async def _wanted_address(self, request: CniRequest) -> str:
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

    async def _wiring(self) -> Literal["tap", "afpacket"]:
        """Return how the pod is connected: as configured, or by what VPP can do."""
        if self._config.pod_interface != "auto":
            return self._config.pod_interface
        support = await self._agent.plugin("vpp").tap_support()  # type: ignore[attr-defined]
        return "tap" if support.usable else "afpacket"

    def _claim_af_packet(self, key: str) -> None:
        """Refuse one AF_PACKET pod too many: better one pod without a network than a VPP that serves nobody."""
        limit = self._config.af_packet_limit
        if limit and len(self._af_packet) >= limit:
            number = len(self._af_packet)
            raise NotReady(
                f"{number} pods have AF_PACKET interfaces, and VPP 26.06 hangs when 16 have packets at once",
                details="give VPP TAPs (modprobe vhost_net on the host), or set contiv.afPacketLimit at your own risk",
            )
        self._af_packet.add(key)

    def _unclaim_failed(self, key: str, recorded: asyncio.Future[LocalPod]) -> None:
        if recorded.cancelled() or recorded.exception() is not None:
            self._af_packet.discard(key)

    # --- DEL

    async def delete(self, request: CniRequest) -> None:
        """Disconnect a pod. An attachment that is not known is success."""
        await self.forget(attachment_key(request.container_id, request.interface))

    async def forget(self, key: str) -> None:
        """Disconnect an attachment by its key."""
        if adding := self._adding.get(key):
            adding.cancel()
        async with self._locks.hold(key):
            pod: LocalPod | None = self._agent.state.get(LOCAL_POD.name, key)
            if pod is not None:
                await self._remove(pod, f"CNI DEL {pod.pod}")
            await self._buried(key)

    async def _remove(self, pod: LocalPod, cause: str) -> None:
        """Replace an attachment by its tombstone; what it consists of is taken down in the background."""
        agent = self._agent
        await agent.ledger.commit(
            LedgerWrite(PODS, pod.key, None), LedgerWrite(TOMBSTONES, pod.key, ENCODER.encode(pod))
        )
        await agent.controller.write(cause, [Delete(LOCAL_POD.name, pod.key)], urgent=True)
        self._burials[pod.key] = self._spawn(self._bury(pod))

    async def _buried(self, key: str) -> None:
        """Wait a little for an attachment to be gone; without a dataplane that would take until it is back."""
        burial = self._burials.get(key)
        if burial is not None and not self.not_ready():
            await asyncio.wait((burial,), timeout=CLEAN_UP_SECONDS)

    async def _bury(self, pod: LocalPod) -> None:
        """When everything of an attachment is gone, free its address and drop the tombstone."""
        agent = self._agent
        await agent.scheduler.usable()
        nodes = agent.scheduler.graph.nodes
        keys = [item.key for item in pod_items(pod)]
        await agent.scheduler.waiters.until_gone(key for key in keys if key in nodes and not nodes[key].owners)
        while True:
            try:
                writes = await agent.hooks.request("release_address", HOOK_SECONDS, agent=agent, owner=pod.key)
                await agent.ledger.commit(LedgerWrite(TOMBSTONES, pod.key, None), *(writes or ()))
                break
            except Exception:  # a full disk, a plugin's error: the address stays in use until it is stored as free
                log.exception("an address could not be freed; it is tried again", extra={"attachment": pod.key})
                await asyncio.sleep(BURIAL_RETRY_SECONDS)
        self._burials.pop(pod.key, None)
        self._af_packet.discard(pod.key)
        event = PodUnwired(
            namespace=pod.namespace,
            name=pod.name,
            container_id=pod.container_id,
            interface=pod.interface,
            address=pod.address,
        )
        agent.hooks.emit("pod_unwired", event)

    # --- CHECK

    async def check(self, request: CniRequest) -> None:
        """Compare an attachment with what is there, and with the result of its ADD."""
        key = attachment_key(request.container_id, request.interface)
        pod: LocalPod | None = self._agent.state.get(LOCAL_POD.name, key)
        if pod is None:
            raise RequestError(f"{key} is not connected by this agent", code=ErrorCode.UNKNOWN_CONTAINER)
        if await self._identify(request.netns) != pod.netns:
            raise RequestError(
                f"{key} was connected in another namespace than {request.netns}", code=ErrorCode.INVALID_ENVIRONMENT
            )
        previous = request.config.get("prevResult")
        if isinstance(previous, dict) and not _same_address(previous, pod):
            raise RequestError(f"{key} has address {pod.address}, not the one of prevResult", code=101)
        if reason := self.not_ready():
            raise NotReady(f"{key} cannot be checked now: {reason}", details="see 'contivpp get status'")
        for kind in sorted({item.kind for item in pod_items(pod)}):
            await self._agent.scheduler.check(kind)
        keys = [item.key for item in pod_items(pod)]
        await self._agent.scheduler.waiters.until_applied(keys, CLEAN_UP_SECONDS)


def _same_address(previous: dict[str, Any], pod: LocalPod) -> bool:
    """Tell whether a previous result names the pod's address (others of a chain may have added more)."""
    addresses = previous.get("ips")
    if not isinstance(addresses, list):
        return False
    return any(isinstance(each, dict) and each.get("address") == f"{pod.address}/32" for each in addresses)
