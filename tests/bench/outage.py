# SPDX-License-Identifier: Apache-2.0
"""etcd is away for a minute while pods come, change and go; then how long until an agent has what the API server has.

A real kube-apiserver with an etcd of its own, KSR, the cluster's etcd, and an agent with the datastore plugin. The
time begins when etcd serves again.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from contivpp_core.agent import Agent
from contivpp_core.kubernetes import POD
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.plugin import DatastorePlugin
from contivpp_ksr.access import FileAccess
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.process import KsrProcess
from tests.bench.result import Broken, Goal, Measured, Skipped
from tests.servers.apiserver import MISSING, ApiServer, executable
from tests.servers.etcd import MISSING as NO_ETCD
from tests.servers.etcd import Etcd
from tests.servers.etcd import executable as etcd_executable

__all__ = ["outage"]

SECONDS = 60.0
PODS = 200
PAUSE = 0.02
PATH = "/api/v1/namespaces/default/pods"


def outage(runs: int) -> list[Measured]:
    """One outage; `runs` has no say."""
    if not etcd_executable():
        raise Skipped(NO_ETCD)
    if not executable():
        raise Skipped(MISSING)
    with tempfile.TemporaryDirectory(prefix="contivpp-outage-") as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[Measured]:
    with Etcd(folder / "own") as own, Etcd(folder / "etcd") as etcd, ApiServer(folder / "api", own.endpoint) as api:
        store = EtcdStore(etcd.options())
        access = FileAccess(api.url, ca=api.ca, token=api.token_file("admin"))
        process = KsrProcess(KsrConfig(socket=folder / "ksr.sock"), store, access=access)
        reflecting = asyncio.create_task(process.run())
        config = {
            "nodeName": "node1",
            "plugins": ["datastore"],
            "stateDir": str(folder / "state"),
            "runDir": str(folder / "run"),
            "datastore": {"driver": "etcd", "endpoints": [etcd.endpoint]},
        }
        agent = Agent(config, [DatastorePlugin()], ledger_path=None, serve=False)
        await agent.start()
        try:
            async with api.admin() as admin:
                return await _one(admin, etcd, agent)
        finally:
            await agent.stop()
            reflecting.cancel()
            await asyncio.gather(reflecting, return_exceptions=True)
            await store.close()


async def _one(admin: Any, etcd: Etcd, agent: Agent) -> list[Measured]:
    for number in range(PODS):
        await admin.create(PATH, _pod(number, 0))
    await _until(admin, agent, 30)
    await asyncio.to_thread(etcd.stop)
    begin, changes = time.monotonic(), 0
    while time.monotonic() < begin + SECONDS:
        changes += 1
        await admin.create(PATH, _pod(random.randrange(PODS), changes))
        if changes % 10 == 0:
            await admin.delete(f"{PATH}/pod-{random.randrange(PODS)}")
        await asyncio.sleep(PAUSE)
    await asyncio.to_thread(etcd.start)
    seconds = await _until(admin, agent, 60)
    what = f"etcd away for {SECONDS:g} s, {changes} changes of {PODS} pods meanwhile: until the agent's table is right"
    return [Measured("outage", what, "s", seconds, goal=Goal(1.0, absolute=True), details={"changes": changes})]


def _pod(number: int, value: int) -> dict[str, Any]:
    metadata = {"name": f"pod-{number}", "namespace": "default", "labels": {"value": str(value)}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def _until(admin: Any, agent: Agent, longest: float) -> float:
    """Wait until the agent's table equals what the API server has; return how long that took."""
    begin = time.monotonic()
    items = (await admin.get(PATH))["items"]
    wanted = {f"default/{each['metadata']['name']}": each["metadata"]["labels"]["value"] for each in items}
    while True:
        found = {key: dict(pod.labels).get("value") for key, pod in _pods(agent).items()}
        if found == wanted:
            return time.monotonic() - begin
        if time.monotonic() > begin + longest:
            raise Broken(f"outage: after {longest:g} s, {len(found.items() ^ wanted.items())} pods differ")
        await asyncio.sleep(0.01)


def _pods(agent: Agent) -> dict[str, Any]:
    table = agent.state.table(POD.name)
    return {key: agent.state.get(POD.name, key) for key in table}
