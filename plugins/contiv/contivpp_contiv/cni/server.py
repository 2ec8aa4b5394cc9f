# SPDX-License-Identifier: Apache-2.0
"""The socket that the CNI executable talks to; its protocol is described in the README of `contivpp-cni`.

One call for each connection. Only the socket's owner can open it (mode 0600). A caller that hangs up does not undo
its request: the runtime will call again, and gets the same answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.cni.request import SUPPORTED_VERSIONS
from contivpp_contiv.cni.result import error_result
from contivpp_core.errors import ContivError, RequestError
from contivpp_core.sockets import private, take_over
from contivpp_core.tasks import end

__all__ = ["CniServer"]

log = logging.getLogger(__name__)

STDIN_BYTES = 1 << 20
ENVIRONMENT_BYTES = 1 << 18
READ_SECONDS = 10.0
BACKLOG = 1024  # every pod of a node may come at once

Handler = Callable[[Mapping[str, str], bytes], Awaitable[tuple[int, bytes]]]


class ProtocolError(ContivError):
    """The caller does not speak the protocol."""


class TooLarge(ProtocolError):
    """A call that no agent takes; the caller is told, so that it does not try for ever."""


class CniServer:
    """Serves CNI calls on a unix socket."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket; one that is left over is taken over, one that is in use is an error."""
        try:
            await take_over(self._path, another="another agent runs here", cure="set contiv.cniSocket")
            with private():
                self._server = await asyncio.start_unix_server(self._connected, str(self._path), backlog=BACKLOG)
        except OSError as error:
            raise ContivError(f"{self._path}: the CNI socket cannot be opened: {error.strerror}") from error

    async def stop(self) -> None:
        """Close the socket; calls in hand are broken off, and the runtime repeats them."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        await end(*self._calls)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._call(reader, writer))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                environment, stdin = await _read(reader)
            await _answer(writer, *await self._handler(environment, stdin))
        except TooLarge as error:
            refusal = RequestError(str(error), code=ErrorCode.INVALID_ENVIRONMENT)
            with contextlib.suppress(OSError):
                await _answer(writer, 1, error_result(refusal, SUPPORTED_VERSIONS[-1]))
        except (ProtocolError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            log.warning("CNI call broken off", extra={"error": str(error) or type(error).__name__})
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _answer(writer: asyncio.StreamWriter, code: int, answer: bytes) -> None:
    writer.write(b"%d %d\n" % (code, len(answer)) + answer)
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    try:
        header = (await reader.readuntil(b"\n")).split()
        protocol, environment_bytes, stdin_bytes = header[0], int(header[1]), int(header[2])
    except (ValueError, IndexError, asyncio.LimitOverrunError):
        raise ProtocolError("the header cannot be read") from None
    if protocol != b"contivpp-cni/1":
        raise ProtocolError(f"protocol {protocol[:40]!r} is not known: install the executable of this agent's version")
    if environment_bytes > ENVIRONMENT_BYTES:
        raise TooLarge(f"CNI_*: the variables have {environment_bytes} bytes together: {ENVIRONMENT_BYTES} are allowed")
    if not (environment_bytes >= 0 <= stdin_bytes <= STDIN_BYTES):
        raise ProtocolError("the header cannot be right")
    block = await reader.readexactly(environment_bytes)
    stdin = await reader.readexactly(stdin_bytes)
    environment = {}
    for pair in filter(None, block.split(b"\0")):
        name, _, value = pair.partition(b"=")
        # Bytes that are not UTF-8 become surrogates; the checks of each value refuse what they do not allow.
        environment[name.decode(errors="surrogateescape")] = value.decode(errors="surrogateescape")
    return environment, stdin
