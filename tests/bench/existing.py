# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that live beside the packages they measure: run from there, set against a reference here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.bench.machine import ROOT
from tests.bench.result import Broken, Goal, Measured, Skipped

__all__ = ["executable_start", "forwarding", "mesh", "probes"]

SECONDS = 2.0
ROUNDS = 3


def load(path: str) -> ModuleType:
    """Import a file that belongs to no package."""
    file = ROOT / path
    if not file.exists():
        raise Skipped(f"{path} is not there")
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[file.stem] = module
    specification.loader.exec_module(module)
    return module


def _output_of(path: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Any:
    """Run a benchmark that prints JSON, as a process of its own."""
    if not (ROOT / path).exists():
        raise Skipped(f"{path} is not there")
    command = [*prefix, sys.executable, str(ROOT / path), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=300)
    if done.returncode:
        raise Broken(f"{' '.join(command)} failed; its message is above")
    return json.loads(done.stdout)


def executable_start(runs: int) -> list[Measured]:
    """Start of both kinds of the executable with an agent that answers at once."""
    if not Path("/usr/bin/python3").exists():
        raise Skipped("/usr/bin/python3 is missing: the executable is measured with the system's Python")
    found = _output_of("cni/tests/bench_start.py", str(2 * runs))
    ours, empty = found["compiled_p50_ms"], found["empty_p50_ms"]
    lines = [Measured("start", "CNI executable, p50", "ms", ours, empty, "python3 -I -S -c pass", Goal(1.2), found)]
    if "native_p50_ms" in found:  # a C compiler is there
        ours, nothing = found["native_p50_ms"], found["true_p50_ms"]
        lines.append(Measured("start", "native CNI executable, p50", "ms", ours, nothing, "true", Goal(1.5)))
    return lines


def forwarding(runs: int) -> list[Measured]:
    """Small packets from pod to pod through the embedded VPP, and the same through the kernel."""
    bench = load("plugins/embeddedvpp/tests/bench_forwarding.py")
    if reason := bench.possible():
        raise Skipped(reason)
    ours, theirs = [], []
    for _ in range(max(1, min(ROUNDS, runs))):
        ours.append(asyncio.run(bench.measure("tap", SECONDS)))
        theirs.append(kernel_forwarding(bench, SECONDS))
    rate, delay = Goal(40_000, more_is_better=True, absolute=True), Goal(0.3, absolute=True)
    lines = (
        ("forwarding", "packets_per_second", "UDP, 64 bytes, pod to pod in the embedded VPP", "packets/s", rate),
        ("ping", "ping_ms", "pod to pod in the embedded VPP", "ms", delay),
    )
    return [
        Measured(
            name,
            what,
            unit,
            statistics.median(each[key] for each in ours),
            statistics.median(each[key] for each in theirs),
            "kernel, veth pairs",
            goal,
            {"ours": [each[key] for each in ours], "theirs": [each[key] for each in theirs]},
        )
        for name, key, what, unit, goal in lines
    ]


def kernel_forwarding(bench: ModuleType, seconds: float) -> dict[str, float]:
    """Packets a second and the time of a ping between two namespaces, with the kernel of a third between them."""
    one, two, router = (bench.Namespace() for _ in range(3))
    try:
        router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for number, pod in enumerate((one, two), 1):
            pair = f"name v{number} type veth peer name eth0 netns {pod.process.pid}"
            router.run("ip", "link", "add", *pair.split())
            _up(router, f"v{number}", f"10.9.{number}.1/24")
            _up(pod, "eth0", f"10.9.{number}.2/24")
            pod.run("ip", "route", "add", "default", "via", f"10.9.{number}.1")
        ping_ms = float(one.run(sys.executable, "-c", bench.PINGER, "10.9.2.2").split()[1])
        received, took = _send(bench, one, two, seconds)
    finally:
        for namespace in (one, two, router):
            namespace.close()
    return {"packets_per_second": received / max(took, 0.001), "ping_ms": ping_ms}


def _up(namespace: Any, link: str, address: str) -> None:
    namespace.run("ip", "address", "add", address, "dev", link)
    namespace.run("ip", "link", "set", link, "up")


def _send(bench: ModuleType, one: Any, two: Any, seconds: float) -> tuple[float, float]:
    receiver: subprocess.Popen[str] = two.start(sys.executable, "-c", bench.RECEIVER, str(seconds + 5))
    assert receiver.stdout is not None
    receiver.stdout.readline()
    one.run(sys.executable, "-c", bench.SENDER, "10.9.2.2", str(seconds), "200000")
    received, took = receiver.communicate()[0].split()
    return float(received), float(took)


def probes(runs: int) -> list[Measured]:
    """TCP connections between two pods of the rig in memory, and the same through the kernel's loopback."""
    found = _output_of("plugins/sandbox/tests/bench_probes.py", "--probes", str(100 * runs))
    goal = Goal(2000, more_is_better=True, absolute=True)
    theirs = loopback_connections(100 * runs)
    rate = found["tcp_probes_per_second"]
    return [
        Measured("probes", "TCP, pod to pod in memory", "probes/s", rate, theirs, "kernel, loopback", goal, found),
    ]


def loopback_connections(number: int) -> float:
    """Return how many connections a second one thread makes, asks, answers and closes."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        begin = time.perf_counter()
        for _ in range(number):
            with socket.create_connection(server.getsockname()) as client, server.accept()[0] as peer:
                client.sendall(b"request")
                peer.sendall(peer.recv(64))
                client.recv(64)
        return number / (time.perf_counter() - begin)


def mesh(runs: int) -> list[Measured]:
    """A node that joins a mesh of 500, and the change of one node's address there."""
    if os.geteuid() != 0:
        raise Skipped("needs root for a network namespace")
    found = _output_of("plugins/contiv/tests/bench_mesh.py", "500", prefix=("unshare", "--net"))
    vpp = f"{found['vpp']} VPP"
    join, change = Goal(1.0, absolute=True), Goal(20, absolute=True)
    return [
        Measured("mesh", f"a node joins 499 others, {vpp}", "s", found["join_s"], goal=join, details=found),
        Measured("mesh", f"one address changes, p50, {vpp}", "ms", found["change_p50_ms"], goal=change),
        Measured("mesh", "memory of the agent for it", "MiB", found["agent_mib"]),
        Measured("mesh", f"memory of the {vpp} for it", "MiB", found["vpp_mib"]),
    ]
