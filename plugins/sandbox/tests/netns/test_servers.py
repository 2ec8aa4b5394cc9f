# SPDX-License-Identifier: Apache-2.0
"""A sandbox with real servers: what one does with it from the command line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator

import pytest

from contivpp_sandbox.servers import programs
from tests.servers.apiserver import NEEDS_APISERVER, await_build

from .sandboxes import Sandboxes, sandboxes

pytestmark = [pytest.mark.netns, NEEDS_APISERVER]

SERVICE = """\
kind: Pod
metadata: {name: c, namespace: y, labels: {app: web}}
spec: {nodeName: node3, containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: y}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: y}
spec: {podSelector: {}}
"""
NODE_CONFIG = """\
apiVersion: nodeconfig.contiv.vpp/v1
kind: NodeConfig
metadata: {{name: node2}}
spec: {{mainVPPInterface: {{interfaceName: host-uplink0, ip: {}}}, gateway: "{}"}}
"""
BAD = """\
kind: Pod
metadata: {name: Not_Good}
spec: {containers: [{name: web}]}
"""


def with_servers(who: str) -> Sandboxes:
    """Return sandboxes whose user can run kube-apiserver: the cache of whoever runs the tests may be closed to it."""
    await_build()
    made = sandboxes(who)
    executable = shutil.copy(programs.apiserver_executable(), made.base / "kube-apiserver")
    made.environment["CONTIVPP_KUBE_APISERVER"] = executable
    return made


@pytest.fixture(scope="module", params=["root-etcd", "root-kubernetes", "user-etcd"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandboxes]:
    who, _, datastore = request.param.partition("-")
    made = with_servers(who)
    try:
        made.run("up", "--nodes", "3", "--datastore", datastore)
        yield made
    finally:
        made.clear()


def _nodes(box: Sandboxes) -> str:
    """What node1 knows of the nodes."""
    (found,) = (each for each in json.loads(box.run("status", "-o", "json")[0])["nodes"] if each["name"] == "node1")
    get = ("get", "nodes", "--socket", found["agentSocket"])
    return box.run("exec", "--node", "node1", "--", sys.executable, "-m", "contivpp_core.cli", *get)[0]


def _mode(box: Sandboxes) -> str:
    return str(box.stored("cluster.json")["datastore"])


def test_pods_talk_and_services_have_endpoints(box: Sandboxes) -> None:
    box.run("apply", "-f", str(box.manifest))
    out, _ = box.run("apply", "-f", "-", stdin=SERVICE)
    assert "pod y/c: 10.1.3." in out
    assert "2 other objects are in the cluster" in out
    cells = json.loads(box.run("matrix", "-o", "json")[0])
    assert cells
    assert all(cell["ok"] for cell in cells)
    box.run("restart", "agent", "--node", "node1")  # and everything is settled, the server's state known to all
    if not shutil.which("kubectl"):
        return
    kubectl = ("exec", "--node", "node2", "--", "kubectl", "get", "-o", "json")
    pod = json.loads(box.run(*kubectl, "pod", "-n", "y", "c")[0])
    assert pod["status"]["podIP"].startswith("10.1.3.")
    (slice_,) = json.loads(box.run(*kubectl, "endpointslices", "-n", "y")[0])["items"]
    assert slice_["endpoints"][0]["addresses"] == [pod["status"]["podIP"]]
    assert slice_["endpoints"][0]["conditions"]["ready"]
    assert slice_["ports"][0]["port"] == 8080
    nodes = json.loads(box.run(*kubectl, "nodes")[0])["items"]
    assert [node["metadata"]["annotations"]["contivpp.io/node-id"] for node in nodes] == ["1", "2", "3"]


def test_what_the_server_refuses_is_told_in_its_words(box: Sandboxes) -> None:
    _, errors = box.run("apply", "-f", "-", stdin=BAD, code=1)
    assert "Pod default/Not_Good: the API server refuses" in errors
    assert "a lowercase RFC 1123 subdomain" in errors
    assert "Not_Good" not in (box.folder() / "pods.json").read_text()
    _, errors = box.run("apply", "-f", "-", stdin=NODE_CONFIG.format("192.168.16.77/24", "1.2.3.4/"), code=2)
    assert "NodeSettings node2: '1.2.3.4/' does not appear to be" in errors


def test_a_node_is_given_another_address(box: Sandboxes) -> None:
    box.run("apply", "-f", "-", stdin=NODE_CONFIG.format("192.168.16.77/24", ""))
    cells = json.loads(box.run("matrix", "-o", "json")[0])
    assert cells
    assert all(cell["ok"] for cell in cells)
    assert "192.168.16.77" in _nodes(box)
    box.run("delete", "-f", "-", stdin=NODE_CONFIG.format("192.168.16.77/24", ""))
    assert "192.168.16.77" not in _nodes(box)


def test_files_are_for_their_owner_only(box: Sandboxes) -> None:
    folders = [*(box.folder() / "servers").glob("pki*")]
    assert len(folders) == (3 if _mode(box) == "etcd" else 2)
    assert {path.stat().st_mode & 0o777 for folder in folders for path in folder.iterdir()} == {0o600}
    assert (box.folder() / "api.sock").stat().st_mode & 0o777 == 0o600
    assert box.folder().stat().st_mode & 0o777 == 0o700


ATTACK = """
import asyncio, sys
from pathlib import Path
from contivpp_core.kvstore import KVStoreError
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.etcd.options import EtcdOptions

async def main(folder, port, key):
    client = [Path(folder, f"client-node1.{end}") for end in ("pem", "key")] if "client" in sys.argv else [None, None]
    options = EtcdOptions((f"https://10.200.0.254:{port}",), Path(folder, "ca.pem"), *client, timeout=3)
    store = EtcdStore(options)
    try:
        print("revision", await store.put(key, b"x"))
    except KVStoreError as error:
        print(error)
    await store.close()

asyncio.run(main(*sys.argv[1:4]))
"""


@pytest.mark.parametrize(
    ("port", "key", "who", "answer"),
    [
        pytest.param("2379", "/contivpp/ids/77", "client", "revision", id="an ID"),
        pytest.param("2379", "/contivpp/nodes/node2", "client", "permission denied", id="another node"),
        pytest.param("2379", "/contivpp/k8s/Pod/x/a", "client", "permission denied", id="a pod"),
        pytest.param("2379", "/contivpp/ksr/leader", "client", "permission denied", id="the leader"),
        pytest.param("2379", "/contivpp/ids/77", "nobody", "does not answer", id="without a certificate"),
        pytest.param("2381", "/registry/pods/x/a", "client", "does not answer", id="the API server's etcd"),
    ],
)
def test_an_agent_s_certificate_opens_what_is_its_own(
    box: Sandboxes, port: str, key: str, who: str, answer: str
) -> None:
    if _mode(box) == "kubernetes":
        pytest.skip("there agents have nothing to do with etcd")
    folder = str(box.folder() / "servers" / "pki-etcd")
    out, _ = box.run("exec", "--node", "node1", "--", sys.executable, "-c", ATTACK, folder, port, key, who)
    assert answer in out


def test_nodes_reach_the_servers_and_not_each_other(box: Sandboxes) -> None:
    dial = "import socket; socket.create_connection(('{}', {}), 3).close()"
    python = sys.executable
    box.run("exec", "--node", "node1", "--", python, "-c", dial.format("10.200.0.254", 6443))
    routes, _ = box.run("exec", "--node", "node1", "--", "cat", "/proc/net/route")
    assert "mgmt0" in routes
    _, errors = box.run("exec", "--node", "node1", "--", python, "-c", dial.format("10.200.0.2", 6443), code=1)
    assert errors


@pytest.mark.parametrize("what", ["etcd", "apiserver", "ksr", "datastore", "apiserver-etcd"])
def test_servers_are_restarted(box: Sandboxes, what: str) -> None:
    if what == "ksr" and _mode(box) == "kubernetes":
        _, errors = box.run("restart", what, code=1)
        assert "there is no ksr with --datastore kubernetes" in errors
        return
    before = box.processes()
    box.run("restart", what, "--kill")
    after = box.processes()
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert all(name.startswith("server:") for name in changed)
    status = json.loads(box.run("status", "-o", "json")[0])
    assert set(status["servers"].values()) == {"runs"}


def test_a_wiped_etcd_changes_no_id(box: Sandboxes) -> None:
    if _mode(box) == "kubernetes":
        pytest.skip("there the API server's own etcd is the only one")
    box.run("restart", "etcd", "--wipe")
    status = json.loads(box.run("status", "-o", "json")[0])
    assert [node["id"] for node in status["nodes"]] == [1, 2, 3]
    assert all(node["agent"]["ready"] for node in status["nodes"])


def test_what_has_died_is_told_and_comes_back(box: Sandboxes) -> None:
    pid = box.processes()["server:apiserver"]
    box.run("exec", "--node", "node1", "--", "kill", "-9", str(pid))
    out, _ = box.run("status", code=1 if _mode(box) == "kubernetes" else 0)
    assert "apiserver        does not run" in out
    _, errors = box.run("apply", "-f", "-", stdin="kind: Namespace\nmetadata: {name: z}\n", code=1)
    assert "the API server does not answer" in errors
    box.run("restart", "apiserver")


def test_nodes_leave_and_come_back_with_their_ids(box: Sandboxes) -> None:
    box.run("delete", "-f", "-", stdin="kind: Node\nmetadata: {name: node3}\n")
    box.run("apply", "-f", "-", stdin="kind: Node\nmetadata: {name: node4}\n")
    box.run("apply", "-f", "-", stdin="kind: Node\nmetadata: {name: node3}\n")
    box.run("restart", "agent", "--node", "node4")
    status = json.loads(box.run("status", "-o", "json")[0])
    assert {node["name"]: node["id"] for node in status["nodes"]} == {"node1": 1, "node2": 2, "node4": 4, "node3": 3}


def test_a_node_is_not_called_like_who_may_more(box: Sandboxes) -> None:
    if _mode(box) == "kubernetes":
        pytest.skip("there agents have nothing to do with etcd")
    node = "kind: Node\nmetadata: {name: ksr}\n"
    _, errors = box.run("apply", "-f", "-", stdin=node, code=1)
    assert "'ksr' is no name for an agent's user" in errors
    box.run("delete", "-f", "-", stdin=node)  # it had a place already
    status = json.loads(box.run("status", "-o", "json")[0])
    assert "ksr" not in {node["name"] for node in status["nodes"]}


def test_down_leaves_nothing(box: Sandboxes) -> None:
    inside = box.inside()
    box.run("down")
    assert box.leftovers(inside) == []


def test_a_missing_server_is_named(any_box: Sandboxes) -> None:
    any_box.environment["CONTIVPP_KUBE_APISERVER"] = "/nonexistent"
    _, errors = any_box.run("up", "--datastore", "etcd", code=1)
    assert "there is no kube-apiserver" in errors
    any_box.environment["CONTIVPP_ETCD"] = "/nonexistent"
    _, errors = any_box.run("up", "--datastore", "kubernetes", code=1)
    assert "etcd is not installed" in errors
    assert any_box.leftovers() == []


@pytest.mark.parametrize("datastore", ["etcd", "kubernetes"])
def test_the_demo(datastore: str) -> None:
    box = with_servers("root")
    try:
        out, _ = box.run("demo", "--nodes", "3", "--datastore", datastore)
        assert "All of it worked." in out
        assert "24 of 24 reached" in out
        assert box.leftovers() == []
    finally:
        box.clear()
