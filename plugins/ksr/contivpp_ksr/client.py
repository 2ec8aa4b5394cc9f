# SPDX-License-Identifier: Apache-2.0
"""Requests to the API server, over aiohttp: answers as bytes, watches as blocks of whole lines.

Nothing is decoded here but errors. Lists come packed: to unpack them costs less than to decrypt what they would be.
zlib-ng takes an eighth of zlib's time for that, which would be a third of the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import msgspec
from zlib_ng import zlib_ng

from contivpp_core.errors import ContivError
from contivpp_ksr.access import Access, Credentials

__all__ = ["ApiClient", "ApiFailure", "Gone", "Unreachable", "failure"]

REQUEST_SECONDS = 60.0
CONNECT_SECONDS = 10.0
LONGEST_LINE = 16 << 20
"""Bytes of one event; the API server stores no object of more than 3 MB."""
LONGEST_ANSWER = 256 << 20
AT_ONCE = 512 << 10
"""Packed bytes that are unpacked in the event loop, some 3 ms: what a thread unpacks is in another core's cache."""
BUFFER = 256 << 10
CLOSING_TURNS = 100
"""Turns of the event loop; sockets that are shut down are closed within three."""
GATHER_SECONDS = 0.005
"""When changes follow each other faster than that, they are read together, once in that time."""

Parameters = Mapping[str, str]


class ApiFailure(ContivError):
    """The API server refused: `status` is HTTP's; `retry_after` (seconds) is what it asks for, 0 if nothing."""

    def __init__(self, message: str, *, status: int, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Gone(ApiFailure):
    """The API server has forgotten the asked version: list again."""


class Unreachable(ContivError):
    """No answer, or the connection ended in the midst of one."""


class _Details(msgspec.Struct, rename="camel"):
    retry_after_seconds: float = 0.0


class Status(msgspec.Struct):
    """The API's `Status`, which tells errors."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


def failure(found: Status, what: str, retry_after: float = 0.0) -> ApiFailure:
    """Return the error that a `Status` tells; `what` was asked for."""
    kind = Gone if found.code == 410 or found.reason in ("Gone", "Expired") else ApiFailure
    wait = max(retry_after, found.details.retry_after_seconds if found.details else 0.0)
    return kind(f"{what}: {found.code} {found.message or found.reason}", status=found.code, retry_after=wait)


_CURES = {
    401: "check the token, certificate or kubeconfig of the section ksr",
    403: "give this account the role of it (deploy/rbac)",
}


class _Request(NamedTuple):
    method: str
    path: str
    parameters: Parameters | None
    timeout: aiohttp.ClientTimeout
    body: bytes | None = None
    content_type: str = ""
    encoding: str = "gzip"


class ApiClient:
    """Asks one API server. Safe for many tasks at once."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def close(self) -> None:
        """Close all connections. Nothing of this client uses the loop when it returns, whatever the server does."""
        if self._session is None:
            return
        session, self._session = self._session, None
        await session.close()
        for each in self._sockets:  # those of requests that were given up wait for the server's part of TLS's goodbye
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(CLOSING_TURNS):
            if all(each.fileno() < 0 for each in self._sockets):
                return
            await asyncio.sleep(0)

    async def get(self, path: str, parameters: Parameters | None = None) -> bytes:
        """Return an answer's body; raise ApiFailure, Unreachable or AccessError."""
        return await self.send("GET", path, parameters=parameters)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        parameters: Parameters | None = None,
    ) -> bytes:
        """Send a request and return the answer's body; raise ApiFailure, Unreachable or AccessError."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        async with self._ask(_Request(method, path, parameters, timeout, body, content_type)) as response:
            return await _whole(response, path)

    @asynccontextmanager
    async def watch(self, path: str, parameters: Parameters, quiet: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch; yields blocks of whole lines. Silence of `quiet` seconds is Unreachable."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=quiet)
        request = _Request("GET", path, {**parameters, "watch": "1"}, timeout, encoding="identity")
        async with self._ask(request) as response:
            yield _blocks(response, path)

    @asynccontextmanager
    async def _ask(self, request: _Request) -> AsyncIterator[aiohttp.ClientResponse]:
        path = request.path
        for last in (False, True):
            credentials = await self._access.credentials()
            try:
                response = await self._request(request, credentials)
            except aiohttp.ClientSSLError as error:  # a new CA may be there already
                self._access.doubt()
                raise Unreachable(f"{path}: {error}") from error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                cure = "check that the API server runs and can be reached"
                raise Unreachable(f"{path}: {str(error) or type(error).__name__}: {cure}") from error
            try:
                if response.status == 401 and not last:
                    self._access.doubt()
                    continue
                if response.status >= 400:
                    raise await _refusal(response, f"{request.method} {path}")
                yield response
                return
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unreachable(f"{path}: {str(error) or type(error).__name__}") from error
            finally:
                response.release() if response.content.at_eof() else response.close()

    async def _request(self, request: _Request, credentials: Credentials) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Accept-Encoding": request.encoding}
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token}"
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        return await self._opened().request(
            request.method,
            credentials.server + request.path,
            params=request.parameters,
            data=request.body,
            headers=headers,
            ssl=credentials.ssl,
            server_hostname=credentials.server_name,
            timeout=request.timeout,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, socket_factory=self._socket)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=BUFFER, auto_decompress=False)
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        """Make a socket that notices a peer that is gone without a word within half a minute."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        return made


async def _whole(response: aiohttp.ClientResponse, path: str) -> bytes:
    body = await response.read()
    if response.headers.get("Content-Encoding") != "gzip":
        return body
    if len(body) <= AT_ONCE:
        return _unpacked(body, path)
    return await asyncio.to_thread(_unpacked, body, path)


def _unpacked(body: bytes, path: str) -> bytes:
    try:
        found = zlib_ng.decompressobj(16 + zlib_ng.MAX_WBITS)
        result = found.decompress(body, LONGEST_ANSWER)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub forgets the base
        raise Unreachable(f"{path}: the answer cannot be unpacked: {error}") from error
    if not found.eof:
        raise Unreachable(f"{path}: the answer has more than {LONGEST_ANSWER} bytes, or is cut: lower ksr.pageSize")
    return result


async def _refusal(response: aiohttp.ClientResponse, what: str) -> ApiFailure:
    body = await _whole(response, what)
    try:
        found = msgspec.json.decode(body, type=Status)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = Status(message=body[:200].decode(errors="replace"))
    found.code = response.status
    if cure := _CURES.get(found.code):
        found.message = f"{found.message or response.reason or found.reason}: {cure}"
    try:
        retry_after = float(response.headers.get("Retry-After", 0))
    except ValueError:  # a date; who asks for that gets the usual pause
        retry_after = 0.0
    return failure(found, what, max(0.0, retry_after))


async def _gather(response: aiohttp.ClientResponse) -> None:
    """Let what comes meanwhile wait: to read it at once costs as much for one event as for twenty."""
    if response.connection is None or response.connection.protocol is None:
        return
    protocol = response.connection.protocol
    protocol.pause_reading()
    try:
        await asyncio.sleep(GATHER_SECONDS)
    finally:
        protocol.resume_reading()


async def _blocks(response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
    rest: list[bytes] = []
    size = 0
    clock = asyncio.get_running_loop().time
    last = 0.0
    try:
        while chunk := await response.content.readany():
            arrived = clock()
            end = chunk.rfind(b"\n") + 1
            if end:
                yield b"".join((*rest, chunk[:end])) if rest else chunk[:end]
                rest, size = [], 0
            if end < len(chunk):
                rest.append(chunk[end:])
                size += len(chunk) - end
            if size > LONGEST_LINE:
                raise Unreachable(f"{path}: an event has more than {LONGEST_LINE} bytes")
            if arrived < last + 2 * GATHER_SECONDS:
                await _gather(response)
            last = clock()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unreachable(f"{path}: {str(error) or type(error).__name__}") from error
    if rest:
        raise Unreachable(f"{path}: the stream ended in the midst of an event")
