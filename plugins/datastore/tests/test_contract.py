# SPDX-License-Identifier: Apache-2.0
"""Every way to the embedded store keeps the contract: in memory, in a file, and through a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contivpp_core.kvstore import KVStore
from contivpp_core.testing.kvstore_contract import KVStoreContract
from contivpp_datastore.embedded.client import EmbeddedStore
from contivpp_datastore.embedded.engine import SqliteStore
from contivpp_datastore.embedded.server import StoreServer


class TestEngineInMemory(KVStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[SqliteStore]:
        store = await SqliteStore.open()
        yield store
        await store.close()

    async def compact(self, store: KVStore, revision: int) -> None:
        assert isinstance(store, SqliteStore)
        await store.compact(revision)


class TestEngineInAFile(TestEngineInMemory):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = await SqliteStore.open(tmp_path / "store.db")
        yield store
        await store.close()


class TestClient(KVStoreContract):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[SqliteStore]:
        engine = await SqliteStore.open()
        yield engine
        await engine.close()

    @pytest.fixture
    async def store(self, engine: SqliteStore, tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
        server = StoreServer(engine, tmp_path / "store.sock")
        await server.start()
        self.engine = engine
        store = EmbeddedStore(tmp_path / "store.sock")
        yield store
        await store.close()
        await server.stop()

    async def compact(self, store: KVStore, revision: int) -> None:
        await self.engine.compact(revision)
