# SPDX-License-Identifier: Apache-2.0
"""Where and when a run took place."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

__all__ = ["ROOT", "machine"]

ROOT = Path(__file__).parents[2]


def machine() -> dict[str, str]:
    """Return the facts that a reader of the numbers needs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": _commit(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
