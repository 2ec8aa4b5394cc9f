# SPDX-License-Identifier: Apache-2.0
"""etcd's users as they are in a real cluster: mutual TLS, known by the common names of their certificates."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from contivpp_core.cluster import id_key, node_key, object_key
from contivpp_core.kvstore import Compare, DeleteKey, KVStoreError, PutKey
from contivpp_core.kvstore_lock import LOCK_PREFIX
from contivpp_core.markers import marker_key
from contivpp_datastore.etcd import access, rpc
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_ksr.store_sink import LEADER
from contivpp_sandbox.servers.certificates import Authority, Pair
from tests.servers.etcd import NEEDS_ETCD, Etcd

pytestmark = NEEDS_ETCD

README = Path(__file__).parents[1] / "README.md"
OTHERS = {
    "another node's key": node_key("node2"),
    "a key that begins with its own": node_key("node10"),
    "a Kubernetes object": object_key("Pod", "default", "a"),
    "a marker": marker_key("Pod"),
    "the reflector's lock": f"{LOCK_PREFIX}ksr",
    "the leader's key": LEADER,
    "all of ours": "/contivpp/",
    "the API server's": "/registry/secrets/default/a",
}


class Cluster:
    """An etcd with mutual TLS that asks everybody who they are, and clients of it."""

    def __init__(self, etcd: Etcd) -> None:
        self.etcd = etcd
        self.authority = Authority(etcd.folder / "pki")
        self._opened: list[EtcdStore] = []

    def pair(self, name: str) -> Pair:
        return self.authority.issue(f"client-{name}", common=name, addresses=())

    def client(self, name: str, **others: Any) -> EtcdStore:
        pair = self.pair(name)
        options = {"certificate": pair.certificate, "key": pair.key, "timeout": 3.0, "connect_timeout": 1.0, **others}
        self._opened.append(EtcdStore(self.etcd.options(**options)))
        return self._opened[-1]

    async def close(self) -> None:
        for each in self._opened:
            await each.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    with Etcd(tmp_path / "etcd", tls=True) as etcd:
        found = Cluster(etcd)
        root = found.client("root")
        for key in OTHERS.values():
            await root.put(key, b"{}")
        await access.enable(root)
        for name in ("node1", "node2"):
            await access.grant(root, name, None, access.agent_rights(name))
        await access.grant(root, "ksr", None, access.reflector_rights())
        yield found
        await found.close()


async def test_an_agent_writes_what_is_its_own(cluster: Cluster) -> None:
    agent = cluster.client("node1")
    await agent.put(node_key("node1"), b"{}")
    await agent.put(id_key(7), b"{}")
    claim = (Compare(id_key(1), 0),), (PutKey(id_key(1), b"{}"),)
    assert (await agent.transaction(*claim)).succeeded
    assert await agent.delete(id_key(1))
    assert await agent.delete(node_key("node1"))
    read = {item.key for item in (await agent.list("/contivpp/")).items}
    assert read == {key for key in OTHERS.values() if key.startswith("/contivpp/")} | {id_key(7)}


@pytest.mark.parametrize("key", OTHERS.values(), ids=OTHERS.keys())
async def test_an_agent_changes_nothing_of_others(cluster: Cluster, key: str) -> None:
    agent = cluster.client("node1")
    own = PutKey(node_key("node1"), b"")
    wrong = [
        agent.put(key, b"x"),
        agent.delete(key),
        agent.transaction((), (own, PutKey(key, b"x"))),
        agent.transaction((), (own, DeleteKey(key))),
        agent.transaction((Compare(node_key("node1"), 5),), (), (PutKey(key, b"x"),)),
    ]
    for each in wrong:
        with pytest.raises(KVStoreError, match="permission denied"):
            await each
    found = await cluster.client("root").get(key)
    assert found.value == b"{}"


async def test_nobody_of_ours_reads_what_is_not_ours(cluster: Cluster) -> None:
    for user in ("node1", "ksr"):
        client = cluster.client(user)
        for prefix in ("/registry/", "/", "/contivpp", ""):
            with pytest.raises(KVStoreError, match="permission denied"):
                await client.list(prefix)
            with pytest.raises(KVStoreError, match="permission denied"):
                async with aclosing(client.watch(prefix, 1)) as watch:
                    await anext(watch)
        with pytest.raises(KVStoreError, match="permission denied"):
            await client.get("/registry/secrets/default/a")
        with pytest.raises(KVStoreError, match="permission denied"):  # who asks learns by a comparison
            await client.transaction((Compare("/registry/secrets/default/a", 1),), ())


async def test_the_reflector_changes_no_claim(cluster: Cluster) -> None:
    reflector = cluster.client("ksr")
    for key in (*OTHERS.values(), id_key(1)):
        if key in (OTHERS["the API server's"], OTHERS["all of ours"], id_key(1)):
            with pytest.raises(KVStoreError, match="permission denied"):
                await reflector.put(key, b"x")
        else:
            await reflector.put(key, b"x")
            assert await reflector.delete(key)


async def test_no_agent_ends_the_reflector_s_term_or_manages_users(cluster: Cluster) -> None:
    agent, reflector = cluster.client("node1"), cluster.client("ksr")
    lease = await reflector.grant(60)
    await reflector.put(f"{LOCK_PREFIX}ksr", b"x", lease=lease)
    with pytest.raises(KVStoreError, match="permission denied"):
        await agent.revoke(lease)
    requests = [
        (rpc.USER_ADD, rpc.USER_ADD.request(name="mine", password="mine")),
        (rpc.USER_PASSWORD, rpc.USER_PASSWORD.request(name="root", password="mine")),
        (rpc.USER_GRANT, rpc.USER_GRANT.request(user="node1", role="root")),
        (rpc.ROLE_ADD, rpc.ROLE_ADD.request(name="mine")),
        (rpc.ROLE_GRANT, rpc.ROLE_GRANT.request(name="node1")),
    ]
    for method, request in requests:
        with pytest.raises(KVStoreError, match="permission denied"):
            await agent.connection.call(method, request)
    assert (await reflector.get(f"{LOCK_PREFIX}ksr")).value == b"x"


async def test_strangers_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "others").issue("client", common="root", addresses=())
    cases: list[tuple[EtcdStore, str]] = [
        (cluster.client("root", certificate=None, key=None), "does not answer"),
        (cluster.client("root", certificate=stranger.certificate, key=stranger.key), "does not answer"),
        (cluster.client("nobody"), "permission denied"),
        (cluster.client("server"), "permission denied"),  # etcd's own certificate is nobody's who may do something
    ]
    for client, reason in cases:
        with pytest.raises(KVStoreError, match=reason):
            await client.get(node_key("node1"))


async def test_the_way_by_http_is_closed(cluster: Cluster) -> None:
    """There etcd sees its own certificate: what its common name may do, everybody could."""
    pair = cluster.pair("root")
    context = ssl.create_default_context(cafile=cluster.etcd.ca)
    context.load_cert_chain(pair.certificate, pair.key)
    body = json.dumps({"key": base64.b64encode(b"/contivpp/ids/1").decode()}).encode()
    for path in ("/v3/kv/range", "/v2/keys/"):
        request = urllib.request.Request(cluster.etcd.endpoint + path, data=body if path.startswith("/v3") else None)
        with pytest.raises(urllib.error.HTTPError) as told:
            await asyncio.to_thread(urllib.request.urlopen, request, context=context, timeout=5)
        assert told.value.code in (400, 401, 403, 404)
        told.value.close()


async def test_rights_are_set_anew(cluster: Cluster) -> None:
    """What a role had before, and is not to have, is taken away."""
    root, agent = cluster.client("root"), cluster.client("node1")
    wide = (*access.agent_rights("node1"), access.Right("/contivpp/", access.READWRITE, prefix=True))
    await access.grant(root, "node1", None, wide)
    await agent.put(node_key("node2"), b"{}")
    for _ in range(2):
        await access.grant(root, "node1", None, access.agent_rights("node1"))
        with pytest.raises(KVStoreError, match="permission denied"):
            await agent.put(node_key("node2"), b"{}")
        await agent.put(id_key(3), b"{}")
        await agent.get(node_key("node2"))


async def test_a_user_without_a_password_cannot_log_in_with_one(cluster: Cluster, tmp_path: Path) -> None:
    for text in ("\n", "node1\n"):
        (tmp_path / "password").write_text(text)
        store = cluster.client("node2", user="node1", password_file=tmp_path / "password")
        with pytest.raises(KVStoreError):
            await store.put(node_key("node1"), b"{}")


@pytest.mark.parametrize("name", ["root", "ksr", ""])
async def test_no_agent_is_called_like_who_may_more(name: str) -> None:
    with pytest.raises(KVStoreError, match="no name"):
        access.agent_rights(name)


# --- as the README has it


def commands() -> list[str]:
    """Return the commands of the README, in its order."""
    text = README.read_text("utf-8")
    section = text[text.index("### Users") : text.index("## The embedded store")]
    return [line.strip() for line in re.findall(r"^    (.*etcdctl .*)$", section, re.MULTILINE)]


async def test_the_commands_of_the_readme_give_the_same_rights(tmp_path: Path) -> None:
    if shutil.which("etcdctl") is None:
        pytest.skip("etcdctl is not installed (Debian: apt install etcd-client)")
    given = []
    for name, by_hand in (("by hand", True), ("by access", False)):
        with Etcd(tmp_path / name, tls=True) as etcd:
            found = Cluster(etcd)
            pair = found.pair("root")
            environment = {
                "ETCDCTL_ENDPOINTS": etcd.endpoint,
                "ETCDCTL_CACERT": str(etcd.ca),
                "ETCDCTL_CERT": str(pair.certificate),
                "ETCDCTL_KEY": str(pair.key),
            }
            if by_hand:
                for command in commands():
                    etcdctl(command, environment)
            else:
                root = found.client("root")
                await access.enable(root)
                await access.grant(root, "node1", None, access.agent_rights("node1"))
                await access.grant(root, "ksr", None, access.reflector_rights())
            roles = {
                role: json.loads(etcdctl(f"etcdctl role get {role} -w json", environment))["perm"]
                for role in ("node1", "ksr")
            }
            users = {
                user: json.loads(etcdctl(f"etcdctl user get {user} -w json", environment)).get("roles")
                for user in ("root", "node1", "ksr")
            }
            given.append((roles, users))
            with pytest.raises(KVStoreError, match="permission denied"):
                await found.client("node1").put(node_key("node2"), b"")
            await found.client("node1").put(node_key("node1"), b"")
            await found.close()
    assert given[0] == given[1]
    assert len(commands()) >= 10


def etcdctl(command: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-ec", command], env={**os.environ, "ETCDCTL_API": "3", **environment}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
