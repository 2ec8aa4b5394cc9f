# SPDX-License-Identifier: Apache-2.0
"""Whoever sends and gets packets: pods, hosts of nodes, outside hosts. Each has a responder, which is asked here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.processes import Process

__all__ = ["Link", "Station", "responder_command"]

_START_SECONDS = 20.0
_POLL_SECONDS = 0.005

Port = tuple[str, int, str]
"""Protocol, number, name."""


def responder_command(name: str, socket: str, ports: Iterable[Port] = ()) -> list[str]:
    """Return the command of a responder."""
    options = [f"--port={protocol}:{number}:{title}" for protocol, number, title in ports]
    return [sys.executable, "-m", "contivpp_sandbox.responder", "--socket", socket, *options, "--", name]


class Station:
    """A responder; `title` is for messages (`pod x/a`)."""

    def __init__(self, title: str, socket: str, log: Path) -> None:
        self.title = title
        self._socket = socket
        self._log = log

    async def until_serves(self, process: Process) -> None:
        """Wait until its process can be asked."""
        end = asyncio.get_running_loop().time() + _START_SECONDS
        while not os.path.exists(self._socket):  # noqa: ASYNC240 (a socket beside us, in memory)
            if not process.alive or asyncio.get_running_loop().time() > end:
                raise SandboxError(f"the process of {self.title} does not start: see {self._log}")
            await asyncio.sleep(_POLL_SECONDS)

    def forget(self) -> None:
        """Remove what a former process has left."""
        with contextlib.suppress(OSError):
            os.unlink(self._socket)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Link]:
        """Yield a connection."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError as error:
            raise self.silent(error) from error
        try:
            yield Link(self, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(self, do: str, *, seconds: float = 30.0, **request: Any) -> Any:
        """Ask once."""
        async with self.connected() as link:
            return await link.ask(do, seconds=seconds, **request)

    def silent(self, error: Exception) -> SandboxError:
        """Return the error that tells of no answer."""
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return SandboxError(f"the process of {self.title} does not answer ({reason}): see {self._log}")


class Link:
    """A connection to a responder; requests are answered in order."""

    def __init__(self, station: Station, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._station, self._reader, self._writer = station, reader, writer

    async def ask(self, do: str, *, seconds: float = 30.0, **request: Any) -> Any:
        """Ask, and wait for the answer at most so long."""
        try:
            async with asyncio.timeout(seconds):
                self._writer.write(json.dumps({"do": do, **request}).encode() + b"\n")
                answer: Mapping[str, Any] = json.loads(await self._reader.readline())
        except (OSError, ValueError, TimeoutError) as error:
            raise self._station.silent(error) from error
        if "error" in answer:
            raise SandboxError(f"{self._station.title}: {do}: {answer['error']}")
        return answer["answer"]
