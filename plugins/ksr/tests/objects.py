# SPDX-License-Identifier: Apache-2.0
"""What the tests of this package share: objects, sinks, waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from contivpp_core.kubernetes import MalformedObject, decode
from contivpp_core.records import Record
from contivpp_ksr.access import FileAccess
from contivpp_ksr.client import ApiClient
from contivpp_ksr.reflector import Pace, Reflector
from contivpp_ksr.resources import RESOURCES, Resource
from contivpp_ksr.sink import Change, Sink
from contivpp_ksr.testing import FakeApiServer

PACE = Pace(
    page_size=2, quiet=0.3, initial_quiet=0.2, first_pause=0.001, longest_pause=0.01, spread=0, unserved=0.02
)


def pod(name: str, node: str = "", **more: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "x", "name": name, **more}, "spec": {"nodeName": node}}


def malformed_pod(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "x", "name": name}, "spec": {"nodeName": [1]}}


def node(name: str, **annotations: str) -> dict[str, Any]:
    told = {f"contivpp.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"metadata": {"name": name, "annotations": told}}


class DictSink:
    """Keeps records by kind."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Record]] = {}
        self.lists = 0

    async def replace(self, resource: Resource, records: Mapping[str, Record], kept: Any) -> None:
        self.lists += 1
        before = self.records.get(resource.kind, {})
        self.records[resource.kind] = {**{key: before[key] for key in kept if key in before}, **records}

    def apply(self, resource: Resource, changes: Sequence[Change]) -> None:
        for key, record in changes:
            if record is None:
                self.records[resource.kind].pop(key, None)
            else:
                self.records[resource.kind][key] = record


def readable(server: FakeApiServer, kind: str) -> dict[str, Record]:
    """The records of a server's objects, less those that cannot be read."""
    result: dict[str, Record] = {}
    for key, found in server.objects[kind].items():
        try:
            result[key] = decode(RESOURCES[kind].table.record, found)
        except MalformedObject:
            continue
    return result


@asynccontextmanager
async def reflecting(
    server: FakeApiServer, sink: Sink, *kinds: str, pace: Pace = PACE
) -> AsyncIterator[dict[str, Reflector]]:
    """Reflect kinds of a server that serves into a sink."""
    client = ApiClient(FileAccess(server.url))
    reflectors = {kind: Reflector(client, RESOURCES[kind], sink, pace=pace) for kind in kinds or ("Pod",)}
    tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors.values()]
    try:
        yield reflectors
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


async def until(condition: Callable[[], Any], what: str = "", seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.002)


PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}


def kubeconfig_of(user: dict[str, Any], server: str = "http://127.0.0.1:1") -> dict[str, Any]:
    """Return a kubeconfig of one user and one cluster."""
    return {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
