# SPDX-License-Identifier: Apache-2.0
"""What others make of pods' links after their ADD: plugins later in the chain, Multus, the pod itself.

It is left as it is, and VPP follows the MAC. What differs from this agent's own values is kept in the ledger, because a
link may be lost: a TAP goes with its VPP. The new link has this agent's values, nobody applies those of the others
again, and the fault says which they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from contivpp_contiv.records import ALTERED_LINK, LOCAL_POD, AlteredLink, LocalPod
from contivpp_core.agent import Agent
from contivpp_core.faults import FAULT, Fault
from contivpp_core.ledger import LedgerWrite
from contivpp_core.namespaces import Namespace
from contivpp_core.records import Record
from contivpp_core.renderers import View
from contivpp_core.state import Delete, Put, Ready, State, Write
from contivpp_core.tasks import end
from contivpp_linux.batcher import reference
from contivpp_linux.items import Route
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.sightings import Sighting

__all__ = ["AlteredLinks", "LostRenderer", "judged", "lost_of"]

log = logging.getLogger(__name__)

SPACE = "contiv.altered"
RETRY_SECONDS = 5.0
CHAIN_SECONDS = 2.0  # after an ADD, the other plugins of its chain are done
PAUSE_SECONDS = 0.01  # between two pods, which take a millisecond each
_DECODER = msgspec.json.Decoder(AlteredLink)


class AlteredLinks:
    """Keeps the table of altered links, and its copy in the ledger."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._seen: dict[str, Sighting] = {}  # by attachment; the last one counts
        self._gone: set[str] = set()  # attachments that ended
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._wired: asyncio.Queue[tuple[float, LocalPod]] = asyncio.Queue()
        self._unlisten: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Take over what the ledger holds, and begin to look."""
        stored = [_DECODER.decode(value) for value in self._agent.ledger.items(SPACE).values()]
        writes: list[Write] = [*(Put(ALTERED_LINK.name, each) for each in stored), Ready(ALTERED_LINK.name)]
        await self._agent.controller.write("altered links of the ledger", writes)
        self._agent.plugin("linux").watch_settled(self._take, self._keen)  # type: ignore[attr-defined]
        self._unlisten = self._agent.controller.listen(self._written)
        for work, name in ((self._work(), "contiv altered links"), (self._look_later(), "contiv sysctls of pods")):
            self._tasks.append(asyncio.create_task(work, name=name))

    async def stop(self) -> None:
        """End; the ledger keeps what is known."""
        self._unlisten()
        await end(*self._tasks)

    def wired(self, attachment: str) -> None:
        """An ADD is done: see later what the rest of the chain has set, as the kernel does not tell of sysctls.

        A veth pair outlives VPP, so nothing can be lost there.
        """
        pod: LocalPod | None = self._agent.state.get(LOCAL_POD.name, attachment)
        if pod is not None and pod.wiring == "tap":
            self._wired.put_nowait((asyncio.get_running_loop().time() + CHAIN_SECONDS, pod))

    async def _look_later(self) -> None:
        linux: Any = self._agent.plugin("linux")
        while True:
            due, pod = await self._wired.get()
            await asyncio.sleep(max(PAUSE_SECONDS, due - asyncio.get_running_loop().time()))
            try:
                if await linux.kernel.link_sysctls(reference(pod.netns), pod.interface):
                    linux.look(pod.netns, pod.interface)
            except KernelError:  # the pod is gone again
                continue

    def _pod(self, namespace: Namespace, link: str) -> LocalPod | None:
        pods: Iterable[LocalPod] = self._agent.state.table(LOCAL_POD.name).where("netns", str(namespace))
        return next((pod for pod in pods if pod.interface == link), None)

    def _keen(self, namespace: Namespace, link: str) -> bool:
        """A link that was altered is looked at when it is made anew, too."""
        pod = self._pod(namespace, link)
        return pod is not None and self._agent.state.get(ALTERED_LINK.name, pod.key) is not None

    def _take(self, sighting: Sighting) -> None:
        if (pod := self._pod(sighting.namespace, sighting.link.name)) is not None:
            self._seen[pod.key] = sighting
            self._wake.set()

    def _written(self) -> None:
        """What is known of an attachment goes with it, also if the next one of its name comes at once."""
        state = self._agent.state
        if state.table(LOCAL_POD.name).ready:
            self._gone |= {e.attachment for e in self._known() if state.get(LOCAL_POD.name, e.attachment) is None}
        if self._gone:
            self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._store(self._news())
            except Exception:  # a full disk: the table is right, and the ledger follows later
                log.exception("what others made of pods' links could not be stored; it is tried again")
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    def _news(self) -> list[Write]:
        state = self._agent.state
        seen, self._seen = self._seen, {}
        gone, self._gone = self._gone, set()
        writes: list[Write] = [Delete(ALTERED_LINK.name, key) for key in sorted(gone)]
        for key, sighting in seen.items():
            pod: LocalPod | None = state.get(LOCAL_POD.name, key)
            before = state.get(ALTERED_LINK.name, key) if key not in gone else None
            if pod is None or pod.netns != sighting.namespace:
                continue
            now = judged(pod, sighting, before)
            if now is not None and now != before:
                writes.append(Put(ALTERED_LINK.name, now))
            elif now is None and before is not None:
                writes.append(Delete(ALTERED_LINK.name, key))
        return writes

    async def _store(self, writes: list[Write]) -> None:
        """Write the table first: VPP is to know the MAC at once."""
        if writes:
            await self._agent.controller.write("a pod's link was altered", writes, urgent=True)
        stored = self._agent.ledger.items(SPACE)
        now = {each.attachment: msgspec.json.encode(each) for each in self._known()}
        entries = [LedgerWrite(SPACE, key, value) for key, value in now.items() if stored.get(key) != value]
        entries += [LedgerWrite(SPACE, key, None) for key in stored if key not in now]
        if entries:
            await self._agent.ledger.commit(*entries)

    def _known(self) -> list[AlteredLink]:
        known: list[AlteredLink] = self._agent.state.table(ALTERED_LINK.name).records()
        return known


def judged(pod: LocalPod, sighting: Sighting, before: AlteredLink | None) -> AlteredLink | None:
    """Return what is to be known of a link that was seen, None where it is as its ADD left it and nothing was lost."""
    link = sighting.link
    now = AlteredLink(
        attachment=pod.key,
        link=link.index,
        mac="" if link.mac == pod.mac else link.mac,
        mtu=0 if all(isinstance(each, Route) for each in sighting.changed) else link.mtu,
        routes=tuple(sorted(each.destination for each in sighting.changed if isinstance(each, Route))),
        promiscuous=link.promiscuous,
        all_multicast=link.all_multicast,
        sysctls=_sysctls(sighting, before),
    )
    if before is not None:
        lost = before.lost
        if before.link != now.link:
            lost = (*lost, *(text for text in _differences(before, now) if text not in lost))
        now = msgspec.structs.replace(now, lost=lost)
    untouched = AlteredLink(attachment=now.attachment, link=now.link)
    return None if now == untouched else now


def _sysctls(sighting: Sighting, before: AlteredLink | None) -> tuple[tuple[str, str], ...]:
    if sighting.sysctls is not None:
        return tuple(sorted(sighting.sysctls.items()))
    return before.sysctls if before is not None and before.link == sighting.link.index else ()


def _differences(before: AlteredLink, now: AlteredLink) -> Iterable[str]:
    """Say what others had made of a former link and is not so on the present one."""
    if before.mac not in ("", now.mac):
        yield f"MAC {before.mac}"
    if before.mtu not in (0, now.mtu):
        yield f"MTU {before.mtu}"
    if before.promiscuous and not now.promiscuous:
        yield "promiscuous mode"
    if before.all_multicast and not now.all_multicast:
        yield "all-multicast mode"
    yield from (f"sysctl {path}={value}" for path, value in before.sysctls if (path, value) not in now.sysctls)
    for destination in before.routes:
        if destination not in now.routes:
            yield f"the route to {destination} was not in the main table, and is there again"


def lost_of(state: State, attachment: str) -> str:
    """Say what others had made of an attachment's link and was lost with it, and what to do, or ""; for CHECK, too."""
    altered: AlteredLink | None = state.get(ALTERED_LINK.name, attachment)
    return _reason(altered) if altered is not None and altered.lost else ""


def _reason(altered: AlteredLink) -> str:
    return (
        f"its link had to be made anew, and what others had set on the former one is lost: {', '.join(altered.lost)}; "
        "delete the pod, so that its controller makes it again"
    )


class LostRenderer:
    """AlteredLink -> the fault that names what was lost."""

    name = "contiv-lost"
    table = ALTERED_LINK.name
    reads = frozenset({LOCAL_POD.name})
    produces: frozenset[str] = frozenset()
    derives = frozenset({FAULT.name})

    def render(self, view: View, key: str) -> Iterable[Any | Record]:
        """Return the fault, where something was lost."""
        altered: AlteredLink = view.get(self.table, key)
        pod: LocalPod | None = view.get(LOCAL_POD.name, key)
        if pod is not None and altered.lost:
            yield Fault(subject=f"pod {pod.pod} interface {pod.interface}", reason=_reason(altered))
