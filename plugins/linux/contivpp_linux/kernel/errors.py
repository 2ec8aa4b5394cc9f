# SPDX-License-Identifier: Apache-2.0
"""What can go wrong at the kernel's edge.

    KernelError                 the kernel refused: errno, what was tried, where
    └── NamespaceError          the namespace itself cannot be entered; nothing was tried inside it
        ├── NamespaceGone       no such path, or another namespace is there now
        │   └── NamespaceHidden not even the folder is there: the agent may only not see it
        ├── NotANamespace       the path is something else (a plain file, another kind of namespace)
        └── NamespaceDenied     not permitted; the agent needs CAP_SYS_ADMIN and CAP_NET_ADMIN

A batch answers each operation by itself, so a KernelError is a *value* in its list of results; a
NamespaceError,
or a failed listing, is raised.
"""

from __future__ import annotations

import errno as numbers
import os

__all__ = ["KernelError", "NamespaceDenied", "NamespaceError", "NamespaceGone", "NamespaceHidden", "NotANamespace"]

# Deleting an absent route says ESRCH, an address EADDRNOTAVAIL, a neighbour ENOENT, a link ENODEV.
_ABSENT = frozenset({numbers.ENODEV, numbers.ENOENT, numbers.ESRCH, numbers.EADDRNOTAVAIL})


class KernelError(Exception):
    """The kernel refused an operation; `detail` is its own explanation, where it gives one."""

    def __init__(self, errno: int, what: str, where: str, *, detail: str = "") -> None:
        self.errno = errno
        self.what = what
        self.where = where
        self.detail = detail
        super().__init__(errno, what, where, detail)

    def __str__(self) -> str:
        name = numbers.errorcode.get(self.errno, str(self.errno))
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.what} in {self.where}: {name} ({os.strerror(self.errno)}){detail}"

    @property
    def absent(self) -> bool:
        """True if the thing (or the link that would hold it) is not there: a delete that says so is done."""
        return self.errno in _ABSENT

    @property
    def exists(self) -> bool:
        """True if the thing is there already."""
        return self.errno == numbers.EEXIST


class NamespaceError(KernelError):
    """The namespace cannot be entered."""


class NamespaceGone(NamespaceError):
    """No namespace at this path, or not the one that was there when it was identified."""


class NamespaceHidden(NamespaceGone):
    """The folder of the path is absent, too: the runtime has not made it yet, or the agent was not given it."""


class NotANamespace(NamespaceError):
    """The path exists, but is no network namespace."""


class NamespaceDenied(NamespaceError):
    """The agent may not open or enter the namespace."""
