# SPDX-License-Identifier: Apache-2.0
"""The folder of a sandbox: everything that it has in the file system is in there.

    keeper.json     the keeper and the processes that it started, each with its start time
    cluster.json    what the sandbox is made of
    pods.json       the objects that were applied, the pods that run, the outside hosts
    store.*         the cluster's store, where it is the embedded one
    servers/        certificates, configuration and data of real servers, kubectl's configuration
    n1/, n2/, ...   nodes: configuration and state of the agent, the CNI executable, sockets
    log/            what each process printed
    exec/           commands that `exec` runs, one file for each
    *.sock, pods/   sockets

One command at a time changes a sandbox: it holds a lock on the folder. Files are replaced whole, so a command that is
killed leaves the old or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contivpp_sandbox.sandbox.errors import SandboxError

__all__ = ["Directory", "NodeFolder", "default_base"]

LONGEST_PATH = 107 - len("/pods/0123456789abcdef.sock")  # sun_path, less its closing NUL
_NAME = re.compile(r"[a-z0-9]([-a-z0-9_.]*[a-z0-9])?\Z")
_POLL_SECONDS = 0.05


def default_base() -> Path:
    """Return the folder below which sandboxes have theirs."""
    if os.geteuid() == 0:
        return Path("/run/contivpp-sandbox")
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and os.path.isdir(given) and os.access(given, os.W_OK):
        return Path(given, "contivpp-sandbox")
    return Path(tempfile.gettempdir(), f"contivpp-sandbox-{os.geteuid()}")


class Directory:
    """The folder of one sandbox; making this object touches nothing."""

    def __init__(self, base: Path, name: str) -> None:
        if not _NAME.match(name):
            raise SandboxError(f"--name {name!r}: give lower-case letters, digits, and - _ . between them")
        self.name = name
        self.base = Path(os.path.abspath(base))
        self.path = self.base / name
        if len(os.fsencode(self.path)) > LONGEST_PATH:
            raise SandboxError(
                f"--dir {base}: {self.path} is too long for sockets ({LONGEST_PATH} bytes at most): give a shorter one"
            )
        self.keeper_socket = str(self.path / "keeper.sock")
        self.store_socket = str(self.path / "store.sock")
        self.store_file = self.path / "store.db"

    def __str__(self) -> str:
        return str(self.path)

    def log(self, process: str) -> Path:
        """Return where a process's output goes."""
        return self.path / "log" / f"{process}.log"

    def pod_socket(self, container: str) -> str:
        """Return the socket of a pod's responder."""
        return str(self.path / "pods" / f"{container[:16]}.sock")

    def host_socket(self, number: int) -> str:
        """Return the socket of an outside host's responder."""
        return str(self.path / "pods" / f"host{number}.sock")

    def node(self, position: int) -> NodeFolder:
        """Return the folder of a node, by its position from 1."""
        return NodeFolder(self.path / f"n{position}")

    # --- life

    def make(self) -> None:
        """Make the folder, for its owner only."""
        try:
            self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check(self.base, owners={0, os.geteuid()})
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._check(self.path, owners={os.geteuid()})
            for name in ("log", "pods", "exec"):
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SandboxError(
                f"{error.filename}: the sandbox's folder cannot be made: {error.strerror}: choose another by --dir"
            ) from error

    @staticmethod
    def _check(path: Path, *, owners: set[int]) -> None:
        """Refuse a folder that somebody else has put there, or in which others may replace what is not theirs."""
        status = path.lstat()
        shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners or shared:
            raise SandboxError(f"{path} belongs to somebody else, or others may write to it: choose another --dir")

    @property
    def exists(self) -> bool:
        """Tell whether there is something of this sandbox."""
        return self.path.is_dir()

    def remove(self) -> None:
        """Remove the folder, and the one above if nothing else is in it."""
        try:
            shutil.rmtree(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SandboxError(f"{error.filename}: cannot be removed: {error.strerror}") from error
        with contextlib.suppress(OSError):
            self.base.rmdir()

    @contextlib.contextmanager
    def locked(self, *, seconds: float = 30.0) -> Iterator[None]:
        """Hold the folder, which must exist, for the time of the block."""
        end = time.monotonic() + seconds
        descriptor = self._locked_descriptor(end)
        try:
            yield
        finally:
            os.close(descriptor)

    def _locked_descriptor(self, end: float) -> int:
        while True:
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise SandboxError(f"{self.path}: {error.strerror}: there is no sandbox of this name") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                        return descriptor
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(descriptor)
                    raise SandboxError(
                        f"{self.path} is in use by another command of contivpp sandbox: wait until it has ended"
                    ) from None
                time.sleep(_POLL_SECONDS)
            os.close(descriptor)

    # --- files

    def read(self, name: str) -> Any:
        """Return the content of a file, or None where there is none that can be read."""
        try:
            return json.loads((self.path / name).read_bytes())
        except (OSError, ValueError):
            return None

    def write(self, name: str, content: Any) -> None:
        """Replace a file."""
        path = self.path / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(content, indent=1), "utf-8")
        os.replace(temporary, path)

    def log_end(self, process: str, *, lines: int = 12) -> str:
        """Return the end of a process's output."""
        try:
            text = self.log(process).read_text("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class NodeFolder:
    """The folder of one node; making this object touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.agent_socket = str(path / "run" / "agent.sock")
        self.cni_socket = str(path / "cni.sock")
        self.api_socket = str(path / "vpp-api.sock")
        self.early_api_socket = str(path / "vpp-new.sock")
        self.cli_socket = str(path / "vpp-cli.sock")
        self.stats_socket = str(path / "vpp-stats.sock")
        self.host_socket = str(path / "host.sock")
        self.cni_executable = path / "cni" / "bin" / "contivpp"

    def make(self) -> None:
        """Make it anew: a node that comes back remembers nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        for name in ("run", "state", "cni", "vpp"):
            (self.path / name).mkdir(mode=0o700, parents=True)

    def remove(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
