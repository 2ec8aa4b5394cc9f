# SPDX-License-Identifier: Apache-2.0
"""Compares attachments with the runtime's sandboxes: at the start, after changes, and every few minutes.

`verdict` decides; here are the socket, the times, and what is remembered. Nothing of grpc is imported before there is a
socket. That a sandbox was listed is kept in the ledger, as it is the best proof that its absence means something.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

from contivpp_contiv.attachments import Attachments
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.records import CONTAINER_RUNTIME, LOCAL_POD, ContainerRuntime, LocalPod, Stranger
from contivpp_contiv.runtime.errors import NoCri, RuntimeFault
from contivpp_contiv.runtime.strangers import within
from contivpp_contiv.runtime.verdict import AGAIN_SECONDS, Evidence, Memory, Sandbox, answered, claims, vanished
from contivpp_core.agent import Agent
from contivpp_core.backoff import Backoff
from contivpp_core.kubernetes import POD
from contivpp_core.ledger import LedgerWrite
from contivpp_core.node import NODE_SUBNETS, NodeSubnets
from contivpp_core.state import Change, Delete, Put, Write
from contivpp_core.tasks import end

__all__ = ["CONDITION", "Client", "RuntimeWatch", "connect", "find_socket"]

log = logging.getLogger(__name__)

CONDITION = "contiv runtime"
LISTED = "contiv.listed"
"""Where the ledger keeps the container IDs of attachments that a runtime has listed, with its socket."""
USUAL = ("/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/cri-dockerd.sock")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
SOON_SECONDS = 5.0
"""So long after a change is compared: an ADD ends before its sandbox is listed, and many changes come together."""
YOUNG_SECONDS = 60.0
"""So often it is compared while sandboxes of young attachments have not been listed."""
GONE_SECONDS = 60.0
"""So long after Kubernetes has forgotten a pod: by then its DEL has come, or does not come."""
FAULT_SECONDS = 60.0
"""For how long there must be no answer until it is a fault: a runtime may be restarted."""


class Client(Protocol):
    """A connection with a runtime; every call raises RuntimeFault."""

    async def version(self) -> str:
        """Return the runtime's name and version."""

    async def sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes."""

    async def addresses(self, sandbox: str) -> list[str]:
        """Return the addresses of a sandbox; none, where it has the node's network, or is not ready any more."""


Connect = Callable[[str], Awaitable[AbstractAsyncContextManager[Client]]]


async def connect(socket: str) -> AbstractAsyncContextManager[Client]:
    """Return a client; its modules are loaded in a thread, as that takes half a second."""
    module = await asyncio.to_thread(importlib.import_module, "contivpp_contiv.runtime.client")
    made: AbstractAsyncContextManager[Client] = module.CriClient(socket)
    return made


def find_socket(configured: str, usual: Iterable[str] = USUAL) -> tuple[str, str]:
    """Return the runtime's socket, or "" and why there is none to be used. Of several, none is taken by guess."""
    if configured == "none":
        return "", "not used, as configured (contiv.runtimeSocket)"
    if configured != "auto":
        return (configured, "") if _is_socket(configured) else ("", f"{configured} is not there, or no socket")
    found = [path for path in usual if _is_socket(path)]
    if len(found) > 1:
        return "", f"not used, as there are several: set contiv.runtimeSocket to one of {', '.join(found)}"
    return (found[0], "") if found else ("", f"not offered: no socket among {', '.join(usual)}")


def _is_socket(path: str) -> bool:
    try:
        return Path(path).is_socket()
    except OSError:
        return False


class RuntimeWatch:
    """The comparison, from `start` to `stop`."""

    def __init__(
        self, agent: Agent, config: ContivConfig, attachments: Attachments, *, connect: Connect = connect
    ) -> None:
        self._agent, self._config, self._attachments, self._connect = agent, config, attachments, connect
        self._memory = Memory()
        self._backoff = Backoff("container runtime", first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        self._socket = ""
        self._addresses: dict[str, list[str]] = {}  # of sandboxes without attachments, that were asked for
        self._silent_since: float | None = None
        self._due = 0.0
        self._wake = asyncio.Event()
        self._unfollow: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, when the ledger's attachments are taken over; the first comparison is made at once."""
        self._unfollow = self._agent.controller.follow(self._changed)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=CONDITION)

    async def stop(self) -> None:
        """End."""
        self._unfollow()
        await end(self._task)

    # --- when

    def _changed(self, changes: list[Change], tables: list[str]) -> None:
        """Compare soon, where an attachment or its pod has changed."""
        pods = self._agent.state.table(LOCAL_POD.name)
        for change in changes:
            if change.table == LOCAL_POD.name and change.new is not None:
                self._soon(SOON_SECONDS)
            elif change.table == POD.name and change.new is None and pods.where("pod", change.key):
                self._soon(GONE_SECONDS)
        if POD.name in tables:
            self._soon(SOON_SECONDS)

    def _soon(self, seconds: float) -> None:
        self._due = min(self._due, asyncio.get_running_loop().time() + seconds)
        self._wake.set()

    async def _run(self) -> None:
        time = asyncio.get_running_loop().time
        while True:
            self._due = time() + self._config.runtime_check_seconds * random.uniform(0.75, 1.25)
            try:
                await self._compare()
                self._backoff.reset()
            except Exception as error:  # whatever it is: nothing is concluded, and it may pass
                if not isinstance(error, RuntimeFault):
                    log.exception("attachments cannot be compared with the runtime's sandboxes")
                await self._failed(str(error) or type(error).__name__)
                await self._backoff.pause()
                continue
            while (left := self._due - time()) > 0:
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), left)
                except TimeoutError:
                    break

    # --- what

    async def _compare(self) -> None:
        configured = self._config.runtime_socket
        found, reason = find_socket(configured)
        if found != self._socket:
            self._use(found)
        if not found:
            if configured not in ("auto", "none"):
                raise RuntimeFault(reason)
            await self._unused(reason)
            return
        async with await self._connect(found) as client:
            try:
                version, sandboxes = await client.version(), await client.sandboxes()
            except NoCri as error:
                if configured != "auto":
                    raise
                await self._unused(f"not offered: {error}")
                return
            strangers = await self._conclude(client, sandboxes)
        self._silent_since = None
        self._agent.set_condition(CONDITION, True, note=f"{version} at {found}")
        await self._tell(ContainerRuntime(socket=found, strangers=strangers))

    def _use(self, socket: str) -> None:
        """Ask at another socket than before: what another runtime has listed says nothing about this one."""
        ledger = self._agent.ledger.items(LISTED)
        listed = (found for found, where in ledger.items() if where == socket.encode())
        self._socket, self._memory = socket, Memory(known=self._memory.known, listed=frozenset(listed))

    async def _conclude(self, client: Client, sandboxes: list[Sandbox]) -> tuple[Stranger, ...]:
        """Do what follows from an answer, and see to it that doubts are settled; return sandboxes to be told of."""
        now = asyncio.get_running_loop().time()
        pods: list[LocalPod] = self._agent.state.table(LOCAL_POD.name).records()
        memory = answered(self._memory, pods, sandboxes, now, buried=self._attachments.buried)
        self._memory = memory
        if memory.open(now):
            self._soon(AGAIN_SECONDS)
        elif memory.young(now, self._config.runtime_grace_seconds):
            self._soon(YOUNG_SECONDS)
        await self._remember({pod.container_id for pod in pods})
        await self._remove(pods, sandboxes, now)
        return await self._strangers(client, sandboxes, now)

    async def _remember(self, attached: set[str]) -> None:
        """Keep in the ledger what has been listed, and where, of attachments that are still there."""
        ledger, here = self._agent.ledger.items(LISTED), self._socket.encode()
        writes = [LedgerWrite(LISTED, each, here) for each in sorted(self._memory.listed) if ledger.get(each) != here]
        writes += [LedgerWrite(LISTED, each, None) for each in sorted(ledger.keys() - attached)]
        if writes:
            await self._agent.ledger.commit(*writes)

    async def _remove(self, pods: list[LocalPod], sandboxes: list[Sandbox], now: float) -> None:
        due = set(self._memory.due(now))
        doubtful = [pod for pod in pods if pod.key in due]
        fates = await self._attachments.fates(doubtful)
        evidence = {
            pod.key: Evidence(
                busy=self._attachments.busy(pod.key), netns=fates[pod.key], kubernetes=self._kubernetes(pod)
            )
            for pod in doubtful
        }
        grace = self._config.runtime_grace_seconds
        reasons = vanished(self._memory, pods, sandboxes, evidence, now, grace=grace)
        for pod in doubtful:
            if (reason := reasons.get(pod.key)) and await self._attachments.clear(pod, reason):
                log.warning("a pod vanished", extra={"attachment": pod.key, "pod": pod.pod, "reason": reason})

    def _kubernetes(self, pod: LocalPod) -> Literal["yes", "no", "unknown", "none"]:
        """Tell whether Kubernetes says that a pod has this attachment."""
        agent = self._agent
        if not agent.sourced(POD.name):
            return "none"
        table = agent.state.table(POD.name)
        if claims(table.get(pod.pod), pod, agent.node_name):
            return "yes"
        return "no" if table.ready and not table.stale else "unknown"

    async def _strangers(self, client: Client, sandboxes: list[Sandbox], now: float) -> tuple[Stranger, ...]:
        """Return sandboxes with an address of this node's pods and no attachment: these are certainly wrong.

        Others may have the node's network, or another's.
        """
        subnets: NodeSubnets | None = self._agent.state.get(NODE_SUBNETS.name, self._agent.node_name)
        due = set(self._memory.due_strangers(now)) if subnets is not None else set()
        self._addresses = {found: known for found, known in self._addresses.items() if found in due}
        for found in due - self._addresses.keys():
            self._addresses[found] = await client.addresses(found)
        return tuple(
            Stranger(id=sandbox.id, pod=f"{sandbox.namespace}/{sandbox.name}", address=address)
            for sandbox in sandboxes
            for address in self._addresses.get(sandbox.id, ())
            if subnets is not None and within(address, subnets.pod_subnet)
        )

    # --- what is told

    async def _unused(self, reason: str) -> None:
        self._memory, self._silent_since = self._memory.interrupted(), None
        self._agent.set_condition(CONDITION, True, note=reason)
        await self._tell(None)

    async def _failed(self, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        self._memory = self._memory.interrupted()
        self._silent_since = now if self._silent_since is None else self._silent_since
        told = f"its sandboxes are not known, so attachments of pods that vanish may stay: {reason}"
        self._agent.set_condition(CONDITION, True, note=told)
        if now - self._silent_since >= FAULT_SECONDS:
            await self._tell(ContainerRuntime(socket=self._socket or self._config.runtime_socket, fault=told))

    async def _tell(self, runtime: ContainerRuntime | None) -> None:
        """Write the record of which faults are made, where it changes."""
        old: list[ContainerRuntime] = self._agent.state.table(CONTAINER_RUNTIME.name).records()
        new = [] if runtime is None else [runtime]
        if old != new:
            table, kept = CONTAINER_RUNTIME.name, {each.socket for each in new}
            writes: list[Write] = [Delete(table, each.socket) for each in old if each.socket not in kept]
            await self._agent.controller.write("container runtime", [*writes, *(Put(table, each) for each in new)])
