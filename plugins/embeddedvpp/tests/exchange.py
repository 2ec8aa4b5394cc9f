# SPDX-License-Identifier: Apache-2.0
"""Exchanges of packets as data: API requests, frames put into interfaces, and what real VPP sent and counted then.

``CONTIVPP_VPP=…/vpp python exchange.py FILE`` puts the file to a real VPP, in a network namespace with a veth pair
for each of ``interfaces``, and prints what it did; ``exchange.py record FILE`` writes it to the file. ``embedded`` does
the same with an embedded VPP in memory.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from dialogue import MemoryPeer, SocketPeer, Wire, build
from realvpp import executable, in_namespace, real_vpp

from embeddedvpp.api import ApiSession, Vpp
from embeddedvpp.api.vpp import KernelDevices
from embeddedvpp.dataplane import Dataplane, Interface, MemoryPort, add_memory_interface

__all__ = ["embedded", "executable", "in_namespace", "real", "run"]
SILENCE = 0.15  # seconds without a frame after which a step is over
OUTGOING = 4  # kind of packet that AF_PACKET shows and that this side sent
NODES = re.compile(r"\s*(\d+)\s+((?:l2-|vxlan4|feature-|ethernet-input)\S*)\s+(.*?)\s+(?:error|info)\s*$")
SOL_PACKET, AUXILIARY = 263, 8
TAG_VALID = 16
Step = dict[str, Any]


class MemoryDevices(KernelDevices):
    """AF_PACKET interfaces that are in memory."""

    def __init__(self, dataplane: Dataplane) -> None:
        super().__init__(dataplane)
        self.ports: dict[str, MemoryPort] = {}

    def create_af_packet(self, host_if_name: str, mac: bytes | None) -> Interface:
        port = add_memory_interface(self.dataplane, f"host-{host_if_name}", mac=mac)
        self.ports[host_if_name] = port
        return port.interface


class EmbeddedSide(MemoryPeer):
    """An embedded VPP; a second passes between two steps."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.now = 0.0
        dataplane = Dataplane(time=lambda: self.now)
        self.devices = MemoryDevices(dataplane)
        self.vpp = Vpp(dataplane, devices=self.devices, time=lambda: self.now, pid=1)
        self.session = ApiSession(self.vpp, self.output.extend)

    def exchange(self, name: str, frame: bytes) -> dict[str, list[bytes]]:
        self.now += 1
        self.devices.ports[name].inject(frame)
        found = {}
        for other, port in self.devices.ports.items():
            found[other], port.sent = port.sent, []
        return found


class RealSide(SocketPeer):
    """A real VPP, and the other ends of its interfaces."""

    def __init__(self, path: str, interfaces: list[str]) -> None:
        super().__init__(path)
        self.ends: dict[str, socket.socket] = {}
        for name in interfaces:
            for link in (name, f"{name}-peer"):  # the kernel would say things itself
                Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("1")
            subprocess.run(["ip", "link", "set", f"{name}-peer", "up"], check=True)
            end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            end.bind((f"{name}-peer", 3))
            end.setsockopt(SOL_PACKET, AUXILIARY, 1)
            end.settimeout(SILENCE)
            self.ends[name] = end

    def exchange(self, name: str, frame: bytes) -> dict[str, list[bytes]]:
        self.ends[name].send(frame)
        return {other: self._received(end) for other, end in self.ends.items()}

    @staticmethod
    def _received(end: socket.socket) -> list[bytes]:
        found = []
        while True:
            try:
                data, extra, _, address = end.recvmsg(65535, 64)
            except TimeoutError:
                return found
            if address[2] != OUTGOING:
                found.append(with_tag(data, extra))


def run(side: EmbeddedSide | RealSide, steps: list[Step]) -> list[Step]:
    """Every step with what came of it."""
    wire = Wire()
    side.send(wire.frame("sockclnt_create", 9, {"name": "packets"}))
    wire.learn(side.receive())

    def ask(name: str, fields: dict[str, Any]) -> Any:
        side.send(wire.frame(name, 1, {key: build(value) for key, value in fields.items()}))
        return wire.decode(side.receive())

    result = []
    for step in steps:
        if "request" in step:
            reply = ask(step["request"], step["fields"])
            answer = {name: getattr(reply, name) for name in ("retval", "sw_if_index") if name in reply._fields}
            result.append({"request": step["request"], "fields": step["fields"], "answer": answer})
            continue
        ask("cli_inband", {"cmd": "clear errors"})
        sent = side.exchange(step["into"], bytes.fromhex(step["frame"]))
        counted = ask("cli_inband", {"cmd": "show errors"}).reply
        out = {name: [frame.hex() for frame in frames] for name, frames in sent.items() if frames}
        errors = sorted(f"{m[2]}: {m[3]} {m[1]}" for m in map(NODES.match, counted.splitlines()) if m)
        result.append(
            {"what": step["what"], "into": step["into"], "frame": step["frame"], "out": out, "errors": errors}
        )
    return result


def with_tag(data: bytes, extra: list[tuple[int, int, bytes]]) -> bytes:
    """The kernel takes 802.1Q tags off and tells them beside the frame (``packet(7)``, PACKET_AUXDATA)."""
    for level, kind, content in extra:
        if (level, kind) == (SOL_PACKET, AUXILIARY):
            status, tag, protocol = struct.unpack("=I12xHH", content)
            if status & TAG_VALID:
                return data[:12] + struct.pack("!HH", protocol or 0x8100, tag) + data[12:]
    return data


def embedded(path: Path) -> list[Step]:
    """What an embedded VPP does."""
    return run(EmbeddedSide(), json.loads(path.read_text())["steps"])


def real(path: Path) -> list[Step]:
    """What a real VPP does, in a network namespace of its own."""
    interfaces = json.loads(path.read_text())["interfaces"]
    done = subprocess.run(
        in_namespace(interfaces, [sys.executable, __file__, str(path)]),
        stdout=subprocess.PIPE, text=True, timeout=120, check=True,
    )  # fmt: skip
    steps: list[Step] = json.loads(done.stdout)
    return steps


def _inside(path: Path) -> list[Step]:
    file = json.loads(path.read_text())
    with real_vpp() as api_socket:
        side = RealSide(api_socket, file["interfaces"])
        try:
            return run(side, file["steps"])
        finally:
            side.close()


if __name__ == "__main__":
    if sys.argv[1] == "record":
        target = Path(sys.argv[2])
        recorded = {**json.loads(target.read_text()), "steps": real(target)}
        target.write_text(json.dumps(recorded, indent=1) + "\n")
    else:
        print(json.dumps(_inside(Path(sys.argv[1]))))
