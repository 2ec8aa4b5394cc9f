# SPDX-License-Identifier: Apache-2.0
"""Which attachments belong to sandboxes that the runtime does not have any more. Pure: answers and times in, keys out.

That a sandbox is not listed proves little by itself. containerd lists a sandbox only after its CNI ADD (1.6.20: when
the whole of RunPodSandbox is done); a node may have a second runtime, and other users of CNI, whose containers this one
never knew; and one may serve before it has read all that it has. So it counts only

- for attachments that CNI_ARGS name a Kubernetes pod of, and for which no CNI call is under way;
- when all answers over at least `AGAIN_SECONDS` were without the sandbox, and nothing but whole answers was in between;

and then when one of these holds:

- the network namespace is gone;
- the same runtime has listed the sandbox before (IDs are never used again, so it has been removed), and Kubernetes,
  where there is one, is known not to claim the attachment (`claims`);
- it was never listed, the attachment is older than `grace`, Kubernetes is there and known not to claim it, and the
  answer has sandboxes of other attachments, so this is the runtime that makes our pods. A runtime that died in the
  middle of making a sandbox leaves such attachments.

A sandbox that is listed, but has ended, may still get its DEL: of it only a namespace that is gone counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from contivpp_contiv.records import LocalPod
from contivpp_core.kubernetes import Pod

__all__ = ["AGAIN_SECONDS", "Evidence", "Memory", "Sandbox", "answered", "claims", "vanished"]

AGAIN_SECONDS = 10.0
"""Over so long a time all answers must agree."""

_ENDED = ("Succeeded", "Failed")


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that the runtime lists; `ready` is false for one that has ended, or is being made or taken down."""

    id: str
    namespace: str = ""
    name: str = ""
    ready: bool = True


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an attachment besides the runtime's answers.

    `busy`: a CNI call for it is under way. `kubernetes`: whether its pod has its address there (`yes`, `no`), `unknown`
    while the pods are not known for certain, `none` where there is no source of them.
    """

    busy: bool = False
    netns: Literal["there", "gone", "hidden"] = "there"
    kubernetes: Literal["yes", "no", "unknown", "none"] = "none"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered from one answer to the next; times are the loop's, in seconds.

    `known`: since when each attachment is known. `listed`: container IDs of attachments that the runtime has listed.
    `doubted`: attachments without a sandbox that is ready, and since which answer. `strange`: sandboxes that are ready
    and have no attachment, and since which answer.
    """

    known: Mapping[str, float] = {}
    listed: frozenset[str] = frozenset()
    doubted: Mapping[str, float] = {}
    strange: Mapping[str, float] = {}

    def interrupted(self) -> Memory:
        """Return what is left when a call got no whole answer."""
        return msgspec.structs.replace(self, doubted={}, strange={})

    def due(self, now: float) -> list[str]:
        """Return the attachments about which all answers have agreed for long enough."""
        return [key for key, since in self.doubted.items() if now - since >= AGAIN_SECONDS]

    def open(self, now: float) -> bool:
        """Tell whether further answers may settle something in a few seconds."""
        return len(self.due(now)) < len(self.doubted) or len(self.due_strangers(now)) < len(self.strange)

    def young(self, now: float, grace: float) -> bool:
        """Tell whether there are doubts about attachments younger than `grace`, in seconds."""
        return any(now - self.known[key] < grace for key in self.doubted)

    def due_strangers(self, now: float) -> list[str]:
        """Return the sandboxes of which the same holds."""
        return [found for found, since in self.strange.items() if now - since >= AGAIN_SECONDS]


def answered(
    memory: Memory, pods: Iterable[LocalPod], answer: Iterable[Sandbox], now: float, *, buried: Iterable[str] = ()
) -> Memory:
    """Return the memory after a whole answer; `buried` are container IDs of attachments that are being taken down."""
    pods, sandboxes = list(pods), {sandbox.id: sandbox for sandbox in answer}
    ids = {pod.container_id for pod in pods}
    ready = {found for found, sandbox in sandboxes.items() if sandbox.ready}
    doubted = [pod.key for pod in pods if pod.namespace and pod.container_id not in ready]
    return Memory(
        known={pod.key: memory.known.get(pod.key, now) for pod in pods},
        listed=(memory.listed | sandboxes.keys()) & ids,
        doubted={key: memory.doubted.get(key, now) for key in doubted},
        strange={found: memory.strange.get(found, now) for found in sorted(ready - ids - set(buried))},
    )


def claims(record: Pod | None, pod: LocalPod, node: str) -> bool:
    """Tell whether a pod of Kubernetes may have this attachment: it runs here, and its address is not another one."""
    if record is None or record.node != node or record.host_network or record.phase in _ENDED:
        return False
    return not record.addresses or pod.address in record.addresses


def vanished(
    memory: Memory,
    pods: Iterable[LocalPod],
    answer: Iterable[Sandbox],
    evidence: Mapping[str, Evidence],
    now: float,
    *,
    grace: float,
) -> dict[str, str]:
    """Return the attachments that are to go, and why; `memory` is that after this answer.

    `evidence` must be newer than the answer; an attachment without any stays. `grace` is in seconds.
    """
    pods, listed = list(pods), {sandbox.id for sandbox in answer}
    ours = any(pod.container_id in listed for pod in pods)
    due = set(memory.due(now))
    reasons = {}
    for pod in pods:
        if pod.key not in due or pod.key not in evidence:
            continue
        old = now - memory.known[pod.key] >= grace
        reason = _reason(pod.container_id, listed, evidence[pod.key], memory, old=old and ours)
        if reason:
            reasons[pod.key] = reason
    return reasons


def _reason(container: str, listed: set[str], evidence: Evidence, memory: Memory, *, old: bool) -> str:
    """Say why an attachment is to go, or ""; `old`: old enough, and the runtime makes our pods."""
    if evidence.busy:
        return ""
    if evidence.netns == "gone":
        state = "has ended" if container in listed else "is not known to the runtime"
        return f"its sandbox {state}, and its network namespace is gone"
    if container in listed or evidence.kubernetes in ("yes", "unknown"):
        return ""
    if container in memory.listed:
        return "the runtime has removed its sandbox"
    if old and evidence.kubernetes == "no":
        return "the runtime has never listed its sandbox, and Kubernetes does not know it"
    return ""
