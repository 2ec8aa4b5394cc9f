# SPDX-License-Identifier: Apache-2.0
"""An API server for tests, on loopback: lists, watches and the ways in which they fail.

It keeps what the real one promises of versions, pages, bookmarks and forgotten history, and does on demand what the
real one does now and then: cuts and freezes connections, forgets, refuses, sends what cannot be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from contivpp_ksr.resources import RESOURCES

__all__ = ["FakeApiServer"]

NAMESPACE = "contivpp-system"
_BOOK = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_KINDS = {**{resource.path: kind for kind, resource in RESOURCES.items()}, _BOOK: "NodeIds"}
_BOOKMARK_END = {"k8s.io/initial-events-end": "true"}


class FakeApiServer:
    """Objects by kind and key (`namespace/name` or `name`), with a version that counts every change."""

    def __init__(self, *, watch_list: bool = True, knows_initial: bool = True) -> None:
        self.version = 100
        self.url = ""
        self.watch_list = watch_list
        self.fails_initial = False
        """As the real one over an etcd before 3.4.25: a watch with initial events is only an error."""
        self.knows_initial = knows_initial
        self.token = ""
        """What clients have to show; "" is nothing."""
        self.refuse: list[tuple[int, Mapping[str, str]]] = []
        """Status and headers of the next answers."""
        self.undefined: set[str] = set()
        """Kinds that it does not know."""
        self.denied: set[str] = set()
        """Names of objects that an admission lets nobody change."""
        self.frozen = False
        """Watches are silent, and answers do not come."""
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.objects: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _KINDS.values()}
        self._history: list[tuple[int, str, str, bytes]] = []
        self._oldest = 0
        self._first = 0  # the number of the first entry of the history
        self._snapshots: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._changed = asyncio.Event()
        self._cut = asyncio.Event()

    # --- what tests do

    def put(self, kind: str, found: dict[str, Any]) -> None:
        """Add or replace an object."""
        self.version += 1
        found = {**found, "metadata": {**found["metadata"], "resourceVersion": str(self.version)}}
        key = "/".join(filter(None, (found["metadata"].get("namespace"), found["metadata"]["name"])))
        event = "MODIFIED" if key in self.objects[kind] else "ADDED"
        self.objects[kind][key] = found
        self._tell(kind, event, json.dumps(found).encode())

    def delete(self, kind: str, key: str) -> None:
        """Delete an object; none is no change."""
        found = self.objects[kind].pop(key, None)
        if found is not None:
            self.version += 1
            last = {**found, "metadata": {**found["metadata"], "resourceVersion": str(self.version)}}
            self._tell(kind, "DELETED", json.dumps(last).encode())

    def bookmark(self) -> None:
        """Tell all watches how far they are."""
        for kind in _KINDS.values():
            found = {"metadata": {"resourceVersion": str(self.version)}}
            self._tell(kind, "BOOKMARK", json.dumps(found).encode())

    def error(self, code: int) -> None:
        """Tell all watches an error."""
        for kind in _KINDS.values():
            found = {"kind": "Status", "metadata": {}, "code": code, "message": "of a test"}
            self._tell(kind, "ERROR", json.dumps(found).encode())

    def send(self, kind: str, line: bytes) -> None:
        """Send a line as it is, to the watches of the moment."""
        self._history.append((self.version, kind, "RAW", line))
        self._wake()

    def compact(self) -> None:
        """Forget all history: watches from older versions are Gone, and so are begun lists."""
        self._oldest = self.version
        self._first += len(self._history)
        self._history.clear()
        self._snapshots.clear()

    def freeze(self, frozen: bool) -> None:
        """Say nothing more, or go on."""
        self.frozen = frozen
        self._wake()

    def cut(self) -> None:
        """Cut all connections."""
        self._cut.set()
        self._cut = asyncio.Event()

    # --- serving

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeApiServer]:
        """Serve on a port of loopback."""
        application = web.Application()
        for path in _KINDS:
            application.router.add_get(path, self._answer)
            for method in ("GET", "PATCH"):
                application.router.add_route(method, f"{path}/{{name}}", self._one)
        application.router.add_post(_BOOK, self._create)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.cut()
            await runner.cleanup()

    def _tell(self, kind: str, event: str, body: bytes) -> None:
        self._history.append((self.version, kind, event, body))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.query)))
        while self.frozen:
            await self._changed.wait()
        if self.refuse:
            status, headers = self.refuse.pop(0)
            return _status(status, "of a test", headers)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        kind = _KINDS[request.path]
        if kind in self.undefined:
            return _status(404, "the server could not find the requested resource")
        return await (self._watch(request, kind) if "watch" in request.query else self._list(request, kind))

    async def _one(self, request: web.Request) -> web.Response:
        """Get or patch one object: a node, or the book of node IDs."""
        if self.refuse:
            return _status(self.refuse.pop(0)[0], "of a test")
        kind = _KINDS[request.path.rpartition("/")[0]]
        name = request.match_info["name"]
        key = f"{NAMESPACE}/{name}" if kind == "NodeIds" else name
        found = self.objects[kind].get(key)
        if found is None:
            return _status(404, f"{name} not found")
        if request.method == "PATCH":
            if name in self.denied:
                return _status(403, f"{name}: denied the request")
            patch = await request.json()
            if patch.get("metadata", {}).pop("resourceVersion", None) not in (
                None,
                found["metadata"]["resourceVersion"],
            ):
                return _status(409, "the object has been modified")
            self.put(kind, _merged(found, patch))
        return web.json_response(self.objects[kind][key])

    async def _create(self, request: web.Request) -> web.Response:
        found = await request.json()
        found["metadata"]["namespace"] = NAMESPACE
        if f"{NAMESPACE}/{found['metadata']['name']}" in self.objects["NodeIds"]:
            return _status(409, "it is there")
        self.put("NodeIds", found)
        return web.json_response(found, status=201)

    async def _list(self, request: web.Request, kind: str) -> web.Response:
        limit = int(request.query.get("limit", 0)) or 1 << 30
        following = request.query.get("continue", "")
        if following and following not in self._snapshots:
            return _status(410, "The provided continue parameter is too old")
        version, objects = self._snapshots.pop(following) if following else (self.version, self._sorted(kind))
        metadata = {"resourceVersion": str(version)}
        if len(objects) > limit:
            metadata["continue"] = token = f"{kind}-{version}-{len(objects)}"
            self._snapshots[token] = (version, objects[limit:])
        return web.json_response({"kind": "List", "metadata": metadata, "items": objects[:limit]})

    def _sorted(self, kind: str) -> list[dict[str, Any]]:
        return [self.objects[kind][key] for key in sorted(self.objects[kind])]

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        initial = request.query.get("sendInitialEvents") == "true"
        if initial and not self.watch_list:
            return _status(422, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
        response = web.StreamResponse()
        seen = self.version if initial else int(request.query["resourceVersion"])
        gone = seen < self._oldest
        sent = self._first + sum(1 for entry in self._history if initial or entry[0] <= seen)
        lines = [_line("ADDED", json.dumps(found).encode()) for found in self._sorted(kind)] if initial else []
        await response.prepare(request)
        if initial and self.fails_initial:
            gone, lines = (
                True,
                [_line("ERROR", b'{"code":500,"reason":"InternalError","message":"RequestWatchProgress"}')],
            )
        elif gone:
            status = {"kind": "Status", "metadata": {}, "code": 410, "reason": "Expired", "message": "too old"}
            lines = [_line("ERROR", json.dumps(status).encode())]
        elif initial and self.knows_initial:
            end = {"metadata": {"resourceVersion": str(seen), "annotations": _BOOKMARK_END}}
            lines.append(_line("BOOKMARK", json.dumps(end).encode()))
        with contextlib.suppress(ConnectionError):
            await response.write(b"".join(lines))
            if not gone:
                await self._follow(request, response, kind, sent)
        return response

    async def _follow(self, request: web.Request, response: web.StreamResponse, kind: str, sent: int) -> None:
        cut = self._cut
        while True:
            changed = self._changed
            if sent < self._first:
                return  # too slow: the server ends such watches
            if not self.frozen:
                fresh = self._history[sent - self._first :]
                sent += len(fresh)
                lines = [body if event == "RAW" else _line(event, body) for _, of, event, body in fresh if of == kind]
                if lines:
                    await response.write(b"".join(lines))
            waits = [asyncio.ensure_future(event.wait()) for event in (changed, cut)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if cut.is_set():
                if request.transport is not None:
                    request.transport.abort()
                return


def _line(event: str, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (event.encode(), body)


def _merged(found: Any, patch: Any) -> Any:
    """Apply a merge patch."""
    if not isinstance(patch, dict):
        return patch
    base = found if isinstance(found, dict) else {}
    result = {**base, **{key: _merged(base.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in result.items() if value is not None}


def _status(code: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "metadata": {}, "status": "Failure", "code": code, "message": message}
    return web.json_response(body, status=code, headers=headers)
