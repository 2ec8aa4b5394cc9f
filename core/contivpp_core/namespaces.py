# SPDX-License-Identifier: Apache-2.0
"""The identity of a network namespace, as item keys use it.

A path alone is no identity: after a pod is gone, another namespace can be bound to the same path. The device and
inode of the namespace file tell them apart (namespaces(7)). The agent's own namespace has the empty path.
"""

from __future__ import annotations

import msgspec

__all__ = ["HOST", "Namespace"]


class Namespace(msgspec.Struct, frozen=True, order=True):
    """A network namespace: the path under which it was opened, and the device and inode of its file."""

    path: str = ""
    device: int = 0
    inode: int = 0

    def __str__(self) -> str:
        """Return the part that stands in item keys: `host`, or `<device>:<inode>`."""
        return f"{self.device}:{self.inode}" if self.path else "host"


HOST = Namespace()
"""The namespace in which the agent runs."""
