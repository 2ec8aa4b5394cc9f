# SPDX-License-Identifier: Apache-2.0
"""What `contivpp ksr` tells: JSON on a unix socket; probes and metrics on a loopback address if asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from contivpp_core.errors import ContivError
from contivpp_core.sockets import private, take_over
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.counters import Counters
from contivpp_ksr.metrics import original_text, text
from contivpp_ksr.reflector import Reflector

if TYPE_CHECKING:
    from contivpp_ksr.process import KsrProcess

__all__ = ["StatusServer", "standing_of"]

SHOWN = 20


def standing_of(reflector: Reflector, counters: Counters | None = None, complete: bool | None = None) -> dict[str, Any]:
    """Return how one kind stands; of objects that cannot be read, the first few."""
    found = reflector.standing
    told: dict[str, Any] = {
        "connected": found.connected,
        "reason": found.reason,
        "listed": found.listed,
        "version": found.version,
        "lists": found.lists,
        "failedLists": found.failed_lists,
        "watches": found.watches,
        "events": found.events,
        "malformed": [{"key": each.key, "reason": each.reason} for each in list(found.malformed.values())[:SHOWN]],
        "malformedTotal": found.malformed_total,
    }
    if counters is not None:
        told |= {"complete": complete, **msgspec.to_builtins(counters)}
    return told


class StatusServer:
    """Serves what a process tells."""

    def __init__(self, process: KsrProcess, config: KsrConfig) -> None:
        self._process = process
        self._config = config

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve on the socket, and on the address if there is one; raise ContivError where that cannot be done."""
        runners = [web.AppRunner(self._application(), access_log=None, shutdown_timeout=2) for _ in range(2)]
        path, address = self._config.socket, self._config.health_address
        try:
            try:
                await take_over(path, another="another contivpp ksr serves it", cure="give this one its own ksr.socket")
                await runners[0].setup()
                with private():
                    await web.UnixSite(runners[0], str(path)).start()
            except OSError as error:
                raise ContivError(f"{path}: {error.strerror or error}: the status cannot be served") from error
            try:
                if address:
                    await self._serve(runners[1], address)
                yield
            finally:
                path.unlink(missing_ok=True)
        finally:
            for runner in runners:
                await runner.cleanup()

    async def _serve(self, runner: web.AppRunner, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            await runner.setup()
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            raise ContivError(f"{address}: {error.strerror or error}: choose another healthAddress") from error

    def _application(self) -> web.Application:
        application = web.Application()
        routes = {
            "/v1/ksr": self._standing,
            "/metrics": self._metrics,
            "/stats": self._stats,
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/liveness": self._health,  # the original's names of the probes
            "/readiness": self._readiness,
        }
        for path, handler in routes.items():
            application.router.add_get(path, handler)
        return application

    async def _standing(self, request: web.Request) -> web.Response:
        body = msgspec.json.encode(self._process.standing()) + b"\n"
        return web.Response(body=body, content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=text(self._process.metrics))

    async def _stats(self, request: web.Request) -> web.Response:
        process = self._process
        return web.Response(text=original_text(process.sink, process.reflectors.values(), process.node_name))

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readiness(self, request: web.Request) -> web.Response:
        unready = self._process.unready
        return web.Response(text=f"{unready or 'ok'}\n", status=503 if unready else 200)
