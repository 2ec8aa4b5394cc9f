# SPDX-License-Identifier: Apache-2.0
"""Takes a sandbox down: everything, whatever is left of it, as often as one likes.

The keeper is asked first, so that processes end as they like to. If it does not answer, or is gone, what it has
stored says which processes there were; those that still are (by number and start time) are killed. Namespaces,
interfaces and mounts need no hand: the kernel removes them with their last process. Commands that `exec` started are
ended, too; a process that somebody else put into the sandbox's namespaces is not, but it is named.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.processes import Process, end_all, inside_networks, wait_gone

__all__ = ["Remains", "remains", "take_down"]

_KEEPER_SECONDS = 5.0


@dataclass
class Remains:
    """What there is of a sandbox: the keeper, the processes that it or `exec` started, network namespaces."""

    keeper: Process | None = None
    processes: dict[str, Process] = field(default_factory=dict)
    networks: set[int] = field(default_factory=set)

    @property
    def alive(self) -> bool:
        """Tell whether anything of it still runs."""
        return any(process.alive for process in self.all)

    @property
    def all(self) -> list[Process]:
        """All processes, the keeper first."""
        return [*([self.keeper] if self.keeper else []), *self.processes.values()]


def remains(directory: Directory) -> Remains:
    """Return what the folder tells of a sandbox."""
    found = Remains()
    stored = directory.read("keeper.json") or {}
    if "keeper" in stored:
        found.keeper = Process(*stored["keeper"])
        found.processes = {name: Process(*each) for name, each in stored["processes"].items()}
        found.networks = set(stored["networks"].values())
    for path in sorted((directory.path / "exec").glob("*.json")):
        started = directory.read(f"exec/{path.name}")
        if started:
            found.processes[f"exec {path.stem}"] = Process(*started)
    return found


async def take_down(directory: Directory) -> list[str]:
    """End everything and remove the folder; return a line for each process of others that still is in there."""
    found = remains(directory)
    inside: list[tuple[Process, str]] = []
    if found.keeper is not None and found.keeper.alive:
        # Inodes of namespaces are given out again, so this is asked while they are surely the sandbox's.
        inside = await asyncio.to_thread(lambda: list(inside_networks(found.networks)))
        with contextlib.suppress(SandboxError):
            await KeeperClient(directory).stop()
            await asyncio.to_thread(wait_gone, [found.keeper], _KEEPER_SECONDS)
    found = _later(found, remains(directory))
    left = await asyncio.to_thread(end_all, found.all)
    if left:
        numbers = ", ".join(str(process.pid) for process in left)
        raise SandboxError(f"{directory}: processes {numbers} cannot be ended: end them as root, then try again")
    directory.remove()
    return [
        f"process {process.pid} is still in the sandbox's network: {command}"
        for process, command in inside
        if process.alive
    ]


def _later(before: Remains, now: Remains) -> Remains:
    """Return both together: what was started meanwhile counts, and what was ended is known."""
    return Remains(
        now.keeper or before.keeper, {**before.processes, **now.processes}, before.networks | now.networks
    )
