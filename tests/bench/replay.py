# SPDX-License-Identifier: Apache-2.0
"""The floor: bytes made before, written to the socket of VPP by a thread that only counts the bytes of the answers."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from contivpp_vpp import messages as m
from contivpp_vpp.wire.base import Message, Reply
from contivpp_vpp.wire.codec import codec
from contivpp_vpp.wire.framing import HEADER_SIZE, header

__all__ = ["replay"]

_AT_ONCE = 256 << 10
_SECONDS = 60.0


def replay(path: Path, requests: Sequence[Message], reply: type[Reply]) -> float:
    """Return the seconds from the first byte to the last answer."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(_SECONDS)
        peer.connect(str(path))
        greeting = _greet(peer)
        table = {entry.name: entry.index for entry in greeting.message_table}
        sent = b"".join(
            _framed(request, table[request.table_name()], greeting.index, context)
            for context, request in enumerate(requests, 1)
        )
        answer = HEADER_SIZE + len(codec(reply).encode(reply(), number=0))
        peer.setblocking(False)
        return _exchange(peer, memoryview(sent), answer * len(requests))


def _framed(message: Message, number: int, client: int, context: int) -> bytes:
    body = codec(type(message)).encode(message, number=number, client_index=client, context=context)
    return header(len(body)) + body


def _greet(peer: socket.socket) -> m.SockclntCreateReply:
    peer.sendall(_framed(m.SockclntCreate(name="replay"), 15, 0, 1))
    (size,) = struct.unpack(">8xI4x", _read(peer, HEADER_SIZE))
    return codec(m.SockclntCreateReply).decode(_read(peer, size))


def _read(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += peer.recv(size - len(data))
    return data


def _exchange(peer: socket.socket, data: memoryview, expected: int) -> float:
    position, received = 0, 0
    begin = time.perf_counter()
    while received < expected:
        waiting = [peer] if position < len(data) else []
        readable, writable, _ = select.select([peer], waiting, [], _SECONDS)
        if not readable and not writable:
            raise TimeoutError(f"VPP answered {received} of {expected} bytes")
        if writable:
            position += peer.send(data[position : position + _AT_ONCE])
        if readable:
            received += len(peer.recv(_AT_ONCE))
    return time.perf_counter() - begin
