# SPDX-License-Identifier: Apache-2.0
"""Starts a keeper, and asks it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from contivpp_core.config import ENVIRONMENT
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import NamespacesRefused, SandboxError
from contivpp_sandbox.sandbox.processes import Process, identify

__all__ = ["KeeperClient"]

START_SECONDS = 20.0
REQUEST_SECONDS = 30.0


class KeeperClient:
    """The keeper of one sandbox."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def launch(self, *, with_parent: bool) -> Process:
        """Start the keeper, and wait until it serves. `with_parent`: it ends with this process, however that ends."""
        options = ["--with-parent", str(os.getpid())] if with_parent else []
        command = [sys.executable, "-m", "contivpp_sandbox.sandbox.keeper", str(self._directory.path), *options]
        log = os.open(self._directory.log("keeper"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # Not asyncio's: its transport would kill the process when this event loop ends.
            process = subprocess.Popen(  # noqa: ASYNC220
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        finally:
            os.close(log)
        identity = identify(process.pid)
        try:
            said = await asyncio.wait_for(asyncio.to_thread(_first_line, process), START_SECONDS)
        except TimeoutError:
            identity.signal(9)
            raise SandboxError(f"{self._directory}: the keeper does not start: see log/keeper.log there") from None
        if "network" not in said:
            process.wait()
            raise NamespacesRefused(str(said.get("error") or self._silent()))
        process.returncode = 0  # it is to outlive this object: subprocess would warn of that
        return identity

    def _silent(self) -> str:
        return f"{self._directory}: the keeper ended without a word:\n{self._directory.log_end('keeper')}"

    async def start(self, name: str, command: Sequence[str], *, log: str = "", **namespaces: Any) -> Process:
        """Start a process in the cluster's namespaces, in those of the process `inside`, or in new ones.

        `makes` is `pod` or `node`, and comes with a `hostname`.
        """
        request: dict[str, Any] = {
            "name": name,
            "command": list(command),
            "environment": {name: value for name, value in os.environ.items() if name not in ENVIRONMENT},
            "log": str(self._directory.log(log or name)),
            **namespaces,
        }
        return Process(*await self._ask("start", **request))

    async def end(self, *names: str, kill: bool = False, seconds: float = 5.0) -> None:
        """End processes, and wait until they are gone."""
        if names:
            await self._ask("end", names=names, kill=kill, seconds=seconds)

    async def processes(self) -> Mapping[str, Mapping[str, int | None]]:
        """Return the processes by name: pid, start, code."""
        answer: Mapping[str, Mapping[str, int | None]] = await self._ask("list")
        return answer

    async def stop(self) -> None:
        """End everything."""
        await self._ask("stop", seconds=3.0)

    async def _ask(self, do: str, **request: Any) -> Any:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._directory.keeper_socket)
                try:
                    writer.write(json.dumps({"do": do, **request}).encode() + b"\n")
                    answer = json.loads(await reader.readline())
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, ValueError, TimeoutError) as error:
            raise SandboxError(
                f"{self._directory}: the sandbox's keeper does not answer ({error or type(error).__name__}): "
                "take the sandbox down, and up again"
            ) from error
        if "error" in answer:
            raise SandboxError(f"{request.get('name') or do}: {answer['error']}{self._told(request)}")
        return answer["answer"]

    def _told(self, request: Mapping[str, Any]) -> str:
        log = request.get("log")
        return f": see {log}" if log else ""


def _first_line(process: subprocess.Popen[bytes]) -> Mapping[str, Any]:
    assert process.stdout is not None
    with process.stdout as pipe:
        try:
            said: Mapping[str, Any] = json.loads(pipe.readline())
        except ValueError:
            return {}
    return said
