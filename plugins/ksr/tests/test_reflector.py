# SPDX-License-Identifier: Apache-2.0
"""Whatever the server and the network do, a sink ends with what the server has."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contivpp_core.kubernetes import POD, Pod
from contivpp_ksr.reading import Reader
from contivpp_ksr.reflector import Pace, Reflector
from contivpp_ksr.testing import FakeApiServer

from .objects import PACE, DictSink, malformed_pod, node, pod, readable, reflecting, until

NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.sampled_from(["node1", "node2"])),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("malformed"), NAMES),
    st.tuples(st.just("error"), st.sampled_from([410, 500])),
    st.tuples(st.just("refuse"), st.sampled_from([429, 500, 503, 403])),
    st.tuples(st.sampled_from(["cut", "compact", "bookmark", "garbage", "pause", "freeze", "thaw"])),
)


async def step(server: FakeApiServer, what: str, *rest: Any) -> None:
    match what:
        case "put":
            server.put("Pod", pod(*rest))
        case "delete":
            server.delete("Pod", f"x/{rest[0]}")
        case "malformed":
            server.put("Pod", malformed_pod(*rest))
        case "error":
            server.error(*rest)
        case "refuse":
            server.refuse.append((rest[0], {"Retry-After": "0"}))
        case "garbage":
            server.send("Pod", b'{"type": "ADDED", "object"\n')
        case "freeze" | "thaw":
            server.freeze(what == "freeze")
        case "pause":
            await asyncio.sleep(0.01)
        case _:
            getattr(server, what)()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.booleans(), st.booleans(), st.lists(STEPS, max_size=14))
def test_the_sink_ends_with_what_the_server_has(watch_list: bool, knows_initial: bool, steps: Any) -> None:
    async def scenario() -> None:
        sink = DictSink()
        async with FakeApiServer(watch_list=watch_list, knows_initial=knows_initial).serving() as server:
            server.put("Pod", pod("a"))
            async with reflecting(server, sink) as reflectors:
                for each in steps:
                    await step(server, *each)
                server.freeze(False)
                await until(lambda: equal(server, sink, reflectors["Pod"]), f"{steps}: {sink.records}")

    logging.disable()
    try:
        asyncio.run(scenario())
    finally:
        logging.disable(logging.NOTSET)


def equal(server: FakeApiServer, sink: DictSink, reflector: Reflector) -> bool:
    """Everything that can be read is there and new; a malformed object has its last good record, or none."""
    found, wanted = sink.records.get("Pod"), readable(server, "Pod")
    return (
        found is not None
        and reflector.standing.connected
        and {key: found.get(key) for key in wanted} == wanted
        and found.keys() <= server.objects["Pod"].keys()
        and reflector.standing.malformed.keys() == server.objects["Pod"].keys() - wanted.keys()
    )


async def test_a_watch_goes_on_where_it_was_cut() -> None:
    sink = DictSink()
    async with FakeApiServer().serving() as server, reflecting(server, sink):
        await until(lambda: sink.lists == 1)
        server.cut()
        server.put("Pod", pod("a"))
        await until(lambda: "x/a" in sink.records["Pod"])
        assert sink.lists == 1


async def test_forgotten_history_is_one_more_list() -> None:
    sink = DictSink()
    async with FakeApiServer().serving() as server, reflecting(server, sink):
        await until(lambda: sink.lists == 1)
        server.freeze(True)
        server.put("Pod", pod("a"))
        server.compact()
        server.cut()
        server.freeze(False)
        await until(lambda: "x/a" in sink.records["Pod"])
        assert sink.lists == 2


@pytest.mark.parametrize("watch_list", [True, False])
async def test_a_list_is_made_anew_when_it_is_asked_for(watch_list: bool) -> None:
    """Also by who watches, lists, or pauses just then; and once."""
    sink = DictSink()
    async with FakeApiServer(watch_list=watch_list).serving() as server, reflecting(server, sink) as reflectors:
        await until(lambda: sink.lists == 1 and reflectors["Pod"].standing.connected)
        reflectors["Pod"].list_again()
        await until(lambda: sink.lists == 2)
        server.freeze(True)
        reflectors["Pod"].list_again()
        await asyncio.sleep(0.05)
        server.put("Pod", pod("a"))
        reflectors["Pod"].list_again()
        server.freeze(False)
        await until(lambda: sink.lists == 3 and "x/a" in sink.records["Pod"])
        server.put("Pod", pod("b"))
        await until(lambda: "x/b" in sink.records["Pod"])
        assert sink.lists == 3
        server.refuse = [(500, {})] * 20
        server.cut()
        await until(lambda: not reflectors["Pod"].standing.connected)
        reflectors["Pod"].list_again()
        await until(lambda: sink.lists == 4)


async def test_a_frozen_connection_is_noticed() -> None:
    sink = DictSink()
    async with FakeApiServer().serving() as server, reflecting(server, sink) as reflectors:
        await until(lambda: sink.lists == 1)
        server.freeze(True)
        await until(lambda: not reflectors["Pod"].standing.connected)
        assert "imeout" in reflectors["Pod"].standing.reason
        server.put("Pod", pod("a"))
        server.freeze(False)
        await until(lambda: "x/a" in sink.records["Pod"])
        assert sink.lists == 1


async def test_bookmarks_keep_a_quiet_watch_alive_and_its_version_new() -> None:
    sink = DictSink()
    async with FakeApiServer().serving() as server, reflecting(server, sink) as reflectors:
        await until(lambda: sink.lists == 1)
        for _ in range(5):
            await asyncio.sleep(0.1)
            server.put("Namespace", {"metadata": {"name": f"n{server.version}"}})
            server.bookmark()
        await until(lambda: reflectors["Pod"].standing.version == str(server.version))
        assert reflectors["Pod"].standing.watches == 1
        server.compact()  # all but what the bookmark told
        server.cut()
        server.put("Pod", pod("a"))
        await until(lambda: "x/a" in sink.records["Pod"])
        assert sink.lists == 1


@pytest.mark.parametrize("how", ["refused", "silent", "fails"])
async def test_a_server_without_watch_list_is_listed_in_pages(how: str) -> None:
    sink = DictSink()
    server = FakeApiServer(watch_list=how != "refused", knows_initial=how != "silent")
    server.fails_initial = how == "fails"
    for number in range(5):
        server.put("Pod", pod(f"p{number}"))
    async with server.serving(), reflecting(server, sink):
        await until(lambda: sink.lists == 1)
        assert sink.records["Pod"] == readable(server, "Pod")
        pages = [query for _, query in server.requests if "watch" not in query]
        assert [("continue" in query, query["limit"]) for query in pages] == [(False, "2"), (True, "5000")]


@pytest.mark.parametrize(("kilobytes", "limits"), [(0, [2, 5000]), (300, [2, 8, 8, 8, 8])], ids=["small", "large"])
async def test_pages_have_about_as_many_bytes_whatever_the_objects(kilobytes: int, limits: list[int]) -> None:
    sink = DictSink()
    server = FakeApiServer(watch_list=False)
    for number in range(34):
        found = pod(f"p{number}")
        found["metadata"]["managedFields"] = [{"fieldsV1": "x" * kilobytes * 1024}]
        server.put("Pod", found)
    async with server.serving(), reflecting(server, sink):
        await until(lambda: sink.lists == 1)
        assert sink.records["Pod"] == readable(server, "Pod")
        assert [int(query["limit"]) for _, query in server.requests if "limit" in query] == limits


def test_an_empty_page_says_nothing_of_the_next() -> None:
    page = Reader(POD).page(b'{"metadata": {"resourceVersion": "1", "continue": "x"}, "items": []}')
    assert page.fitting(7) == 7


async def test_a_list_that_is_outdated_half_way_begins_again_whole() -> None:
    sink = DictSink()
    server = FakeApiServer(watch_list=False)
    for number in range(5):
        server.put("Pod", pod(f"p{number}"))
    server.refuse = [(422, {}), (200, {})]
    async with server.serving(), reflecting(server, sink):
        server.refuse = [(422, {})]
        await until(lambda: len(server.requests) >= 2)
        server.compact()
        await until(lambda: sink.lists >= 1)
        assert sink.records["Pod"] == readable(server, "Pod")


async def test_retry_after_is_kept_to() -> None:
    sink = DictSink()
    server = FakeApiServer()
    server.refuse = [(429, {"Retry-After": "1"})]
    pace = Pace(first_pause=0.001, longest_pause=2)
    async with server.serving(), reflecting(server, sink, pace=pace) as reflectors:
        await until(lambda: server.requests and not server.refuse)
        await asyncio.sleep(0.8)
        assert len(server.requests) == 1
        assert "429" in reflectors["Pod"].standing.reason
        await until(lambda: sink.lists == 1)


async def test_a_malformed_object_is_told_once_and_its_last_good_record_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = DictSink()
    server = FakeApiServer()
    server.put("Pod", pod("a", "node1"))
    async with server.serving(), reflecting(server, sink) as reflectors:
        await until(lambda: sink.lists == 1)
        server.put("Pod", malformed_pod("a"))
        server.put("Pod", pod("b"))
        await until(lambda: "x/b" in sink.records["Pod"])
        server.error(410)
        await until(lambda: sink.lists == 2)
        kept = sink.records["Pod"]["x/a"]
        assert isinstance(kept, Pod)
        assert kept.node == "node1"
        told = [record for record in caplog.records if "x/a" in record.getMessage()]
        assert len(told) == 1
        assert "nodeName" in vars(told[0])["reason"]
        server.put("Pod", pod("a", "node2"))
        await until(lambda: not reflectors["Pod"].standing.malformed)


async def test_what_has_not_even_a_name_costs_nobody_else_anything() -> None:
    sink = DictSink()
    async with FakeApiServer().serving() as server, reflecting(server, sink) as reflectors:
        await until(lambda: sink.lists == 1)
        for line in (b"[]", b'"x"', b"{}", b'{"metadata": 7}'):
            server.send("Pod", b'{"type":"ADDED","object":%s}\n' % line)
        server.put("Pod", pod("a"))
        await until(lambda: "x/a" in sink.records["Pod"])
        assert list(reflectors["Pod"].standing.malformed) == [""]
        assert sink.lists == 1


async def test_a_server_that_went_back_to_a_backup_is_listed_again() -> None:
    sink = DictSink()
    async with FakeApiServer().serving() as server, reflecting(server, sink):
        server.put("Pod", pod("a"))
        await until(lambda: "x/a" in sink.records.get("Pod", {}))
        server.version = 50
        del server.objects["Pod"]["x/a"]
        server.bookmark()
        await until(lambda: not sink.records["Pod"])


async def test_a_large_event_comes_whole() -> None:
    sink = DictSink()
    async with FakeApiServer().serving() as server, reflecting(server, sink):
        await until(lambda: sink.lists == 1)
        server.put("Pod", pod("a", "node1", annotations={"other": "x" * 2_000_000}))
        await until(lambda: "x/a" in sink.records["Pod"])


async def test_a_server_that_only_hangs_up_is_not_asked_all_the_time() -> None:
    sink = DictSink()
    pace = Pace(first_pause=0.05, longest_pause=0.2)
    async with FakeApiServer().serving() as server, reflecting(server, sink, pace=pace):
        await until(lambda: sink.lists == 1)
        before = len(server.requests)
        for _ in range(100):
            server.cut()
            await asyncio.sleep(0.01)
        assert len(server.requests) - before < 20


async def test_every_kind_is_reflected() -> None:
    sink = DictSink()
    server = FakeApiServer()
    named = {"namespace": "x", "name": "a"}
    samples: dict[str, Any] = {
        "Pod": pod("a"),
        "Namespace": {"metadata": {"name": "x"}},
        "Node": node("n", node_id="3"),
        "Service": {"metadata": named, "spec": {"clusterIP": "10.96.0.1"}},
        "EndpointSlice": {"metadata": named, "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.1.2"]}]},
        "NetworkPolicy": {"metadata": named, "spec": {"podSelector": {}}},
    }
    for kind, found in samples.items():
        server.put(kind, json.loads(json.dumps(found)))
    async with server.serving(), reflecting(server, sink, *samples):
        await until(lambda: sink.lists == len(samples))
        assert {kind: list(found) for kind, found in sink.records.items()} == {
            kind: list(readable(server, kind)) for kind in samples
        }
    assert PACE.watch_list


async def test_a_kind_that_nobody_has_defined_has_no_objects_until_somebody_does() -> None:
    sink, server = DictSink(), FakeApiServer()
    server.undefined.add("NodeConfig")
    async with server.serving(), reflecting(server, sink, "NodeConfig") as reflectors:
        standing = reflectors["NodeConfig"].standing
        await until(lambda: standing.listed and standing.connected)
        assert sink.records == {"NodeConfig": {}}
        assert "could not find" in standing.reason
        asked = len(server.requests)
        await until(lambda: len(server.requests) > asked + 2)
        assert (sink.lists, standing.failed_lists) == (1, 0)  # it is asked again, and that changes nothing

        server.put("NodeConfig", node("n1"))
        server.undefined.clear()
        await until(lambda: sink.records["NodeConfig"].keys() == {"n1"})
        assert (standing.connected, standing.reason) == (True, "")

        server.undefined.add("NodeConfig")  # the definition is deleted, and all objects with it
        server.cut()
        await until(lambda: not sink.records["NodeConfig"])
        assert standing.connected


async def test_a_kind_of_kubernetes_that_is_not_there_is_a_fault() -> None:
    sink, server = DictSink(), FakeApiServer()
    server.undefined.add("Pod")
    async with server.serving(), reflecting(server, sink) as reflectors:
        standing = reflectors["Pod"].standing
        await until(lambda: standing.failed_lists > 1)
        assert not standing.listed
        assert not standing.connected
        assert not sink.records


async def test_a_kind_that_nobody_has_defined_is_listed_anew_at_once() -> None:
    sink, server = DictSink(), FakeApiServer()
    server.undefined.add("NodeConfig")
    pace = Pace(unserved=60.0)
    async with server.serving(), reflecting(server, sink, "NodeConfig", pace=pace) as reflectors:
        await until(lambda: sink.lists == 1)
        reflectors["NodeConfig"].list_again()
        await until(lambda: sink.lists == 2, seconds=5)
        assert reflectors["NodeConfig"].standing.connected
