# SPDX-License-Identifier: Apache-2.0
"""The reflector against a real kube-apiserver and a real etcd: with the shipped roles, through restarts of both."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contivpp_core.agent import Agent
from contivpp_core.cluster import OBJECTS, claim_value, id_key
from contivpp_core.kubernetes import NODE, POD, decode
from contivpp_core.kubernetes_encode import encode
from contivpp_core.kvstore import StoreUnavailable
from contivpp_core.markers import marked_kind
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, ClusterNode, NodeClaim
from contivpp_core.testing.identity_contract import IdBookContract
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_ksr.access import FileAccess, OfficialAccess
from contivpp_ksr.claims import KubernetesIdBook
from contivpp_ksr.client import ApiClient, ApiFailure, Unreachable
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.plugin import KsrPlugin
from contivpp_ksr.process import KsrProcess
from contivpp_ksr.reflector import Pace, Reflector
from contivpp_ksr.resources import RESOURCES
from contivpp_ksr.store_sink import LEADER
from contivpp_sandbox.servers import shipped
from contivpp_sandbox.servers.certificates import Authority
from tests.servers.apiserver import NEEDS_APISERVER, ApiServer, Kubectl
from tests.servers.etcd import Etcd, EtcdCluster

pytestmark = NEEDS_APISERVER

NODE_CONFIGS = RESOURCES["NodeConfig"].path
NAMESPACE = "contivpp-system"
PODS = "/api/v1/namespaces/{namespace}/pods"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Etcd, ApiServer]]:
    folder = tmp_path_factory.mktemp("kubernetes")
    with Etcd(folder / "etcd") as etcd, ApiServer(folder / "api", etcd.endpoint) as api:
        yield etcd, api


@pytest.fixture
def api(servers: tuple[Etcd, ApiServer]) -> ApiServer:
    return servers[1]


@pytest.fixture
def etcd(servers: tuple[Etcd, ApiServer]) -> Etcd:
    return servers[0]


@pytest.fixture
async def admin(api: ApiServer) -> AsyncIterator[Kubectl]:
    """Somebody who may do everything, in a cluster with our roles, a namespace x, and nothing in it."""
    async with api.admin() as found:
        await shipped.install(found)
        await found.create("/api/v1/namespaces", {"metadata": {"name": "x"}})
        for kind in ("pods", "services", "endpointslices", "networkpolicies"):
            base = {"endpointslices": "/apis/discovery.k8s.io/v1", "networkpolicies": "/apis/networking.k8s.io/v1"}
            await found.call("DELETE", f"{base.get(kind, '/api/v1')}/namespaces/x/{kind}?gracePeriodSeconds=0")
        for node in (await found.get("/api/v1/nodes"))["items"]:
            await found.delete(f"/api/v1/nodes/{node['metadata']['name']}")
        for settings in (await found.get(NODE_CONFIGS))["items"]:
            await found.delete(f"{NODE_CONFIGS}/{settings['metadata']['name']}")
        await found.delete(f"/api/v1/namespaces/{NAMESPACE}/configmaps/contivpp-node-ids")
        yield found


async def token(admin: Kubectl, account: str, folder: Path) -> Path:
    """Return a file with a token of one of our service accounts."""
    request = {"spec": {"expirationSeconds": 3600}}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    status, found = await admin.call("POST", path, request)
    assert status == 201, found
    result = folder / account
    result.write_text(found["status"]["token"])
    return result


async def access(api: ApiServer, admin: Kubectl, account: str, folder: Path) -> FileAccess:
    return FileAccess(api.url, ca=api.ca, token=await token(admin, account, folder))


def pod(name: str, **labels: str) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "http"}]}]
    return {"metadata": {"namespace": "x", "name": name, "labels": labels}, "spec": {"containers": containers}}


async def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(process: KsrProcess) -> AsyncIterator[KsrProcess]:
    task = asyncio.create_task(process.run())
    try:
        yield process
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def reflecting(
    etcd: Etcd | EtcdCluster, found: FileAccess, folder: Path
) -> AsyncIterator[tuple[KsrProcess, EtcdStore]]:
    store = EtcdStore(etcd.options())
    config = KsrConfig(socket=folder / "ksr.sock", lockSeconds=2)
    try:
        async with running(KsrProcess(config, store, node_name="node1", access=found)) as process:
            yield process, store
    finally:
        await store.close()


async def wanted(admin: Kubectl) -> dict[str, bytes]:
    """What the store is to have, by a reader of its own: the whole list as the API server tells it to anybody."""
    result: dict[str, bytes] = {}
    for kind, resource in RESOURCES.items():
        for found in (await admin.get(resource.path))["items"]:
            record = decode(resource.table.record, json.dumps(found).encode())
            namespace = found["metadata"].get("namespace", "_")
            result[f"{OBJECTS}{kind}/{namespace}/{found['metadata']['name']}"] = encode(record)
    return result


async def stored(store: EtcdStore) -> dict[str, bytes]:
    listing = await store.list(OBJECTS)
    return {item.key: item.value for item in listing.items if not marked_kind(item.key)}


async def equal(admin: Kubectl, store: EtcdStore, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while (want := await wanted(admin)) != (have := await stored(store)):
        if time.monotonic() > end:
            differ = [key for key in want.keys() | have.keys() if want.get(key) != have.get(key)]
            raise AssertionError(f"after {seconds:g} s the store differs in {sorted(differ)[:5]}")
        await asyncio.sleep(0.1)


async def some_objects(admin: Kubectl) -> None:
    """One object of every kind."""
    await admin.create("/api/v1/nodes", {"metadata": {"name": "node1"}})
    await admin.create(PODS.format(namespace="x"), pod("a", app="web"))
    service = {
        "metadata": {"namespace": "x", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    await admin.create("/api/v1/namespaces/x/services", service)
    piece = {
        "metadata": {"namespace": "x", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.1.2"], "nodeName": "node1"}],
        "ports": [{"name": "", "port": 80}],
    }
    await admin.create("/apis/discovery.k8s.io/v1/namespaces/x/endpointslices", piece)
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "db"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    policy = {
        "metadata": {"namespace": "x", "name": "p"},
        "spec": {"podSelector": {}, "ingress": [{**rule, "ports": [{"port": "http"}]}]},
    }
    await admin.create("/apis/networking.k8s.io/v1/namespaces/x/networkpolicies", policy)
    await some_settings(admin)


async def some_settings(admin: Kubectl) -> None:
    spec = {"mainVPPInterface": {"interfaceName": "eth0", "ip": "10.0.0.1/24"}, "gateway": "10.0.0.254"}
    settings = {"apiVersion": "nodeconfig.contiv.vpp/v1", "kind": "NodeConfig", "spec": spec}
    await admin.create(NODE_CONFIGS, {**settings, "metadata": {"name": "node1"}})


# --- a kind that somebody must define


async def test_node_configs_come_and_go_with_their_definition(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    await some_objects(admin)
    found: dict[str, Any] = {}

    class Kept:
        async def replace(self, resource: Any, records: Mapping[str, Any], kept: Any) -> None:
            found.clear()
            found.update(records)

        def apply(self, resource: Any, changes: Any) -> None:
            found.update(changes)

    client = ApiClient(await access(api, admin, "contivpp-agent", tmp_path))
    reflector = Reflector(client, RESOURCES["NodeConfig"], Kept(), pace=Pace(unserved=0.1))
    task = asyncio.create_task(reflector.run())
    try:
        await until(lambda: "node1" in found, 20, "listed")
        await admin.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/nodeconfigs.nodeconfig.contiv.vpp")
        await until(lambda: not any(found.values()) and reflector.standing.reason, 30, "gone with its definition")
        assert reflector.standing.connected
        await shipped.install(admin, "crd")
        await some_settings(admin)
        await until(lambda: found.get("node1"), 20, "defined and created again")
        assert found["node1"].gateway == "10.0.0.254"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


# --- into etcd


async def test_every_kind_reaches_etcd_with_the_shipped_role(
    api: ApiServer, etcd: Etcd, admin: Kubectl, tmp_path: Path
) -> None:
    await some_objects(admin)
    found = await access(api, admin, "contivpp-ksr", tmp_path)
    async with reflecting(etcd, found, tmp_path) as (process, store):
        await until(lambda: not process.unready, 20, "ready")
        await equal(admin, store)
        assert process.sink.complete
        written = sum(one.adds + one.updates + one.deletes for one in process.sink.counters.values())
        await admin.merge("/api/v1/namespaces/x/pods/a", {"metadata": {"annotations": {"nobody/reads": "this"}}})
        await admin.merge("/api/v1/namespaces/x/pods/a", {"metadata": {"labels": {"app": "db"}}})
        await admin.delete("/api/v1/namespaces/x/services/web")
        await equal(admin, store)
        now = sum(one.adds + one.updates + one.deletes for one in process.sink.counters.values())
        assert now == written + 2
    async with reflecting(etcd, found, tmp_path) as (process, store):
        await until(lambda: not process.unready, 20, "ready again")
        assert not any(one.adds + one.updates + one.deletes for one in process.sink.counters.values())


async def test_claims_are_written_on_nodes_and_stay_when_the_store_is_wiped(
    api: ApiServer, etcd: Etcd, admin: Kubectl, tmp_path: Path
) -> None:
    for name in ("node1", "node2"):
        await admin.create("/api/v1/nodes", {"metadata": {"name": name}})
    found = await access(api, admin, "contivpp-ksr", tmp_path)
    async with reflecting(etcd, found, tmp_path) as (process, store):
        await store.put(id_key(1), claim_value("node1"))
        await until(lambda: process.sink.leading, 20, "leading")
        await store.put(id_key(2), claim_value("node2"))
        await _annotated(admin, {"node1": "1", "node2": "2"})
        for item in (await store.list("/contivpp/")).items:
            await store.delete(item.key)
        await equal(admin, store)
        await asyncio.sleep(0.5)
        await _annotated(admin, {"node1": "1", "node2": "2"})


async def _annotated(admin: Kubectl, ids: Mapping[str, str]) -> None:
    for _ in range(200):
        items = (await admin.get("/api/v1/nodes"))["items"]
        found = {
            item["metadata"]["name"]: (item["metadata"].get("annotations") or {}).get("contivpp.io/node-id")
            for item in items
        }
        if found == dict(ids):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"nodes are annotated {found}, not {ids}")


@pytest.mark.parametrize("seed", range(3))
async def test_restarts_of_everything_under_churn(
    api: ApiServer, etcd: Etcd, admin: Kubectl, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    found = await access(api, admin, "contivpp-ksr", tmp_path)
    stop = asyncio.Event()
    async with reflecting(etcd, found, tmp_path) as (process, store):
        churn = asyncio.create_task(_churn(api, dice, stop))
        for _ in range(4):
            match dice.choice(["api", "freeze", "wipe keys", "both"]):
                case "api":
                    api.kill()
                    await asyncio.sleep(dice.uniform(0, 1))
                    await asyncio.to_thread(api.start)
                case "freeze":
                    api.freeze()
                    await asyncio.sleep(dice.uniform(0, 1))
                    api.thaw()
                case "wipe keys":
                    for item in (await store.list("/contivpp/")).items:
                        await store.delete(item.key)
                case "both":
                    etcd.stop()
                    await asyncio.sleep(dice.uniform(0, 2))
                    await asyncio.to_thread(etcd.start)
            await asyncio.sleep(dice.uniform(0.2, 1))
        stop.set()
        await churn
        await equal(admin, store, 60)
        await until(lambda: not process.unready, 60, f"ready: {process.unready}")


async def test_members_of_the_store_die_under_churn(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    """One by one the leaders die; then quorum is lost for longer than the reflector's lock lasts."""
    found, stop = await access(api, admin, "contivpp-ksr", tmp_path), asyncio.Event()
    with EtcdCluster(tmp_path / "store") as cluster:
        async with reflecting(cluster, found, tmp_path) as (process, store):
            churn = asyncio.create_task(_churn(api, random.Random(1), stop))
            for members in (1, 1, 2):
                await equal_soon(admin, store)
                leader = await asyncio.to_thread(cluster.leader)
                dying = [leader, *(each for each in cluster.members if each is not leader)][:members]
                for member in dying:
                    member.stop()
                await asyncio.sleep(4.0 if members > 1 else 1.0)
                await asyncio.to_thread(cluster.start, *dying)
            stop.set()
            await churn
            await equal(admin, store, 60)
            await until(lambda: not process.unready, 60, f"ready: {process.unready}")


async def equal_soon(admin: Kubectl, store: EtcdStore) -> None:
    """Wait until what the API server had at some moment is in the store, while more comes."""
    before = (await wanted(admin)).keys()
    end = time.monotonic() + 30
    missing = before
    while missing:
        assert time.monotonic() < end, f"the store does not follow: {sorted(missing)}"
        await asyncio.sleep(0.1)
        with contextlib.suppress(StoreUnavailable):  # while a leader is elected
            missing = (before - (await stored(store)).keys()) & (await wanted(admin)).keys()


async def _churn(api: ApiServer, dice: random.Random, stop: asyncio.Event) -> None:
    async with api.admin() as admin:
        while not stop.is_set():
            name = f"p{dice.randrange(20)}"
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    if dice.random() < 0.3:
                        await admin.delete(f"/api/v1/namespaces/x/pods/{name}")
                    else:
                        await admin.create(PODS.format(namespace="x"), pod(name, n=str(dice.randrange(100))))
            await asyncio.sleep(0.01)


async def test_a_server_that_is_put_back_to_a_backup_is_listed_again(tmp_path: Path) -> None:
    """It agrees to a watch from a version that it has not reached, and is silent."""
    with Etcd(tmp_path / "etcd") as etcd, ApiServer(tmp_path / "api", etcd.endpoint) as api:
        api.kill()
        await asyncio.to_thread(etcd.save)
        await asyncio.to_thread(api.start)
        client = ApiClient(FileAccess(api.url, ca=api.ca, token=api.token_file("admin")))
        sink = Newest()
        reflector = Reflector(client, RESOURCES["Node"], sink, pace=Pace(quiet=3.0))
        async with api.admin() as admin:
            for number in range(600):
                await admin.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{number}"}})
            await admin.create("/api/v1/nodes", {"metadata": {"name": "lost"}})
        task = asyncio.create_task(reflector.run())
        try:
            await until(lambda: sink.names == {"lost"}, 20, "the list")
            api.kill()
            await asyncio.to_thread(etcd.restore)
            await asyncio.to_thread(api.start)
            async with api.admin() as admin:
                await admin.create("/api/v1/nodes", {"metadata": {"name": "new"}})
            await until(lambda: sink.names == {"new"}, 30, f"the state of the backup, not {sink.names}")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()


class Newest:
    """Keeps names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    async def replace(self, resource: Any, records: Mapping[str, Any], kept: Any) -> None:
        self.names = set(records)

    def apply(self, resource: Any, changes: Any) -> None:
        for change in changes:
            (self.names.discard if change.record is None else self.names.add)(change.key)


# --- into an agent's tables


@asynccontextmanager
async def agent_of(access: FileAccess, folder: Path) -> AsyncIterator[Agent]:
    config = {"nodeName": "node1", "plugins": ["ksr"], "stateDir": str(folder), "runDir": str(folder)}
    agent = Agent(config, [KsrPlugin(access)], ledger_path=None, serve=False)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


async def test_an_agent_knows_what_the_api_server_has_and_keeps_it(
    api: ApiServer, etcd: Etcd, admin: Kubectl, tmp_path: Path
) -> None:
    await some_objects(admin)
    async with agent_of(await access(api, admin, "contivpp-agent", tmp_path), tmp_path) as agent:
        await until(lambda: agent.ready, 20, f"ready: {agent.readiness()}")
        for kind, resource in RESOURCES.items():
            assert agent.state.ready(resource.table.name), kind
            assert {key.rpartition("/")[2] for key in agent.state.table(resource.table.name)} == {
                found["metadata"]["name"] for found in (await admin.get(resource.path))["items"]
            }
        api.kill()
        await until(lambda: "stays in force" in agent.conditions["ksr Pod"].reason, 20, "the loss is told")
        assert not agent.ready
        assert agent.state.get(POD.name, "x/a") is not None
        await asyncio.to_thread(api.start)
        async with api.admin() as again:
            await again.create(PODS.format(namespace="x"), pod("b"))
        await until(lambda: agent.state.get(POD.name, "x/b"), 60, "the new pod")
        await until(lambda: agent.ready, 60, "ready again")


async def test_a_node_publishes_itself_and_claims_an_id(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    await admin.create("/api/v1/nodes", {"metadata": {"name": "node1"}})
    async with agent_of(await access(api, admin, "contivpp-agent", tmp_path), tmp_path) as agent:
        plugin = agent.plugin("ksr")
        assert isinstance(plugin, KsrPlugin)
        await until(lambda: agent.state.ready(NODE_CLAIM.name), 20, "the book")
        assert await plugin.id_book.claim(NodeClaim(node_id=1, name="node1"), None)
        own = ClusterNode(
            name="node1", node_id=1, vpp_addresses=("192.168.16.1/24",), management_addresses=("10.0.0.1",)
        )
        await plugin.publisher.publish(own)
        await until(lambda: agent.state.get(CLUSTER_NODE.name, "node1") == own, 20, "itself, with the ID's annotation")
        assert agent.state.get(NODE_CLAIM.name, "1") == NodeClaim(node_id=1, name="node1")
        await admin.delete("/api/v1/nodes/node1")
        await until(lambda: agent.state.get(CLUSTER_NODE.name, "node1") is None, 20, "gone")
        assert await plugin.id_book.free(NodeClaim(node_id=1, name="node1"), 5.0)
        await until(lambda: not agent.state.get(NODE_CLAIM.name, "1").held, 20, "resting")


class TestKubernetesIdBook(IdBookContract):
    """The contract of every book, with the shipped role."""

    @pytest.fixture
    async def books(self, api: ApiServer, admin: Kubectl, tmp_path: Path) -> AsyncIterator[list[KubernetesIdBook]]:
        self.admin = admin
        found = await access(api, admin, "contivpp-agent", tmp_path)
        clients = [ApiClient(found) for _ in range(5)]
        yield [KubernetesIdBook(client, NAMESPACE) for client in clients]
        for client in clients:
            await client.close()

    async def register(self, name: str) -> None:
        await self.admin.create("/api/v1/nodes", {"metadata": {"name": name}})

    async def unregister(self, name: str) -> None:
        await self.admin.delete(f"/api/v1/nodes/{name}")


async def test_fifty_nodes_race_for_ids_and_all_are_distinct(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    found = await access(api, admin, "contivpp-agent", tmp_path)
    client = ApiClient(found)

    async def node(name: str) -> None:
        book = KubernetesIdBook(client, NAMESPACE)
        while True:
            taken = {claim.node_id for claim in await book.claims()}
            free = next(number for number in range(1, 1000) if number not in taken)
            with contextlib.suppress(ApiFailure):
                if await book.claim(NodeClaim(node_id=free, name=name), None):
                    return

    names = [f"node{number}" for number in range(50)]
    await asyncio.gather(*map(node, names))
    claims = await KubernetesIdBook(client, NAMESPACE).claims()
    assert [claim.node_id for claim in claims] == list(range(1, 51))
    assert sorted(claim.name for claim in claims) == sorted(names)
    await admin.create("/api/v1/nodes", {"metadata": {"name": "node0"}})
    book = KubernetesIdBook(client, NAMESPACE)
    held = next(claim for claim in claims if claim.name == "node0")
    assert not await book.free(held, 1.0)  # its Node object is there
    assert not await book.forget("node0")
    assert await book.forget("node1")
    assert not await book.claim(NodeClaim(node_id=held.node_id, name="other"), None)
    await client.close()


# --- roles

CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
BOOK = {"metadata": {"name": "contivpp-node-ids"}, "data": {}}
OTHER = {"metadata": {"name": "other"}, "data": {}}
PATCH = {"metadata": {"annotations": {"contivpp.io/node-id": "1"}}}
LISTS = [resource.path for resource in RESOURCES.values()]
BOOK_SELECTOR = f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Dcontivpp-node-ids"


@pytest.mark.parametrize("account", ["contivpp-ksr", "contivpp-agent"])
async def test_a_role_has_the_verbs_that_it_needs_and_no_others(
    api: ApiServer, admin: Kubectl, tmp_path: Path, account: str
) -> None:
    await some_objects(admin)
    agent = account == "contivpp-agent"
    await admin.create(CONFIG_MAPS, OTHER)
    async with api.client((await token(admin, account, tmp_path)).read_text()) as we:
        allowed = [("GET", path, None) for path in LISTS] + [("PATCH", "/api/v1/nodes/node1", PATCH)]
        refused: list[tuple[str, str, Any]] = [
            ("GET", "/api/v1/secrets", None),
            ("GET", f"{CONFIG_MAPS}/other", None),
            ("GET", CONFIG_MAPS, None),
            ("PATCH", f"{CONFIG_MAPS}/other", OTHER),
            ("DELETE", "/api/v1/nodes/node1", None),
            ("PUT", "/api/v1/nodes/node1", {"metadata": {"name": "node1"}}),
            ("PATCH", "/api/v1/nodes/node1/status", PATCH),
            ("POST", PODS.format(namespace="x"), pod("mine")),
            ("DELETE", "/api/v1/namespaces/x/pods/a", None),
            ("PATCH", "/api/v1/namespaces/x/pods/a", PATCH),
            ("PATCH", "/api/v1/namespaces/x/services/web", PATCH),
            ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", None),
        ]
        book = [
            ("POST", CONFIG_MAPS, BOOK),
            ("GET", f"{CONFIG_MAPS}/contivpp-node-ids", None),
            ("GET", BOOK_SELECTOR, None),
            ("PATCH", f"{CONFIG_MAPS}/contivpp-node-ids", {"data": {"1": "{}"}}),
        ]
        for method, path, body in allowed + (book if agent else []):
            status, answer = await we.call(method, path, body, kind=_kind(method))
            assert status < 300, f"{account} may not {method} {path}: {answer}"
        for method, path, body in refused + ([] if agent else book):
            status, answer = await we.call(method, path, body, kind=_kind(method))
            assert status == 403, f"{account} may {method} {path}: {status} {answer}"


def _kind(method: str) -> str:
    return "application/merge-patch+json" if method == "PATCH" else "application/json"


async def test_only_our_annotations_of_nodes_may_be_changed(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    theirs = {"metadata": {"name": "node1", "annotations": {"theirs": "1"}, "labels": {"a": "1"}}}
    await admin.create("/api/v1/nodes", theirs)
    wrong: list[dict[str, Any]] = [
        {"metadata": {"labels": {"a": "2"}}},
        {"metadata": {"labels": {"a": None}}},
        {"metadata": {"annotations": {"theirs": "2"}}},
        {"metadata": {"annotations": {"theirs": None}}},
        {"metadata": {"annotations": {"new": "1"}}},
        {"metadata": {"finalizers": ["x/y"]}},
        {"spec": {"unschedulable": True}},
        {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
    ]
    path = "/api/v1/nodes/node1"
    async with api.client((await token(admin, "contivpp-ksr", tmp_path)).read_text()) as we:
        end = time.monotonic() + 30  # until the policy is in force
        while (await we.call("PATCH", path, wrong[0], kind=_kind("PATCH")))[0] < 300:
            assert time.monotonic() < end
            await asyncio.sleep(0.2)
            await admin.merge(path, {"metadata": {"labels": {"a": "1"}}})
        for patch in wrong:
            status, answer = await we.call("PATCH", path, patch, kind=_kind("PATCH"))
            assert status == 422, f"{patch}: {status} {answer}"
        for value in ("1", "2", None):
            patch = {"metadata": {"annotations": {"contivpp.io/node-id": value}}}
            status, answer = await we.call("PATCH", path, patch, kind=_kind("PATCH"))
            assert status == 200, answer


# --- credentials


async def test_a_kubeconfig_is_read_by_the_official_package(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    found = OfficialAccess(api.kubeconfig("admin"))
    client = ApiClient(found)
    assert b'"NodeList"' in await client.get("/api/v1/nodes")
    credentials = await found.credentials()
    assert (credentials.server, "admin-of" in repr(credentials)) == (api.url, False)
    await client.close()


async def test_a_token_that_is_replaced_is_used_at_once(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("nonsense")
    client = ApiClient(FileAccess(api.url, ca=api.ca, token=path))
    with pytest.raises(ApiFailure, match="401"):
        await client.get("/api/v1/nodes")
    path.write_text(api.token_file("admin").read_text())
    assert await client.get("/api/v1/nodes")
    await client.close()


async def test_a_pod_s_configuration_is_read_by_the_official_package(
    api: ApiServer, admin: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await token(admin, "contivpp-ksr", tmp_path)
    incluster = importlib.import_module("kubernetes.config.incluster_config")
    monkeypatch.setattr(incluster, "SERVICE_TOKEN_FILENAME", str(path))
    monkeypatch.setattr(incluster, "SERVICE_CERT_FILENAME", str(api.ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
    found = OfficialAccess()
    client = ApiClient(found)
    assert b'"NodeList"' in await client.get("/api/v1/nodes")
    good = path.read_text()
    path.write_text("nonsense")
    found.doubt()
    with pytest.raises(ApiFailure, match="401"):
        await client.get("/api/v1/nodes")
    path.write_text(good)
    assert b'"NodeList"' in await client.get("/api/v1/nodes")
    await client.close()


async def test_a_client_certificate_is_enough(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    pair = api.authority.issue("certified", addresses=())
    binding = {
        "metadata": {"name": "certified"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "contivpp-ksr"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "certified"}],
    }
    await admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority(tmp_path / "others").ca.read_bytes())
    client = ApiClient(FileAccess(api.url, ca=ca, certificate=pair.certificate, key=pair.key))
    with pytest.raises(Unreachable, match="certificate"):
        await client.get("/api/v1/nodes")
    ca.write_bytes(api.ca.read_bytes())  # the CA is replaced while this runs
    assert b'"NodeList"' in await client.get("/api/v1/nodes")
    with pytest.raises(ApiFailure, match="403"):
        await client.get("/api/v1/secrets")
    await client.close()


async def test_nothing_stays_open_when_a_server_stands_still(api: ApiServer, admin: Kubectl) -> None:
    """TLS says goodbye, and would wait half a minute for the answer."""
    client, before = ApiClient(FileAccess(api.url, ca=api.ca, token=api.token_file("admin"))), open_sockets()
    watched = asyncio.Event()

    async def watch() -> None:
        async with client.watch("/api/v1/nodes", {"resourceVersion": "0"}, 60) as blocks:
            watched.set()
            async for _ in blocks:
                pass

    watching = asyncio.create_task(watch())
    await watched.wait()
    await client.get("/api/v1/nodes")
    api.freeze()
    try:
        asking = asyncio.create_task(client.get("/api/v1/nodes"))
        await asyncio.sleep(0.2)
        assert len(open_sockets() - before) == 2
        for task in (watching, asking):
            task.cancel()
        await asyncio.gather(watching, asking, return_exceptions=True)
        await client.close()
        assert not open_sockets() - before
    finally:
        api.thaw()


def open_sockets() -> set[str]:
    """Return the sockets of this process."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(os.readlink(each))
    return {each for each in found if each.startswith("socket:")}


# --- the process


async def test_the_process_serves_its_status_and_gives_the_lock_back(
    api: ApiServer, admin: Kubectl, tmp_path: Path
) -> None:
    store = tmp_path / "store.sock"
    config = tmp_path / "ksr.yaml"
    settings = {
        "nodeName": "node1",
        "plugins": ["datastore", "ksr"],
        "datastore": {"driver": "embedded", "socket": str(store)},
        "ksr": {"kubeconfig": str(api.kubeconfig("admin")), "socket": str(tmp_path / "ksr.sock"), "lockSeconds": 60},
    }
    config.write_text(json.dumps(settings))
    contivpp = str(Path(sys.executable).parent / "contivpp")
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "contivpp_datastore.embedded.server", "--socket", str(store)
    )
    try:
        await until(store.exists, 10, "the store")
        for _ in range(2):  # the second would wait a minute if the first had kept the lock
            process = await asyncio.create_subprocess_exec(contivpp, "ksr", "--config", str(config))
            status, out = 1, ""
            end = time.monotonic() + 30
            while status and time.monotonic() < end:
                status, out = await _call(contivpp, "ksr", "--config", str(config), "--status")
            assert status == 0, out
            assert "EndpointSlice" in out
            assert (os.stat(tmp_path / "ksr.sock").st_mode & 0o777) == 0o600
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
    finally:
        server.kill()
        await server.wait()
    assert (await _call(contivpp, "ksr", "--config", str(config), "--status"))[0] == 1


@asynccontextmanager
async def two_processes(
    api: ApiServer, etcd: Etcd, folder: Path
) -> AsyncIterator[dict[int, asyncio.subprocess.Process]]:
    """Run two `contivpp ksr`, by their process IDs."""
    contivpp = str(Path(sys.executable).parent / "contivpp")
    found = {}
    try:
        for name in ("one", "two"):
            config = folder / f"{name}.yaml"
            settings = {
                "nodeName": name,
                "plugins": ["datastore", "ksr"],
                "datastore": {"driver": "etcd", "endpoints": [etcd.endpoint]},
                "ksr": {"kubeconfig": str(api.kubeconfig("admin")), "socket": str(folder / name), "lockSeconds": 1},
            }
            config.write_text(json.dumps(settings))
            process = await asyncio.create_subprocess_exec(contivpp, "ksr", "--config", str(config))
            found[process.pid] = process
        yield found
    finally:
        for process in found.values():
            process.kill()
            await process.wait()


async def test_whoever_stood_still_writes_nothing_old(
    api: ApiServer, etcd: Etcd, admin: Kubectl, tmp_path: Path
) -> None:
    """The leader stands still for longer than its lock, and both do: a label that only counts up never counts down."""
    store, stop = EtcdStore(etcd.options()), asyncio.Event()
    key, number = f"{OBJECTS}Pod/x/counted", 0
    told: list[int] = []

    async def count() -> None:
        nonlocal number
        while not stop.is_set():
            number += 1
            await admin.merge(f"{PODS.format(namespace='x')}/counted", {"metadata": {"labels": {"n": str(number)}}})
            await asyncio.sleep(0.02)

    async def listen() -> None:
        async with contextlib.aclosing(store.watch(key, begin + 1)) as watch:
            async for batch in watch:
                found = [json.loads(event.value or b"{}") for event in batch.events]
                told.extend(int(each["metadata"]["labels"]["n"]) for each in found)

    async def leader_is_not(pid: int) -> int:
        async with asyncio.timeout(30):
            while True:
                found = await store.get(LEADER)
                if found is not None and (leader := int(found.value.split()[-1])) != pid:
                    return leader
                await asyncio.sleep(0.02)

    await admin.create(PODS.format(namespace="x"), pod("counted", n="0"))
    await store.delete(key)
    begin = await store.put("/begin", b"")
    async with two_processes(api, etcd, tmp_path) as processes:
        tasks = [asyncio.create_task(work()) for work in (count, listen)]
        leader = await leader_is_not(0)
        for both in (False, True):
            await until(lambda: told and told[-1] > number - 20, 30, "the store follows")
            other = next(pid for pid in processes if pid != leader)
            for pid in (other, leader) if both else (leader,):
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(0.2)
            if both:
                await asyncio.sleep(3)
                os.kill(other, signal.SIGCONT)
            new = await leader_is_not(leader)
            os.kill(leader, signal.SIGCONT)
            leader = new
        stop.set()
        await tasks[0]
        await equal(admin, store)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()
    assert told == sorted(told)
    assert told[-1] == number


async def _call(*command: str) -> tuple[int, str]:
    done = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await done.communicate()
    assert done.returncode is not None
    return done.returncode, out.decode()


def test_every_node_table_is_sourced() -> None:
    assert {NODE.name, CLUSTER_NODE.name, NODE_CLAIM.name} <= set(KsrPlugin.sources)
