# SPDX-License-Identifier: Apache-2.0
"""Asks the agent of a sandbox, over its local API."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from contivpp_sandbox.sandbox.errors import SandboxError

__all__ = ["AgentClient", "AgentDoesNotAnswer"]


class AgentDoesNotAnswer(SandboxError):
    """Nobody serves the agent's socket, or not in time."""


class AgentClient:
    """The agent behind a unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def get(self, target: str, *, seconds: float = 10.0) -> Any:
        """GET, and return the decoded answer."""
        return await self._ask("GET", target, b"", seconds)

    async def post(self, target: str, content: Mapping[str, Any], *, seconds: float = 30.0) -> Any:
        """POST, and return the decoded answer."""
        return await self._ask("POST", target, json.dumps(content).encode(), seconds)

    async def _ask(self, method: str, target: str, body: bytes, seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                status, answer = await self._exchange(method, target, body)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AgentDoesNotAnswer(f"the agent behind {self._path} does not answer: {reason}") from error
        if status >= 400:
            told = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise SandboxError(f"the agent refused {method} {target}: {told}")
        return answer

    async def _exchange(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            head = (
                f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            status = int((await reader.readline()).split()[1:2][0])
            length = 0
            while (line := (await reader.readline()).strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            return status, json.loads(await reader.readexactly(length))
        except IndexError:
            raise ValueError("it closed the connection") from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
