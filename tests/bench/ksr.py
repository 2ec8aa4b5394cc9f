# SPDX-License-Identifier: Apache-2.0
"""The reflector on a real kube-apiserver with 5,000 pods and 10,000 services, beside the `kubernetes` package's.

Objects are put into the API server's etcd as it would store them, changes of all pods, too: so the clients are the
bottleneck and not who makes the load. Each client has a process of its own, and the machine for itself. The delay is
from a PATCH until the agent's table has the record, at 100 changes a second: since it was sent, which is the API
server's time for the most part, and since it was answered.
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contivpp_datastore.etcd.client import EtcdStore
from tests.bench.ksr_worker import PODS, SERVICES
from tests.bench.result import Goal, Measured, Skipped
from tests.servers.apiserver import MISSING, ApiServer, executable
from tests.servers.etcd import MISSING as NO_ETCD
from tests.servers.etcd import Etcd
from tests.servers.etcd import executable as etcd_executable

__all__ = ["ksr"]

AT_ONCE = 50
RATE, SECONDS = 100, 20
LISTS = 7
"""The median of so many is told: one process is up to twice as fast as the next one, by the machine's doing."""
BURSTS = 3
"""The median of so many is told: how much of a burst is there at once is the server's doing."""
REFERENCE = "kubernetes informer"


def ksr(runs: int) -> list[Measured]:
    """List, watch and delay; `runs` has no say: each is over thousands of objects."""
    if not etcd_executable():
        raise Skipped(NO_ETCD)
    if not executable():
        raise Skipped(MISSING)
    with tempfile.TemporaryDirectory(prefix="contivpp-ksr-") as folder:
        etcd = Etcd(Path(folder) / "etcd")
        with etcd, ApiServer(Path(folder) / "api", etcd.endpoint) as api:
            return asyncio.run(_measure(etcd, api))


def pod(number: int, value: str) -> tuple[str, dict[str, Any]]:
    """A pod as large as real ones are: some 4 KB, with what its managers own."""
    name, node = f"pod-{number:05}", f"node-{number % 100}"
    owned = {f"f:field{n}": {"f:some": {}, "f:more": {}, "f:again": {}} for n in range(30)}
    environment = [{"name": f"VARIABLE_{n}", "value": f"a value of the variable {n}"} for n in range(10)]
    return f"/registry/pods/default/{name}", {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "creationTimestamp": "2030-01-01T00:00:00Z",
            "labels": {"app": f"app-{number % 300}", "pod-template-hash": "5d4f8c7b9", "round": value},
            "annotations": {"example.com/checksum": "c" * 64},
            "managedFields": [
                {"manager": who, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": owned}
                for who in ("kube-controller-manager", "kubelet")
            ],
        },
        "spec": {
            "nodeName": node,
            "restartPolicy": "Always",
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example.com/group/web:1.2.3",
                    "env": environment,
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                }
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.1.{number % 100}.{number // 100 + 1}",
            "podIPs": [{"ip": f"10.1.{number % 100}.{number // 100 + 1}"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}],
            "containerStatuses": [
                {"name": "web", "ready": True, "restartCount": 0, "image": "web", "imageID": "sha256:" + "a" * 64}
            ],
        },
    }


def service(number: int) -> tuple[str, dict[str, Any]]:
    """A service with a cluster address."""
    address = f"10.{96 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
    return f"/registry/services/specs/default/service-{number:05}", {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"service-{number:05}",
            "namespace": "default",
            "uid": f"00000000-0000-4000-9000-{number:012}",
            "creationTimestamp": "2030-01-01T00:00:00Z",
            "managedFields": [
                {
                    "manager": "kubectl",
                    "operation": "Update",
                    "apiVersion": "v1",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {f"f:field{n}": {"f:some": {}} for n in range(15)},
                }
            ],
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "selector": {"app": f"app-{number % 300}"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    }


async def _put(etcd: Etcd, objects: list[tuple[str, dict[str, Any]]]) -> None:
    """Store objects, each with a version of its own: clients go on from a version, so two must not share one."""
    store, gate = EtcdStore(etcd.options()), asyncio.Semaphore(AT_ONCE)

    async def one(key: str, found: dict[str, Any]) -> None:
        async with gate:
            await store.put(key, json.dumps(found).encode())

    await asyncio.gather(*(one(key, found) for key, found in objects))
    await store.close()


class _Worker:
    """A client in its process: what it told, and what it is asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(90):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the client ended")
        return json.loads(line)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())


@asynccontextmanager
async def _client(kind: str, api: ApiServer, etcd: Etcd) -> AsyncIterator[_Worker]:
    command = [sys.executable, "-m", "tests.bench.ksr_worker", kind, str(api.kubeconfig("admin")), etcd.endpoint]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    try:
        yield _Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _measure(etcd: Etcd, api: ApiServer) -> list[Measured]:
    await _put(etcd, [pod(number, "0") for number in range(PODS)])
    await _put(etcd, [service(number) for number in range(SERVICES)])
    await asyncio.sleep(2)
    lists = await _lists(etcd, api)
    watches: dict[str, Any] = {}
    bursts: dict[str, Any] = {}
    arrived: dict[str, float] = {}
    answers: dict[str, float] = {}
    for number, kind in enumerate(("informer", "records", "tables", "store"), 1):
        async with _client(kind, api, etcd) as client:
            lists.setdefault(kind, await client.told())
            await asyncio.sleep(1)  # the watches are open
            client.ask(f"{number} {PODS}")
            await client.told()
            await _put(etcd, [pod(each, str(number)) for each in range(PODS)])
            watches[kind] = await client.told()
            found = [await _burst(etcd, client, f"{number}-{again}") for again in range(BURSTS)]
            bursts[kind] = sorted(found, key=lambda each: each["cpu"])[BURSTS // 2]
            if kind == "tables":
                answers = await _changes(api)
                await asyncio.sleep(1)
                client.ask("arrived")
                arrived = (await client.told())["arrived"]
    return _results(lists, watches, bursts, arrived, answers)


async def _lists(etcd: Etcd, api: ApiServer) -> dict[str, Any]:
    """List in turns; not into etcd, which would have everything from the second time on."""
    found: dict[str, list[Any]] = {"informer": [], "records": [], "tables": []}
    for _ in range(LISTS):
        for kind, some in found.items():
            async with _client(kind, api, etcd) as client:
                some.append(await client.told())
    return {
        kind: {key: statistics.median(each[key] for each in some) for key in ("cpu", "wall", "peak")}
        for kind, some in found.items()
    }


async def _burst(etcd: Etcd, client: _Worker, value: str) -> Any:
    """Change all pods while the client stands still, and let it catch up."""
    client.ask(f"{value} {PODS}")
    await client.told()
    client.signal(signal.SIGSTOP)
    await _put(etcd, [pod(each, value) for each in range(PODS)])
    client.signal(signal.SIGCONT)
    return await client.told()


async def _changes(api: ApiServer) -> dict[str, float]:
    """Change pods at a steady rate, each with the time at which that was asked for; return when they were answered."""
    answers: dict[str, float] = {}

    async def one(number: int) -> None:
        sent = str(time.time_ns())
        labels = {"sent": sent}
        await admin.merge(f"/api/v1/namespaces/default/pods/pod-{number:05}", {"metadata": {"labels": labels}})
        answers[sent] = time.time()

    async with api.admin() as admin, asyncio.TaskGroup() as group:
        begin = time.monotonic()
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            group.create_task(one(number % PODS))
    return answers


def _results(
    lists: Any, watches: Any, bursts: Any, arrived: dict[str, float], answers: dict[str, float]
) -> list[Measured]:
    objects = f"{PODS:,} pods and {SERVICES:,} services"
    results = []
    for kind, where in (("records", "as records"), ("tables", "into an agent's tables"), ("store", "into etcd")):
        # The goals are those of what an informer does; tables and etcd are work on top of that.
        goals = (Goal(1 / 20), Goal(1 / 5), Goal(1 / 8)) if kind == "records" else (None, None, None)

        each = 1e6 / PODS
        lines = (
            ("ksr list", f"CPU, {objects}", "s", lists, "cpu", 1.0, goals[0]),
            ("ksr list", "time, the same", "s", lists, "wall", 1.0, None),
            ("ksr list", "growth of memory at the peak, the same", "MB", lists, "peak", 1.0, goals[1]),
            ("ksr watch", "CPU, a change of a pod, as they come,", "µs", watches, "cpu", each, None),
            ("ksr watch", "CPU, a change of a pod, in a burst,", "µs", bursts, "cpu", each, goals[2]),
        )
        for name, what, unit, found, key, scale, goal in lines:
            ours, theirs = found[kind][key] * scale, found["informer"][key] * scale
            results.append(Measured(name, f"{what} {where}", unit, ours, theirs, REFERENCE, goal))
    return results + _delays(arrived, answers)


def _delays(arrived: dict[str, float], answers: dict[str, float]) -> list[Measured]:
    """Compare when the table had a record with when its PATCH was sent, and when the API server had answered it."""
    if arrived.keys() != answers.keys() or len(answers) != RATE * SECONDS:
        raise RuntimeError(f"{len(arrived)} of {len(answers)} changes arrived; {RATE * SECONDS} were wanted")
    found = {
        "after it was sent": [arrived[sent] - int(sent) / 1e9 for sent in answers],
        "after it was answered": [max(0.0, arrived[sent] - answers[sent]) for sent in answers],
    }
    served = statistics.quantiles([answers[sent] - int(sent) / 1e9 for sent in answers], n=100)
    results = []
    for since, delays in found.items():
        ours = statistics.quantiles(delays, n=100)
        for name, index in (("p50", 49), ("p99", 98)):
            what = f"a PATCH in the agent's table, {since}, {RATE} changes/s, {name}"
            goal = Goal(100.0, absolute=True) if index == 98 else None
            times = (1e3 * ours[index], 1e3 * served[index])
            results.append(Measured("ksr delay", what, "ms", *times, "the PATCH's answer", goal))
    return results
