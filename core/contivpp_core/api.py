# SPDX-License-Identifier: Apache-2.0
"""The local API: JSON over HTTP on a unix socket that only the agent's user can open.

Handlers take a small `Request` and return what is to be encoded, so plugins need no web framework and tests no
server. The routes of the core are in `contivpp_core.api_routes`; plugins add theirs by the hook `api_routes`. Over
TCP, if configured, only the health routes and the metrics are served. aiohttp is imported when a server is made.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from contivpp_core.errors import ConfigError, ContivError, NotReady
from contivpp_core.sockets import private, take_over

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["ApiError", "ApiRoute", "ApiServer", "Request", "Response"]

log = logging.getLogger(__name__)

LONGEST_BODY = 256 << 20
"""Bytes of a request: every object of a large cluster may be in one."""


class ApiError(ContivError):
    """A request to the API cannot be served, or the API itself; `status` is the HTTP status."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A request: `parameters` come from the path's `{names}`, `query` from behind the question mark."""

    method: str = "GET"
    path: str = "/"
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """An answer with a status of its own; a body of bytes is sent as it is."""

    status: int
    body: Any
    content_type: str = "application/json"


@dataclass(frozen=True)
class ApiRoute:
    """A route: `handler` takes a `Request` and returns (or awaits) a value that is encoded as JSON, or a `Response`."""

    method: str
    path: str
    handler: Callable[[Request], Any]
    doc: str


class ApiServer:
    """Serves routes on one socket."""

    def __init__(self, routes: Iterable[ApiRoute]) -> None:
        self._routes = tuple(routes)
        self._runner: web.AppRunner | None = None
        self._path: Path | None = None
        seen: set[tuple[str, str]] = set()
        for route in self._routes:
            if (route.method, route.path) in seen:
                raise ApiError(f"two API routes are {route.method} {route.path}: rename one of them")
            seen.add((route.method, route.path))

    async def serve_unix(self, path: Path) -> None:
        """Serve on a unix socket; take over what a dead agent left, refuse what a live one uses."""
        from aiohttp import web  # noqa: PLC0415 (a fifth of a second that no command needs)

        try:
            await take_over(path, another="a running agent serves it", cure="give this agent its own runDir")
            with private():
                await web.UnixSite(await self._set_up(), str(path)).start()
        except OSError as error:
            await self.stop()
            raise ApiError(f"{path}: {error.strerror or error}: the API cannot be served (runDir)") from error
        self._path = path

    async def serve_tcp(self, address: str) -> None:
        """Serve on `HOST:PORT`."""
        from aiohttp import web  # noqa: PLC0415

        host, _, port = address.rpartition(":")
        try:
            await web.TCPSite(await self._set_up(), host.strip("[]"), int(port)).start()
        except OSError as error:
            await self.stop()
            raise ApiError(f"{address}: {error.strerror or error}: choose another healthAddress") from error

    async def stop(self) -> None:
        """Stop serving and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    async def _set_up(self) -> web.AppRunner:
        from aiohttp import web  # noqa: PLC0415

        application = web.Application(client_max_size=LONGEST_BODY)
        for route in self._routes:
            application.router.add_route(route.method, route.path, _adapter(route))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=2)
        await self._runner.setup()
        return self._runner


async def answer(route: ApiRoute, request: Request) -> Response:
    """Call a route's handler; errors become answers that say what went wrong."""
    try:
        result = route.handler(request)
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, Response) else Response(200, result)
    except ApiError as error:
        return Response(error.status, {"error": str(error)})
    except ConfigError as error:
        return Response(400, {"error": str(error), "faults": error.faults})
    except NotReady as error:
        return Response(503, {"error": str(error)})
    except ContivError as error:
        return Response(400, {"error": str(error)})
    except Exception as error:
        log.exception("API route %s %s failed", route.method, route.path)
        return Response(500, {"error": f"{type(error).__name__}: {error}: the agent's log has the traceback"})


def encode(value: Any) -> bytes:
    """Encode an answer; what JSON does not know becomes text."""
    return msgspec.json.encode(value, enc_hook=str)


def _adapter(route: ApiRoute) -> Callable[[web.Request], Any]:
    from aiohttp import web  # noqa: PLC0415

    async def handle(found: web.Request) -> web.Response:
        request = Request(
            found.method, found.path, dict(found.match_info), dict(found.query), await found.read()
        )
        response = await answer(route, request)
        body = response.body if isinstance(response.body, bytes) else encode(response.body) + b"\n"
        return web.Response(status=response.status, body=body, headers={"Content-Type": response.content_type})

    return handle
