# SPDX-License-Identifier: Apache-2.0
"""Frames on VPP's API socket: 16 bytes of header, of which only a length is used, then one message."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from contivpp_vpp.wire.errors import MalformedMessage

_HEADER = struct.Struct(">8xI4x")
HEADER_SIZE = _HEADER.size
SMALLEST = 2  # a message number
LARGEST = 64 << 20  # VPP's own API as JSON, the largest message known, has about 3 MB

header = _HEADER.pack


class FrameReader:
    """Cuts a stream of bytes into messages, however the bytes are dealt out."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = HEADER_SIZE

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        position, end = 0, len(data)
        while end - position >= HEADER_SIZE:
            (size,) = _HEADER.unpack_from(data, position)
            if not SMALLEST <= size <= LARGEST:
                raise MalformedMessage(f"a frame of {size} bytes: the peer does not speak VPP's API")
            start = position + HEADER_SIZE
            if end - start < size:
                self._wanted = HEADER_SIZE + size
                break
            yield data[start : start + size]
            position = start + size
        else:
            self._wanted = HEADER_SIZE
        self._rest += data[position:]
