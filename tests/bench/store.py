# SPDX-License-Identifier: Apache-2.0
"""The etcd driver against etcd3aio, the other asyncio client of etcd that runs with today's grpc and protobuf.

Both speak to one real etcd in the same process, turn by turn; what counts is the processor time of the client, because
the rest is etcd's. The reference is installed by pip into the cache of references on first use.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.etcd.watch import key_range
from tests.bench.references import cache
from tests.bench.result import Broken, Goal, Measured, Skipped

__all__ = ["store"]

REFERENCE = "etcd3aio==0.3.0"
KEYS, VALUE, FLYING = 2000, b"x" * 256, 64
ROUNDS = 5
GOAL = Goal(1.2)

Work = Callable[[], Awaitable[None]]


def store(runs: int) -> list[Measured]:
    """Measure put, get, list and watch."""
    from tests.servers.etcd import MISSING, Etcd, executable

    if not executable():
        raise Skipped(MISSING)
    client = _reference()
    with tempfile.TemporaryDirectory() as folder, Etcd(Path(folder)) as etcd:
        return asyncio.run(_compare(etcd.options().endpoints[0], client))


def _reference() -> Any:
    folder = cache() / REFERENCE.replace("==", "-")
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), REFERENCE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skipped(f"the reference {REFERENCE} cannot be installed: {done.stderr.strip()[-300:]}")
    sys.path.append(str(folder))
    try:
        import etcd3aio  # type: ignore[import-not-found]
    except ImportError as error:
        raise Skipped(f"the reference {REFERENCE} cannot be imported: {error}") from error
    return etcd3aio.Etcd3Client


async def _compare(endpoint: str, client: Any) -> list[Measured]:
    from contivpp_datastore.etcd.options import EtcdOptions

    ours = EtcdStore(EtcdOptions(endpoints=(endpoint,)))
    async with client([endpoint.removeprefix("http://")]) as theirs:
        works = {**_calls(ours, theirs), "list": _lists(ours, theirs), "watch": _watches(ours, theirs)}
        results = [await _measure(what, *pair) for what, pair in works.items()]
    await ours.close()
    return results


async def _measure(what: str, ours: Work, theirs: Work) -> Measured:
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    walls: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(ROUNDS + 1):
        for name, work in (("ours", ours), ("theirs", theirs)):
            begin, wall = time.process_time(), time.perf_counter()
            await work()
            if turn:  # the first one warms up
                times[name].append((time.process_time() - begin) / KEYS * 1e6)
                walls[name].append((time.perf_counter() - wall) / KEYS * 1e6)
    mine, reference = statistics.median(times["ours"]), statistics.median(times["theirs"])
    details = {f"wall us, {name}": round(statistics.median(values), 1) for name, values in walls.items()}
    goal = GOAL if what.startswith(("put", "get")) else None
    return Measured("store", f"{what}, CPU for each key", "us", mine, reference, REFERENCE, goal, details)


def _calls(ours: EtcdStore, theirs: Any) -> dict[str, tuple[Work, Work]]:
    return {
        "put, 64 at a time": (
            lambda: _all(lambda number: ours.put(f"/p/{number:05}", VALUE)),
            lambda: _all(lambda number: theirs.kv.put(f"/p/{number:05}", VALUE)),
        ),
        "get, 64 at a time": (
            lambda: _all(lambda number: ours.get(f"/p/{number:05}")),
            lambda: _all(lambda number: theirs.kv.get(f"/p/{number:05}")),
        ),
    }


def _lists(ours: EtcdStore, theirs: Any) -> tuple[Work, Work]:
    begin, end = key_range("/p/")

    async def mine() -> None:
        if len((await ours.list("/p/")).items) != KEYS:
            raise Broken("a list is not complete")

    async def reference() -> None:
        found = await theirs.kv.get(begin, range_end=end)
        if len([(kv.key.decode(), kv.value, kv.mod_revision, kv.create_revision) for kv in found.kvs]) != KEYS:
            raise Broken("the reference's list is not complete")

    return mine, reference


def _watches(ours: EtcdStore, theirs: Any) -> tuple[Work, Work]:
    """The history of all puts so far is read again: etcd sends it as fast as it is taken."""
    begin, end = key_range("/p/")

    async def since() -> int:
        return (await ours.list("/p/")).items[0].revision

    async def mine() -> None:
        seen = 0
        async with aclosing(ours.watch("/p/", await since())) as watch:
            async for batch in watch:
                seen += len(batch.events)
                if seen >= KEYS - FLYING:  # the order of the last puts is chance
                    return

    async def reference() -> None:
        seen = 0
        async with aclosing(theirs.watch.watch(begin, range_end=end, start_revision=await since())) as watch:
            async for response in watch:
                seen += len([(e.kv.key.decode(), e.kv.value, e.kv.mod_revision) for e in response.events])
                if seen >= KEYS - FLYING:
                    return

    return mine, reference


async def _all(call: Callable[[int], Awaitable[Any]]) -> None:
    numbers = iter(range(KEYS))

    async def one() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(one() for _ in range(FLYING)))
