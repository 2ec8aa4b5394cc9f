# SPDX-License-Identifier: Apache-2.0
"""The server as a process: kill -9, restarts, its socket; what clients see meanwhile; what may be sent to it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contivpp_core.errors import ContivError
from contivpp_core.kvstore import Compacted, KVStoreError, StoreUnavailable, WatchEvent
from contivpp_datastore.embedded import client, protocol
from contivpp_datastore.embedded.client import EmbeddedStore
from contivpp_datastore.embedded.database import HistoryLimit
from contivpp_datastore.embedded.engine import SqliteStore
from contivpp_datastore.embedded.server import StoreServer

DEADLINE = 20.0
HELLO = protocol.encode(protocol.Hello(0, protocol.VERSION))


@asynccontextmanager
async def process(path: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "contivpp_datastore.embedded.server", "--socket", str(path), *arguments),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield server
    finally:
        if server.returncode is None:
            server.terminate()
        await server.communicate()


async def answering(store: EmbeddedStore) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await store.get("/")
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


@asynccontextmanager
async def serving(path: Path, *, stall: float = 60.0, history: int = 20_000) -> AsyncIterator[SqliteStore]:
    engine = await SqliteStore.open(history=HistoryLimit(events=history))
    server = StoreServer(engine, path, stall=stall)
    await server.start()
    try:
        yield engine
    finally:
        await server.stop()
        await engine.close()


# --- faults of the server


async def test_whatever_was_answered_survives_kill_9(tmp_path: Path) -> None:
    path, file = tmp_path / "s", str(tmp_path / "store.db")
    written: dict[str, tuple[bytes, int]] = {}
    store = EmbeddedStore(path)
    start = 0

    async def write(worker: int, round: int) -> None:
        number = 0
        while True:
            key, value = f"/{round}/{worker}/{number % 7}", b"%d" % number
            try:
                revision = await store.put(key, value)
            except StoreUnavailable:
                return
            written[key] = (value, revision)
            number += 1

    for round in range(3):
        async with process(path, "--file", file) as server:
            await answering(store)
            start = start or (await store.list("")).revision + 1
            before = len(written)
            tasks = [asyncio.create_task(write(worker, round)) for worker in range(6)]
            async with asyncio.timeout(DEADLINE):
                while len(written) < before + 40:
                    await asyncio.sleep(0.005)
            server.send_signal(signal.SIGKILL)
            async with asyncio.timeout(DEADLINE):
                await asyncio.gather(*tasks)
            await server.wait()

    async with process(path, "--file", file):
        await answering(store)
        found = {item.key: item for item in (await store.list("/")).items}
        for key, (value, revision) in written.items():
            # The write that was under way when the server died may be there, too.
            assert found[key].revision >= revision
            assert int(found[key].value) in (int(value), int(value) + 7)
        history: list[WatchEvent] = []
        async with aclosing(store.watch("/", start)) as watch:
            last = (await store.list("")).revision
            while not history or history[-1].revision < last:
                history += (await anext(watch)).events
        assert [event.revision for event in history] == list(range(start, last + 1))
        events = {(event.key, event.revision): event.value for event in history}
        assert all(events[key, revision] == value for key, (value, revision) in written.items())
        assert await store.put("/new", b"") == last + 1
    await store.close()


async def test_calls_fail_while_the_server_is_down_and_watches_go_on_afterwards(tmp_path: Path) -> None:
    path, arguments = tmp_path / "s", ("--file", str(tmp_path / "store.db"))
    store = EmbeddedStore(path)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await store.get("/a")
    async with process(path, *arguments):
        await answering(store)
        revision = await store.put("/a", b"1")
        watch = store.watch("/", revision)
        assert (await anext(watch)).events[0].value == b"1"
    with pytest.raises(StoreUnavailable):
        await anext(watch)
    with pytest.raises(StoreUnavailable):
        await store.put("/a", b"2")
    with pytest.raises(StoreUnavailable):
        await anext(store.watch("/", revision))
    assert not path.exists()  # it was terminated in order
    async with process(path, *arguments):
        await answering(store)
        other = EmbeddedStore(path)
        last = await other.put("/b", b"2")
        async with aclosing(store.watch("/", revision + 1)) as watch:
            assert (await anext(watch)).events == (WatchEvent("/b", b"2", last),)
        await other.close()
    await store.close()


async def test_a_server_that_hangs_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "QUIET_SECONDS", 0.2)
    store = EmbeddedStore(tmp_path / "s", timeout=0.5)
    async with process(tmp_path / "s") as server:
        await answering(store)
        watch = store.watch("/", (await store.list("/")).revision + 1)
        await anext(watch)
        news = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.5)
        assert not news.done()  # quiet, but there
        server.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(StoreUnavailable, match="no answer within"):
                await news
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await store.put("/a", b"1")
        server.send_signal(signal.SIGCONT)
        await answering(store)
    await store.close()


# --- the socket


async def test_the_socket_is_its_owners_only(tmp_path: Path) -> None:
    async with serving(tmp_path / "run" / "s"):
        assert stat.S_IMODE((tmp_path / "run" / "s").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert not (tmp_path / "run" / "s").exists()


async def test_a_socket_left_over_is_taken_over_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with serving(path):
        async with process(path) as second:
            _, output = await second.communicate()
            assert second.returncode == 1
            assert output.decode().splitlines()[-1].startswith(f"{path} is in use: another store serves it")
        store = EmbeddedStore(path)
        await store.put("/a", b"still served")
        await store.close()
    path.write_text("a file")
    with pytest.raises(ContivError, match="is not a socket"):
        async with serving(path):
            pass
    assert path.read_text() == "a file"


async def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ContivError, match="cannot be opened"):
        async with serving(path):
            pass
    with pytest.raises(StoreUnavailable):
        await EmbeddedStore(path).get("/a")


# --- what is sent

GARBAGE = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.binary(max_size=64).map(lambda body: len(body).to_bytes(4, "big") + body),
    st.dictionaries(
        st.sampled_from(["type", "id", "key", "prefix", "value", "lease", "ttl", "begin", "compares", "success"]),
        st.one_of(
            st.sampled_from(["get", "put", "watch", "grant", "transaction", "list"]),
            st.integers(-(2**63), 2**64 - 1),
            st.none(),
            st.binary(max_size=3),
            st.floats(),
            st.lists(st.integers(0, 3), max_size=2),
        ),
    )
    .map(msgspec.msgpack.encode)
    .map(lambda body: len(body).to_bytes(4, "big") + body),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.lists(GARBAGE, min_size=1, max_size=3))
def test_no_input_ends_the_server(tmp_path: Path, greet: bool, garbage: list[bytes]) -> None:
    async def scenario() -> None:
        async with serving(tmp_path / "s"):
            store = EmbeddedStore(tmp_path / "s")
            await store.put("/a", b"1")
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write((HELLO if greet else b"") + b"".join(garbage))
            writer.write_eof()
            async with asyncio.timeout(DEADLINE):
                try:
                    for frame in protocol.Frames(protocol.ANSWER_BYTES).feed(await reader.read()):
                        protocol.decode_answers([frame])
                except ConnectionError:
                    pass  # it was cut off
            writer.close()
            found = await store.get("/a")
            assert found is not None
            await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(b"\xff\xff\xff\xff", "a frame of 4294967295 bytes", id="too long"),
        pytest.param(b"\0\0\0\1\xc1", "a frame of 1 bytes", id="no message"),
        pytest.param(protocol.encode(protocol.Get(1, "/a")), "must be a greeting", id="no greeting"),
        pytest.param(protocol.encode(protocol.Hello(0, 9)), "version 9 of the protocol", id="other version"),
    ],
)
async def test_malformed_input_ends_its_connection_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes, reason: str
) -> None:
    async with serving(tmp_path / "s"):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(sent)
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionError):
                await reader.read()
        writer.close()
    records = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert [r.getMessage() for r in records] == ["connection ended: what came is no request"]
    assert reason in vars(records[0])["reason"]
    assert vars(records[0])["peer"] == f"process {os.getpid()} of user {os.getuid()}"


async def test_a_request_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"):
        store = EmbeddedStore(tmp_path / "s")
        with pytest.raises(KVStoreError, match="at most"):
            await store.put("/a", bytes(protocol.REQUEST_BYTES))
        assert await store.get("/a") is None
        await store.close()


async def test_what_answers_but_is_no_store_is_unavailable(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, str(tmp_path / "s"))
    with pytest.raises(StoreUnavailable, match="is no store"):
        await EmbeddedStore(tmp_path / "s").get("/a")
    server.close()


# --- many, large, slow


async def test_many_calls_share_a_connection_and_large_listings_come_whole(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"):
        store = EmbeddedStore(tmp_path / "s")
        await asyncio.gather(*(store.put(f"/{n:03}", bytes(20_000)) for n in range(400)))
        listing = await store.list("/")
        assert [item.key for item in listing.items] == [f"/{n:03}" for n in range(400)]
        assert all(len(item.value) == 20_000 for item in listing.items)
        await store.close()


async def test_a_slow_watcher_is_cut_off_and_must_list_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path / "s", stall=0.5, history=50) as engine:
        store = EmbeddedStore(tmp_path / "s")
        revision = (await store.list("/")).revision
        watch = store.watch("/", revision + 1)
        seen = (await anext(watch)).revision  # and then it is busy for a long time
        async with asyncio.timeout(DEADLINE):
            while not any("does not read its answers" in r.getMessage() for r in caplog.records):
                await store.put("/a", bytes(100_000))  # others are served all the time
                assert engine._database._counters.events <= 50
        with suppress(StoreUnavailable):
            async for batch in watch:
                seen = batch.revision
        for _ in range(60):
            await store.put("/a", b"")
        with pytest.raises(Compacted):
            await anext(store.watch("/", seen + 1))
        await store.close()


async def test_what_came_while_a_watcher_was_busy_is_one_batch(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"):
        store = EmbeddedStore(tmp_path / "s")
        async with aclosing(store.watch("/", (await store.list("/")).revision + 1)) as watch:
            await anext(watch)
            for number in range(50):
                await store.put("/a", b"%d" % number)
            await asyncio.sleep(0.1)
            assert len((await anext(watch)).events) == 50
        await store.close()
