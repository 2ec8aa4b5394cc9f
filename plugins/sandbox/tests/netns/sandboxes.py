# SPDX-License-Identifier: Apache-2.0
"""Sandboxes of a test: the command, run as root or as an ordinary user, and what is left of one on this machine.

Run by root, an ordinary user is one that nobody else is: an unused number, without privileges. Where the interpreter
is in a folder that only root may enter, the user gets a mount namespace in which the way to it is open.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from contivpp_sandbox.sandbox.processes import Process, inside_networks

USER = 64123
REPOSITORY = Path(__file__).parents[4]
CONTIVPP = (sys.executable, "-m", "contivpp_core.cli")
SECONDS = 60
PODS = """\
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: web, ports: [{name: http, containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x}
spec: {containers: [{name: idle}]}
"""


class Sandboxes:
    """The command, with a folder of its own for its sandboxes."""

    def __init__(self, prefix: tuple[str, ...], owner: int) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="sb-"))
        os.chown(self.base, owner, owner)
        self.prefix = prefix
        self.environment = {"HOME": str(self.base), "PATH": os.environ.get("PATH", os.defpath)}
        if os.environ.get("CONTIVPP_VPP"):
            self.environment["CONTIVPP_VPP"] = os.environ["CONTIVPP_VPP"]
        self.manifest = self.base / "pods.yaml"
        self.manifest.write_text(PODS)
        self.manifest.chmod(0o644)

    def command(self, action: str, *arguments: str, name: str = "t") -> list[str]:
        options = ("--dir", str(self.base / "s"), "--name", name)
        if action in ("up", "demo") and "--dataplane" not in arguments:
            options += ("--dataplane", "embedded")
        return [*self.prefix, *CONTIVPP, "sandbox", action, *options, *arguments]

    def start(self, action: str, *arguments: str, name: str = "t", **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(action, *arguments, name=name), env=self.environment, cwd=self.base, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # Who runs the tests in the background of a script ignores it, and so would the command.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (one thread)
            **options,
        )  # fmt: skip

    def run(self, action: str, *arguments: str, name: str = "t", code: int = 0, stdin: str = "") -> tuple[str, str]:
        """Run a command that ends with this exit code; return stdout and stderr."""
        done = subprocess.run(
            self.command(action, *arguments, name=name), env=self.environment, cwd=self.base, text=True, input=stdin,
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{action}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def folder(self, name: str = "t") -> Path:
        return self.base / "s" / name

    def stored(self, file: str, name: str = "t") -> Any:
        return json.loads((self.folder(name) / file).read_text())

    def processes(self, name: str = "t") -> dict[str, int]:
        """The processes by what they are called, with the keeper."""
        stored = self.stored("keeper.json", name)
        return {"keeper": stored["keeper"][0], **{key: each[0] for key, each in stored["processes"].items()}}

    def networks(self, name: str = "t") -> set[int]:
        """The inodes of the network namespaces."""
        return {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in self.processes(name).values()}

    def inside(self, name: str = "t") -> list[Process]:
        """Every process that is in a network of the sandbox now; inodes of namespaces are given out again later."""
        return [process for process, _ in inside_networks(self.networks(name))]

    def leftovers(self, inside: Iterable[Process] = (), name: str = "t") -> list[str]:
        """What there still is of a sandbox: files, processes (also those that were `inside`), mounts, sockets."""
        folder = str(self.folder(name))
        found = [folder] if os.path.exists(folder) else []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{entry}/cmdline").read_text()
            except OSError:
                continue
            if f"{folder}/" in words or f"{folder}\0" in words:
                found.append(f"process {entry}: {words}")
        for table in ("/proc/self/mountinfo", "/proc/net/unix"):
            found += [line for line in Path(table).read_text().splitlines() if folder in line]
        return found + [f"process {process.pid}, in its network" for process in inside if process.alive]

    def clear(self) -> None:
        for name in os.listdir(self.base / "s") if (self.base / "s").is_dir() else ():
            subprocess.run(self.command("down", name=name), env=self.environment, timeout=SECONDS, check=False)
        shutil.rmtree(self.base)


def _works(command: tuple[str, ...], script: str) -> str:
    """Return why a script does not work with this prefix, or ""."""
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False, cwd="/"
        )
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]


_NEW_NETWORK = """
import ctypes, os, sys
flags = 0x40000000 | (0 if os.geteuid() == 0 else 0x10000000)
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(0 if libc.unshare(flags) == 0 else "unshare: " + os.strerror(ctypes.get_errno()))
"""

# The first start may go by rights that only end with it.
_AGAIN = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", "import contivpp_sandbox.responder"]).returncode)
"""


@functools.cache
def as_user() -> tuple[tuple[str, ...], str]:
    """Return the prefix that makes a command an ordinary user's, and why that cannot be, or ""."""
    if os.geteuid() != 0:
        return (), _works((), _NEW_NETWORK)
    plain = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    if not _works(plain, _AGAIN):
        return plain, _works(plain, _NEW_NETWORK)
    opened = ("unshare", "--mount", "sh", "-c", _opening(), "sh", *plain)
    return opened, _works(opened, _AGAIN) or _works(opened, _NEW_NETWORK)


def _opening() -> str:
    """Return a shell script that opens the way to interpreter and code, then runs its arguments."""
    needed = {Path(sys.base_prefix), Path(sys.prefix), REPOSITORY}
    closed = {folder for path in needed for folder in path.parents if not folder.stat().st_mode & 0o001}
    lines = ["set -e", "stage=$(mktemp -d)", 'trap "umount -l $stage; rmdir $stage" EXIT', "mount -t tmpfs none $stage"]
    hidden = sorted(path for path in needed if closed & set(path.parents))
    for number, path in enumerate(hidden):
        lines.append(f"mkdir $stage/{number}; mount --bind {shlex.quote(str(path))} $stage/{number}")
    for folder in sorted(closed)[:1]:
        lines.append(f"mount -t tmpfs -o mode=755 none {shlex.quote(str(folder))}")
    for number, path in enumerate(hidden):
        quoted = shlex.quote(str(path))
        lines.append(f"mkdir -p {quoted}; mount --bind $stage/{number} {quoted}")
    return "\n".join([*lines, "umount -l $stage; rmdir $stage; trap - EXIT", 'exec "$@"'])


def sandboxes(who: str) -> Sandboxes:
    """Return sandboxes of root or of an ordinary user, or skip."""
    if who == "root":
        if os.geteuid() != 0:
            pytest.skip("is run by an ordinary user: root is not tested")
        if why := _works((), _NEW_NETWORK):
            pytest.skip(f"root may not make network namespaces here: {why}")
        return Sandboxes((), 0)
    prefix, why = as_user()
    if why:
        pytest.skip(f"an ordinary user gets no network namespace here: {why}")
    return Sandboxes(prefix, USER if os.geteuid() == 0 else os.geteuid())
