# SPDX-License-Identifier: Apache-2.0
"""Events of many namespaces by one socket: links, and IPv4 routes of ours that were deleted.

The socket is in the agent's own namespace and listens to all that have a number there; each message comes with the
number (NETLINK_LISTEN_ALL_NSID). That needs CAP_NET_BROADCAST. Without it, events count as lost again and again: then
whoever listens reads the namespaces instead.

Every pod that is made has events here, so the few attributes that count are read without pyroute2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Callable

from .events import Watch
from .values import OWN_PROTOCOL, FollowedEvent, FollowedLink, LinkEventsLost, NetworkNamespace, RouteGone

__all__ = ["FollowedWatch"]

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_NEW_LINK, _DELETE_LINK, _DELETE_ROUTE = 16, 17, 25
_GROUPS = 0x1 | 0x40  # RTMGRP_LINK, RTMGRP_IPV4_ROUTE
_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_ANCILLARY_BYTES = socket.CMSG_SPACE(4)
_MAC, _NAME, _MTU = 1, 3, 4
_UP, _PROMISCUOUS, _ALL_MULTICAST = 0x1, 0x100, 0x200
_ROUTE_PROTOCOL = _HEADER.size + 5  # rtmsg: family, two lengths, TOS, table, protocol


class FollowedWatch(Watch):
    """Tells of followed namespaces; `namespace` gives the one that has a number."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        namespace: Callable[[int], NetworkNamespace | None],
        callback: Callable[[FollowedEvent], None],
    ) -> None:
        self._namespace = namespace
        self._callback = callback
        self._from: NetworkNamespace | None = None
        self._timer: asyncio.TimerHandle | None = None
        super().__init__(loop, _GROUPS)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
        except OSError as error:
            log.warning("pods' links are read again and again: no events can be had", extra={"error": str(error)})
            self._timer = loop.call_later(POLL_SECONDS, self._poll)

    def close(self) -> None:
        """Stop; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _poll(self) -> None:
        self._timer = self._loop.call_later(POLL_SECONDS, self._poll)
        self._callback(LinkEventsLost())

    def _receive(self) -> bytes:
        data, ancillary, _, _ = self._socket.recvmsg(1 << 16, _ANCILLARY_BYTES)
        self._from = None
        for level, kind, value in ancillary:
            if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID):
                self._from = self._namespace(struct.unpack("=i", value)[0])
        return data

    def _deliver(self, data: bytes | None) -> None:
        if data is None:
            self._callback(LinkEventsLost())
            return
        namespace = self._from
        if namespace is None:  # the agent's own, or one that nobody follows
            return
        offset = 0
        while offset + _HEADER.size < len(data):
            length, code, _, _, _ = _HEADER.unpack_from(data, offset)
            if code in (_NEW_LINK, _DELETE_LINK):
                self._link(namespace, data[offset : offset + length], gone=code == _DELETE_LINK)
            elif code == _DELETE_ROUTE and data[offset + _ROUTE_PROTOCOL] == OWN_PROTOCOL:
                self._callback(RouteGone(namespace))
            offset += (length + 3) & ~3

    def _link(self, namespace: NetworkNamespace, message: bytes, *, gone: bool) -> None:
        family, _, index, flags, _ = _LINK.unpack_from(message, _HEADER.size)
        if family != socket.AF_UNSPEC:
            return
        found = _attributes(message, _HEADER.size + _LINK.size)
        event = FollowedLink(
            namespace=namespace,
            index=index,
            name=found.get(_NAME, b"").rstrip(b"\0").decode(errors="replace"),
            mac=found.get(_MAC, b"").hex(":"),
            mtu=int.from_bytes(found.get(_MTU, b""), sys.byteorder),
            up=bool(flags & _UP),
            promiscuous=bool(flags & _PROMISCUOUS),
            all_multicast=bool(flags & _ALL_MULTICAST),
            gone=gone,
        )
        self._callback(event)


def _attributes(message: bytes, offset: int) -> dict[int, bytes]:
    """Return the attributes up to those that are needed."""
    found: dict[int, bytes] = {}
    needed = {_MAC, _NAME, _MTU}
    while needed and offset + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if kind in needed:
            found[kind] = message[offset + _ATTRIBUTE.size : offset + length]
            needed.discard(kind)
        offset += max((length + 3) & ~3, _ATTRIBUTE.size)
    return found
