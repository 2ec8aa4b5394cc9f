# SPDX-License-Identifier: Apache-2.0
"""Servers and networks that do what they should not: nothing is lost, and nobody is asked all the time."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from contivpp_ksr.access import FileAccess
from contivpp_ksr.client import ApiClient
from contivpp_ksr.reflector import Pace, Reflector
from contivpp_ksr.resources import RESOURCES
from contivpp_ksr.testing import FakeApiServer

from .objects import PACE, DictSink, pod, reflecting, until

PAGES = Pace(watch_list=False)
Watch = Callable[[web.Request], Awaitable[web.StreamResponse]]


def line(kind: str, found: Any) -> bytes:
    return json.dumps({"type": kind, "object": found}, ensure_ascii=False).encode() + b"\n"


def told(name: str, version: int, **more: Any) -> dict[str, Any]:
    return pod(name, resourceVersion=str(version), **more)


def names(sink: DictSink) -> set[str]:
    return set(sink.records.get("Pod", {}))


BOOKMARK = line("BOOKMARK", {"metadata": {"resourceVersion": "150"}})
EXPIRED = line("ERROR", {"code": 410, "reason": "Expired"})


class Hostile:
    """Answers lists with `body`, and watches by `watch`; counts both."""

    def __init__(self, watch: Watch) -> None:
        self.body: Any = {"metadata": {"resourceVersion": "100"}, "items": [told("a", 50)]}
        self.watch = watch
        self.lists = self.watches = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            self.watches += 1
            return await self.watch(request)
        self.lists += 1
        return web.json_response(self.body)

    @asynccontextmanager
    async def reflected(self, sink: DictSink, pace: Pace = PAGES) -> AsyncIterator[Reflector]:
        application = web.Application()
        application.router.add_get("/{rest:.*}", self.answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = ApiClient(FileAccess(f"http://127.0.0.1:{runner.addresses[0][1]}"))
        reflector = Reflector(client, RESOURCES["Pod"], sink, pace=pace)
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
            await runner.cleanup()


def sends(*chunks: bytes, hold: bool = False, packed: bool = False) -> Watch:
    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"} if packed else None)
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0)
        if hold:
            await asyncio.sleep(60)
        return response

    return watch


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param((), id="nothing"),
        pytest.param((BOOKMARK,), id="a bookmark"),
        pytest.param((line("BOOKMARK", {"metadata": {}}),), id="a bookmark without a version"),
        pytest.param((line("ADDED", told("a", 50)),), id="an old event"),
        pytest.param((line("ADDED", told("a", 120)),), id="the same event"),
        pytest.param((EXPIRED,), id="forgotten history"),
        pytest.param((BOOKMARK, EXPIRED), id="a bookmark, and forgotten history"),
        pytest.param((BOOKMARK, line("ERROR", {"code": 500})), id="a bookmark, and an error"),
    ],
)
async def test_a_watch_that_ends_at_once_is_not_opened_all_the_time(chunks: tuple[bytes, ...]) -> None:
    sink, server = DictSink(), Hostile(sends(*chunks))
    async with server.reflected(sink):
        await asyncio.sleep(1)
    assert 1 <= server.watches <= 15
    assert 1 <= server.lists <= 15
    assert names(sink) == {"x/a"}


async def test_history_that_is_forgotten_now_and_then_is_listed_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contivpp_ksr.reflector.LIST_SECONDS", 0.0)
    sink = DictSink()
    slow = Pace(first_pause=30.0, longest_pause=30.0, spread=0)
    async with FakeApiServer().serving() as server, reflecting(server, sink, pace=slow):
        await until(lambda: sink.lists == 1)
        for number in range(2, 5):
            server.error(410)
            await until(lambda number=number: sink.lists == number)


async def test_agents_of_a_server_that_has_no_history_list_in_different_moments() -> None:
    """So it is after each restart of a real one: everybody's versions are from before."""
    sink, times = DictSink(), []
    async with FakeApiServer().serving() as server:
        client = ApiClient(FileAccess(server.url))
        pace = Pace(first_pause=0.001, longest_pause=0.01, spread=1.0)
        reflectors = [Reflector(client, RESOURCES["Pod"], sink, seed=f"node{n}", pace=pace) for n in range(20)]
        tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
        await until(lambda: sink.lists == 20)
        for reflector in reflectors:
            reflector._listed_at -= 60.0  # it was a while ago
        server.requests.clear()
        began = time.monotonic()
        server.error(410)
        while len(times) < 20:
            times += [time.monotonic() - began] * (len(server.requests) - len(times))
            await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
    assert max(times) - min(times) > 0.5
    assert max(sum(at <= one < at + 0.1 for one in times) for at in times) <= 8


async def test_a_server_that_was_put_back_and_says_nothing_is_listed_again() -> None:
    """A real one is silent to a watch from a version that it has not reached: for ever, on a quiet day."""
    sink, server = DictSink(), Hostile(sends(hold=True))
    async with server.reflected(sink, Pace(watch_list=False, quiet=1.01, first_pause=0.001, longest_pause=0.01)):
        await until(lambda: sink.lists == 1)
        server.body = {"metadata": {"resourceVersion": "20"}, "items": [told("b", 10)]}
        await until(lambda: names(sink) == {"x/b"})


async def test_a_proxy_that_cuts_silent_watches_hides_nothing() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(0.2)
        return response

    sink, server = DictSink(), Hostile(cut)
    async with server.reflected(sink, Pace(watch_list=False, quiet=1.01, first_pause=0.001, longest_pause=0.01)):
        await until(lambda: sink.lists == 2)
    assert 4 <= server.watches <= 8


async def test_blocks_may_end_within_a_character() -> None:
    found = told("b", 101, labels={"ä": "ü€😀"})
    text = line("ADDED", found) + BOOKMARK
    sink, server = DictSink(), Hostile(sends(*(text[at : at + 1] for at in range(len(text))), hold=True))
    async with server.reflected(sink) as reflector:
        await until(lambda: reflector.standing.version == "150")
    record: Any = sink.records["Pod"]["x/b"]
    assert record.labels == (("ä", "ü€😀"),)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"labels": {"q": None}}, id="label"),
        pytest.param({"annotations": {"q": None}}, id="annotation"),
        pytest.param({"annotations": [1]}, id="annotations"),
        pytest.param({"labels": 5}, id="labels"),
        pytest.param({"resourceVersion": None}, id="version"),
    ],
)
async def test_what_has_a_name_keeps_its_last_good_record(odd: dict[str, Any]) -> None:
    changed = {**told("a", 110), "metadata": {**told("a", 110)["metadata"], **odd}}
    sink, server = DictSink(), Hostile(sends(line("MODIFIED", changed), line("ADDED", told("b", 120)), hold=True))
    async with server.reflected(sink) as reflector:
        await until(lambda: "x/b" in names(sink))
        assert set(reflector.standing.malformed) == {"x/a"}
    server.watch = sends(hold=True)
    server.body = {"metadata": {"resourceVersion": "130"}, "items": [changed, told("c", 125)]}
    async with server.reflected(sink):
        await until(lambda: "x/c" in names(sink))
    assert names(sink) == {"x/a", "x/c"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"metadata": {}, "items": []}, id="a list without a version"),
        pytest.param({"metadata": None, "items": None}, id="nulls"),
        pytest.param([], id="no object"),
    ],
)
async def test_what_is_no_list_removes_nothing(body: Any) -> None:
    sink, server = DictSink(), Hostile(sends(b"<html>\n"))
    async with server.reflected(sink, Pace(watch_list=False, first_pause=0.001, longest_pause=0.01)) as reflector:
        await until(lambda: sink.lists == 1)
        server.body = body
        await until(lambda: "is no list" in reflector.standing.reason)
    assert names(sink) == {"x/a"}


async def test_watches_are_not_packed() -> None:
    async def watch(request: web.Request) -> web.StreamResponse:
        packed = "gzip" in request.headers["Accept-Encoding"]  # as a proxy that packs whatever it may
        event = line("ADDED", told("b", 101))
        return await sends(gzip.compress(event) if packed else event, hold=True, packed=packed)(request)

    sink, server = DictSink(), Hostile(watch)
    async with server.reflected(sink):
        await until(lambda: "x/b" in names(sink))


async def test_cut_connections_leave_nothing_behind() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type"')
        assert request.transport is not None
        request.transport.abort()
        return response

    sink, server = DictSink(), Hostile(cut)
    tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
    most = 0
    async with server.reflected(sink, Pace(watch_list=False, first_pause=0.001, longest_pause=0.002)):
        while server.watches < 200:
            most = max(most, len(os.listdir("/proc/self/fd")))
            await asyncio.sleep(0.005)
    assert most < files + 20
    assert len(os.listdir("/proc/self/fd")) <= files + 2
    assert len(asyncio.all_tasks()) == tasks


async def test_a_kind_that_is_refused_keeps_no_other_waiting() -> None:
    async def watch(request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": 403, "message": "pods is forbidden"}, status=403)

    sink, server = DictSink(), Hostile(watch)
    async with server.reflected(sink) as reflector:
        await until(lambda: "forbidden" in reflector.standing.reason)
    assert "deploy/rbac" in reflector.standing.reason


async def test_a_server_that_never_answers_keeps_nobody_from_ending() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    client = ApiClient(FileAccess(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    reflector = Reflector(client, RESOURCES["Pod"], DictSink(), pace=PACE)
    task = asyncio.create_task(reflector.run())
    await until(lambda: "imeout" in reflector.standing.reason)
    began = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.close()
    assert time.monotonic() < began + 1
    server.close()
    await server.wait_closed()
