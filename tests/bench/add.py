# SPDX-License-Identifier: Apache-2.0
"""CNI ADD: one at a time, and many at once, in turns with `ptp`; and what one consists of.

`one_by_one` and `at_once` start this module as a child with a network and a mount namespace of its own ("the node"),
where `measure_…` do the work and print JSON. ADDs are followed by the DELs, which are not counted, and by a pause: the
kernel needs some 20 ms to take a device down, and both plugins leave that to it after their answer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.machine import ROOT
from tests.bench.node import CniPlugin, Pod, finish, make_pods, new_container, prove, reference_plugin, running_node
from tests.bench.parts import parts_of
from tests.bench.references import reference_plugins
from tests.bench.result import Broken, Goal, Measured, Skipped

__all__ = ["at_once", "one_by_one"]

WARM_UP = 5
PAUSE_SECONDS, BURST_PAUSE_SECONDS = 0.1, 2.0
AGENT = [sys.executable, "-m", "contivpp_core.cli", "agent"]
REFERENCE = "ptp + host-local"


def one_by_one(runs: int) -> list[Measured]:
    """Whole ADDs as the runtime sees them, and their parts."""
    found = _in_node("one-by-one", runs)
    whole = Measured(
        "add",
        "whole CNI ADD, p50",
        "ms",
        found["ours_ms"],
        found["theirs_ms"],
        REFERENCE,
        Goal(3.0),
        {"runs": runs, "p95_ms": found["ours_p95_ms"], "reference_p95_ms": found["theirs_p95_ms"]},
    )
    parts = [
        Measured(f"add/{name}", "part of it, p50", "ms", value, found["theirs_ms"], "whole reference ADD")
        for name, value in found["parts"].items()
    ]
    return [whole, *parts]


def at_once(runs: int) -> list[Measured]:
    """Pods a second when many are added at once."""
    pods, rounds = 100, max(3, runs // 10)
    found = _in_node("at-once", rounds, "--pods", str(pods))
    return [
        Measured(
            "burst",
            f"{pods} ADDs at once",
            "pods/s",
            found["ours"],
            found["theirs"],
            REFERENCE,
            Goal(0.7, more_is_better=True),
            {"rounds": rounds, "ours": found["ours_rounds"], "theirs": found["theirs_rounds"]},
        )
    ]


def _in_node(work: str, runs: int, *more: str) -> Any:
    if os.geteuid() != 0:
        raise Skipped("root is needed to make network namespaces")
    if not Path("/dev/net/tun").exists():
        raise Skipped("/dev/net/tun is missing: load the kernel's tun module")
    plugins = reference_plugins()
    command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.bench.add", work]
    done = subprocess.run(
        [*command, "--runs", str(runs), "--reference", str(plugins), *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
        timeout=900,
    )
    if done.returncode:
        raise Broken(f"{' '.join(command)} failed; its message is above")
    return json.loads(done.stdout)


# --- in the node


def measure_one_by_one(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Times of single ADDs, in turns; then, with clocks in the agent, their parts."""
    reference = reference_plugin(directory, options.reference)
    pods = make_pods(directory, ["ours", "theirs"])
    with running_node(directory, agent=AGENT) as ours:
        for plugin, pod in zip((ours, reference), pods, strict=True):
            prove(plugin, pod)
        pairs = [_pair(ours, reference, pods) for _ in range(WARM_UP + options.runs)][WARM_UP:]
    mine, theirs = ([1e3 * pair[side] for pair in pairs] for side in (0, 1))
    return {
        "ours_ms": statistics.median(mine),
        "theirs_ms": statistics.median(theirs),
        "ours_p95_ms": statistics.quantiles(mine, n=20)[-1],
        "theirs_p95_ms": statistics.quantiles(theirs, n=20)[-1],
        "parts": _parts(directory, pods[0], options.runs),
    }


def _pair(ours: CniPlugin, theirs: CniPlugin, pods: Sequence[Pod]) -> tuple[float, float]:
    seconds, container = [], new_container()
    for plugin, pod in zip((ours, theirs), pods, strict=True):
        begin, end = plugin.call("ADD", pod, container)
        seconds.append(end - begin)
    for plugin, pod in zip((ours, theirs), pods, strict=True):
        plugin.call("DEL", pod, container)
    time.sleep(PAUSE_SECONDS)
    return seconds[0], seconds[1]


def _parts(directory: Path, pod: Pod, runs: int) -> dict[str, float]:
    out = directory / "spans.json"
    calls = []
    with running_node(directory, agent=[sys.executable, "-m", "tests.bench.traced_agent", "--out", str(out)]) as ours:
        for _ in range(WARM_UP + runs):
            container = new_container()
            calls.append(ours.call("ADD", pod, container))
            ours.call("DEL", pod, container)
            time.sleep(PAUSE_SECONDS)
    return parts_of(calls[WARM_UP:], json.loads(out.read_text()))


def measure_at_once(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Pods a second, in turns; the first round warms up."""
    reference = reference_plugin(directory, options.reference)
    pods = make_pods(directory, [f"pod{number}" for number in range(options.pods)])
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    with running_node(directory, agent=AGENT) as ours:
        for number in range(options.runs + 1):
            for name, plugin in (("ours", ours), ("theirs", reference)):
                rate = _all_at_once(plugin, pods)
                if number:
                    rates[name].append(rate)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {**medians, **{f"{name}_rounds": [round(v, 1) for v in values] for name, values in rates.items()}}


def _all_at_once(plugin: CniPlugin, pods: Sequence[Pod]) -> float:
    containers = [new_container() for _ in pods]
    begin = time.perf_counter()
    calls = [plugin.start("ADD", pod, container) for pod, container in zip(pods, containers, strict=True)]
    for call in calls:
        finish(call)
    seconds = time.perf_counter() - begin
    for call in [plugin.start("DEL", pod, container) for pod, container in zip(pods, containers, strict=True)]:
        finish(call)
    time.sleep(BURST_PAUSE_SECONDS)
    return len(pods) / seconds


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["one-by-one", "at-once"])
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--reference", type=Path, required=True)
    options = parser.parse_args()
    measure = measure_one_by_one if options.work == "one-by-one" else measure_at_once
    with tempfile.TemporaryDirectory(prefix="contivpp-bench-", ignore_cleanup_errors=True) as directory:
        try:
            found = measure(Path(directory), options)
        finally:
            subprocess.run(f"umount -l {directory}/* 2>/dev/null", shell=True, check=False)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
