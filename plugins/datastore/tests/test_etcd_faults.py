# SPDX-License-Identifier: Apache-2.0
"""What etcd does to its clients, done to ours: stop, restart, wipe, compact, freeze, cut, expire, refuse."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from contivpp_core.kvstore import (
    Compacted,
    Compare,
    KVStoreError,
    LeaseLost,
    PutKey,
    StoreReplaced,
    StoreUnavailable,
    WatchEvent,
)
from contivpp_datastore.etcd import access, rpc
from contivpp_datastore.etcd.client import MOST_OPERATIONS, EtcdStore
from contivpp_datastore.etcd.watch import Watch, asks_for_progress
from contivpp_sandbox.servers.certificates import Authority
from tests.servers.etcd import NEEDS_ETCD, Etcd
from tests.servers.proxy import Proxy

pytestmark = NEEDS_ETCD

DEADLINE = 40.0
SECRET = "hunter2-is-secret"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path / "etcd") as etcd:
        yield etcd


@pytest.fixture
async def store(etcd: Etcd) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(etcd.options(timeout=4.0, connect_timeout=1.0))
    yield store
    await store.close()


class Follower:
    """Watches a prefix for ever, as the mirror does: after each loss it goes on behind its last batch."""

    def __init__(self, store: EtcdStore, prefix: str, revision: int) -> None:
        self.events: list[WatchEvent] = []
        self.losses: list[str] = []
        self.revision = revision
        self._store, self._prefix = store, prefix
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                async with aclosing(self._store.watch(self._prefix, self.revision + 1)) as watch:
                    async for batch in watch:
                        self.events += batch.events
                        self.revision = max(self.revision, batch.revision)
            except StoreUnavailable as error:
                self.losses.append(str(error))
                await asyncio.sleep(0.05)

    async def has(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.events) < count:
                if self._task.done():
                    await self._task
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def persist(action: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await action()
            except StoreUnavailable:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["stop", "freeze", "cut"])
async def test_a_watch_loses_nothing_and_sees_nothing_twice(how: str, etcd: Etcd, store: EtcdStore) -> None:
    """While a second client goes on writing, as soon as it can."""
    proxy = await Proxy.start(etcd.port)
    watched = EtcdStore(etcd.options(endpoints=(proxy.endpoint,), timeout=3.0, connect_timeout=1.0))
    follower = Follower(watched, "/p/", await store.put("/start", b""))
    written: list[int] = []
    try:
        for number in range(60):
            if number in (10, 30):
                await follower.has(number)
                if how == "stop":
                    await asyncio.to_thread(etcd.stop)
                    await asyncio.sleep(1.0)
                    await asyncio.to_thread(etcd.start)
                elif how == "freeze":
                    etcd.freeze()
                    await asyncio.sleep(18.0 if number == 10 else 1.0)
                    etcd.thaw()
                else:
                    proxy.cut()
            key, value = f"/p/{number}", b"%d" % number
            written.append(await persist(lambda key=key, value=value: store.put(key, value)))  # type: ignore[misc]
        await follower.has(60)
        await asyncio.sleep(0.3)
    finally:
        await follower.close()
        await watched.close()
        await proxy.close()
    values = [event.value for event in follower.events if event.revision in written]
    assert values == [b"%d" % number for number in range(60)]
    revisions = [event.revision for event in follower.events]
    assert revisions == sorted(set(revisions))
    if how != "freeze":
        assert follower.losses


async def test_a_frozen_etcd_is_told_and_comes_back(etcd: Etcd, store: EtcdStore) -> None:
    await store.put("/a", b"1")
    etcd.freeze()
    begin = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable, match=f"{etcd.endpoint}.*in time"):
        await store.get("/a")
    assert asyncio.get_running_loop().time() - begin < 8
    etcd.thaw()
    found = await persist(lambda: store.get("/a"))
    assert found.value == b"1"


async def test_who_ends_does_not_wait_for_a_frozen_etcd(etcd: Etcd, store: EtcdStore) -> None:
    async with store.lock("ksr", ttl=2):
        etcd.freeze()
        began = time.monotonic()
    await store.close()
    assert time.monotonic() < began + 1.5
    etcd.thaw()


async def test_a_wiped_etcd_is_another_store(etcd: Etcd, store: EtcdStore) -> None:
    for number in range(20):
        last = await store.put("/p/a", b"%d" % number)
    await asyncio.to_thread(etcd.wipe)
    await persist(lambda: store.put("/p/b", b"new"))
    with pytest.raises(StoreReplaced, match="lost its data"):
        async with aclosing(store.watch("/p/", last + 1)) as watch:
            await anext(watch)
    listing = await store.list("/p/")
    assert [item.key for item in listing.items] == ["/p/b"]
    assert listing.revision < last


async def test_another_cluster_is_another_store(tmp_path: Path, etcd: Etcd, store: EtcdStore) -> None:
    revision = await store.put("/p/a", b"1")
    async with aclosing(store.watch("/p/", revision)) as watch:
        await anext(watch)
    with Etcd(tmp_path / "other") as other:
        await asyncio.to_thread(etcd.stop)
        etcd.port, other_port = other.port, etcd.port
        proxy = await Proxy.start(other.port, at=other_port)
        for _ in range(5):
            await persist(lambda: store.put("/p/x", b""))
        with pytest.raises(StoreReplaced, match="another cluster"):
            async with aclosing(store.watch("/p/", revision + 1)) as watch:
                await anext(watch)
        await store.close()
        await proxy.close()


async def test_compaction_under_a_watch_that_was_cut(etcd: Etcd, store: EtcdStore) -> None:
    first = await store.put("/p/a", b"1")
    for number in range(10):
        last = await store.put("/p/a", b"%d" % number)
    await store.compact(last)
    with pytest.raises(Compacted, match="list again"):
        async with aclosing(store.watch("/p/", first)) as watch:
            await anext(watch)
    async with aclosing(store.watch("/p/", last + 1)) as watch:
        assert (await anext(watch)).events == ()


async def test_one_revision_stays_together_however_large(etcd: Etcd, store: EtcdStore) -> None:
    """etcd cuts responses over 1.5 MiB (its limit for a request) into fragments when several revisions come at once."""
    start = (await store.list("/p/")).revision + 1
    for turn in range(12):
        puts = tuple(PutKey(f"/p/{number}", b"%d" % turn * 50_000) for number in range(10))
        await store.transaction((), puts)
    async with aclosing(store.watch("/p/", start)) as watch:
        seen = 0
        while seen < 120:
            async with asyncio.timeout(DEADLINE):
                batch = await anext(watch)
            by_revision: dict[int, int] = {}
            for event in batch.events:
                by_revision[event.revision] = by_revision.get(event.revision, 0) + 1
            assert set(by_revision.values()) <= {10}
            seen += len(batch.events)


async def test_progress_moves_an_idle_watch(tmp_path: Path) -> None:
    with Etcd(tmp_path, arguments=("--experimental-watch-progress-notify-interval", "1s")) as etcd:
        store = EtcdStore(etcd.options(progress=0.5))
        start = await store.put("/p/a", b"1")
        async with aclosing(store.watch("/p/", start + 1)) as watch:
            assert (await anext(watch)).revision == start
            for _ in range(5):
                last = await store.put("/other", b"1")
            async with asyncio.timeout(DEADLINE):
                batch = await anext(watch)
                while batch.revision < last:
                    batch = await anext(watch)
            assert batch.events == ()
        await store.close()


async def test_progress_is_asked_for(etcd: Etcd) -> None:
    store = EtcdStore(etcd.options(progress=0.3))
    start = await store.put("/p/a", b"1")
    version = (await store.connection.link()).version
    if not asks_for_progress(version):
        await store.close()
        pytest.skip(f"etcd {'.'.join(map(str, version))} gives answers that may overtake events: it is not asked")
    async with aclosing(store.watch("/p/", start + 1)) as watch:
        await anext(watch)
        last = await store.put("/other", b"1")
        async with asyncio.timeout(DEADLINE):
            assert (await anext(watch)).revision >= last
    await store.close()


async def test_progress_never_overtakes_events(tmp_path: Path) -> None:
    with Etcd(tmp_path, arguments=("--experimental-watch-progress-notify-interval", "20ms")) as etcd:
        store = EtcdStore(etcd.options(progress=0.001))
        start = await store.put("/p/a", b"")
        stop = asyncio.Event()
        written: list[int] = []

        async def churn(key: str) -> None:
            while not stop.is_set():
                revision = await store.put(key, b"x")
                if key.startswith("/p/"):
                    written.append(revision)

        tasks = [asyncio.create_task(churn(key)) for key in ("/p/a", "/p/b", "/q/a", "/q/b")]
        seen: list[int] = []
        known, end = start, asyncio.get_running_loop().time() + 3.0
        async with aclosing(store.watch("/p/", start + 1)) as watch:
            async for batch in watch:
                assert all(event.revision > known for event in batch.events), "behind what was told to be complete"
                seen += [event.revision for event in batch.events]
                known = max(known, batch.revision)
                if asyncio.get_running_loop().time() > end:
                    break
        stop.set()
        await asyncio.gather(*tasks)
        assert seen == [revision for revision in sorted(written) if revision <= seen[-1]]
        await store.close()


async def test_a_long_list_is_of_one_revision(etcd: Etcd) -> None:
    store = EtcdStore(etcd.options(page=7))
    for first in range(0, 100, 50):
        await store.transaction((), tuple(PutKey(f"/p/{n:03}", b"old") for n in range(first, first + 50)))
    stop = asyncio.Event()

    async def churn() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            await store.transaction((), tuple(PutKey(f"/p/{n:03}", b"%d" % turn) for n in range(100)))

    task = asyncio.create_task(churn())
    try:
        for _ in range(20):
            listing = await store.list("/p/")
            assert [item.key for item in listing.items] == [f"/p/{n:03}" for n in range(100)]
            assert len({item.value for item in listing.items}) == 1
            assert max(item.revision for item in listing.items) <= listing.revision
    finally:
        stop.set()
        await task
        await store.close()


async def test_a_large_transaction_is_refused_before_it_is_sent(store: EtcdStore) -> None:
    puts = tuple(PutKey(f"/p/{n}", b"") for n in range(MOST_OPERATIONS + 1))
    with pytest.raises(KVStoreError, match=r"129 operations.*split it"):
        await store.transaction((), puts)
    with pytest.raises(KVStoreError, match="split it"):
        await store.transaction(tuple(Compare(put.key, 0) for put in puts), ())
    assert (await store.transaction((), puts[:-1])).succeeded
    with pytest.raises(KVStoreError, match=r"duplicate key.*name each key once"):
        await store.transaction((), (puts[0], puts[0]))


async def test_the_next_endpoint_is_used(tmp_path: Path, etcd: Etcd) -> None:
    await_free = "http://127.0.0.1:1"
    store = EtcdStore(etcd.options(endpoints=(await_free, etcd.endpoint), connect_timeout=1.0))
    for _ in range(3):
        assert await store.put("/a", b"1")
    assert store.endpoint == etcd.endpoint
    await store.close()
    alone = EtcdStore(etcd.options(endpoints=(await_free, "http://127.0.0.1:2"), connect_timeout=1.0))
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1: .*check that it runs") as caught:
        await alone.get("/a")
    assert "127.0.0.1:2" in str(caught.value)
    await alone.close()


async def test_failover_goes_on_with_a_watch(etcd: Etcd, store: EtcdStore) -> None:
    """Two ways to the same etcd; one is cut."""
    ways = [await Proxy.start(etcd.port), await Proxy.start(etcd.port)]
    watched = EtcdStore(etcd.options(endpoints=tuple(way.endpoint for way in ways), connect_timeout=1.0))
    follower = Follower(watched, "/p/", await store.put("/start", b""))
    for turn in range(4):
        await store.put("/p/a", b"%d" % turn)
        await follower.has(turn + 1)
        used = [way for way in ways if way.endpoint == watched.endpoint]
        await used[0].close()
        ways[ways.index(used[0])] = await Proxy.start(etcd.port, at=used[0].port)
    assert [event.value for event in follower.events] == [b"0", b"1", b"2", b"3"]
    await follower.close()
    await watched.close()
    for way in ways:
        await way.close()


async def test_an_endpoint_that_falls_silent_is_left(etcd: Etcd, store: EtcdStore) -> None:
    ways = [await Proxy.start(etcd.port), await Proxy.start(etcd.port)]
    endpoints = tuple(way.endpoint for way in ways)
    watched = EtcdStore(etcd.options(endpoints=endpoints, timeout=4.0, connect_timeout=1.0))
    follower = Follower(watched, "/p/", await store.put("/start", b""))
    await store.put("/p/a", b"0")
    await follower.has(1)
    silent = next(way for way in ways if way.endpoint == watched.endpoint)
    silent.hold()
    await store.put("/p/a", b"1")
    assert (await watched.get("/p/a")).value == b"1"  # type: ignore[union-attr]
    await follower.has(2)
    assert watched.endpoint != silent.endpoint
    assert [event.value for event in follower.events] == [b"0", b"1"]
    await follower.close()
    await watched.close()
    for way in ways:
        await way.close()


async def test_a_watch_that_fails_is_told(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Watch, response: Any) -> None:
        raise ValueError("something unforeseen")

    start = await store.put("/p/a", b"1")
    async with aclosing(store.watch("/p/", start + 1)) as watch:
        await anext(watch)
        monkeypatch.setattr(Watch, "_take", failing)
        await store.put("/p/a", b"2")
        with pytest.raises(StoreUnavailable, match="something unforeseen"):
            async with asyncio.timeout(DEADLINE):
                await anext(watch)


async def test_leases_over_a_restart(etcd: Etcd, store: EtcdStore) -> None:
    lease = await store.grant(30)
    await store.put("/leased", b"1", lease=lease)
    await asyncio.to_thread(etcd.stop)
    await asyncio.to_thread(etcd.start)
    await persist(lambda: store.keep_alive(lease))
    await store.revoke(lease)
    with pytest.raises(LeaseLost, match=etcd.endpoint):
        await store.keep_alive(lease)


# --- users


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[Etcd, EtcdStore]]:
    """An etcd that asks for users, whose tokens end after 2 s, and root's store."""
    with Etcd(tmp_path / "guarded", tls=True, arguments=("--auth-token-ttl", "2")) as etcd:
        first = EtcdStore(etcd.options())
        await access.enable(first, "root's")
        await first.close()
        (etcd.folder / "root").write_text("root's")
        root = EtcdStore(etcd.options(user="root", password_file=etcd.folder / "root"))
        yield etcd, root
        await root.close()


async def user_of(etcd: Etcd, root: EtcdStore, name: str, password: str, rights: tuple[access.Right, ...]) -> EtcdStore:
    await access.grant(root, name, password, rights)
    path = etcd.folder / f"password of {name}"
    path.write_text(password + "\n")
    return EtcdStore(etcd.options(user=name, password_file=path))


async def test_an_agent_writes_its_own_key_and_ids_and_reads_all(guarded: tuple[Etcd, EtcdStore]) -> None:
    etcd, root = guarded
    await root.put("/contivpp/k8s/Pod/default/a", b"{}")
    agent = await user_of(etcd, root, "node1", SECRET, access.agent_rights("node1"))
    assert [item.key for item in (await agent.list("/contivpp/")).items] == ["/contivpp/k8s/Pod/default/a"]
    await agent.put("/contivpp/nodes/node1", b"{}")
    claim = await agent.transaction((Compare("/contivpp/ids/1", 0),), (PutKey("/contivpp/ids/1", b"{}"),))
    assert claim.succeeded
    assert await agent.delete("/contivpp/ids/1")
    async with aclosing(agent.watch("/contivpp/", 1)) as watch:
        await anext(watch)
    for key in ("/contivpp/nodes/node10", "/contivpp/nodes/node2", "/contivpp/k8s/Pod/default/a", "/other"):
        with pytest.raises(KVStoreError, match=f"{etcd.endpoint}: permission denied: .*grant it the role"):
            await agent.put(key, b"{}")
        with pytest.raises(KVStoreError, match="permission denied"):
            await agent.delete(key)
        with pytest.raises(KVStoreError, match="permission denied"):
            await agent.transaction((), (PutKey(key, b""),))
    with pytest.raises(KVStoreError, match="permission denied"):
        await agent.get("/other")
    with pytest.raises(KVStoreError, match="permission denied"):
        async with aclosing(agent.watch("/other", 1)) as watch:
            await anext(watch)
    reflector = await user_of(etcd, root, "ksr", SECRET, access.reflector_rights())
    await reflector.put("/contivpp/k8s/Pod/default/a", b"{}")
    await reflector.close()
    await agent.close()


async def test_a_certificates_common_name_is_a_user(guarded: tuple[Etcd, EtcdStore]) -> None:
    etcd, root = guarded
    await access.grant(root, "client", "no matter", access.agent_rights("node1"))
    agent = EtcdStore(etcd.options())
    await agent.put("/contivpp/nodes/node1", b"1")
    with pytest.raises(KVStoreError, match="permission denied"):
        await agent.put("/contivpp/nodes/node2", b"1")
    await agent.close()


async def test_etcd_that_asks_nobody_is_used_all_the_same(etcd: Etcd, tmp_path: Path) -> None:
    """And from the moment on that it asks, with the user that is set."""
    (tmp_path / "password").write_text("root's")
    store = EtcdStore(etcd.options(user="root", password_file=tmp_path / "password"))
    await store.put("/a", b"1")
    admin = EtcdStore(etcd.options())
    await access.enable(admin, "root's")
    await store.put("/a", b"2")
    with pytest.raises(KVStoreError, match=r"set datastore.user and passwordFile|permission denied"):
        await admin.put("/a", b"3")
    await admin.close()
    await store.close()


async def test_an_expired_token_is_renewed(guarded: tuple[Etcd, EtcdStore]) -> None:
    etcd, root = guarded
    agent = await user_of(etcd, root, "node1", SECRET, access.agent_rights("node1"))
    revision = await agent.put("/contivpp/nodes/node1", b"1")
    await asyncio.sleep(4)
    await agent.put("/contivpp/nodes/node1", b"2")
    await asyncio.sleep(4)
    async with aclosing(agent.watch("/contivpp/", revision + 1)) as watch:
        await anext(watch)
        assert [event.value for event in (await anext(watch)).events] == [b"2"]
        await asyncio.sleep(4)  # a watch outlives its token
        await agent.put("/contivpp/nodes/node1", b"3")
        assert [event.value for event in (await anext(watch)).events] == [b"3"]
    await asyncio.to_thread(etcd.stop)
    await asyncio.to_thread(etcd.start)
    found = await persist(lambda: agent.get("/contivpp/nodes/node1"))
    assert found.value == b"3"
    await agent.close()


async def test_secrets_are_never_told(guarded: tuple[Etcd, EtcdStore], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    etcd, root = guarded
    agent = await user_of(etcd, root, "node1", SECRET, access.agent_rights("node1"))
    await agent.put("/contivpp/nodes/node1", b"1")
    token = (await agent.connection.link()).token
    told: list[str] = []

    async def note(action: Awaitable[Any]) -> None:
        try:
            await action
        except KVStoreError as error:
            told.append("".join(traceback.format_exception(error)))

    await note(agent.put("/contivpp/nodes/node2", b""))
    await access.grant(root, "node1", "other", access.agent_rights("node1"))
    await asyncio.sleep(4)
    await note(agent.put("/contivpp/nodes/node1", b"2"))  # the password is wrong now
    await access.grant(root, "node1", SECRET, access.agent_rights("node1"))
    await agent.put("/contivpp/nodes/node1", b"2")  # and right again
    await asyncio.to_thread(etcd.stop)
    await note(agent.put("/contivpp/nodes/node1", b"2"))
    await note(EtcdStore(etcd.options(user="node1")).get("/contivpp/"))
    assert len(told) == 4
    assert "check datastore.user and passwordFile" in told[1]
    everything = "".join(told) + caplog.text + repr(agent.__dict__) + "".join(str(vars(r)) for r in caplog.records)
    for secret in (SECRET, "root's", token, "PRIVATE KEY"):
        assert secret
        assert secret not in everything
    await agent.close()


async def test_what_is_wrong_with_tls_is_told(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd", tls=True) as etcd:
        other = Authority(tmp_path / "other")
        wrong = other.issue("client", addresses=())
        cases: list[tuple[dict[str, Any], str]] = [
            ({"ca": other.ca}, "check scheme, host name, ca, certificate and key"),
            ({"certificate": wrong.certificate, "key": wrong.key}, "etcd does not answer"),
            ({"ca": tmp_path / "none"}, r"none: No such file.*datastore\.ca"),
            ({"endpoints": (etcd.endpoint.replace("https", "http"),)}, "etcd does not answer"),
        ]
        for options, reason in cases:
            store = EtcdStore(etcd.options(**{"timeout": 3.0, "connect_timeout": 1.0, **options}))
            with pytest.raises(KVStoreError, match=reason):
                await store.get("/a")
            await store.close()


async def test_what_is_no_etcd_is_told(tmp_path: Path, etcd: Etcd) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = EtcdStore(etcd.options(endpoints=(f"http://127.0.0.1:{port}",), timeout=3.0, connect_timeout=1.0))
    with pytest.raises(StoreUnavailable, match=f"{port}: "):
        await store.get("/a")
    await store.close()
    server.close()


async def test_the_descriptor_is_that_of_the_proto_file() -> None:
    pytest.importorskip("grpc_tools", reason="pip install grpcio-tools")
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from contivpp_datastore.etcd.descriptor import DESCRIPTOR
    from contivpp_datastore.etcd.generate import descriptor

    assert FileDescriptorProto.FromString(descriptor()) == FileDescriptorProto.FromString(DESCRIPTOR)
    assert rpc.RANGE.path == "/etcdserverpb.KV/Range"
