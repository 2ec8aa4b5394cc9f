# SPDX-License-Identifier: Apache-2.0
"""What nodes that are gone have published goes, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

from contivpp_core.cluster import NODES, claim_value, id_key, node_key
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_ksr.access import FileAccess
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.process import KsrProcess
from contivpp_ksr.testing import FakeApiServer

from .objects import node

NAMES = ("here", "held", "gone", "moved", "later")


async def left(store: MemoryKVStore, *names: str) -> None:
    """Wait until these nodes' keys are there, and stay."""
    found: set[str] = set()
    for _ in range(200):
        before, found = found, {item.key.removeprefix(NODES) for item in (await store.list(NODES)).items}
        if found == before == {*names}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{found} are there, and not {names}")


async def test_what_a_node_that_is_gone_has_published_goes(tmp_path: Path) -> None:
    store = MemoryKVStore()
    for number, name in enumerate(NAMES, start=1):
        await store.put(node_key(name), b"{}")
        await store.put(id_key(number), claim_value(name, freed=0.0 if name == "held" else 5.0))
    await store.put(id_key(9), claim_value("moved"))
    async with FakeApiServer().serving() as server:
        for name in ("here", "later"):
            server.put("Node", node(name))
        config = KsrConfig(socket=tmp_path / "ksr.sock")
        process = KsrProcess(config, store, node_name="n", access=FileAccess(server.url))
        task = asyncio.create_task(process.run())
        try:
            await left(store, "here", "held", "moved", "later")
            server.delete("Node", "later")
            await left(store, "here", "held", "moved")
            await store.put(node_key("gone"), b"{}")
            await store.put(id_key(3), claim_value("gone"))  # it is back
            await left(store, "here", "held", "moved", "gone")
            await store.put(id_key(3), claim_value("gone", freed=6.0))
            await left(store, "here", "held", "moved")
            assert process.sink.leading
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
