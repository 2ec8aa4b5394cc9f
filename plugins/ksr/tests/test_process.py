# SPDX-License-Identifier: Apache-2.0
"""`contivpp ksr`: what it tells, and what its command line answers."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contivpp_core.cli import main
from contivpp_core.cluster import OBJECTS, object_key
from contivpp_core.errors import ContivError
from contivpp_core.markers import marked_kind
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_ksr.access import FileAccess
from contivpp_ksr.command import _ask, _table
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.process import KsrProcess
from contivpp_ksr.testing import FakeApiServer
from tests.servers.proxy import Proxy

from .objects import PLUGIN, kubeconfig_of, malformed_pod, pod, until

CONFIG = """
plugins: [{plugins}]
datastore: {{socket: {folder}/store.sock}}
ksr: {{server: 'http://127.0.0.1:1', socket: {folder}/ksr.sock}}
"""


@asynccontextmanager
async def running(
    server: FakeApiServer, store: MemoryKVStore, config: KsrConfig, url: str = ""
) -> AsyncIterator[KsrProcess]:
    process = KsrProcess(config, store, node_name="node1", access=FileAccess(url or server.url))
    task = asyncio.create_task(process.run())
    try:
        yield process
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def fetch(path: Path, what: str) -> tuple[int, str]:
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://ksr{what}") as answer:
        return answer.status, await answer.text()


async def test_status_metrics_and_probes(tmp_path: Path) -> None:
    config, store, server = KsrConfig(socket=tmp_path / "ksr.sock"), MemoryKVStore(), FakeApiServer()
    server.put("Pod", pod("a"))
    server.put("Pod", malformed_pod("b"))
    async with server.serving(), running(server, store, config) as process:
        await until(lambda: not process.unready)
        assert stat.S_IMODE(config.socket.stat().st_mode) == 0o600
        found: Any = await _ask(config)
        assert (found["ready"], found["leading"]) == (True, True)
        assert (found["kinds"]["Pod"]["adds"], found["kinds"]["Pod"]["complete"]) == (1, True)
        assert "Pod x/b cannot be read" in _table(found)
        assert "/a is too large for the store: why" in _table({**found, "refused": {"/a": "why"}})
        _, metrics = await fetch(config.socket, "/metrics")
        assert 'contivpp_ksr_writes_total{kind="Pod",operation="add"} 1' in metrics
        assert "contivpp_ksr_leader 1" in metrics
        assert "contivpp_ksr_refused 0" in metrics
        for line in metrics.splitlines():
            assert re.fullmatch(r'#.*|\w+(\{(\w+="[^"]*",?)+\})? \S+', line), line
        _, stats = await fetch(config.socket, "/stats")
        assert 'adds{node="node1",reflectorType="Pod"} 1' in stats
        assert 'argErrors{node="node1",reflectorType="Pod"} 1' in stats
        assert 'resyncs{node="node1",reflectorType="Endpoints"} 1' in stats
        assert (await fetch(config.socket, "/healthz"))[0] == 200
        assert (await fetch(config.socket, "/readyz"))[0] == 200
        store.outage(True)
        server.put("Pod", pod("c"))
        await until(lambda: "store" in process.unready)
        assert (await fetch(config.socket, "/readyz"))[0] == 503
        store.outage(False)
        await until(lambda: not process.unready)
        assert await store.get(object_key("Pod", "x", "c")) is not None
    assert not config.socket.exists()


async def test_an_object_that_is_too_large_is_no_good_state(tmp_path: Path) -> None:
    """It may be a policy: what it forbids would be let in, and nobody would know."""
    store, server = MemoryKVStore(), FakeApiServer()
    async with server.serving(), running(server, store, KsrConfig(socket=tmp_path / "ksr.sock")) as process:
        await until(lambda: not process.unready)
        process.sink.refused["/a"] = "why"
        assert process.unready == "too large for the store: /a"
        process.sink.leading = False
        assert not process.unready  # the one that writes tells it


async def test_who_takes_over_with_an_old_view_writes_nothing_before_it_is_new(tmp_path: Path) -> None:
    """The second one hears nothing more from the API server: it stood still, or is cut off; it does not know that."""
    store, server = MemoryKVStore(), FakeApiServer()
    one, two = (KsrConfig(socket=tmp_path / f"{name}.sock", lockSeconds=1) for name in ("one", "two"))
    server.put("Pod", pod("changed", node="before"))
    server.put("Pod", pod("gone"))
    async with server.serving(), AsyncExitStack() as stack:
        way = await Proxy.start(int(server.url.rpartition(":")[2]))
        stack.push_async_callback(way.close)
        ending = await stack.enter_async_context(AsyncExitStack())
        first = await ending.enter_async_context(running(server, store, one))
        await until(lambda: first.sink.complete)
        second = await stack.enter_async_context(running(server, store, two, way.endpoint))
        await until(lambda: all(each.standing.listed for each in second.reflectors.values()))
        await asyncio.sleep(1.2)
        way.hold()
        server.put("Pod", pod("changed", node="after"))
        server.put("Pod", pod("new"))
        server.delete("Pod", "x/gone")
        await until(lambda: first.reflectors["Pod"].standing.version == str(server.version) and not first.sink.due)
        wanted, begin = await pods_in(store), store.revision
        assert set(wanted) == {"changed", "new"}
        await ending.aclose()
        await until(lambda: second.sink.leading)
        await asyncio.sleep(1)
        assert await pods_in(store) == wanted
        assert "not complete in the store" in second.unready
        way.release()
        await until(lambda: second.sink.complete)
        assert await pods_in(store) == wanted
        async with aclosing(store.watch(OBJECTS, begin + 1)) as watch:
            assert all(marked_kind(event.key) for event in (await anext(watch)).events)


async def pods_in(store: MemoryKVStore) -> dict[str, bytes]:
    prefix = f"{OBJECTS}Pod/x/"
    return {item.key.removeprefix(prefix): item.value for item in (await store.list(prefix)).items}


async def test_a_socket_in_use_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    config, store = KsrConfig(socket=tmp_path / "ksr.sock"), MemoryKVStore()
    async with FakeApiServer().serving() as server, running(server, store, config) as first:
        await until(lambda: not first.unready)
        with pytest.raises(ContivError, match="another contivpp ksr"):
            await KsrProcess(config, store, access=FileAccess(server.url)).run()
        port = server.url.rpartition(":")[2]
        other = KsrConfig(socket=tmp_path / "other.sock", healthAddress=f"127.0.0.1:{port}")
        with pytest.raises(ContivError, match="choose another healthAddress"):
            await KsrProcess(other, store, access=FileAccess(server.url)).run()


def test_faults_of_the_configuration_are_told_and_nothing_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ksr.yaml"
    path.write_text(CONFIG.format(plugins="datastore, ksr", folder=tmp_path))
    assert main(["ksr", "--config", str(path), "--check"]) == 0
    path.write_text(CONFIG.format(plugins="datastore", folder=tmp_path))
    assert main(["ksr", "--config", str(path), "--check"]) == 2
    assert "must name ksr" in capsys.readouterr().err
    path.write_text(CONFIG.format(plugins="ksr", folder=tmp_path).replace("datastore:", "#"))
    assert main(["ksr", "--config", str(path)]) == 1
    assert "no enabled plugin has a store" in capsys.readouterr().err
    assert main(["ksr", "--config", str(path), "--check"]) == 1
    assert "no enabled plugin has a store" in capsys.readouterr().err


def test_the_status_of_a_reflector_that_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ksr.yaml"
    path.write_text(CONFIG.format(plugins="datastore, ksr", folder=tmp_path))
    assert main(["ksr", "--config", str(path), "--status"]) == 1
    assert "no contivpp ksr answers" in capsys.readouterr().err


async def test_a_credential_plugin_that_hangs_keeps_nobody_from_ending(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_of({"exec": {**PLUGIN, "command": "/bin/sleep", "args": ["20"]}})))
    path = tmp_path / "ksr.yaml"
    path.write_text(
        f"plugins: [datastore, ksr]\ndatastore: {{socket: {tmp_path}/store.sock}}\n"
        f"ksr: {{kubeconfig: {kubeconfig}, socket: {tmp_path}/ksr.sock}}\n"
    )
    command = [sys.executable, "-m", "contivpp_core.cli", "ksr", "--config", str(path)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        await until((tmp_path / "ksr.sock").exists, seconds=30)
        await asyncio.sleep(2)  # the official package is imported, and has begun to wait
        process.terminate()
        async with asyncio.timeout(3):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
