# SPDX-License-Identifier: Apache-2.0
"""What the overlay does with frames that no node sends: nothing. Three nodes, in memory and in network namespaces.

Frames are put on the underlay as if node 2 had encapsulated them, for node 1. A frame for an unknown MAC, or for
everybody, is not flooded; a frame for node 3 does not go from one tunnel to another. That the frames are well formed is
shown by one for node 1 itself, which is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from contivpp_contiv.names import bvi_mac, uplink_mac
from contivpp_core.clock import run_simulated
from contivpp_sandbox.rigs.memory.rig import MemoryRig
from contivpp_sandbox.rigs.netns.rig import NetnsRig
from contivpp_sandbox.sandbox.teardown import remains
from contivpp_sandbox.sandbox.wiring import port_name

from .processes import in_namespace
from .rounds import SETTLE_SECONDS, STAY, pod

ETH_P_ALL = 3
VNI = 10
ENDS = [socket.inet_aton(f"192.168.16.{node}") for node in (1, 2)]
Inject = Callable[[bytes], Awaitable[list[bytes]]]
"""Put a frame on the underlay; return every frame that node 1 sent within a second."""


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(source: bytes, target: bytes, protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0, source, target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def echo(source: str, target: str) -> bytes:
    body = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + b"who is there"
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return ipv4(socket.inet_aton(source), socket.inet_aton(target), socket.IPPROTO_ICMP, body)


def encapsulated(inner_mac: bytes, packet: bytes) -> bytes:
    """Return a frame from node 2's VPP to node 1's, with an inner frame from node 2's BVI."""
    inner = inner_mac + mac(bvi_mac(2)) + b"\x08\x00" + packet
    vxlan = struct.pack("!BxxxI", 0x08, VNI << 8) + inner
    datagram = struct.pack("!HHHH", 40_000, 4789, 8 + len(vxlan), 0) + vxlan
    outer = ipv4(ENDS[1], ENDS[0], socket.IPPROTO_UDP, datagram)
    return mac(uplink_mac("192.168.16.1")) + mac(uplink_mac("192.168.16.2")) + b"\x08\x00" + outer


def tunnelled(frames: list[bytes]) -> list[bytes]:
    """Return the inner frames of what node 1 sent through tunnels."""
    return [
        each[50:]
        for each in frames
        if each[12:14] == b"\x08\x00" and each[23] == socket.IPPROTO_UDP and each[26:30] == ENDS[0]
    ]


async def check(inject: Inject) -> None:
    question = encapsulated(mac(bvi_mac(1)), echo("192.168.30.2", "192.168.30.1"))
    await inject(question)  # the answer may be lost while VPP asks for node 2's MAC
    answered = tunnelled(await inject(question))
    assert [each[:6] for each in answered] == [mac(bvi_mac(2))], "the frame for node 1 itself is answered, once"
    nobody = mac("12:2b:00:00:00:63")
    for what, target in (("unknown", nobody), ("broadcast", b"\xff" * 6), ("multicast", mac("01:00:5e:00:00:05"))):
        assert tunnelled(await inject(encapsulated(target, echo("10.1.2.2", "10.1.9.9")))) == [], what
    onward = encapsulated(mac(bvi_mac(3)), echo("10.1.2.2", "10.1.3.2"))
    assert tunnelled(await inject(onward)) == [], "from tunnel to tunnel"


def test_in_memory() -> None:
    async def main() -> None:
        rig = MemoryRig()
        try:
            await rig.start(STAY, {})
            await rig.apply([pod(node) for node in STAY])
            assert await rig.settle(SETTLE_SECONDS) == []
            links = {name: rig.nodes[name].kernel.link("", "uplink0") for name in STAY}
            sent: list[bytes] = []
            onward = links["n1"].outside
            assert onward is not None

            def heard(frame: bytes) -> None:
                sent.append(frame)
                onward(frame)

            links["n1"].outside = heard

            async def inject(frame: bytes) -> list[bytes]:
                sent.clear()
                out = links["n2"].outside
                assert out is not None
                out(frame)
                await asyncio.sleep(1)
                return list(sent)

            await check(inject)
        finally:
            await rig.stop()

    run_simulated(main())


def _raw(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.bind((interface, 0))
    made.setblocking(False)
    return made


@pytest.mark.netns
async def test_in_namespaces(dataplane: str) -> None:
    rig = NetnsRig("vpp" if dataplane == "real" else "sandbox", "vpp" if dataplane == "real" else "embedded")
    try:
        await rig.start(STAY, {})
        await rig.apply([pod(node) for node in STAY])
        assert await rig.settle(SETTLE_SECONDS) == []
        keeper = remains(rig.cluster.directory).keeper
        assert keeper is not None
        port = port_name(rig.cluster.nodes["n1"].place.position)
        wire = in_namespace(f"/proc/{keeper.pid}/ns/net", lambda: _raw(port))

        async def inject(frame: bytes) -> list[bytes]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    wire.recv(2048)
            wire.send(frame)
            await asyncio.sleep(1)
            seen = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, where = wire.recvfrom(2048)
                    if where[2] != socket.PACKET_OUTGOING:  # from node 1, and not to it
                        seen.append(data)
            return seen

        with wire:
            await check(inject)
    finally:
        await rig.stop()
