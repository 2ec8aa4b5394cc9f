# SPDX-License-Identifier: Apache-2.0
"""The etcd driver keeps the contract, against a real etcd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contivpp_core.kvstore import KVStore
from contivpp_core.testing.kvstore_contract import KVStoreContract
from contivpp_datastore.etcd import access
from contivpp_datastore.etcd.client import EtcdStore
from tests.servers.etcd import NEEDS_ETCD, Etcd

pytestmark = NEEDS_ETCD


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
