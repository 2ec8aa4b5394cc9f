# SPDX-License-Identifier: Apache-2.0
"""Runs a command in a pod's or a node's namespaces: this process enters them, and becomes the command.

So terminal, signals and exit code are the command's own. Who it is stands in the folder before, so that `down` ends it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.namespaces import POD, enter
from contivpp_sandbox.sandbox.pod import SandboxPod
from contivpp_sandbox.sandbox.processes import Process, identify
from contivpp_sandbox.sandbox.teardown import remains
from contivpp_sandbox.servers.layout import Places

__all__ = ["execute"]


def execute(directory: Directory, where: SandboxPod | str, command: Sequence[str]) -> NoReturn:
    """Become a command in a pod's namespaces, in those of a node (its name), or in the underlay's ("")."""
    if isinstance(where, SandboxPod):
        process, what = where.process, f"pod {where.key}"
    else:
        stored = remains(directory)
        process = (stored.processes.get(f"node:{where}") if where else stored.keeper) or Process(0, 0)
        what = f"node {where}" if where else "the sandbox"
    if not process.alive:
        raise SandboxError(f"the process of {what} is gone: see 'contivpp sandbox status'")
    _note(directory)
    if (kubeconfig := Places(directory).kubeconfig).exists():
        os.environ["KUBECONFIG"] = str(kubeconfig)  # nodes reach the API server
    enter(process.pid, POD)
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        # A folder of PATH that is closed to this user makes execvp say "permission denied" of whatever is not found.
        found = "/" in command[0] or shutil.which(command[0])
        reason = error.strerror if found else os.strerror(errno.ENOENT)
        raise SandboxError(f"{command[0]}: {reason}: name a program of this machine") from error


def _note(directory: Directory) -> None:
    """Store who this is, and forget those that have ended."""
    for path in (directory.path / "exec").glob("*.json"):
        if not Process(*(directory.read(f"exec/{path.name}") or (0, 0))).alive:
            with suppress(OSError):
                path.unlink()
    directory.write(f"exec/{os.getpid()}.json", identify(os.getpid()))
