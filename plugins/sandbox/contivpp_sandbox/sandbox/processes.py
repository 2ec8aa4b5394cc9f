# SPDX-License-Identifier: Apache-2.0
"""Processes by identity: a number is given out again, a number with a start time is not.

Whoever kills by number alone sooner or later kills a stranger. So what is stored of a process is its number and its
start time (in clock ticks since boot, proc(5)), and nothing is signalled unless both fit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Process", "end_all", "identify", "inside_networks", "start_time", "wait_gone"]

_POLL_SECONDS = 0.01


class Process(NamedTuple):
    """A process; `start` is its start time."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Tell whether it still runs; one that has ended and waits for its parent does not."""
        return self.start != 0 and _stat(self.pid) == (self.start, True)

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return
        try:  # the descriptor holds on to the process that has the number now; only then its identity is checked
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def identify(pid: int) -> Process:
    """Return the identity of a process that runs now; with start 0 if there is none."""
    return Process(pid, start_time(pid))


def start_time(pid: int) -> int:
    """Return the start time of a process, or 0."""
    return _stat(pid)[0]


def _stat(pid: int) -> tuple[int, bool]:
    """Return start time, and whether it runs."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return 0, False
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return int(fields[19]), fields[0] not in ("Z", "X")


def wait_gone(processes: Collection[Process], seconds: float) -> list[Process]:
    """Wait until processes are gone, at most so long; return those that are not."""
    end = time.monotonic() + seconds
    while left := [process for process in processes if process.alive]:
        if time.monotonic() > end:
            return left
        time.sleep(_POLL_SECONDS)
    return []


def end_all(processes: Collection[Process], *, grace: float = 2.0) -> list[Process]:
    """End processes, asking first; return those that are still there."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        processes = [process for process in processes if process.alive]
        for process in processes:
            process.signal(number)
        processes = wait_gone(processes, seconds)
    return list(processes)


def inside_networks(inodes: Collection[int]) -> Iterator[tuple[Process, str]]:
    """Return the processes that are in one of these network namespaces, each with its command line."""
    wanted = set(inodes)
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{entry}/ns/net").st_ino in wanted:
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                yield identify(int(entry)), command.strip()
