# SPDX-License-Identifier: Apache-2.0
"""Numbers that the agent's own namespace has for others: events that come from them carry the number.

The kernel gives one by itself only to the namespace of a veth's other end. A number goes with its namespace, and may be
another's afterwards.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading

from .values import Namespace, NetworkNamespace

__all__ = ["NamespaceNumbers"]

_HEADER = struct.Struct("=IHHII")
_ERROR, _NEW_NUMBER, _GET_NUMBER = 2, 88, 90
_REQUEST, _ACK = 1, 4
_NUMBER, _DESCRIPTOR = 1, 3
_ANSWER_SECONDS = 10
_CHOSEN_BY_THE_KERNEL = -1


class NamespaceNumbers:
    """Gives numbers, from any thread; made in the agent's own namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_ANSWER_SECONDS)
        self._namespaces: dict[int, NetworkNamespace] = {}

    def close(self) -> None:
        """Give the socket back; the kernel keeps the numbers."""
        self._socket.close()

    def namespace(self, number: int) -> NetworkNamespace | None:
        """Return the followed namespace that has the number."""
        return self._namespaces.get(number)

    def follow(self, descriptor: int, namespace: Namespace) -> None:
        """See that the namespace of this file has a number, and remember which; OSError if the kernel refuses."""
        with self._lock:
            number = self._ask(_NEW_NUMBER, descriptor, _CHOSEN_BY_THE_KERNEL)
            if number not in (0, -errno.EEXIST):
                raise OSError(-number, os.strerror(-number))
            number = self._ask(_GET_NUMBER, descriptor)
        if number < 0:
            raise OSError(errno.ENOENT, "the namespace has no number")
        status = os.fstat(descriptor)
        path = namespace.path if isinstance(namespace, NetworkNamespace) else namespace
        self._namespaces[number] = NetworkNamespace(path or "", status.st_dev, status.st_ino)

    def _ask(self, code: int, descriptor: int, number: int | None = None) -> int:
        """Return the number that the answer carries, or the error that it is."""
        body = bytes(4) + _attribute("=I", _DESCRIPTOR, descriptor)
        if number is not None:
            body += _attribute("=i", _NUMBER, number)
        flags = _REQUEST | (_ACK if code == _NEW_NUMBER else 0)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), code, flags, 0, 0) + body)
        answer = self._socket.recv(1 << 12)
        _, kind, _, _, _ = _HEADER.unpack_from(answer)
        offset = _HEADER.size if kind == _ERROR else _HEADER.size + 8  # the body's first word, an attribute's head
        return int(struct.unpack_from("=i", answer, offset)[0])


def _attribute(form: str, kind: int, value: int) -> bytes:
    data = struct.pack(form, value)
    return struct.pack("=HH", 4 + len(data), kind) + data
