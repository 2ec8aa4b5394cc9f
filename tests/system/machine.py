# SPDX-License-Identifier: Apache-2.0
"""What processes of a node are started in: its network namespace and, for container runtimes, a mount namespace.

Runtimes keep much in folders that no option changes (`/run`, `/var/lib/cni`). In the mount namespace these are empty
and the node's own. Mounts that runtimes make stay inside; those that a test makes in the node's folder are seen there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from .processes import MNT_DETACH, MS_BIND, call, end, until

MS_REC, MS_SHARED = 0x4000, 1 << 20
SETUP = """\
set -e
for folder in /run /var/lib /etc/cni; do
  [ ! -d $folder ] || mount -t tmpfs -o mode=755 none $folder
done
mkdir -p /run/netns /run/lock /var/lib/cni
ip link set lo up
echo ready
exec sleep infinity
"""


class Machine:
    """The namespaces of a node's processes; `group` is the name of the control group for its containers."""

    def __init__(self, netns: str, holder: int = 0, folder: Path | None = None) -> None:
        self.netns, self._holder, self._folder = netns, holder, folder
        self.group = folder.name if folder else ""
        mounts = [f"--mount=/proc/{holder}/ns/mnt"] if holder else []
        self.enter = ("nsenter", f"--net={netns}", *mounts)

    @property
    def root(self) -> Path:
        """The folder tree as the node's processes see it."""
        return Path(f"/proc/{self._holder}/root")

    def mounts(self) -> list[str]:
        """Where something is mounted in the node's folder, and in those that are empty at first."""
        lines = Path(f"/proc/{self._holder}/mountinfo").read_text().splitlines()
        ours = (f"{self._folder}/", "/run/", "/var/")
        return sorted(path for line in lines if (path := line.split()[4]).startswith(ours))

    def processes(self) -> dict[int, str]:
        """Every process of the node, except the holder: command line by process ID.

        One is the node's if it has its mount namespace, or is in one of its control groups (containers).
        """
        mine = os.stat(f"/proc/{self._holder}/ns/mnt").st_ino
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it may be gone meanwhile
                ours = os.stat(folder / "ns" / "mnt").st_ino == mine
                if ours or f"/{self.group}/" in (folder / "cgroup").read_text():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        found.pop(self._holder, None)
        return found

    def groups(self) -> list[str]:
        """The control groups of containers, below the node's own."""
        return sorted({path.name for path in control_groups(self.group) if path.name != self.group})


def control_groups(group: str) -> list[Path]:
    """A control group with all below it, in each hierarchy; those below come first."""
    base = Path("/sys/fs/cgroup")
    tops = [base / group, *base.glob(f"*/{group}")]
    found = [path for top in tops if top.is_dir() for path in (top, *top.rglob("*")) if path.is_dir()]
    return sorted(found, key=lambda path: -len(path.parts))


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Let mounts in this folder appear in the mount namespaces that are made later."""
    path = str(folder).encode()
    call("mount", path, path, b"none", MS_BIND, None)
    try:
        call("mount", b"none", path, b"none", MS_REC | MS_SHARED, None)
        yield
    finally:
        call("umount2", path, MNT_DETACH)


@contextlib.asynccontextmanager
async def machine(folder: Path, netns: str) -> AsyncIterator[Machine]:
    """A mount namespace for the processes of a node; those that are left at the end of the block are killed."""
    holder = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={netns}", "unshare", "--mount", "--propagation", "slave", "sh", "-c", SETUP,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    made = Machine(netns, holder.pid, folder)
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"ready\n"
        yield made
    finally:
        try:
            await _clear(made)
        finally:
            await end(holder)


async def _clear(made: Machine) -> None:
    def gone() -> bool:
        left = made.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    await until(gone, 20, "the node's processes end", every=0.1)
    for path in control_groups(made.group):
        with contextlib.suppress(OSError):
            path.rmdir()
