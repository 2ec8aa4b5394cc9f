# SPDX-License-Identifier: Apache-2.0
"""Which VPP is this? A restarted VPP has lost everything; a broken socket to the same VPP has lost nothing.

An incarnation is VPP's process ID (as VPP sees it) and when it started. In a container the ID is the same
after each restart, so the start decides. Where the peer's process is visible (`/proc`, by the socket's peer
credentials), the kernel's start time is taken: exact, and the same after a restart of the agent. Elsewhere
VPP is asked for its uptime (`show clock`), and the start follows from the loop's clock; the answer takes a
moment, and VPP's clock drifts a little, hence the tolerance. (VPP's `show_vpe_system_time` is the time of
day, which says nothing about the start.)
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

TOLERANCE = 2.0
DRIFT = 1e-3
"""VPP's clock goes wrong by this share of its age at most."""
_UPTIME = re.compile(r"Time now (\d*\.?\d+)")  # VPP writes .5, not 0.5
_IDENTITY = re.compile(r"(\d+)@(-?\d+\.\d+)")
_CREDENTIALS = struct.Struct("iII")


class StartSource(Enum):
    """Where a start time comes from."""

    PROCESS = "process"  # seconds since the machine's boot
    UPTIME = "uptime"  # on the loop's clock
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of one VPP process."""

    pid: int
    start: float
    source: StartSource

    def same(self, other: Incarnation) -> bool:
        """Whether both are one life; when that cannot be told, they are not."""
        if self.pid != other.pid or self.source is not other.source:
            return False
        return abs(self.start - other.start) <= (TOLERANCE if self.source is StartSource.UPTIME else 0)

    def as_noted(self, identity: str, now: float) -> bool:
        """Tell whether an earlier agent's `identity` means this life, whose clock may have drifted since, for days."""
        match = _IDENTITY.fullmatch(identity)
        if match is None or int(match[1]) != self.pid:
            return False
        allowed = TOLERANCE + DRIFT * abs(now - self.start) if self.source is StartSource.UPTIME else 0.005
        return abs(float(match[2]) - self.start) <= allowed

    @property
    def identity(self) -> str:
        """As a text."""
        return f"{self.pid}@{self.start:.2f}"


def from_process(transport: asyncio.BaseTransport, vpe_pid: int) -> Incarnation | None:
    """By the peer's credentials, if there is a socket and the process can be seen."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process = _CREDENTIALS.unpack(raw)[0]
    if process <= 0:  # it lives in a PID namespace that ours does not contain
        return None
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    ticks = int(stat.rpartition(")")[2].split()[19])
    return Incarnation(vpe_pid, ticks / os.sysconf("SC_CLK_TCK"), StartSource.PROCESS)


def from_uptime(clock: str, now: float, vpe_pid: int) -> Incarnation:
    """By what VPP says to `show clock`; without it only the process ID tells lives apart."""
    match = _UPTIME.search(clock)
    if match is None:
        return Incarnation(vpe_pid, 0.0, StartSource.UNKNOWN)
    return Incarnation(vpe_pid, now - float(match[1]), StartSource.UPTIME)
