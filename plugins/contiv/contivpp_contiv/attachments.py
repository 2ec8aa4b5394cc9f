# SPDX-License-Identifier: Apache-2.0
"""Attachments: what ADD, DEL, CHECK, GC and STATUS do.

An ADD makes every choice once (address, kind of interface), stores it in one ledger transaction, writes the record,
and waits until its items are applied. A failure or the deadline takes the record away again. A DEL is done when the
tombstone is stored: the tombstone keeps the address until every item of the attachment is known to be gone, also
across restarts of the agent. A DEL breaks off an ADD of the same attachment that is still going on.

Attachments are keyed by container ID and interface, so a late DEL of an old sandbox never touches the new one.

An agent that starts takes down what vanished meanwhile: an attachment whose network namespace is gone. `runtime`
compares the others with the container runtime's sandboxes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable, Sequence, Set
from typing import Any, Literal

import msgspec

from contivpp_contiv.check import compare
from contivpp_contiv.choices import HOOK_SECONDS, Choices
from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.cni.network import PodOptions
from contivpp_contiv.cni.request import CniRequest
from contivpp_contiv.cni.result import PreviousResult, previous_result
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.locks import KeyedLocks
from contivpp_contiv.pods import pod_items
from contivpp_contiv.records import DECODER, ENCODER, LOCAL_POD, PODS, TOMBSTONES, LocalPod, attachment_key
from contivpp_core.agent import Agent
from contivpp_core.errors import NotReady, RequestError
from contivpp_core.events import PodUnwired, PodWired
from contivpp_core.ledger import LedgerWrite
from contivpp_core.namespaces import HOST, Namespace
from contivpp_core.node import NODE_SUBNETS
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_core.tasks import end
from contivpp_linux.batcher import reference
from contivpp_linux.kernel.errors import KernelError, NamespaceGone, NamespaceHidden, NotANamespace
from contivpp_linux.kernel.protocol import Kernel
from contivpp_linux.kernel.values import NetworkNamespace

__all__ = ["Attachments", "at_start"]

log = logging.getLogger(__name__)

CLEAN_UP_SECONDS = 2.0  # how long an answer waits for things that are being taken down
BURIAL_RETRY_SECONDS = 5.0
CLOSING_SECONDS = 1.0  # how long the kernel may take over a TAP whose VPP is gone
CLOSING_POLL_SECONDS = 0.05

Fate = Literal["there", "gone", "hidden"]
"""What became of a network namespace; `hidden`: it cannot be looked for."""


class Attachments:
    """The attachments of this node."""

    def __init__(self, agent: Agent, config: ContivConfig) -> None:
        self._agent = agent
        self._config = config
        self._locks = KeyedLocks()
        self._adding: dict[str, asyncio.Task[LocalPod]] = {}
        self._burials: dict[str, tuple[LocalPod, asyncio.Task[None]]] = {}
        self._choices = Choices(agent, config)
        self._background: set[asyncio.Task[Any]] = set()
        self._own: NetworkNamespace | None = None  # the namespace in which the agent runs, once somebody asked
        self._hidden: list[LocalPod] = []  # of the ledger, whose namespaces could not be looked for yet

    # --- life

    async def start(self) -> None:
        """Take over what the ledger holds: attachments, and tombstones whose items may still be there."""
        ledger = self._agent.ledger
        stored = [DECODER.decode(value) for value in ledger.items(PODS).values()]
        vanished = {pod.key for pod in await self._vanished(stored)}
        if vanished:
            log.warning("pods vanished while the agent was away", extra={"attachments": sorted(vanished)})
            await ledger.commit(*(write for pod in stored if pod.key in vanished for write in _tombstone(pod)))
        left = (pod for pod in stored if pod.key not in vanished)
        pods = [at_start(pod, self._config) for pod in left]
        self._choices.take_over(pods)
        writes: list[Write] = [*(Put(LOCAL_POD.name, pod) for pod in pods), Ready(LOCAL_POD.name)]
        await self._agent.controller.write("pods of the ledger", writes)
        for key, value in ledger.items(TOMBSTONES).items():
            tombstone = DECODER.decode(value)
            self._choices.take_over((tombstone,))
            self._agent.scheduler.expect(pod_items(tombstone))
            self._burials[key] = tombstone, self._spawn(self._bury(tombstone))

    async def _vanished(self, pods: Sequence[LocalPod]) -> list[LocalPod]:
        """Return those whose network namespaces are gone; those that cannot be looked for are kept for later."""
        fates = await self.fates(pods)
        self._hidden = [pod for pod in pods if fates[pod.key] == "hidden"]
        return [pod for pod in pods if fates[pod.key] == "gone"]

    async def _fate(self, pod: LocalPod) -> Fate:
        if pod.netns == HOST:
            return "there"
        try:
            found = await self._kernel.identify(pod.netns.path)
        except NamespaceHidden:
            return "hidden"  # its folder is not there: before the runtime has made it, or never mounted for the agent
        except (NamespaceGone, NotANamespace):
            return "gone"
        except KernelError:
            return "hidden"
        return "there" if (found.device, found.inode) == (pod.netns.device, pod.netns.inode) else "gone"

    async def _look_again(self) -> None:
        """Take down what could not be looked for at the start, and is gone."""
        hidden, self._hidden = self._hidden, []
        known = [pod for pod in hidden if self._agent.state.get(LOCAL_POD.name, pod.key) == pod]
        for pod in await self._vanished(known):
            log.warning("a pod vanished while the agent was away", extra={"attachment": pod.key})
            await self.forget(pod.key, f"{pod.pod}: its network namespace is gone")

    async def fates(self, pods: Iterable[LocalPod]) -> dict[str, Fate]:
        """Return what became of the network namespaces of attachments."""
        asked = {pod.key: self._fate(pod) for pod in pods}
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    def busy(self, key: str) -> bool:
        """Tell whether a CNI call for an attachment is under way."""
        return key in self._locks

    @property
    def buried(self) -> frozenset[str]:
        """The container IDs of attachments that are being taken down."""
        return frozenset(pod.container_id for pod, _ in self._burials.values())

    async def stop(self) -> None:
        """Leave everything as it is; the ledger knows what is unfinished."""
        await end(*self._adding.values(), *self._background)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # --- ADD

    async def add(self, request: CniRequest, previous: PreviousResult | None) -> LocalPod:
        """Connect a pod; return the attachment when every item of it is applied."""
        key = attachment_key(request.container_id, request.interface)
        options = self._choices.options(request, previous)
        if self._hidden:
            self._spawn(self._look_again())
        async with self._locks.hold(key):
            task = asyncio.get_running_loop().create_task(self._add(key, request, options))
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

    async def _add(self, key: str, request: CniRequest, options: PodOptions) -> LocalPod:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.add_deadline_seconds
        await self._until_ready(deadline)
        netns = await self._identify(request)
        pod: LocalPod | None = self._agent.state.get(LOCAL_POD.name, key)
        if pod is not None and pod.netns != netns:
            await self._remove(pod, f"CNI ADD {pod.pod}: the container ID is used again for another sandbox")
            pod = None
        if pod is None:
            await self._until_free(key, netns, request, deadline)
            pod = await self._choices.record(key, netns, request, options)
        elif pod.network != request.network:
            raise RequestError(
                f"name: {key} is attached to network {pod.network!r} already, not to {request.network!r}",
                code=ErrorCode.INVALID_CONFIG,
            )
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

    async def _until_free(self, key: str, netns: Namespace, request: CniRequest, deadline: float) -> None:
        """Wait until former attachments are gone, of the same key or in the same place; refuse somebody else's name."""
        place = (netns, request.interface)
        for former, (pod, burial) in list(self._burials.items()):
            if former != key and (pod.netns, pod.interface) != place:
                continue
            await asyncio.wait((burial,), timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
            if not burial.done():
                raise NotReady(f"{former} is still being taken down: see 'contivpp get items'")
        give_up = asyncio.get_running_loop().time() + CLOSING_SECONDS
        while any(link.name == request.interface for link in await self._kernel.links(reference(netns))):
            if asyncio.get_running_loop().time() < give_up:
                await asyncio.sleep(CLOSING_POLL_SECONDS)
                continue
            raise RequestError(
                f"{request.interface} is in the container already, and this agent did not make it",
                code=ErrorCode.INTERFACE_EXISTS,
                details="ask for another interface name (CNI_IFNAME), or delete that interface",
            )

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
        return self._cut_off() or self._without_subnets()

    def _cut_off(self) -> str:
        """Say which dataplane cannot be reached, or ""."""
        for domain, reason in sorted(self._agent.scheduler.domain_state().items()):
            if reason:
                condition = self._agent.conditions.get(domain)
                return f"{domain}: {condition.reason if condition and not condition.ok else reason}"
        return ""

    def _without_subnets(self) -> str:
        if self._agent.state.get(NODE_SUBNETS.name, self._agent.node_name) is None:
            failures = {str(owner): why for owner, why in self._agent.engine.failures.items()}
            return f"the node's subnets are not known {failures or ''}".rstrip()
        return ""

    @property
    def _kernel(self) -> Kernel:
        """The kernel's edge, of the plugin `linux`."""
        kernel: Kernel = self._agent.plugin("linux").kernel  # type: ignore[attr-defined]
        return kernel

    async def _identify(self, request: CniRequest) -> Namespace:
        """Return which namespace is at the request's path now."""
        try:
            found = await self._kernel.identify(request.netns)
            own = self._own = self._own or await self._kernel.identify("")
        except KernelError as error:
            cure = "the sandbox may be gone; otherwise let the agent see the runtime's folder of namespaces"
            raise RequestError(f"CNI_NETNS: {error}", code=ErrorCode.INVALID_ENVIRONMENT, details=cure) from error
        if (found.device, found.inode) != (own.device, own.inode):
            return Namespace(request.netns, found.device, found.inode)
        if request.override:
            return HOST
        raise RequestError(
            f"CNI_NETNS {request.netns} is the node's own network namespace",
            code=ErrorCode.INVALID_NETNS,
            details="the node is connected with VPP already; CNI_NETNS_OVERRIDE=TRUE permits one more interface",
        )

    # --- DEL

    async def delete(self, request: CniRequest) -> None:
        """Disconnect a pod. An attachment that is not known is success."""
        await self.forget(attachment_key(request.container_id, request.interface))

    async def forget(self, key: str, cause: str = "") -> None:
        """Disconnect an attachment by its key."""
        if adding := self._adding.get(key):
            adding.cancel()
        async with self._locks.hold(key):
            pod: LocalPod | None = self._agent.state.get(LOCAL_POD.name, key)
            if pod is not None:
                await self._remove(pod, cause or f"CNI DEL {pod.pod}")
            await self._buried(key)

    async def clear(self, pod: LocalPod, why: str) -> bool:
        """Disconnect an attachment that nobody asks for any more, unless a CNI call has it, or it is another by now."""
        if self.busy(pod.key) or self._agent.state.get(LOCAL_POD.name, pod.key) != pod:
            return False
        await self.forget(pod.key, f"{pod.pod}: {why}")  # it has the lock at once, as nobody holds it
        return True

    async def _remove(self, pod: LocalPod, cause: str) -> None:
        """Replace an attachment by its tombstone; what it consists of is taken down in the background."""
        agent = self._agent
        await agent.ledger.commit(*_tombstone(pod))
        await agent.controller.write(cause, [Delete(LOCAL_POD.name, pod.key)], urgent=True)
        self._burials[pod.key] = pod, self._spawn(self._bury(pod))

    async def _buried(self, key: str) -> None:
        """Wait a little for an attachment to be gone; without a dataplane that would take until it is back."""
        if key in self._burials and not self.not_ready():
            await asyncio.wait((self._burials[key][1],), timeout=CLEAN_UP_SECONDS)

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
        self._choices.forget(pod.key)
        event = PodUnwired(
            namespace=pod.namespace,
            name=pod.name,
            container_id=pod.container_id,
            interface=pod.interface,
            address=pod.address,
        )
        agent.hooks.emit("pod_unwired", event)

    # --- GC

    async def collect(self, network: str, valid: Set[str]) -> None:
        """Disconnect what a runtime does not name any more, of this network only: others have runtimes of their own."""
        known: list[LocalPod] = self._agent.state.table(LOCAL_POD.name).records()
        stale = [pod.key for pod in known if pod.network == network and pod.key not in valid | self._adding.keys()]
        results = await asyncio.gather(*(self.forget(key, f"CNI GC {key}") for key in stale), return_exceptions=True)
        faults = [f"{key}: {error}" for key, error in zip(stale, results, strict=True) if error is not None]
        if stale:
            log.info("GC", extra={"network": network, "removed": len(stale) - len(faults), "failed": len(faults)})
        if faults:
            raise RequestError(f"not removed: {'; '.join(faults)}", code=ErrorCode.IO_FAILURE)

    # --- STATUS

    async def check_status(self) -> None:
        """Raise RequestError when no ADD can be served: 51 when pods may be cut off as well, else 50."""
        if reason := self._cut_off():
            raise RequestError(
                f"the dataplane cannot be reached: {reason}",
                code=ErrorCode.LIMITED_CONNECTIVITY,
                details="see 'contivpp get status'",
            )
        agent = self._agent
        reason = self._without_subnets() or await agent.hooks.request("address_shortage", HOOK_SECONDS, agent=agent)
        reason = reason or await self._choices.shortage()
        if reason:
            raise RequestError(
                f"pods cannot be connected now: {reason}",
                code=ErrorCode.NOT_AVAILABLE,
                details="see 'contivpp get status'",
            )

    # --- CHECK

    async def check(self, request: CniRequest) -> None:
        """Compare an attachment with what is there; raise RequestError that says what differs."""
        key = attachment_key(request.container_id, request.interface)
        pod: LocalPod | None = self._agent.state.get(LOCAL_POD.name, key)
        if pod is None or pod.network != request.network:
            raise RequestError(
                f"{key} is not attached to network {request.network!r} by this agent", code=ErrorCode.UNKNOWN_CONTAINER
            )
        if await self._identify(request) != pod.netns:
            raise RequestError(
                f"{key} was connected in another namespace than {request.netns}", code=ErrorCode.INVALID_ENVIRONMENT
            )
        previous = previous_result(request)
        if reason := self.not_ready():
            raise NotReady(f"{key} cannot be checked now: {reason}", details="see 'contivpp get status'")
        await compare(self._agent, self._kernel, pod, previous, sandbox=request.netns)


def at_start(pod: LocalPod, config: ContivConfig) -> LocalPod:
    """Return a pod as a start with a configuration takes it over: only the MTU follows from it."""
    return msgspec.structs.replace(pod, mtu=config.mtu_for(pod.own_mtu))


def _tombstone(pod: LocalPod) -> tuple[LedgerWrite, LedgerWrite]:
    """Return what turns an attachment of the ledger into its tombstone."""
    return LedgerWrite(PODS, pod.key, None), LedgerWrite(TOMBSTONES, pod.key, ENCODER.encode(pod))
