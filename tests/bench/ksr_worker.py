# SPDX-License-Identifier: Apache-2.0
"""One client of the API server in a process of its own, for the benchmark `ksr`: ours keeping records, into an agent's
tables, or into etcd; or the informer of the `kubernetes` package.

`python -m tests.bench.ksr_worker KIND KUBECONFIG ETCD`; tells JSON lines: the list is complete, then for each line on
its input, that all pods have the label `round` of that value. CPU seconds are the process's, memory is MB of growth
since before the first request, at its peak.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PODS, SERVICES = 5000, 10_000


def memory(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Meter:
    """CPU and wall time since the last `tell`."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        self._rss = memory("VmRSS")
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def tell(self, **more: Any) -> None:
        found = {
            "cpu": time.process_time() - self._cpu,
            "wall": time.monotonic() - self._wall,
            "peak": memory("VmHWM") - self._rss,
            "held": memory("VmRSS") - self._rss,
            **more,
        }
        print(json.dumps(found), flush=True)
        self.begin()

    def begin(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()


async def told(condition: Callable[[], bool], every: float = 0.05) -> None:
    while not condition():
        await asyncio.sleep(every)


class Rounds:
    """Counts the pods of a round, and the delays of those that tell when they were written."""

    def __init__(self) -> None:
        self.wanted = ""
        self.seen: set[str] = set()
        self.arrived: dict[str, float] = {}

    def note(self, key: str, labels: Any) -> None:
        if self.wanted and labels.get("round") == self.wanted:
            self.seen.add(key)
        if sent := labels.get("sent"):
            self.arrived[sent] = time.time()


async def rounds(meter: Meter, found: Rounds) -> None:
    """Serve the lines of the input: a round's value and how many pods have it; or "arrived"."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        value, _, number = line.strip().partition(" ")
        if value == "arrived":
            meter.tell(arrived=found.arrived)
            continue
        found.seen.clear()
        found.wanted = value
        meter.begin()
        print(json.dumps({"begun": value}), flush=True)
        await told(lambda number=number: len(found.seen) >= int(number))  # type: ignore[misc]
        meter.tell()


async def tables(kubeconfig: str, etcd: str) -> None:
    import contivpp_ksr.source  # noqa: F401 (imports are no part of the list)
    from contivpp_core import collector
    from contivpp_core.agent import Agent
    from contivpp_ksr.access import OfficialAccess
    from contivpp_ksr.plugin import KsrPlugin

    access = OfficialAccess(Path(kubeconfig))
    await access.credentials()
    collector.spare()
    with tempfile.TemporaryDirectory() as folder:
        config = {"nodeName": "node1", "plugins": ["ksr"], "stateDir": folder, "runDir": folder}
        agent = Agent(config, [KsrPlugin(access)], ledger_path=None, serve=False)
        found = Rounds()

        def follow(changes: Any, flips: Any) -> None:
            for change in changes:
                if change.table == "Pod" and change.new is not None:
                    found.note(change.key, dict(change.new.labels))

        agent.controller.follow(follow)
        meter = Meter()
        await agent.start()
        await told(lambda: agent.ready)
        assert len(agent.state.table("Pod")) == PODS
        assert len(agent.state.table("Service")) >= SERVICES
        meter.tell()
        await rounds(meter, found)
        await agent.stop()


async def records(kubeconfig: str, etcd: str) -> None:
    from contivpp_core import collector
    from contivpp_ksr.access import OfficialAccess
    from contivpp_ksr.client import ApiClient
    from contivpp_ksr.reflector import Reflector
    from contivpp_ksr.resources import RESOURCES

    kept: dict[str, dict[str, Any]] = {}
    found = Rounds()

    class Cache:
        """What an informer keeps: the newest of each object."""

        async def replace(self, resource: Any, records: Any, unreadable: Any) -> None:
            kept[resource.kind] = records

        def apply(self, resource: Any, changes: Any) -> None:
            for key, record in changes:
                kept[resource.kind][key] = record
                if resource.kind == "Pod":
                    found.note(key, dict(record.labels))

    access = OfficialAccess(Path(kubeconfig))
    await access.credentials()
    collector.spare()
    client = ApiClient(access)
    meter = Meter()
    tasks = [asyncio.create_task(Reflector(client, RESOURCES[kind], Cache()).run()) for kind in ("Pod", "Service")]
    await told(lambda: len(kept) == len(tasks))
    assert (len(kept["Pod"]), len(kept["Service"]) >= SERVICES) == (PODS, True)
    meter.tell()
    await rounds(meter, found)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


async def store(kubeconfig: str, etcd: str) -> None:
    from contivpp_core import collector
    from contivpp_datastore.etcd.client import EtcdStore
    from contivpp_datastore.etcd.options import EtcdOptions
    from contivpp_ksr.access import OfficialAccess
    from contivpp_ksr.config import KsrConfig
    from contivpp_ksr.process import KsrProcess

    access = OfficialAccess(Path(kubeconfig))
    await access.credentials()
    kept = EtcdStore(EtcdOptions(endpoints=(etcd,)))
    await kept.get("/connected")
    collector.spare()
    with tempfile.TemporaryDirectory() as folder:
        process = KsrProcess(KsrConfig(socket=Path(folder) / "ksr.sock"), kept, access=access)
        meter = Meter()
        task = asyncio.create_task(process.run())
        await told(lambda: process.sink.complete and not process.sink.due)
        meter.tell(adds=sum(each.adds for each in process.sink.counters.values()))
        pods = process.sink.counters["Pod"]
        while line := await asyncio.to_thread(sys.stdin.readline):
            value, _, number = line.strip().partition(" ")
            before = pods.updates
            meter.begin()
            print(json.dumps({"begun": value}), flush=True)
            wanted = before + int(number)
            await told(lambda wanted=wanted: pods.updates >= wanted and not process.sink.due)  # type: ignore[misc]
            meter.tell()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kept.close()


def informer(kubeconfig: str, etcd: str) -> None:
    import kubernetes
    from kubernetes.informer import SharedInformer

    kubernetes.config.load_kube_config(kubeconfig)
    api: Any = kubernetes.client.CoreV1Api()
    listed = {"pods": 0, "services": 0}
    gate = threading.Event()
    found = Rounds()

    def pod(event: Any) -> None:
        if gate.is_set():
            found.note(event.metadata.name, event.metadata.labels or {})
        else:
            listed["pods"] += 1

    def service(event: Any) -> None:
        listed["services"] += 1

    api.list_namespace()  # models that are loaded when they are needed first
    informers = [
        SharedInformer(api.list_pod_for_all_namespaces),
        SharedInformer(api.list_service_for_all_namespaces),
    ]
    informers[0].add_event_handler("ADDED", pod)
    informers[0].add_event_handler("MODIFIED", pod)
    informers[1].add_event_handler("ADDED", service)
    meter = Meter()
    for each in informers:
        each.start()
    while listed["pods"] < PODS or listed["services"] < SERVICES:
        time.sleep(0.05)
    meter.tell()
    gate.set()
    asyncio.run(rounds(meter, found))


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "informer":
        informer(*arguments)
    else:
        asyncio.run({"tables": tables, "store": store, "records": records}[kind](*arguments))
