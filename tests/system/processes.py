# SPDX-License-Identifier: Apache-2.0
"""Namespaces and processes: what the tests of the whole system do on this machine, and take back."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
MS_BIND, MNT_DETACH = 4096, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    """Call a function of the C library, in the thread that runs this."""
    if getattr(LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def in_thread(work: Callable[[], T]) -> T:
    """Run work in a thread of its own, which may change its namespace."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_namespace(path: str, work: Callable[[], T]) -> T:
    """Run work inside a network namespace."""

    def run() -> T:
        with open(path, "rb") as file:
            call("setns", file.fileno(), CLONE_NEWNET)
        return work()

    return in_thread(run)


class Namespaces:
    """Network namespaces bound to files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.made: set[str] = set()

    def make(self, name: str) -> str:
        path = str(self._folder / name)

        def work() -> None:
            call("unshare", CLONE_NEWNET)
            Path(path).touch()
            call("mount", b"/proc/thread-self/ns/net", path.encode(), b"none", MS_BIND, None)

        try:
            in_thread(work)
        except OSError as error:
            Path(path).unlink(missing_ok=True)
            pytest.skip(f"network namespaces cannot be made here (root is needed): {error}")
        self.made.add(path)
        return path

    def drop(self, path: str) -> None:
        self.made.discard(path)
        call("umount2", path.encode(), MNT_DETACH)
        os.unlink(path)

    def clear(self) -> None:
        for path in sorted(self.made):
            self.drop(path)


async def run(*command: str, netns: str = "", stdin: bytes = b"", env: Mapping[str, str] | None = None,
              timeout: float = 60.0) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, stdout and stderr."""
    inside = ("nsenter", f"--net={netns}") if netns else ()
    process = await asyncio.create_subprocess_exec(
        *inside, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})},
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


async def until(condition: Callable[[], Any], seconds: float, what: str, *, every: float = 0.02) -> Any:
    """Wait for a condition; return what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(every)
    return found


def accepts(path: str) -> bool:
    """Tell whether somebody serves a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


async def end(process: asyncio.subprocess.Process | None) -> None:
    """kill -9, and wait for the end."""
    if process is not None and process.returncode is None:
        process.kill()
        await process.wait()


def descriptors(process: asyncio.subprocess.Process | None) -> dict[str, int]:
    """The open file descriptors of a process, counted by what they are."""
    assert process is not None
    counts: dict[str, int] = {}
    folder = f"/proc/{process.pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            target = os.readlink(f"{folder}/{name}")
            kind = target.partition(":")[0] if ":[" in target else target
            counts[kind] = counts.get(kind, 0) + 1
    return counts
