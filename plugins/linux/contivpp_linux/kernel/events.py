# SPDX-License-Identifier: Apache-2.0
"""Link events of the agent's own namespace.

Reading events does no work in the kernel, so unlike requests it is done by the event loop itself.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable

from . import messages
from .values import LinkChanged, LinkEvent, LinkEventsLost, LinkGone

__all__ = ["LinkWatch"]

_HEADER = struct.Struct("=IHHII")
_NEW_LINK, _DELETE_LINK = 16, 17
_LINK_GROUP = 1
_FAMILY_UNSPECIFIED = 0  # bridges send events of their own family for ports
_AT_ONCE = 64


class LinkWatch:
    """A subscription; give it back by `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[LinkEvent], None]) -> None:
        self._loop = loop
        self._callback = callback
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _LINK_GROUP))
        loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """Stop; idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket.fileno() < 0:  # the callback stopped the watch
                return
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._callback(LinkEventsLost())
                continue
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        offset = 0
        while offset + _HEADER.size < len(data):
            length, code, _, _, _ = _HEADER.unpack_from(data, offset)
            message = data[offset : offset + length]
            offset += (length + 3) & ~3
            if message[_HEADER.size] != _FAMILY_UNSPECIFIED:
                continue
            if code == _NEW_LINK:
                self._callback(LinkChanged(messages.decode_link(message)))
            elif code == _DELETE_LINK:
                self._callback(LinkGone(messages.decode_link(message)))
