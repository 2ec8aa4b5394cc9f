# SPDX-License-Identifier: Apache-2.0
"""Events of the agent's own namespace: links one by one, or that something of its network changed.

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

__all__ = ["LinkWatch", "NetworkWatch", "Watch"]

_HEADER = struct.Struct("=IHHII")
_NEW_LINK, _DELETE_LINK = 16, 17
_LINK_GROUP = 1
_ADDRESS_AND_ROUTE_GROUPS = 0x10 | 0x40 | 0x100 | 0x400  # RTMGRP_IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_FAMILY_UNSPECIFIED = 0  # bridges send events of their own family for ports
_AT_ONCE = 64


class Watch:
    """A subscription to groups of events; give it back by `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, groups: int) -> None:
        self._loop = loop
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, groups))
        loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """Stop; idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        """Read what is there; None stands for events that were lost."""
        for _ in range(_AT_ONCE):
            if self._socket.fileno() < 0:  # the callback stopped the watch
                return
            try:
                data = self._receive()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._deliver(None)
                continue
            self._deliver(data)

    def _receive(self) -> bytes:
        return self._socket.recv(1 << 16)

    def _deliver(self, data: bytes | None) -> None:
        raise NotImplementedError


class LinkWatch(Watch):
    """Tells of each link."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[LinkEvent], None]) -> None:
        self._callback = callback
        super().__init__(loop, _LINK_GROUP)

    def _deliver(self, data: bytes | None) -> None:
        if data is None:
            self._callback(LinkEventsLost())
            return
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


class NetworkWatch(Watch):
    """Tells that links, addresses or routes may have changed; what did is to be read.

    Links are among them because Linux does not tell of the IPv4 routes that go when a link is set down.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._callback = callback
        super().__init__(loop, _LINK_GROUP | _ADDRESS_AND_ROUTE_GROUPS)

    def _deliver(self, data: bytes | None) -> None:
        self._callback()
