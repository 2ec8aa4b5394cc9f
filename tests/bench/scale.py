# SPDX-License-Identifier: Apache-2.0
"""Ten thousand services, and twice as many: each in an agent that is a process of its own (`scale_agent`)."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

from tests.bench.machine import ROOT
from tests.bench.result import Broken, Goal, Measured

__all__ = ["lines", "scale"]

SERVICES = 10000
ROUNDS = 3
CHANGES = 300


def scale(runs: int) -> list[Measured]:
    """Measure both numbers in turns."""
    once, twice = [], []
    for _ in range(max(1, min(ROUNDS, runs))):
        once.append(_measured(SERVICES))
        twice.append(_measured(2 * SERVICES))
    return lines(once, twice)


def _measured(services: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.scale_agent", str(services), str(CHANGES)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=300, cwd=ROOT)
    if done.returncode:
        raise Broken(f"{' '.join(command)} failed; its message is above")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def lines(once: list[dict[str, Any]], twice: list[dict[str, Any]]) -> list[Measured]:
    """Return medians of the runs; in the details are all runs."""
    vpp = "VPP's" if once[0]["vpp"] == "real" else "the test dataplane's"

    def median(key: str, runs: list[dict[str, Any]] = once) -> float:
        return statistics.median(each[key] for each in runs)

    def line(what: str, unit: str, key: str, bound: float | None = None) -> Measured:
        goal = Goal(bound, absolute=True) if bound is not None else None
        return Measured("scale", what, unit, median(key), goal=goal)

    services, cold = f"{once[0]['services']:,} services", "cold_s"
    return [
        Measured(
            "scale",
            f"{services} from raw JSON to {vpp} last answer",
            "s",
            median(cold),
            goal=Goal(2.0, absolute=True),
            details={"runs": once},
        ),
        line("of it: decoding", "s", "decode_s"),
        line("of it: writing and rendering", "s", "render_s"),
        line("of it: scheduling until the last answer", "s", "schedule_s"),
        line("CPU time of the agent for it", "s", "cpu_s"),
        line("CPU time of VPP for it, meanwhile", "s", "vpp_cpu_s"),
        Measured(
            "scale",
            f"{twice[0]['services']:,} services",
            "s",
            median(cold, twice),
            median(cold),
            services,
            Goal(2.3),
            {"runs": twice},
        ),
        line("longest turn of the event loop at a cold start, CPU time", "ms", "pause_ms"),
        line("one endpoint moves, p50", "ms", "change_p50_ms", 2),
        line("one endpoint moves, p99", "ms", "change_p99_ms", 10),
        line("resync when nothing differs", "s", "resync_s", 1),
        line("longest turn of the event loop at a resync, CPU time", "ms", "resync_pause_ms"),
        line("memory of the agent, in all", "MB", "agent_after_mb", 200),
    ]
