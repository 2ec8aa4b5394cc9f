# SPDX-License-Identifier: Apache-2.0
"""The ledger against a dictionary, over reopening, and its errors."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.ledger import SCHEMA_VERSION, Ledger, LedgerError, LedgerWrite

WRITES = st.builds(
    LedgerWrite,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["1", "2", "3"]),
    st.none() | st.binary(max_size=8),
)
STEPS = st.lists(st.one_of(st.lists(st.lists(WRITES, max_size=4), max_size=4), st.just("reopen")), max_size=6)


def apply(model: dict[str, dict[str, bytes]], write: LedgerWrite) -> None:
    if write.value is None:
        model[write.space].pop(write.key, None)
    else:
        model[write.space][write.key] = write.value


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_the_ledger_is_a_dictionary_that_survives_reopening(steps: list[object]) -> None:
    async def main(path: Path) -> None:
        model: dict[str, dict[str, bytes]] = {"a": {}, "b": {}}
        ledger = Ledger.open(path)
        for step in steps:
            if step == "reopen":
                await ledger.close()
                ledger = Ledger.open(path)
            else:
                assert isinstance(step, list)
                await asyncio.gather(*(ledger.commit(*writes) for writes in step))
                for writes in step:
                    for write in writes:
                        apply(model, write)
            for space, content in model.items():
                assert ledger.items(space) == dict(sorted(content.items()))
                assert all(ledger.get(space, key) == content.get(key) for key in "123")
        await ledger.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(Path(directory) / "ledger.db"))


async def test_concurrent_commits_share_transactions(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    batches: list[int] = []
    store = ledger._store

    def counted(writes: list[LedgerWrite]) -> None:
        batches.append(len(writes))
        store(writes)

    ledger._store = counted  # type: ignore[method-assign]
    await asyncio.gather(*(ledger.commit(LedgerWrite("s", str(n), b"x")) for n in range(100)))
    assert sum(batches) == 100
    assert len(batches) <= 2
    await ledger.close()


async def test_a_failed_batch_stores_nothing_and_tells_every_committer(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    bad = LedgerWrite("s", "2", object())  # type: ignore[arg-type]  # SQLite cannot store it
    results = await asyncio.gather(
        ledger.commit(LedgerWrite("s", "1", b"x")), ledger.commit(bad), return_exceptions=True
    )
    assert all(isinstance(result, Exception) for result in results)
    assert ledger.items("s") == {}
    await ledger.commit(LedgerWrite("s", "3", b"y"))
    await ledger.close()
    again = Ledger.open(tmp_path / "ledger.db")
    assert again.items("s") == {"3": b"y"}
    await again.close()


async def test_a_cancelled_committer_does_not_disturb_the_others(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    first = asyncio.create_task(ledger.commit(LedgerWrite("s", "1", b"x")))
    second = asyncio.create_task(ledger.commit(LedgerWrite("s", "2", b"y")))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert ledger.get("s", "2") == b"y"
    await ledger.close()


async def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger.db"
    ledger = Ledger.open(path)
    await ledger.commit(LedgerWrite("s", "k", b"v"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await ledger.close()


async def test_a_second_agent_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match=r"ledger\.db: another agent \(process \d+\)"):
        Ledger.open(tmp_path / "ledger.db")
    await ledger.close()
    await Ledger.open(tmp_path / "ledger.db").close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    asyncio.run(Ledger.open(path).close())
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(LedgerError, match="newer agent"):
        Ledger.open(path)


@pytest.mark.parametrize("garbage", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_named(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(garbage)
    with pytest.raises(LedgerError, match=r"ledger\.db: .*move it away"):
        Ledger.open(path)
    assert path.read_bytes() == garbage


def test_a_foreign_database_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE other (x)")
    database.close()
    with pytest.raises(LedgerError, match="not an agent's ledger"):
        Ledger.open(path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="stateDir"):
        Ledger.open(tmp_path / "file" / "ledger.db")


async def test_in_memory_commits_are_inline() -> None:
    ledger = Ledger.open(None)
    await ledger.commit(LedgerWrite("s", "k", b"v"))
    assert ledger.get("s", "k") == b"v"
    await ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        await ledger.commit(LedgerWrite("s", "k", None))
