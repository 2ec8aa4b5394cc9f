# SPDX-License-Identifier: Apache-2.0
"""A cluster in memory, of three nodes with a pod each, for tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from contivpp_core.clock import run_simulated
from contivpp_sandbox.rigs.base import DEFAULT_UNDERLAY, Probe, Underlay, Verdict
from contivpp_sandbox.rigs.memory.rig import MemoryRig

NODES_OF_RIG = ["n1", "n2", "n3"]


def pod(name: str, node: str) -> dict:
    ports = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]
    spec = {"nodeName": node, "containers": [{"name": "c", "ports": ports}]}
    return {"kind": "Pod", "metadata": {"namespace": "x", "name": name}, "spec": spec}


def on_cluster(
    test: Callable[[MemoryRig], Awaitable[None]], config: dict | None = None, underlay: Underlay = DEFAULT_UNDERLAY
) -> None:
    """Run a test on three nodes, each with a pod: a1 on n1, a2 on n2, a3 on n3."""

    async def main() -> None:
        rig = MemoryRig()
        try:
            await rig.start(NODES_OF_RIG, config or {}, underlay)
            await rig.apply([pod(f"a{number}", name) for number, name in enumerate(NODES_OF_RIG, 1)])
            assert await rig.settle(60) == []
            await test(rig)
        finally:
            await rig.stop()

    run_simulated(main())


async def verdict(rig: MemoryRig, source: str, target: str, **more: object) -> Verdict:
    return await rig.probe(Probe(source=source, target=target, port=80, expect="allowed", **more))  # type: ignore[arg-type]


async def all_pairs(rig: MemoryRig, pods: list[str]) -> list[str]:
    """Probe every pair; return what is wrong."""
    wrong = []
    for source in pods:
        for target in pods:
            found = await verdict(rig, source, target)
            if (found.reached, found.seen_source) != ((f"{target}:80",), source):
                wrong.append(f"{source} to {target}: {found}")
    return wrong
