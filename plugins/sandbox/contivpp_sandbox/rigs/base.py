# SPDX-License-Identifier: Apache-2.0
"""What a rig is: a cluster on one machine that scenarios, the sandbox and tests drive in one way.

A rig runs agents and dataplanes, plays the kubelet (namespaces, CNI ADD and DEL) and the API server (records of
pods, namespaces and nodes), and sends probes from the stacks of pods. Rigs differ in how real this is; what a
scenario finds must not differ. The rigs are in the folders beside this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from contivpp_core.errors import ContivError

__all__ = [
    "CNI_CONFIG",
    "CNI_INTERFACE",
    "DEFAULT_UNDERLAY",
    "Expectation",
    "KubernetesObject",
    "ObjectReference",
    "Probe",
    "Restartable",
    "Rig",
    "RigError",
    "RigUnavailable",
    "Transport",
    "Underlay",
    "Verdict",
    "cni_environment",
    "container_id",
    "summarise",
]

Expectation = Literal["allowed", "denied", "refused"]
Transport = Literal["TCP", "UDP", "SCTP", "ICMP"]
Restartable = Literal["agent", "vpp", "datastore"]
KubernetesObject = Mapping[str, Any]

CNI_CONFIG = b'{"cniVersion":"1.0.0","name":"k8s-pod-network","type":"contivpp"}'
CNI_INTERFACE = "eth0"


class RigError(ContivError):
    """The rig itself failed, or cannot do what the scenario asks; this is no verdict about the network."""


class RigUnavailable(RigError):
    """This machine cannot run the rig; the message says what it lacks."""


class ObjectReference(NamedTuple):
    """Which Kubernetes object; `namespace` is empty for kinds without one."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Underlay(NamedTuple):
    """The network between the nodes: the largest IP packet in bytes, and which part of all frames (0 to 1) it loses."""

    mtu: int = 1500
    loss: float = 0.0


DEFAULT_UNDERLAY = Underlay()


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe of a scenario, as it stands in the file.

    `source` and `target` are `namespace/pod`; `node:NAME`, a node's own stack (as target at its management address);
    `vpp:NAME`, VPP's address on the underlay (target only: VPP answers ICMP); or an address. An address as source is
    an outside host on the underlay, whose packets to pods and nodes enter by VPP of the node `via` (empty: the first
    node). An address as target that no pod, node or VPP has or had, and that is in none of the cluster's own subnets
    (pods, host links, VXLAN, services, management), is such an outside host too: it is there once it is named, and
    answers on every port, as nodes do.

    `size` counts the bytes of payload (of the request, in TCP); None leaves it to the rig. `repeat` probes are sent,
    each from a source port of its own, unless `source_port` is given. `one_way`: one packet that belongs to no flow
    (TCP: a segment with ACK), which is allowed when it arrives. `do_not_fragment`: the sender learns that the packet
    is larger than a link on the way, by ICMP (RFC 1191) or from its own link: that is `refused`, and `why` has the
    largest size. Without it, packets are fragmented where they do not fit, and put together by the receiver.
    """

    source: str
    target: str
    expect: Expectation
    protocol: Transport = "TCP"
    port: int = 0
    source_port: int = 0
    via: str = ""
    repeat: int = 1
    size: int | None = None
    do_not_fragment: bool = False
    one_way: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a probe.

    `reached` is who answered: `namespace/pod:port`, `node:NAME:port`, or `address:port` for what is neither; without
    the port for ICMP, which VPP answers as `vpp:NAME`. `seen_source` is who the server saw, as a name
    (`namespace/pod`; `node:NAME` for every address of that node's own stack) where the address is one's, else the
    address, which is always in `source_address`; empty when nothing arrived, and where VPP answers. `why` explains a
    drop: node, interface, and reason.
    """

    verdict: Expectation
    reached: tuple[str, ...] = ()
    seen_source: str = ""
    source_address: str = ""
    why: str = ""


class Rig(Protocol):
    """A cluster. Methods are called one after the other, from one task."""

    name: str

    async def start(
        self, nodes: Sequence[str], config: Mapping[str, Any], underlay: Underlay = DEFAULT_UNDERLAY
    ) -> None:
        """Build the cluster: node IDs are 1, 2… in the order of `nodes`; `config` are settings for every agent.

        All nodes join at once. Raises RigUnavailable where the machine lacks something.
        """
        ...

    async def apply(self, objects: Sequence[KubernetesObject]) -> None:
        """Create or change objects; a pod that is new is wired by CNI ADD.

        A Node that is not there joins, with the smallest ID that is free.
        """
        ...

    async def delete(self, references: Sequence[ObjectReference]) -> None:
        """Delete objects; a pod is unwired by CNI DEL, then its network namespace goes.

        A Node leaves as a machine that is switched off: its agent, VPP and pods end, then its keys and its pods'
        objects go.
        """
        ...

    async def restart(self, what: Restartable, node: str | None, *, kill: bool) -> None:
        """Restart on one node, or on all (None): asked to end, or killed."""
        ...

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        ...

    async def settle(self, deadline: float) -> list[str]:
        """Wait until every agent has settled, at most `deadline` seconds; return a line for all that is not applied."""
        ...

    async def probe(self, probe: Probe) -> Verdict:
        """Send what the probe asks for, `repeat` times, and summarise."""
        ...

    async def stop(self) -> None:
        """Take everything down; also after a `start` that failed."""
        ...


def summarise(expect: Expectation, verdicts: Sequence[Verdict]) -> Verdict:
    """Return one verdict for the repeats of a probe: where they differ, the first that was not expected rules."""
    ruling = next((verdict for verdict in verdicts if verdict.verdict != expect), verdicts[0])
    reached = sorted({name for verdict in verdicts for name in verdict.reached})
    return Verdict(
        verdict=ruling.verdict,
        reached=tuple(reached),
        seen_source=_all(verdict.seen_source for verdict in verdicts),
        source_address=_all(verdict.source_address for verdict in verdicts),
        why=ruling.why,
    )


def _all(texts: Iterable[str]) -> str:
    return ", ".join(sorted({text for text in texts if text}))


def container_id(namespace: str, name: str, uid: str, generation: int) -> str:
    """Return the ID of a pod's sandbox container; a re-created pod of the same name gets another."""
    return hashlib.sha256(f"{namespace}/{name}/{uid}/{generation}".encode()).hexdigest()


def cni_environment(
    command: Literal["ADD", "DEL", "CHECK"], *, container: str, netns: str, namespace: str, name: str, uid: str
) -> dict[str, str]:
    """Return the environment in which a kubelet's runtime calls a CNI plugin."""
    arguments = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": namespace,
        "K8S_POD_NAME": name,
        "K8S_POD_INFRA_CONTAINER_ID": container,
        "K8S_POD_UID": uid,
    }
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_IFNAME": CNI_INTERFACE,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in arguments.items()),
        "CNI_PATH": "/opt/cni/bin",
    }
