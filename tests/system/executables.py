# SPDX-License-Identifier: Apache-2.0
"""The CNI executable as a container runtime starts it, of each kind that can be installed."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from contivpp_cni import install

__all__ = ["KINDS", "Executable", "Outcome"]

OPTION = "executable"


def _kinds() -> list[str]:
    """The kinds that the installer offers; without the option for it there is one."""
    offered = [action.choices for action in install.parser()._actions if action.dest == OPTION]
    return [str(kind) for kind in (offered[0] or ()) if kind != "auto"] if offered else ["python"]


KINDS = _kinds()
SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """How one call ended."""

    status: int
    stdout: bytes
    stderr: bytes


class Executable:
    """An installed executable that talks to one agent."""

    def __init__(self, kind: str, folder: Path, socket: str) -> None:
        folders = ["--bin-dir", str(folder / "bin"), "--conf-dir", str(folder / "net.d")]
        wanted = [f"--{OPTION}", kind] if len(KINDS) > 1 else []
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            code = install.main([*folders, "--socket", socket, *wanted])
        if code:
            pytest.skip(f"no {kind} executable can be installed here: {told.getvalue()}")
        self.kind = kind
        self.path = folder / "bin" / install.BINARY_NAME

    @property
    def folder(self) -> str:
        """What a runtime has in CNI_PATH."""
        return str(self.path.parent)

    def call(self, environment: Mapping[bytes, bytes], stdin: bytes) -> Outcome:
        """Start it with this environment and no other, and wait for its end."""
        done = subprocess.run(
            [self.path], input=stdin, capture_output=True, env=dict(environment), timeout=SECONDS, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)
