# SPDX-License-Identifier: Apache-2.0
"""An agent with a real etcd: configured by its section, through stops, wipes and starts without it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.agent import Agent
from contivpp_core.cli.client import Client
from contivpp_core.cluster import encode_node, node_key, object_key
from contivpp_core.config import Source
from contivpp_core.errors import ConfigError
from contivpp_core.kubernetes import KINDS, NODE, POD
from contivpp_core.markers import marker_key, marker_value
from contivpp_core.node import CLUSTER_NODE, ClusterNode
from contivpp_datastore.config import DatastoreConfig
from contivpp_datastore.drivers import open_store
from contivpp_datastore.endpoints import endpoint_fault
from contivpp_datastore.etcd import access
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.plugin import DatastorePlugin
from tests.servers.etcd import NEEDS_ETCD, Etcd
from tests.servers.proxy import Proxy

DEADLINE = 30.0
PODS = 200


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path / "etcd") as etcd:
        yield etcd


@asynccontextmanager
async def agent_at(folder: Path, etcd: Etcd, **others: Any) -> AsyncIterator[Agent]:
    settings = {
        "nodeName": "node1",
        "plugins": ["datastore"],
        "runDir": str(folder),
        "stateDir": str(folder),
        "datastore": {"driver": "etcd", "endpoints": [etcd.endpoint], **others},
    }
    agent = Agent(settings)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


async def until(condition: Callable[[], Any], within: float = DEADLINE) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.02)


def pod(name: str) -> bytes:
    return json.dumps({"metadata": {"name": name, "namespace": "default"}}).encode()


async def fill(store: EtcdStore) -> None:
    for number in range(PODS):
        await store.put(object_key("Pod", "default", f"p{number}"), pod(f"p{number}"))
    for name in ("node1", "node2"):
        await store.put(object_key("Node", "", name), json.dumps({"metadata": {"name": name}}).encode())
    for kind in KINDS:
        await store.put(marker_key(kind), marker_value())


@NEEDS_ETCD
async def test_wiped_down_and_back(tmp_path: Path, etcd: Etcd) -> None:
    store = EtcdStore(etcd.options())
    await fill(store)
    await store.put(node_key("node2"), encode_node(ClusterNode(name="node2", node_id=2)))
    async with agent_at(tmp_path, etcd) as agent:
        pods = agent.state.table(POD.name)
        await until(lambda: agent.ready)
        assert len(pods) == PODS
        await asyncio.to_thread(etcd.wipe)
        await until(lambda: not agent.ready)
        await until(lambda: "contivpp ksr" in agent.conditions["datastore"].reason)
        await asyncio.sleep(2)
        assert len(pods) == PODS
        assert agent.state.get(CLUSTER_NODE.name, "node2") is not None
        revision = agent.state.revision
        await fill(store)
        await until(lambda: agent.ready)
        assert len(pods) == PODS
        assert agent.state.get(CLUSTER_NODE.name, "node2") is not None
        assert agent.state.revision == revision  # nothing has changed, so nobody heard of anything
        plugin = agent.plugin("datastore")
        assert isinstance(plugin, DatastorePlugin)
        await plugin.caught_up(await store.put(object_key("Pod", "default", "new"), pod("new")))
        assert len(pods) == PODS + 1
    await asyncio.to_thread(etcd.stop)
    async with agent_at(tmp_path, etcd) as agent:
        await until(lambda: agent.state.ready(POD.name), within=5)
        assert len(agent.state.table(POD.name)) == PODS + 1
        assert agent.state.ready(NODE.name)
        assert POD.name in agent.state.stale()
        assert etcd.endpoint in agent.conditions["datastore"].reason
        await asyncio.to_thread(etcd.start)
        await store.delete(object_key("Pod", "default", "new"))
        await until(lambda: agent.ready)
        await until(lambda: len(agent.state.table(POD.name)) == PODS)
        assert agent.state.stale() == []
        assert agent.journal.entries()[-1].changed_total <= 1
    await store.close()


@NEEDS_ETCD
async def test_an_outage_under_churn_is_caught_up_soon(tmp_path: Path, etcd: Etcd) -> None:
    """From the moment on that etcd serves again."""
    store = EtcdStore(etcd.options())
    await fill(store)
    way = await Proxy.start(etcd.port)
    async with agent_at(tmp_path, etcd, endpoints=[way.endpoint]) as agent:
        await until(lambda: agent.ready)
        await way.close()
        await until(lambda: not agent.ready)
        for number in range(300):
            await store.put(object_key("Pod", "default", f"late{number}"), pod(f"late{number}"))
        await asyncio.sleep(6)
        way = await Proxy.start(etcd.port, at=way.port)
        await until(lambda: len(agent.state.table(POD.name)) == PODS + 300, within=2.5)
        await until(lambda: agent.ready)
    await way.close()
    await store.close()


@NEEDS_ETCD
async def test_the_section_with_tls_and_a_user(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd", tls=True) as etcd:
        first = EtcdStore(etcd.options())
        await access.enable(first, "root's")
        (tmp_path / "root").write_text("root's")
        root = EtcdStore(etcd.options(user="root", password_file=tmp_path / "root"))
        await access.grant(root, "node1", "secret", access.agent_rights("node1"))
        (tmp_path / "password").write_text("secret\n")
        await fill(root)
        files = {"ca": etcd.ca, "certificate": etcd.client.certificate, "key": etcd.client.key}
        section = {name: str(path) for name, path in files.items()}
        section |= {"user": "node1", "passwordFile": str(tmp_path / "password")}
        async with agent_at(tmp_path, etcd, **section) as agent:
            await until(lambda: agent.ready)
            told = await asyncio.to_thread(Client(str(tmp_path / "agent.sock")).get, "v1", "datastore")
            assert (told["driver"], told["endpoint"], told["connected"]) == ("etcd", etcd.endpoint, True)
            assert told["revision"] >= PODS
            assert (told["stale"], told["unvouched"], told["localMirror"]) == ([], [], "ok")
            assert "secret" not in json.dumps(told)
            plugin = agent.plugin("datastore")
            assert isinstance(plugin, DatastorePlugin)
            async with asyncio.timeout(DEADLINE):  # the agent may not read what others' keys tell
                await plugin.caught_up(await root.put("/other", b""))
        await first.close()
        await root.close()


# --- the section


def faults(section: dict[str, Any]) -> list[str]:
    config = Source("agent.yaml", {"plugins": ["datastore"], "datastore": section})
    with pytest.raises(ConfigError) as caught:
        Agent(config, [DatastorePlugin()], ledger_path=None)
    return caught.value.faults


HTTPS = {"driver": "etcd", "endpoints": ["https://10.0.0.1:2379"]}


@pytest.mark.parametrize(
    ("section", "path", "what"),
    [
        ({"driver": "paper"}, "driver", "'embedded', 'etcd' or 'none'"),
        ({"driver": "etcd"}, "endpoints", "must name at least one URL"),
        ({"endpoints": ["https://a"]}, "endpoints", "is for driver etcd, not embedded"),
        ({"driver": "etcd", "endpoints": ["10.0.0.1:2379"]}, "endpoints.0", "must be a URL"),
        ({"driver": "etcd", "endpoints": ["https://a", "https://b/x"]}, "endpoints.1", "scheme, host and port only"),
        ({"driver": "etcd", "endpoints": ["https://a", "http://b"]}, "endpoints", "all http or all https"),
        ({**HTTPS, "ca": "ca.pem"}, "ca", "must be the absolute path"),
        ({**HTTPS, "certificate": "/c.pem"}, "key", "set both"),
        ({**HTTPS, "key": "/c.pem"}, "key", "set both"),
        ({"driver": "etcd", "endpoints": ["http://127.0.0.1"], "ca": "/ca.pem"}, "ca", "is for endpoints with https"),
        ({**HTTPS, "user": "node1"}, "passwordFile", "set both"),
        ({**HTTPS, "passwordFile": "/p"}, "passwordFile", "set both"),
        (
            {"driver": "etcd", "endpoints": ["http://10.0.0.1"], "user": "u", "passwordFile": "/p"},
            "user",
            "in the clear",
        ),
        ({"sourceWaitSeconds": -1}, "sourceWaitSeconds", "greater than or equal to 0"),
    ],
)
def test_faults_name_the_setting_and_what_to_do(section: dict[str, Any], path: str, what: str) -> None:
    found = faults(section)
    assert len(found) == 1
    assert found[0].startswith(f"agent.yaml: datastore.{path}: ")
    assert what in found[0]


@given(st.text(alphabet="ab:/@?#[]1.\\", max_size=20))
def test_endpoints_of_any_form_are_judged(text: str) -> None:
    fault = endpoint_fault(f"https://{text}")
    assert text.count("@") == 0 or fault


def test_a_password_in_the_wrong_place_is_not_repeated() -> None:
    for section in (
        {"driver": "etcd", "endpoints": ["https://root:hunter2@10.0.0.1"]},
        {**HTTPS, "user": "root", "password": "hunter2"},
        {**HTTPS, "user": "root", "passwordFile": "hunter2"},
    ):
        assert "hunter2" not in "".join(faults(section))


@pytest.mark.parametrize(
    ("endpoints", "told"),
    [(("http://10.0.0.1",), True), (("http://127.0.0.1", "http://[::1]"), False), (("https://10.0.0.1",), False)],
)
async def test_an_etcd_without_tls_is_told(
    caplog: pytest.LogCaptureFixture, endpoints: tuple[str, ...], told: bool
) -> None:
    store = open_store(DatastoreConfig(driver="etcd", endpoints=endpoints))
    assert store is not None
    await store.close()
    assert ("etcd is asked without TLS" in caplog.text) is told


def test_grpc_is_imported_only_when_it_is_configured() -> None:
    code = (
        "import sys; from contivpp_core.agent import Agent; from contivpp_datastore.plugin import DatastorePlugin; "
        "Agent({'plugins': ['datastore']}, [DatastorePlugin()], ledger_path=None); "
        "sys.exit(any(name.partition('.')[0] in ('grpc', 'google') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
