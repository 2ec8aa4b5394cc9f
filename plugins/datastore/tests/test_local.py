# SPDX-License-Identifier: Apache-2.0
"""The local mirror: what the sources told is there at a start without them, and never in the way."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import types
import typing
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.cluster import encode_node, node_key, object_key
from contivpp_core.kubernetes import POD, Pod
from contivpp_core.metrics import read
from contivpp_core.node import CLUSTER_NODE, ClusterNode
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_datastore.local import CONDITION, LocalMirror
from contivpp_datastore.objects import TABLES
from contivpp_datastore.plugin import DatastorePlugin
from contivpp_datastore.tablefile import TableFile, Update


class Source(Plugin):
    """Fills tables as the reflector inside the agent does; and hears of nodes."""

    name = "source"
    sources = tuple(table.name for table in TABLES)

    def __init__(self) -> None:
        self.joined: list[str] = []

    async def start(self, agent: Agent) -> None:
        self.agent = agent

    async def replace(self, table: Any, *records: Record) -> int:
        keys = {table.key(record) for record in records}

        def writes() -> list[Write]:
            gone = [Delete(table.name, key) for key in self.agent.state.table(table.name) if key not in keys]
            return [*(Put(table.name, record) for record in records), *gone, Ready(table.name)]

        return await self.agent.controller.write("source", writes)

    @hookimpl
    def node_joined(self, event: Any) -> None:
        self.joined.append(event.name)


@asynccontextmanager
async def agent_with(
    path: Path | None, source: Plugin | None = None, store: MemoryKVStore | None = None, **settings: Any
) -> AsyncIterator[Agent]:
    settings = {"driver": "none", **settings} if store is None else settings
    plugins = [DatastorePlugin(store, local=path), *([source] if source else [])]
    agent = Agent(
        {"nodeName": "node1", "plugins": ["datastore"], "datastore": settings}, plugins, ledger_path=None, serve=False
    )
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


def pod(name: str, node: str = "") -> Pod:
    return Pod(namespace="default", name=name, node=node)


def in_simulation(test: Callable[[Path], Any]) -> Callable[[], None]:
    def run() -> None:
        with TemporaryDirectory() as folder:
            run_simulated(test(Path(folder) / "mirror.db"))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@in_simulation
async def test_a_start_without_the_source_goes_on_with_what_was_known(path: Path) -> None:
    source = Source()
    async with agent_with(path, source) as agent:
        await source.replace(POD, pod("a"), pod("b"))
        await source.replace(CLUSTER_NODE, ClusterNode(name="node2", node_id=2))
        await agent.controller.write("change", [Put(POD.name, pod("c")), Delete(POD.name, "default/b")])
        assert CONDITION not in agent.conditions
    source = Source()
    async with agent_with(path, source) as agent:
        await asyncio.sleep(1.9)
        assert not agent.state.ready(POD.name)
        await asyncio.sleep(0.2)
        assert agent.state.ready(POD.name)
        assert sorted(agent.state.table(POD.name)) == ["default/a", "default/c"]
        assert agent.state.stale() == [CLUSTER_NODE.name, POD.name]
        assert not agent.state.ready("Namespace")  # nobody ever told all of them
        reason = agent.readiness()[CONDITION].reason
        assert "ClusterNode, Pod: as of 2030-01-01" in reason
        assert not agent.ready
        found = [sample for sample in read(agent.metrics) if sample.metric.name == "contivpp_table_stale"]
        samples = {sample.labels["table"]: sample.value for sample in found}
        assert (samples[POD.name], samples["Namespace"]) == (1, 0)
        await agent.hooks.drain()
        assert source.joined == ["node2"]

        before = agent.state.revision
        await source.replace(POD, pod("a"), pod("c"))
        assert agent.state.stale() == [CLUSTER_NODE.name]
        assert agent.state.revision == before + 1  # the mark alone
        assert not agent.journal.entries()[-1].changed
        await source.replace(CLUSTER_NODE)
        assert not agent.state.table(CLUSTER_NODE.name)
        assert agent.conditions[CONDITION].ok
    assert path.stat().st_mode & 0o777 == 0o600
    async with agent_with(path, Source()) as agent:
        await asyncio.sleep(3)
        assert sorted(agent.state.table(POD.name)) == ["default/a", "default/c"]
        assert not agent.state.table(CLUSTER_NODE.name)


@in_simulation
async def test_a_source_in_time_is_not_disturbed(path: Path) -> None:
    source = Source()
    async with agent_with(path, source):
        await source.replace(POD, pod("a"), pod("b"))
    source = Source()
    async with agent_with(path, source) as agent:
        await source.replace(POD, pod("a"))
        await asyncio.sleep(10)
        assert sorted(agent.state.table(POD.name)) == ["default/a"]
        assert CONDITION not in agent.conditions
    async with agent_with(path, Source()) as agent:
        await asyncio.sleep(10)
        assert sorted(agent.state.table(POD.name)) == ["default/a"]


@pytest.mark.parametrize("first", ["fill", "source"])
def test_source_and_fill_at_the_same_time(first: str) -> None:
    """Whoever is first in the controller's queue: what the source does not have is gone."""

    async def scenario(path: Path) -> None:
        source = Source()
        async with agent_with(path, source):
            await source.replace(POD, pod("a"), pod("b"))
        source = Source()
        async with agent_with(path, source) as agent:
            await asyncio.sleep(1)
            plugin = agent.plugin("datastore")
            local = plugin._local  # type: ignore[attr-defined]
            assert isinstance(local, LocalMirror)
            writes = [
                lambda: agent.controller.write("local mirror", lambda: local._fill([POD.name])),
                lambda: source.replace(POD, pod("b"), pod("c")),
            ]
            await asyncio.gather(*(write() for write in (writes if first == "fill" else reversed(writes))))
            assert sorted(agent.state.table(POD.name)) == ["default/b", "default/c"]
            assert agent.state.stale() == []
        async with agent_with(path, Source()) as agent:
            await asyncio.sleep(10)
            assert sorted(agent.state.table(POD.name)) == ["default/b", "default/c"]

    with TemporaryDirectory() as folder:
        run_simulated(scenario(Path(folder) / "mirror.db"))


@in_simulation
async def test_a_store_that_is_down_at_the_start(path: Path) -> None:
    store = MemoryKVStore()
    key = object_key("Pod", "default", "a")
    await store.put(key, json.dumps({"metadata": {"name": "a", "namespace": "default"}}).encode())
    await store.put(node_key("node2"), encode_node(ClusterNode(name="node2", node_id=2)))
    async with agent_with(path, store=store):
        await asyncio.sleep(2)
    store.outage(True)
    async with agent_with(path, store=store) as agent:
        await asyncio.sleep(5)
        assert agent.state.ready(POD.name)
        assert sorted(agent.state.stale()) == sorted(table.name for table in TABLES)
        assert agent.state.get(CLUSTER_NODE.name, "node2") == ClusterNode(name="node2", node_id=2)
        store.outage(False)
        await asyncio.sleep(15)
        assert agent.state.stale() == []
        assert agent.ready
        assert [entry.changed_total for entry in agent.journal.entries()][-1] == 0


@in_simulation
async def test_no_store_is_no_store_that_is_away(path: Path) -> None:
    async def connected(store: MemoryKVStore | None) -> list[float]:
        async with agent_with(path, store=store) as agent:
            await asyncio.sleep(1)
            found = read(metric for metric in agent.metrics if metric.name == "contivpp_datastore_connected")
            return [sample.value for sample in found]

    assert await connected(None) == []
    assert await connected(MemoryKVStore()) == [1.0]


@in_simulation
async def test_it_can_be_switched_off(path: Path) -> None:
    source = Source()
    async with agent_with(path, source, localMirror=False):
        await source.replace(POD, pod("a"))
    assert not path.exists()
    async with agent_with(None, source):
        await source.replace(POD, pod("a"))


# --- files


async def _filled(path: Path) -> None:
    source = Source()
    async with agent_with(path, source):
        await source.replace(POD, pod("a"))


def _garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xa5" * 5000)


def _torn(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE somebodys (x)")
    database.close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


@pytest.mark.parametrize("harm", [_garbage, _torn, _foreign, _newer])
def test_a_file_that_cannot_be_used_is_set_aside(
    harm: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mirror.db"

    async def scenario() -> None:
        await _filled(path)
        for rest in tmp_path.glob("mirror.db-*"):
            rest.unlink()
        harm(path)
        async with agent_with(path, Source()) as agent:
            await asyncio.sleep(5)
            assert not agent.state.ready(POD.name)
        assert path.with_name("mirror.db.set-aside").exists()
        assert "it is set aside" in caplog.text
        await _filled(path)
        async with agent_with(path, Source()) as agent:
            await asyncio.sleep(5)
            assert agent.state.ready(POD.name)

    run_simulated(scenario())


def test_one_record_that_cannot_be_read_spoils_its_table_only(tmp_path: Path) -> None:
    path = tmp_path / "mirror.db"

    async def scenario() -> None:
        source = Source()
        async with agent_with(path, source):
            await source.replace(POD, pod("a"))
            await source.replace(CLUSTER_NODE, ClusterNode(name="node2", node_id=2))
        with sqlite3.connect(path) as database:
            database.execute("UPDATE record SET value = '{' WHERE tab = 'Pod'")
        database.close()
        async with agent_with(path, Source()) as agent:
            await asyncio.sleep(5)
            assert not agent.state.ready(POD.name)
            assert agent.state.ready(CLUSTER_NODE.name)

    run_simulated(scenario())


def test_a_file_that_cannot_be_made_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mirror.db"
    path.mkdir()  # a folder in its place

    async def scenario() -> None:
        source = Source()
        async with agent_with(path, source) as agent:
            await source.replace(POD, pod("a"))
            await asyncio.sleep(5)
            assert agent.ready
            await asyncio.sleep(100)
            path.rmdir()
            await asyncio.sleep(30)
        async with agent_with(path, Source()) as agent:
            await asyncio.sleep(5)
            assert agent.state.ready(POD.name)

    run_simulated(scenario())
    assert caplog.text.count("the local mirror cannot be written") == 1


def test_a_write_that_fails_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mirror.db"
    store, full = TableFile.store, [True]

    def failing(self: TableFile, update: Update) -> None:
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")
        store(self, update)

    monkeypatch.setattr(TableFile, "store", failing)

    async def scenario() -> None:
        source = Source()
        async with agent_with(path, source) as agent:
            await source.replace(POD, pod("a"), pod("b"))
            await asyncio.sleep(2)
            await agent.controller.write("change", [Delete(POD.name, "default/a")])
            await asyncio.sleep(2)
            full[0] = False
            await asyncio.sleep(30)
        async with agent_with(path, Source()) as agent:
            await asyncio.sleep(5)
            assert sorted(agent.state.table(POD.name)) == ["default/b"]

    run_simulated(scenario())


async def test_a_slow_disk_delays_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TableFile.store

    def slow(self: TableFile, update: Update) -> None:
        time.sleep(1.5)
        store(self, update)

    monkeypatch.setattr(TableFile, "store", slow)
    source = Source()
    async with agent_with(tmp_path / "mirror.db", source) as agent:
        await source.replace(POD, *[pod(f"p{number}") for number in range(1000)])
        longest = 0.0
        for number in range(100):
            begin = time.perf_counter()
            await agent.controller.write("ADD", [Put(POD.name, pod(f"q{number}"))], urgent=True)
            await asyncio.sleep(0.015)
            longest = max(longest, time.perf_counter() - begin)
        assert longest < 0.5


# --- the property: every record of every table comes back as it was


def _strategy(kind: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(_strategy, arguments))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return st.lists(_strategy(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*map(_strategy, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{name: _strategy(hints[name]) for name in kind.__struct_fields__})
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=5),
        int: st.integers(-(2**31), 2**31),
        bool: st.booleans(),
        type(None): st.none(),
        float: st.floats(allow_nan=False, allow_infinity=False),
    }
    return simple[kind]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_records_come_back_as_they_were(data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(TABLES), label="table")
    strategy = st.lists(_strategy(table.record), max_size=5, unique_by=table.key)
    records, changed = data.draw(strategy), data.draw(strategy)
    gone = data.draw(st.sets(st.sampled_from([table.key(each) for each in records] or [""])))
    with TemporaryDirectory() as folder:
        file = TableFile(Path(folder) / "mirror.db", TABLES)
        file.open()
        file.store(Update({table.name: records}, {}, {"note": b"1"}, 5.0))
        changes: dict[tuple[str, str], Record | None] = {(table.name, key): None for key in gone}
        changes |= {(table.name, table.key(each)): each for each in changed}
        file.store(Update({}, changes, {}, 6.0))
        file.close()
        again = TableFile(Path(folder) / "mirror.db", TABLES)
        content = again.open()
        again.close()
    expected = {table.key(each): each for each in records}
    for (_, key), record in changes.items():
        expected.pop(key, None)
        if record is not None:
            expected[key] = record
    assert {table.key(each): each for each in content.records[table.name]} == expected
    assert content.notes == {"note": b"1"}
