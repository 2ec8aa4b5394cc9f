# SPDX-License-Identifier: Apache-2.0
"""The etcd driver keeps the contract, against a real etcd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.kvstore import KVStore
from contivpp_core.testing.kvstore_contract import KVStoreContract
from contivpp_datastore.etcd import access
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.etcd.watch import asks_for_progress, key_range
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
