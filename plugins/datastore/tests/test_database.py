# SPDX-License-Identifier: Apache-2.0
"""The engine against the store in memory as its model; groups, limits and files."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.errors import ContivError
from contivpp_core.kvstore import (
    Compacted,
    Compare,
    DeleteKey,
    KVStoreError,
    LeaseLost,
    PutKey,
    StoreUnavailable,
    WatchEvent,
)
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_datastore.embedded.database import Database, HistoryLimit
from contivpp_datastore.embedded.engine import SqliteStore

KEYS = st.sampled_from(["/a/1", "/a/2", "/a", "/b/\U0010ffff", "/b/\ud7ff", "/b/\ue000x", "/b"])
PREFIXES = st.sampled_from(["", "/", "/a", "/a/", "/b/\U0010ffff", "/b/\ud7ff", "\U0010ffff"])
OPERATIONS = st.one_of(st.builds(PutKey, KEYS, st.binary(max_size=2)), st.builds(DeleteKey, KEYS))
STEPS = st.lists(
    st.one_of(
        st.tuples(KEYS, st.booleans(), st.lists(OPERATIONS, max_size=3), st.lists(OPERATIONS, max_size=2)),
        st.integers(0, 12),
    ),
    max_size=14,
)


@settings(max_examples=80, deadline=None)
@given(STEPS, PREFIXES, st.integers(0, 14))
def test_the_engine_does_what_the_store_in_memory_does(
    steps: list[tuple[str, bool, list[PutKey | DeleteKey], list[PutKey | DeleteKey]] | int], prefix: str, begin: int
) -> None:
    async def scenario() -> None:
        model, store = MemoryKVStore(), SqliteStore(Database.open(None, first=0), threaded=False)
        for step in steps:
            if isinstance(step, int):
                model.compact(step)
                await store.compact(step)
                continue
            key, holds, success, failure = step
            found = await model.get(key)
            condition = Compare(key, (found.revision if found else 0) + (not holds))
            assert await store.transaction(
                (condition,), tuple(success), tuple(failure)
            ) == await model.transaction((condition,), tuple(success), tuple(failure))
            assert await store.get(key) == await model.get(key)
        assert await store.list(prefix) == await model.list(prefix)
        start = min(begin, model.revision + 1)
        assert await first_batch(store, prefix, start) == await first_batch(model, prefix, start)
        await store.close()

    asyncio.run(scenario())


async def first_batch(store: SqliteStore | MemoryKVStore, prefix: str, start: int) -> object:
    try:
        async with aclosing(store.watch(prefix, start)) as watch:
            return await anext(watch)
    except Compacted as error:
        return error.oldest


async def test_history_is_bounded_by_events_and_by_bytes() -> None:
    for limit in (HistoryLimit(events=10), HistoryLimit(size=3_000)):
        store = await SqliteStore.open(history=limit)
        first = await store.put("/a", b"0")
        for number in range(100):
            last = await store.put("/a", bytes(200) + b"%d" % number)
        with pytest.raises(Compacted) as compacted:
            await anext(store.watch("/a", first))
        assert last - 11 <= compacted.value.oldest <= last
        batch = await anext(store.watch("/a", compacted.value.oldest))
        assert batch.revision == last
        assert batch.events[-1] == WatchEvent("/a", bytes(200) + b"99", last)
        await store.close()


async def test_a_long_history_comes_in_pages_of_whole_revisions() -> None:
    store = await SqliteStore.open()
    start = (await store.list("")).revision + 1
    for _ in range(4):
        await store.transaction((), tuple(PutKey(f"/{n}", bytes(300_000)) for n in range(3)))
    sizes = []
    async with aclosing(store.watch("/", start)) as watch:
        while sum(sizes) < 12:
            sizes.append(len((await anext(watch)).events))
    assert len(sizes) > 1
    assert all(size % 3 == 0 for size in sizes)
    await store.close()


async def test_a_revision_that_is_not_this_stores_is_refused() -> None:
    old = await SqliteStore.open()
    revision = await old.put("/a", b"1")
    await old.close()
    await asyncio.sleep(0.01)
    new = await SqliteStore.open()
    await new.put("/a", b"2")
    with pytest.raises(Compacted):
        await anext(new.watch("/a", revision + 1))
    with pytest.raises(Compacted):
        await anext(new.watch("/a", revision + 1_000_000))
    await new.close()


async def test_one_refused_work_leaves_the_others_of_its_group(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    results = await asyncio.gather(
        store.put("/a", b"1"),
        store.put("/b", b"1", lease=7),
        store.transaction((), (PutKey("/c", b"1"), PutKey("/\ud800", b"no text"))),
        store.put("/d", b"1"),
        return_exceptions=True,
    )
    assert isinstance(results[1], LeaseLost)
    assert isinstance(results[2], KVStoreError)
    listing = await store.list("/")
    assert [item.key for item in listing.items] == ["/a", "/d"]
    assert listing.revision == results[3] == results[0] + 1  # type: ignore[operator]
    await store.close()


async def test_a_disk_that_refuses_loses_the_whole_group_and_nothing_else(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    first = await store.put("/a", b"1")
    pages = store._database._connection.execute("PRAGMA page_count").fetchone()[0]
    store._database._connection.execute(f"PRAGMA max_page_count = {pages}")
    group = await asyncio.gather(store.put("/ok", b"1"), store.put("/big", bytes(1 << 20)), return_exceptions=True)
    assert [type(error) for error in group] == [StoreUnavailable, StoreUnavailable]
    assert "full" in str(group[0])
    listing = await store.list("/")
    assert ([item.key for item in listing.items], listing.revision) == (["/a"], first)
    store._database._connection.execute("PRAGMA max_page_count = 1000000")
    assert await store.put("/b", b"1") == first + 1
    await store.close()


async def test_a_file_is_reopened_with_all_that_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.db"
    store = await SqliteStore.open(path)
    first = await store.put("/a", b"1")
    lease = await store.grant(0.3)
    await store.put("/leased", b"1", lease=lease)
    await store.delete("/a")
    last = await store.put("/b", b"")
    await store.compact(first + 1)
    await store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StoreUnavailable):
        await store.get("/a")

    again = await SqliteStore.open(path)
    assert (await again.list("")).revision == last
    with pytest.raises(Compacted) as compacted:
        await anext(again.watch("/", first))
    assert compacted.value.oldest == first + 1
    batch = await anext(again.watch("/", first + 1))
    assert [(e.key, e.value) for e in batch.events] == [("/leased", b"1"), ("/a", None), ("/b", b"")]
    await again.keep_alive(lease)
    assert await again.put("/c", b"1") == last + 1
    await asyncio.sleep(0.5)
    assert await again.get("/leased") is None  # the lease lives on, and ends
    await again.close()


async def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    for _ in ("a new file", "one that was there"):
        store = await SqliteStore.open(tmp_path / "store.db")
        connection = store._database._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        await store.close()


async def test_files_of_others_are_refused(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    with pytest.raises(ContivError, match="another store uses this file"):
        await SqliteStore.open(tmp_path / "store.db")
    await store.close()
    database = sqlite3.connect(tmp_path / "other.db")
    database.execute("CREATE TABLE other (x)")
    database.close()
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(ContivError, match="is no store"):
        await SqliteStore.open(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before
    (tmp_path / "text").write_text("no database at all, but some text " * 100)
    with pytest.raises(ContivError, match="no store"):
        await SqliteStore.open(tmp_path / "text")
    with pytest.raises(ContivError, match="cannot be opened"):
        await SqliteStore.open(tmp_path / "text" / "store.db")


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf")])
async def test_a_lease_needs_a_time(ttl: float) -> None:
    store = await SqliteStore.open()
    with pytest.raises(KVStoreError, match="more than 0"):
        await store.grant(ttl)
    await store.close()
