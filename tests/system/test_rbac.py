# SPDX-License-Identifier: Apache-2.0
"""The shipped roles and policies against a real kube-apiserver, both ways.

By its audit log, what our programs ask for is all that is granted; and what they have no need of is refused, also to an
agent that was taken over.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from contivpp_core.agent import Agent
from contivpp_core.cluster import claim_value, id_key
from contivpp_core.node import NODE_CLAIM, ClusterNode, NodeClaim
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_ksr.access import FileAccess
from contivpp_ksr.claims import CONFIG_MAP
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.plugin import KsrPlugin
from contivpp_ksr.process import KsrProcess
from contivpp_ksr.resources import RESOURCES
from contivpp_sandbox.servers import shipped
from tests.servers.apiserver import NEEDS_APISERVER, ApiServer, Kubectl
from tests.servers.etcd import Etcd

pytestmark = NEEDS_APISERVER

DEPLOY = Path(__file__).parents[2] / "deploy" / "rbac"
NAMESPACE = "contivpp-system"
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [{"level": "Metadata", "omitStages": ["RequestReceived", "ResponseStarted"]}],
}
MERGE = "application/merge-patch+json"
BOOK = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"


def entry(node: str, *, freed: float = 0.0) -> str:
    """Return what the book says of an ID."""
    return claim_value(node, freed=freed).decode()


class Use(NamedTuple):
    """A verb on a resource; the name is "" where the authorizer is told none, or the rule names none."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp("rbac")
    (folder / "audit.yaml").write_text(yaml.safe_dump(AUDIT))
    arguments = (f"--audit-policy-file={folder / 'audit.yaml'}", f"--audit-log-path={folder / 'audit.log'}")
    with Etcd(folder / "etcd") as etcd, ApiServer(folder, etcd.endpoint, arguments=arguments) as api:
        yield api


@pytest.fixture
async def admin(api: ApiServer) -> AsyncIterator[Kubectl]:
    """Somebody who may do everything, in a cluster with our roles, two nodes, and a pod of our agent on the first."""
    async with api.admin() as found:
        await shipped.install(found)
        for node in ("node1", "node2"):
            await found.delete(f"/api/v1/nodes/{node}")
            await found.create("/api/v1/nodes", {"metadata": {"name": node}})
        await found.delete(BOOK)
        yield found


async def token(admin: Kubectl, account: str, folder: Path, *, node: str = "") -> Path:
    """Return a file with a token of one of our service accounts; with `node` as kubelet gives it to a pod there."""
    spec: dict[str, Any] = {"expirationSeconds": 3600}
    if node:
        pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
        container = {"name": "c", "image": "i"}
        pod = {
            "metadata": {"name": f"agent-{node}"},
            "spec": {"nodeName": node, "serviceAccountName": account, "containers": [container]},
        }
        await admin.delete(f"{pods}/agent-{node}")
        made = await admin.create(pods, pod)
        uid = made["metadata"]["uid"]
        spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": f"agent-{node}", "uid": uid}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    status, found = await admin.call("POST", path, {"spec": spec})
    assert status == 201, found
    result = folder / f"{account}-{node}"
    result.write_text(found["status"]["token"])
    return result


# --- what is granted is what is used


def granted(account: str) -> set[Use]:
    """Return what the shipped manifests let an account do."""
    objects = [each for path in sorted(DEPLOY.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    named = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    found: set[Use] = set()
    for binding in objects:
        if account not in [each["name"] for each in binding.get("subjects", ())]:
            continue
        role = named[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        namespace = role["metadata"].get("namespace", "")
        for rule in role["rules"]:
            names = rule.get("resourceNames", [""])
            found |= {Use(verb, resource, namespace, name) for verb, resource, name in
                      itertools.product(rule["verbs"], rule["resources"], names)}  # fmt: skip
    return found


def used(api: ApiServer, account: str) -> tuple[set[Use], list[str]]:
    """Return what an account has asked for, and what of it was refused by the authorizer."""
    uses, refused = set(), []
    for line in (api.folder / "audit.log").read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] != f"system:serviceaccount:{NAMESPACE}:{account}":
            continue
        reference = event.get("objectRef")
        if reference is None or event["annotations"]["authorization.k8s.io/decision"] != "allow":
            refused.append(f"{event['verb']} {event['requestURI']}")
            continue
        uses.add(Use(event["verb"], reference["resource"], reference.get("namespace", ""), reference.get("name", "")))
    return uses, refused


def ruled(uses: Iterable[Use], rules: Iterable[Use]) -> set[Use]:
    """Return uses as rules say them: without a name, where there is a rule without."""
    rules = set(rules)
    return {each._replace(name="") if each._replace(name="") in rules else each for each in uses}


async def until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.05)


async def test_what_an_agent_may_do_is_what_it_does(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    found = FileAccess(api.url, ca=api.ca, token=await token(admin, "contivpp-agent", tmp_path, node="node1"))
    config = {"nodeName": "node1", "plugins": ["ksr"], "stateDir": str(tmp_path), "runDir": str(tmp_path)}
    agent = Agent(config, [KsrPlugin(found)], ledger_path=None, serve=False)
    await agent.start()
    try:
        await until(lambda: agent.ready, "ready")
        plugin = agent.plugin("ksr")
        assert isinstance(plugin, KsrPlugin)
        assert await plugin.id_book.claim(NodeClaim(node_id=1, name="node1"), None)  # which makes the book
        await admin.merge(BOOK, {"data": {"2": entry("node2")}})
        assert await plugin.id_book.claim(NodeClaim(node_id=3, name="node1"), None)
        await until(lambda: agent.state.get(NODE_CLAIM.name, "2"), "the book")
        await plugin.publisher.publish(ClusterNode(name="node1", node_id=1, vpp_addresses=("192.168.16.1/24",)))
        await admin.delete("/api/v1/nodes/node2")
        assert await plugin.id_book.free(NodeClaim(node_id=2, name="node2"), 5.0)
        assert await plugin.id_book.forget("node2")
        await until(lambda: not agent.state.get(NODE_CLAIM.name, "2").held, "the node is gone")
    finally:
        await agent.stop()
    await _nothing_is_granted_in_vain(api, "contivpp-agent")


async def test_what_the_reflector_may_do_is_what_it_does(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    store = MemoryKVStore()
    found = FileAccess(api.url, ca=api.ca, token=await token(admin, "contivpp-ksr", tmp_path))
    config = KsrConfig(socket=tmp_path / "ksr.sock", lockSeconds=2)
    process = KsrProcess(config, store, node_name="node1", access=found)
    task = asyncio.create_task(process.run())
    try:
        await until(lambda: not process.unready, "ready")
        await store.put(id_key(1), claim_value("node1"))
        await until(lambda: process.annotator.written, "the annotation")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await _nothing_is_granted_in_vain(api, "contivpp-ksr")


async def _nothing_is_granted_in_vain(api: ApiServer, account: str) -> None:
    rules = granted(account)
    end = time.monotonic() + 30
    while True:  # a watch is in the log when it has ended
        uses, refused = used(api, account)
        uses = ruled(uses, rules)
        if rules <= uses or time.monotonic() > end:
            break
        await asyncio.sleep(0.5)
    assert refused == []
    assert uses == rules
    watched = {kind.path.rpartition("/")[2] for kind in RESOURCES.values()}
    assert {use.resource for use in rules if use.verb == "list"} >= watched


# --- an agent that was taken over


@asynccontextmanager
async def in_force(admin: Kubectl, we: Kubectl) -> AsyncIterator[None]:
    """Wait until the policy for Node objects is in force."""
    label = {"metadata": {"labels": {"x/y": "1"}}}
    end = time.monotonic() + 30
    while (await we.call("PATCH", "/api/v1/nodes/node1", label, kind=MERGE))[0] < 300:
        assert time.monotonic() < end
        await admin.merge("/api/v1/nodes/node1", {"metadata": {"labels": {"x/y": None}}})
        await asyncio.sleep(0.2)
    yield


OURS = {"metadata": {"annotations": {"contivpp.io/node-id": "1"}}}


async def test_an_agent_changes_its_own_node_object_only(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    path = await token(admin, "contivpp-agent", tmp_path, node="node1")
    async with api.client(path.read_text()) as we, in_force(admin, we):
        status, answer = await we.call("PATCH", "/api/v1/nodes/node1", OURS, kind=MERGE)
        assert status == 200, answer
        for patch in (OURS, {"metadata": {"annotations": {"contivpp.io/addresses": "{}"}}}):
            status, answer = await we.call("PATCH", "/api/v1/nodes/node2", patch, kind=MERGE)
            assert status == 422, answer
            assert "an agent annotates its own node only" in answer["message"]
        status, answer = await we.call("PATCH", "/api/v1/nodes/node1", {"spec": {"unschedulable": True}}, kind=MERGE)
        assert status == 422, answer
    async with api.client((await token(admin, "contivpp-ksr", tmp_path, node="node1")).read_text()) as reflector:
        status, answer = await reflector.call("PATCH", "/api/v1/nodes/node2", OURS, kind=MERGE)
        assert status == 200, answer  # it writes the IDs of all nodes


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        pytest.param({}, 200, id="who does not say where it runs"),
        pytest.param({"authentication.kubernetes.io%2fnode-name": "node1"}, 200, id="on this node"),
        pytest.param({"authentication.kubernetes.io%2fnode-name": "node2"}, 422, id="on another"),
    ],
)
async def test_what_a_token_says_of_its_node_counts(
    api: ApiServer, admin: Kubectl, extra: Mapping[str, str], status: int
) -> None:
    headers = {f"Impersonate-Extra-{name}": value for name, value in extra.items()}
    headers |= {"Impersonate-User": f"system:serviceaccount:{NAMESPACE}:contivpp-agent"}
    async with api.client("admin-of-the-test", headers) as we, in_force(admin, we):
        found, answer = await we.call("PATCH", "/api/v1/nodes/node1", OURS, kind=MERGE)
        assert found == status, answer


IDS = {
    "1": entry("node1"), "2": entry("node2"), "3": entry("node3", freed=5.0), "4": entry("node1", freed=5.0),
    "5": "unreadable", "6": entry("node10"), "8": '{"name":"node8"}', "9": claim_value("node9", replaces=2).decode(),
}  # fmt: skip
MINE, MINE_RESTS = entry("node1"), entry("node1", freed=6.0)
THEIRS, THEIRS_REST = entry("node2"), entry("node2", freed=6.0)
REPLACING = claim_value("node1", replaces=2).decode()


async def book(admin: Kubectl, we: Kubectl, entries: Mapping[str, str]) -> None:
    """Make the book, and wait until the policy for it is in force."""
    await admin.delete(BOOK)
    await admin.create(BOOK.rpartition("/")[0], {"metadata": {"name": CONFIG_MAP}, "data": dict(entries)})
    end = time.monotonic() + 30
    while (await we.call("PATCH", BOOK, {"data": {"2": MINE}}, kind=MERGE))[0] < 300:
        assert time.monotonic() < end
        await admin.merge(BOOK, {"data": {"2": THEIRS}})
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        pytest.param({"7": MINE}, True, id="a free ID"),
        pytest.param({"7": REPLACING}, True, id="a free ID in place of another"),
        pytest.param({"3": MINE}, True, id="an ID that rests"),
        pytest.param({"5": MINE}, True, id="an entry that nobody can read"),
        pytest.param({"1": MINE_RESTS}, True, id="its own let rest"),
        pytest.param({"4": MINE}, True, id="its own taken back"),
        pytest.param({"2": THEIRS_REST}, True, id="another's let rest"),
        pytest.param({"8": entry("node8", freed=6.0)}, True, id="another's let rest that was written shorter"),
        pytest.param({"9": entry("node9", freed=6.0)}, True, id="another's let rest that replaced one"),
        pytest.param({"7": MINE, "2": THEIRS_REST}, True, id="two at once"),
        pytest.param({"2": MINE}, False, id="another's taken"),
        pytest.param({"6": MINE}, False, id="that of one whose name begins alike"),
        pytest.param({"2": MINE_RESTS}, False, id="another's taken, resting"),
        pytest.param({"2": None}, False, id="another's removed"),
        pytest.param({"2": "unreadable"}, False, id="another's spoiled"),
        pytest.param({"1": THEIRS}, False, id="its own given away"),
        pytest.param({"7": THEIRS}, False, id="claimed for another"),
        pytest.param({"7": THEIRS_REST}, False, id="resting for another from nowhere"),
        pytest.param({"2": entry("node20", freed=6.0)}, False, id="another's let rest in another name"),
        pytest.param({"3": entry("node3", freed=9e9)}, False, id="a rest prolonged"),
        pytest.param({"7": '{"name":"node1","name":"node2"}'}, False, id="claimed in two names"),
        pytest.param({"2": '{"name":"node2","freed":6.0,"name":"node1"}'}, False, id="let rest in two names"),
        pytest.param({"2": entry("node2", freed=0.0)[:-1] + ',"replaces":3}'}, False, id="another's changed"),
        pytest.param({"7": MINE, "2": MINE}, False, id="one of two"),
    ],
)
async def test_an_agent_claims_ids_for_its_own_node_only(
    api: ApiServer, admin: Kubectl, tmp_path: Path, changes: Mapping[str, str | None], allowed: bool
) -> None:
    async with api.client((await token(admin, "contivpp-agent", tmp_path, node="node1")).read_text()) as we:
        await book(admin, we, IDS)
        status, answer = await we.call("PATCH", BOOK, {"data": changes}, kind=MERGE)
        assert status == (200 if allowed else 422), answer


async def test_a_large_book_is_judged_as_well(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    async with api.client((await token(admin, "contivpp-agent", tmp_path, node="node1")).read_text()) as we:
        await book(admin, we, {str(number): entry(f"node{number}") for number in range(1, 10_001)})
        for changes, wanted in (({"20000": MINE}, 200), ({"9999": MINE}, 422)):
            status, answer = await we.call("PATCH", BOOK, {"data": changes}, kind=MERGE)
            assert status == wanted, answer


async def test_an_agent_makes_no_other_config_map(api: ApiServer, admin: Kubectl, tmp_path: Path) -> None:
    path = BOOK.rpartition("/")[0]
    async with api.client((await token(admin, "contivpp-agent", tmp_path, node="node1")).read_text()) as we:
        await book(admin, we, IDS)
        await admin.delete(BOOK)
        for name, data, wanted in (
            ({"name": "other"}, {}, 422), ({"generateName": "contivpp-node-ids"}, {}, 422),
            ({"name": CONFIG_MAP}, {"2": THEIRS}, 422), ({"name": CONFIG_MAP}, {"1": MINE}, 201),
        ):  # fmt: skip
            status, answer = await we.call("POST", path, {"metadata": name, "data": data})
            assert status == wanted, answer


REACH: Mapping[str, tuple[str, str, Any]] = {
    "secrets": ("GET", "/api/v1/secrets", None),
    "a token": ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/contivpp-ksr/token", {"spec": {}}),
    "a pod": ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", {"metadata": {"name": "x"}}),
    "a role": ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/contivpp-agent", {"rules": []}),
    "the policy": (
        "DELETE",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/contivpp-node-annotations",
        None,
    ),
    "its binding": (
        "DELETE",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/contivpp-node-annotations",
        None,
    ),
    "the book": ("DELETE", BOOK, None),
    "a book elsewhere": ("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": CONFIG_MAP}}),
    "a kubelet": ("GET", "/api/v1/nodes/node1/proxy/pods", None),
    "a node's status": ("PATCH", "/api/v1/nodes/node1/status", OURS),
}


@pytest.mark.parametrize("account", ["contivpp-agent", "contivpp-ksr"])
@pytest.mark.parametrize("what", REACH)
async def test_what_an_intruder_would_like_is_refused(
    api: ApiServer, admin: Kubectl, tmp_path: Path, account: str, what: str
) -> None:
    method, path, body = REACH[what]
    async with api.client((await token(admin, account, tmp_path, node="node1")).read_text()) as we:
        kind = MERGE if method == "PATCH" else "application/json"
        status, answer = await we.call(method, path, body, kind=kind)
        assert status == 403, answer
