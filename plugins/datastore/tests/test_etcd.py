# SPDX-License-Identifier: Apache-2.0
"""The etcd driver keeps the contract, against a real etcd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.kvstore import KVStore
from contivpp_core.testing.kvstore_contract import KVStoreContract
from contivpp_datastore.etcd import access, rpc
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.etcd.connection import Connection, Link
from contivpp_datastore.etcd.options import EtcdOptions
from contivpp_datastore.etcd.watch import Watch, asks_for_progress, key_range
from tests.servers.etcd import NEEDS_ETCD, Etcd


@NEEDS_ETCD
class TestPlain(KVStoreContract):
    lease_ttl = 2.0

    @pytest.fixture
    def etcd(self, tmp_path: Path) -> Iterator[Etcd]:
        with Etcd(tmp_path) as etcd:
            yield etcd

    @pytest.fixture
    async def store(self, etcd: Etcd) -> AsyncIterator[EtcdStore]:
        store = EtcdStore(etcd.options())
        yield store
        await store.close()

    async def compact(self, store: KVStore, revision: int) -> None:
        assert isinstance(store, EtcdStore)
        await store.compact(revision)


@NEEDS_ETCD
class TestMutualTlsAndUser(TestPlain):
    @pytest.fixture
    def etcd(self, tmp_path: Path) -> Iterator[Etcd]:
        with Etcd(tmp_path, tls=True) as etcd:
            yield etcd

    @pytest.fixture
    async def store(self, etcd: Etcd) -> AsyncIterator[EtcdStore]:
        first = EtcdStore(etcd.options())
        await access.enable(first, "root's secret")
        await first.close()
        password = etcd.folder / "password"
        password.write_text("root's secret\n")
        store = EtcdStore(etcd.options(user="root", password_file=password))
        yield store
        await store.close()


@pytest.mark.parametrize(
    ("version", "asks"),
    [((3, 4, 23), False), ((3, 4, 25), True), ((3, 5, 7), False), ((3, 5, 8), True), ((3, 6, 0), True), ((0,), False)],
)
def test_progress_is_asked_for_where_the_answer_is_in_order(version: tuple[int, ...], asks: bool) -> None:
    assert asks_for_progress(version) is asks


@given(st.text(max_size=6), st.text(max_size=6))
def test_a_range_holds_the_keys_with_its_prefix_and_no_others(prefix: str, key: str) -> None:
    begin, end = key_range(prefix)
    found = key.encode()
    inside = begin <= found and (found < end or end == b"\0")
    if found:  # etcd has no empty key
        assert inside is found.startswith(prefix.encode())


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    connection = Connection(EtcdOptions(endpoints=("http://127.0.0.1:1",)))
    link = Link("http://127.0.0.1:1", grpc.aio.insecure_channel("127.0.0.1:1"))
    yield Watch(connection, link, "/p/", 11, 0)
    await link.channel.close()
    await connection.close()


def response(revision: int, *events: int, fragment: bool = False) -> Any:
    """What etcd says at a revision, with changes of these revisions."""
    found = rpc.WATCH.response(fragment=fragment)
    found.header.revision = revision
    for each in events:
        found.events.add().kv.mod_revision = each
    return found


@pytest.mark.parametrize(
    ("responses", "told"),
    [
        ([response(12, 11, 12)], [11, 12]),
        ([response(9, 8, 9), response(12, 9, 10, 11, 12)], [11, 12]),  # a member that lagged
        ([response(12, 11, fragment=True), response(12, 11), response(12, 11, 12)], [11, 11, 12]),
        ([response(7), response(12, 11)], [11]),
        ([response(12, 11, 12), response(12), response(13, 13)], [11, 12, 13]),
    ],
)
async def test_a_watch_never_goes_back(watch: Watch, responses: list[Any], told: list[int]) -> None:
    for each in responses:
        watch._take(each)
    batches = watch.batches()
    assert (await anext(batches)).revision == 10
    watch._news.set()
    batch = await anext(batches)
    assert [event.revision for event in batch.events] == told
    assert batch.revision >= told[-1]


async def test_old_progress_of_a_watch_is_none(watch: Watch) -> None:
    watch._take(response(7))
    assert watch._revision == 0
    watch._take(response(12))
    assert watch._revision == 12
