# SPDX-License-Identifier: Apache-2.0
"""Programs that are not ours, which tests compare with: found on this machine, or built by Go's own installer.

Go programs are kept in a folder for all runs (`CONTIVPP_TOOLS`; without it, one in the user's cache).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["cni_plugins", "cnitool", "crictl", "program"]

BUILD_SECONDS = 900
DEBIAN_PLUGINS = Path("/usr/lib/cni")


def program(name: str, package: str) -> str:
    """Return where a program is; without it the test is skipped, and the message names the Debian package."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not there (Debian: apt install {package})")
    return path


def cni_plugins(*names: str) -> Path:
    """Return the folder that holds these plugins of containernetworking (`CONTIVPP_CNI_PLUGINS`, or Debian's)."""
    folder = Path(os.environ.get("CONTIVPP_CNI_PLUGINS") or DEBIAN_PLUGINS)
    if missing := [name for name in names if not (folder / name).exists()]:
        pytest.skip(f"{folder} has no {', '.join(missing)} (Debian: apt install containernetworking-plugins)")
    return folder


def cnitool() -> Path:
    """Return containernetworking's command that calls plugins as runtimes do."""
    return _go("cnitool", "github.com/containernetworking/cni/cnitool@v1.3.0")


def crictl() -> Path:
    """Return the command line of the CRI."""
    return _go("crictl", "sigs.k8s.io/cri-tools/cmd/crictl@v1.37.0")


@functools.cache
def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CONTIVPP_TOOLS") or Path(cache) / "contivpp-tools")


def _go(name: str, package: str) -> Path:
    version = package.rpartition("@")[2]
    path = _folder() / version / name
    if path.exists():
        return path
    if shutil.which("go") is None:
        pytest.skip(f"{name} is not there, and neither is Go to build it")
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(path.parent), "GOFLAGS": "-mod=mod"}
    try:
        subprocess.run(
            ["go", "install", package], env=environment, check=True, capture_output=True, timeout=BUILD_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", b"") or b""
        pytest.skip(f"{name} cannot be built: {error} {output[-300:].decode(errors='replace')}")
    return path
