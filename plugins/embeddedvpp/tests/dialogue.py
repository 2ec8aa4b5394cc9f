# SPDX-License-Identifier: Apache-2.0
"""Dialogues as data: requests as JSON, and the answers that real VPP gave to them.

``SocketPeer`` is a VPP at a socket, ``MemoryPeer`` an embedded one. What legitimately differs between runs (numbers
of counters, ages, process number) or VPPs (message tables, build) and the order of routes, which is VPP's hash order,
are not compared. ``python dialogue.py FILE`` replays a file and tells the difference.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from embeddedvpp.api import ApiSession, Vpp
from embeddedvpp.api.vpp import KernelDevices
from embeddedvpp.dataplane import Dataplane, DataplaneError, Interface, Retval, TapConfig
from embeddedvpp.wire.codec import Message, codecs, types
from embeddedvpp.wire.declarations import load

HEADER = struct.Struct(">QII")
VOLATILE = {
    "stats_index", "age", "vpe_pid", "context", "client_index", "src_id", "json", "api_versions", "count",
    "message_table", "index", "build_date", "build_directory", "vpe_system_time",
}  # fmt: skip
VETHS = {"af_packet": ("pod0",)}  # dialogues that need interfaces, and with them a network namespace
EVENTS = {event for module in load().values() for service in module.services for event in service.events}
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

    def more(self) -> bool:
        """True if a message comes soon; VPP sends events a while after the reply."""
        return bool(select.select([self.socket], [], [], 0.2)[0])

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "VPP closed the connection"
            data += part
        return data

    def close(self) -> None:
        self.socket.close()


class NoTaps(KernelDevices):
    """The machine of the recordings had no /dev/vhost-net, which VPP's TAPs need and embedded ones do not."""

    def create_tap(self, config: TapConfig, tag: str) -> Interface:  # type: ignore[override]
        retval = Retval.SYSCALL_ERROR_2 if config.host_namespace else Retval.SYSCALL_ERROR_1
        raise DataplaneError(retval, "no TAPs here, nor network namespaces")


class MemoryPeer:
    """An embedded VPP in memory."""

    def __init__(self) -> None:
        self.output = bytearray()
        dataplane = Dataplane(time=lambda: 0.0)
        self.vpp = Vpp(dataplane, devices=NoTaps(dataplane), time=lambda: 0.0, pid=1)
        self.session = ApiSession(self.vpp, self.output.extend)

    def send(self, data: bytes) -> None:
        self.session.feed(data)

    def receive(self) -> bytes:
        length = HEADER.unpack_from(self.output)[1]
        data = bytes(self.output[HEADER.size : HEADER.size + length])
        del self.output[: HEADER.size + length]
        return data

    def more(self) -> bool:
        return bool(self.output)

    async def settle(self) -> None:
        """Let what was begun end, before there is anything to read."""
        for _ in range(100):
            if self.output:
                return
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.session.close()


async def answers(peer: SocketPeer | MemoryPeer, requests: list[list[Any]]) -> list[Any]:
    """Every request with its answers (a reply, or the details of a dump, sorted) and the events that followed."""
    wire = Wire()
    peer.send(wire.frame("sockclnt_create", 9, {"name": "dialogue"}))
    wire.learn(peer.receive())
    result, subscribed = [], False
    for name, fields in requests:
        request = wire.frame(name, CONTEXT, {key: build(value) for key, value in fields.items()})
        peer.send(request + wire.frame("control_ping", PING_CONTEXT, {}))
        found: list[Any] = []
        events: list[Any] = []
        waiting = True
        while waiting or (subscribed and peer.more()):
            if isinstance(peer, MemoryPeer):
                await peer.settle()
            message = wire.decode(peer.receive())
            kind = type(message).__name__
            if kind in EVENTS:
                events.append({"message": kind, **plain(message)})
            elif kind == "control_ping_reply" and message.context == PING_CONTEXT:
                waiting = False
            elif message.context == CONTEXT:
                found.append({"message": kind, **plain(message)})
        if SERVICES[name].stream:
            found.sort(key=lambda each: json.dumps(each, sort_keys=True))
        step = {"request": name, "fields": fields, "answers": found}
        result.append({**step, "events": events} if events else step)
        subscribed = fields.get("enable_disable", 0) != 0 if name == "want_interface_events" else subscribed
    return result


async def difference(path: Path) -> str:
    """What an embedded VPP answers otherwise than the recording, or nothing."""
    recorded = json.loads(path.read_text())
    peer = MemoryPeer()
    found = await answers(peer, [[step["request"], step["fields"]] for step in recorded])
    peer.close()
    await peer.vpp.dataplane.close()
    return "\n".join(
        f"step {number} {wanted['request']} {json.dumps(wanted['fields'])}:\n"
        f"  real:     {json.dumps([wanted['answers'], wanted.get('events')])}\n"
        f"  embedded: {json.dumps([got['answers'], got.get('events')])}"
        for number, (got, wanted) in enumerate(zip(found, recorded, strict=True))
        if got != wanted
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(difference(Path(sys.argv[1]))) or 0)
