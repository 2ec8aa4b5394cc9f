# SPDX-License-Identifier: Apache-2.0
"""The CNI executable as a container runtime starts it, of each kind that can be installed."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contivpp_cni import install

__all__ = ["KINDS", "Executable", "Outcome"]

KINDS: Mapping[str, tuple[str, ...]] = {"python": ()}
"""What the installer is told for each kind."""
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
        with contextlib.redirect_stdout(io.StringIO()):
            assert install.main([*folders, "--socket", socket, *KINDS[kind]]) == 0
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
