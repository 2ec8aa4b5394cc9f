# SPDX-License-Identifier: Apache-2.0
"""Entering network namespaces.

Only a thread can be in another namespace, and it must not stay: a thread, a socket or a file descriptor
left behind keeps a deleted pod's namespace alive, with its interfaces. So everything is opened for one
call and closed with it; entering, a socket and leaving cost some 40 µs together, too little for a cache
to pay.

The file is opened first and looked at afterwards, so no other one can take its place in between.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import NamespaceDenied, NamespaceError, NamespaceGone, NamespaceHidden, NotANamespace
from .operations import where
from .values import Namespace, NetworkNamespace

__all__ = ["NamespaceFiles"]

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_THREAD_NAMESPACE = "/proc/thread-self/ns/net"


class NamespaceFiles:
    """Opens namespaces by path; holds only the one in which it was made."""

    def __init__(self) -> None:
        self._setns = ctypes.CDLL(None, use_errno=True).setns  # os.setns needs Python 3.12
        self._own = os.open(_THREAD_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the own namespace's file back."""
        os.close(self._own)

    @contextmanager
    def opened(self, namespace: Namespace) -> Iterator[int]:
        """Yield a file descriptor of the namespace, valid within the block."""
        path = namespace.path if isinstance(namespace, NetworkNamespace) else namespace
        if not path:
            yield self._own
            return
        descriptor = _open(path)
        try:
            _check(descriptor, namespace)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def entered(self, namespace: Namespace) -> Iterator[int]:
        """Have the calling thread in the namespace within the block; never use it in the event loop's
        thread.
        """
        with self.opened(namespace) as descriptor:
            if descriptor == self._own and os.path.samestat(os.stat(_THREAD_NAMESPACE), os.fstat(self._own)):
                yield descriptor  # setns would need CAP_SYS_ADMIN even to stay
                return
            self._enter(descriptor, namespace)
            try:
                yield descriptor
            finally:
                self._enter(self._own, None)

    def identify(self, namespace: Namespace) -> NetworkNamespace:
        """Return which namespace is there now."""
        with self.opened(namespace) as descriptor:
            status = os.fstat(descriptor)
        path = namespace.path if isinstance(namespace, NetworkNamespace) else namespace
        return NetworkNamespace(path or "", status.st_dev, status.st_ino)

    def _enter(self, descriptor: int, namespace: Namespace) -> None:
        if self._setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            kind = NamespaceDenied if number in _DENIED else NamespaceError
            raise kind(number, "enter network namespace", where(namespace))


def _open(path: str) -> int:
    try:
        # O_NONBLOCK: a named pipe at this path must not stop the thread.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        number = error.errno or errno.EIO
        kind: type[NamespaceError] = NamespaceDenied if number in _DENIED else NotANamespace
        if number in _GONE:
            kind = NamespaceGone if _folder_is_there(path) else NamespaceHidden
        raise kind(number, "open network namespace", path) from None
    except ValueError:  # a null byte
        raise NamespaceGone(errno.ENOENT, "open network namespace", repr(path)) from None


def _folder_is_there(path: str) -> bool:
    """Tell whether a missing file says that the namespace is gone. Those of /proc go with their processes."""
    return path.startswith("/proc/") or os.path.isdir(os.path.dirname(path))


def _check(descriptor: int, namespace: Namespace) -> None:
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise NotANamespace(errno.EINVAL, "open network namespace (the file is none)", where(namespace))
    if isinstance(namespace, NetworkNamespace):
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != (namespace.device, namespace.inode):
            raise NamespaceGone(
                errno.ENOENT, "open network namespace (another one is at this path now)", namespace.path
            )
