# SPDX-License-Identifier: Apache-2.0
"""The journal: its bounds in memory and on disk."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from contivpp_core.journal import SHOWN_KEYS, Entry, Journal


async def test_entries_are_bounded_and_selected() -> None:
    journal = Journal(capacity=5)
    for revision in range(10):
        journal.record(revision=revision, cause="test")
    assert [entry.revision for entry in journal.entries()] == [5, 6, 7, 8, 9]
    assert [entry.revision for entry in journal.entries(limit=2)] == [8, 9]
    assert [entry.revision for entry in journal.entries(since=7)] == [8, 9]
    assert [entry.revision for entry in journal.entries(limit=1, since=6)] == [9]
    assert journal.entries(limit=0) == []


async def test_long_lists_of_keys_are_cut_and_counted() -> None:
    keys = [f"Pod x/{n:04}" for n in range(1000)]
    entry = Journal().record(revision=1, cause="list", changed=keys, failed=dict.fromkeys(keys, "no"))
    assert entry.changed == tuple(keys[:SHOWN_KEYS])
    assert (entry.changed_total, entry.failed_total, len(entry.failed)) == (1000, 1000, SHOWN_KEYS)


async def test_the_file_holds_every_entry_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    written = [
        journal.record(revision=n, cause="c", changed=["k"], durations={"render": 0.1}) for n in range(3)
    ]
    assert not path.exists()  # the writer did not wait for the disk
    await journal.close()
    assert (
        msgspec.json.decode(b"[" + b",".join(path.read_bytes().splitlines()) + b"]", type=list[Entry])
        == written
    )
    assert path.stat().st_mode & 0o777 == 0o600


def size_of(directory: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in directory.iterdir()}


async def test_the_files_together_stay_within_the_size(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for revision in range(60):
        journal = Journal(path, size=2000)
        journal.record(revision=revision, cause="a cause of some length")
        await journal.close()
        assert sum(size_of(tmp_path).values()) <= 2000
    assert size_of(tmp_path).keys() == {"journal.jsonl", "journal.jsonl.1"}
    assert b'"revision":59' in path.read_bytes()


async def test_a_disk_that_fails_is_reported_once_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "missing" / "journal.jsonl", flush_seconds=0)
    with caplog.at_level(logging.WARNING):
        for revision in range(3):
            journal.record(revision=revision, cause="test")
            await journal._write_now()
    assert len(caplog.records) == 1
    assert "cannot be written" in caplog.text
    assert len(journal.entries()) == 3
    await journal.close()
