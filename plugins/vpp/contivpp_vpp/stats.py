# SPDX-License-Identifier: Apache-2.0
"""Counters from VPP's statistics segment, which is shared memory and not part of the API.

vpp_papi reads it. It blocks (VPP locks the segment for moments while it changes), so everything runs in one
thread of its own, one reading after the other. A VPP that died while it held the lock never lets go: a reading
has a deadline. After VPP has restarted, `reset` drops the old memory.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from contivpp_vpp.errors import VppConnectionError

Result = TypeVar("Result")

_LAYOUT = 2  # of the segment

_COMBINED = {"rx": "/if/rx", "tx": "/if/tx"}
_SIMPLE = {"drops": "/if/drops", "punts": "/if/punt", "rx_errors": "/if/rx-error", "tx_errors": "/if/tx-error"}


class StatisticsUnavailable(VppConnectionError):
    """The segment cannot be read now."""


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """Counters of one interface, summed over VPP's threads."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    drops: int = 0
    punts: int = 0
    rx_errors: int = 0
    tx_errors: int = 0


class _Deadline:
    """Stands in for vpp_papi's lock of the segment: optimistic in the same way, but it gives up in time."""

    def __init__(self, segment: Any, seconds: float) -> None:
        self._segment = segment
        self._seconds = seconds
        self._epoch = 0

    def __enter__(self) -> _Deadline:
        end = time.monotonic() + self._seconds
        while self._segment.in_progress:
            if time.monotonic() > end:
                raise StatisticsUnavailable("VPP holds its statistics segment locked: it hangs, or died")
            time.sleep(0.0005)
        self._epoch = self._segment.epoch
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None and (self._segment.in_progress or self._segment.epoch != self._epoch):
            raise BlockingIOError("the segment changed while it was read")


class StatisticsSegment:
    """`async with StatisticsSegment(path) as statistics:` reads the segment behind that socket."""

    def __init__(self, path: str, *, deadline: float = 1.0) -> None:
        self._path = path
        self._deadline = deadline
        self._segment: Any = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vpp-statistics")

    async def __aenter__(self) -> StatisticsSegment:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the memory and the thread."""
        await self.reset()
        self._executor.shutdown(wait=False)

    async def reset(self) -> None:
        """Read anew from the socket next time; for after VPP has restarted."""
        await self._run(self._drop)

    async def names(self, *patterns: str) -> list[str]:
        """Names of counters that match one of the regular expressions, at their beginning."""
        return await self._read(lambda segment: sorted(segment.ls(list(patterns) or [""])))

    async def read(self, names: Sequence[str]) -> dict[str, Any]:
        """Counters by name, in vpp_papi's types; a name that is not there is left out."""
        wanted = list(names)
        return await self._read(lambda segment: {name: segment[name] for name in wanted if name in segment.directory})

    async def interface_counters(self) -> dict[str, InterfaceCounters]:
        """By the interface's name."""
        return await self._read(_interfaces)

    async def _run(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def _read(self, function: Callable[[Any], Result]) -> Result:
        return await self._run(lambda: self._attempt(function))

    def _drop(self) -> None:
        if self._segment is not None:
            self._segment.disconnect()
            self._segment = None

    def _attempt(self, function: Callable[[Any], Result]) -> Result:
        """Read until nothing changed meanwhile."""
        end = time.monotonic() + self._deadline
        while True:
            try:
                return function(self._connected())
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise StatisticsUnavailable(f"{self._path}: VPP changes its statistics all the time") from error
            except OSError as error:
                self._drop()
                raise StatisticsUnavailable(f"{self._path}: {error}") from error

    def _connected(self) -> Any:
        if self._segment is None:
            from vpp_papi.vpp_stats import VPPStats  # noqa: PLC0415 - slow to import, and many agents never read

            segment = VPPStats(self._path)
            segment.lock = _Deadline(segment, self._deadline)
            segment.statseg = _map(self._path)
            segment.size = len(segment.statseg)
            if segment.version != _LAYOUT:
                raise StatisticsUnavailable(f"{self._path}: layout {segment.version}, {_LAYOUT} is known here")
            segment.refresh(blocking=False)
            segment.connected = True
            self._segment = segment
        if self._segment.last_epoch != self._segment.epoch:
            self._segment.refresh(blocking=False)
        return self._segment


def _map(path: str) -> mmap.mmap:
    """VPP hands out the memory as a file descriptor. (vpp_papi's own way leaks its socket when VPP is not there.)"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(1)
        peer.connect(path)
        _, descriptors, _, _ = socket.recv_fds(peer, 1, 1)
    if not descriptors:
        raise ConnectionError("VPP handed out no memory")
    try:
        return mmap.mmap(descriptors[0], os.fstat(descriptors[0]).st_size, mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(descriptors[0])


def _interfaces(segment: Any) -> dict[str, InterfaceCounters]:
    counted: dict[str, dict[str, int]] = {}
    names = segment.__getitem__("/if/names", blocking=False)
    for index, name in enumerate(names):
        if not name:  # the place of a deleted interface
            continue
        one = counted[name] = {}
        for prefix, path in _COMBINED.items():
            one[f"{prefix}_packets"], one[f"{prefix}_bytes"] = _pair(segment, path, index)
        for field, path in _SIMPLE.items():
            one[field] = sum(thread[index] for thread in _counter(segment, path) if index < len(thread))
    return {name: InterfaceCounters(**fields) for name, fields in counted.items()}


def _counter(segment: Any, path: str) -> Any:
    return segment.__getitem__(path, blocking=False) if path in segment.directory else []


def _pair(segment: Any, path: str, index: int) -> tuple[int, int]:
    rows = [thread[index] for thread in list(_counter(segment, path)) if index < len(thread)]
    return sum(row[0] for row in rows), sum(row[1] for row in rows)
