# SPDX-License-Identifier: Apache-2.0
"""Dialogues as data: requests as JSON, and the answers that real VPP gave to them.

``record`` asks a VPP at a socket, ``replay`` an embedded one in memory. What legitimately differs between runs (numbers
of counters, ages, process number) and the order of routes, which is VPP's hash order, are not compared.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from embeddedvpp.api import ApiSession, Vpp
from embeddedvpp.dataplane import Dataplane
from embeddedvpp.wire.codec import Message, codecs, types
from embeddedvpp.wire.declarations import load

HEADER = struct.Struct(">QII")
VOLATILE = {"stats_index", "age", "vpe_pid", "context", "client_index", "src_id"}
SERVICES = {service.request: service for module in load().values() for service in module.services}
CONTEXT, PING_CONTEXT = 1, 2


def build(value: Any) -> Any:
    """JSON to codec values: {"hex": …} is bytes, {"type": NAME, …} a composite type."""
    if isinstance(value, dict):
        if "hex" in value:
            return bytes.fromhex(value["hex"])
        fields = {name: build(found) for name, found in value.items() if name != "type!"}
        return types()[value["type!"]](**fields)
    return tuple(build(found) for found in value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Codec values to JSON, without what is volatile."""
    if isinstance(value, Message):
        return {name: plain(getattr(value, name)) for name in value._fields if name not in VOLATILE}
    if isinstance(value, bytes):
        return value.hex()
    return [plain(found) for found in value] if isinstance(value, tuple) else value


class Wire:
    """Frames of requests and answers; ``exchange`` is given how bytes travel."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {"sockclnt_create": 15, "sockclnt_create_reply": 16}
        self.index = 0

    def frame(self, name: str, context: int, fields: dict[str, Any]) -> bytes:
        codec = codecs()[name]
        message = codec.make(**{"context": context, **fields})
        message._vl_msg_id = self.ids[name]
        if "client_index" in message._fields:
            message.client_index = self.index
        data = codec.encode(message)
        return HEADER.pack(0, len(data), 0) + data

    def learn(self, data: bytes) -> None:
        reply = codecs()["sockclnt_create_reply"].decode(data)
        self.index = reply.index
        known = {codec.definition.name_crc: name for name, codec in codecs().items()}
        self.ids = {known[entry.name]: entry.index for entry in reply.message_table if entry.name in known}

    def decode(self, data: bytes) -> Any:
        names = {number: name for name, number in self.ids.items()}
        return codecs()[names[int.from_bytes(data[:2], "big")]].decode(data)


class SocketPeer:
    """A VPP at a socket."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        return self._exactly(HEADER.unpack(self._exactly(HEADER.size))[1])

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "VPP closed the connection"
            data += part
        return data

    def close(self) -> None:
        self.socket.close()


class MemoryPeer:
    """An embedded VPP in memory."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.vpp = Vpp(Dataplane(time=lambda: 0.0), time=lambda: 0.0, pid=1)
        self.session = ApiSession(self.vpp, self.output.extend)

    def send(self, data: bytes) -> None:
        self.session.feed(data)

    def receive(self) -> bytes:
        length = HEADER.unpack_from(self.output)[1]
        data = bytes(self.output[HEADER.size : HEADER.size + length])
        del self.output[: HEADER.size + length]
        return data

    def close(self) -> None:
        self.session.close()


def answers(peer: SocketPeer | MemoryPeer, requests: list[list[Any]]) -> list[Any]:
    """Every request with its answers: a reply, or the details of a dump, sorted."""
    wire = Wire()
    peer.send(wire.frame("sockclnt_create", 9, {"name": "dialogue"}))
    wire.learn(peer.receive())
    result = []
    for name, fields in requests:
        request = wire.frame(name, CONTEXT, {key: build(value) for key, value in fields.items()})
        peer.send(request + wire.frame("control_ping", PING_CONTEXT, {}))
        found = []
        while True:
            message = wire.decode(peer.receive())
            if type(message).__name__ == "control_ping_reply" and message.context == PING_CONTEXT:
                break
            if getattr(message, "context", None) == CONTEXT:
                found.append({"message": type(message).__name__, **plain(message)})
        if SERVICES[name].stream:
            found.sort(key=lambda each: json.dumps(each, sort_keys=True))
        result.append({"request": name, "fields": fields, "answers": found})
    return result
