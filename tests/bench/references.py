# SPDX-License-Identifier: Apache-2.0
"""The reference plugins: `ptp` and `host-local` of containernetworking, built from the Go module proxy.

They are what a pod's interface costs at least with compiled, well-used code. They are kept in a cache outside the
repository; `CONTIVPP_BENCH_CACHE` names another one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.bench.result import Skipped

__all__ = ["cache", "reference_plugins"]

MODULE, VERSION = "github.com/containernetworking/plugins", "v1.6.2"
PACKAGES = {"ptp": "plugins/main/ptp", "host-local": "plugins/ipam/host-local"}
BUILD_SECONDS = 600


def cache() -> Path:
    """Return where references are kept."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contivpp-bench"
    return Path(os.environ.get("CONTIVPP_BENCH_CACHE") or default)


def reference_plugins() -> Path:
    """Return the directory with both executables; build them on first use."""
    folder = cache() / f"containernetworking-{VERSION}"
    missing = [name for name in PACKAGES if not (folder / name).exists()]
    if not missing:
        return folder
    go = shutil.which("go")
    if go is None:
        raise Skipped(f"the reference {MODULE} cannot be built: install Go, or put ptp and host-local into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in missing:
        _build(go, f"{MODULE}/{PACKAGES[name]}@{VERSION}", folder)
    return folder


def _build(go: str, package: str, target: Path) -> None:
    try:
        subprocess.run(
            [go, "install", package],
            env={**os.environ, "GOBIN": str(target)},
            capture_output=True,
            text=True,
            check=True,
            timeout=BUILD_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise Skipped(f"the reference {package} cannot be built: {error.stderr.strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"the reference {package} was not built within {BUILD_SECONDS} s") from error
