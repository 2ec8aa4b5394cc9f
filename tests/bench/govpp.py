# SPDX-License-Identifier: Apache-2.0
"""The reference in Go: GoVPP sends routes, pipelined; built from `tests/bench/govpp` on first use, into the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.bench.machine import ROOT
from tests.bench.references import cache
from tests.bench.result import Broken, Skipped

__all__ = ["program", "seconds"]

SOURCE = ROOT / "tests" / "bench" / "govpp"
VERSION = "v0.12.0"
BUILD_SECONDS = 600
WINDOW = 1000


def program() -> Path:
    """Return the executable; another source is another file."""
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    path = cache() / f"govpp-{VERSION}-{digest.hexdigest()[:12]}"
    if path.exists():
        return path
    go = shutil.which("go")
    if go is None:
        raise Skipped("GoVPP cannot be built: install Go")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [go, "build", "-o", str(path), "."]
    try:
        subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=True, timeout=BUILD_SECONDS)
    except subprocess.CalledProcessError as error:
        raise Skipped(f"GoVPP cannot be built: {error.stderr.strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"GoVPP was not built within {BUILD_SECONDS} s") from error
    return path


def seconds(executable: Path, api_socket: Path, vrf: int, number: int, source: int) -> float:
    """Add so many routes; return the seconds from the first message to the last answer."""
    command = [executable, api_socket, str(vrf), str(number), str(WINDOW), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise Broken(f"GoVPP failed: {done.stderr.strip()[-300:]}")
    return float(done.stdout)
