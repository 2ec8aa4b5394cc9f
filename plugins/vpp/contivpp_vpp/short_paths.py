# SPDX-License-Identifier: Apache-2.0
"""Short names for long paths of network namespaces: VPP's messages have 63 bytes for one.

Runtimes may put namespaces deep into their state folders. Such a path gets a symbolic link in a folder beside VPP's
API socket, which VPP surely sees. Its name is the namespace's identity, so it is the same whoever asks.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from contivpp_core.namespaces import Namespace

__all__ = ["LONGEST", "ShortPaths"]

LONGEST = 63
"""Bytes of `host_namespace` in `tap_create_v3`, without the closing NUL."""


class ShortPaths:
    """The links of one VPP; without a folder, paths are handed on as they are."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def shorten(self, namespace: Namespace) -> str:
        """Return a path for VPP; a link is made where the namespace's own is too long."""
        link = self._link(namespace)
        if link is None:
            return namespace.path
        link.parent.mkdir(mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(namespace.path)
        return str(link)

    def expand(self, path: str) -> str:
        """Return the path that was meant; one that is no link of ours is itself."""
        if self._folder is None or os.path.dirname(path) != str(self._folder):
            return path
        try:
            return os.readlink(path)
        except OSError:
            return path

    def forget(self, namespace: Namespace) -> None:
        """Remove the link of a namespace, if it has one."""
        link = self._link(namespace)
        if link is not None:
            link.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are in use
                link.parent.rmdir()

    def _link(self, namespace: Namespace) -> Path | None:
        if self._folder is None or len(os.fsencode(namespace.path)) <= LONGEST:
            return None
        return self._folder / f"{namespace.device:x}-{namespace.inode:x}"
