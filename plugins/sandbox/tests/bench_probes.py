# SPDX-License-Identifier: Apache-2.0
"""Probes a second in memory: `python bench_probes.py [--probes N]` prints one JSON object.

Each probe is a TCP connection between two pods, with request, answer and close, through the embedded VPP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from time import perf_counter
from typing import Any

from contivpp_core.clock import run_simulated
from contivpp_sandbox.rigs.base import Probe, Transport
from contivpp_sandbox.rigs.memory.rig import MemoryRig

_PORTS = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]


def _pod(name: str) -> dict[str, Any]:
    spec = {"nodeName": "node1", "containers": [{"name": "c", "ports": _PORTS}]}
    return {"kind": "Pod", "metadata": {"namespace": "x", "name": name}, "spec": spec}


async def _rate(rig: MemoryRig, protocol: Transport, port: int, number: int) -> float:
    probe = Probe(source="x/a", target="x/b", protocol=protocol, port=port, repeat=number, expect="allowed")
    begin = perf_counter()
    verdict = await rig.probe(probe)
    seconds = perf_counter() - begin
    if verdict.verdict != "allowed":
        raise SystemExit(f"{protocol} probes are {verdict.verdict}: {verdict.why}")
    return round(number / seconds, 1)


async def _measure(probes: int, pods: int) -> dict[str, float]:
    rig = MemoryRig()
    try:
        begin = perf_counter()
        await rig.start(["node1"], {})
        await rig.settle(60)
        started = perf_counter()
        await rig.apply([_pod("a"), _pod("b"), *(_pod(f"p{index}") for index in range(pods - 2))])
        if unapplied := await rig.settle(60):
            raise SystemExit("\n".join(unapplied))
        connected = perf_counter()
        return {
            "start_seconds": round(started - begin, 3),
            "pods": pods,
            "pods_per_second": round(pods / (connected - started), 1),
            "probes": probes,
            "tcp_probes_per_second": await _rate(rig, "TCP", 80, probes),
            "udp_probes_per_second": await _rate(rig, "UDP", 53, probes),
            "icmp_probes_per_second": await _rate(rig, "ICMP", 0, probes),
        }
    finally:
        await rig.stop()
        await asyncio.sleep(0)


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=4000, help="probes of each protocol")
    parser.add_argument("--pods", type=int, default=100, help="pods on the node")
    arguments = parser.parse_args()
    print(json.dumps(run_simulated(_measure(arguments.probes, arguments.pods))))


if __name__ == "__main__":
    main()
