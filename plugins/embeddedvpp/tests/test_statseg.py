# SPDX-License-Identifier: Apache-2.0
"""The statistics segment, read by vpp_papi."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from vpp_papi.vpp_stats import VPPStats

from embeddedvpp.api import Vpp
from embeddedvpp.dataplane import add_memory_interface
from embeddedvpp.pytest_plugin import EmbeddedVpp
from embeddedvpp.server import Server
from embeddedvpp.statseg import Segment


@contextmanager
def reader(path: str) -> Iterator[Any]:
    segment = VPPStats(path)
    segment.connect()
    try:
        yield segment
    finally:
        segment.disconnect()


async def connect(path: str) -> Any:
    """vpp_papi blocks, and here the server runs in the same loop."""
    segment = VPPStats(path)
    await asyncio.to_thread(segment.connect)
    return segment


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(
        Vpp(), api_socket=str(tmp_path / "api.sock"), stats_socket=str(tmp_path / "stats.sock")
    ) as running:
        yield running


def echo_request(mac: bytes, source: int, destination: int) -> bytes:
    icmp = struct.pack(">BBHHH", 8, 0, 0xF7FF - 2, 1, 1)
    header = struct.pack(">BBHHHBBHII", 0x45, 0, 28, 0, 0, 64, 1, 0, source, destination)
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:]
    return mac + b"\2\0\0\0\0\1" + b"\x08\x00" + header + icmp


async def until(condition: Any, seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


def test_fixture_has_the_segment(embedded_vpp: EmbeddedVpp) -> None:
    before = int(time.time())
    with reader(embedded_vpp.stats_socket) as segment:
        assert segment["/if/names"] == ["local0"]
        assert segment["/if/rx"] == [[(0, 0)]]
        assert segment["/if/drops"] == [[0]]
        assert before - 60 <= segment["/sys/boottime"] <= before + 60
        assert {"/if/tx", "/if/punt", "/if/ip4", "/if/ip6", "/if/rx-error", "/interfaces/local0/rx"} <= set(
            segment.directory
        )
        beat = segment["/sys/heartbeat"]
        time.sleep(1.3)
        assert segment["/sys/heartbeat"] > beat
        assert segment["/sys/last_update"] >= 1


async def test_counters_rise_with_traffic(server: Server) -> None:
    assert server.stats_socket is not None
    dataplane = server.vpp.dataplane
    port = add_memory_interface(dataplane, "host-a")
    index = port.interface.sw_if_index
    dataplane.add_address(index, 0x0A000001, 24)
    dataplane.set_admin_state(index, up=True)
    segment = await connect(server.stats_socket)
    assert segment["/if/rx"][0][index] == (0, 0)
    mac = port.interface.mac
    dropped = echo_request(mac, 0x0A000002, 0x0B000001)
    port.inject([echo_request(mac, 0x0A000002, 0x0A000001)] * 3 + [dropped] * 2 + [b"short"])
    await until(lambda: segment["/if/rx"][0][index]["packets"] == 6)
    counters = port.interface.counters
    assert segment["/if/rx"][0][index] == (6, counters.rx_bytes) != (6, 0)
    assert segment["/if/tx"][0][index] == (counters.tx_packets, counters.tx_bytes)
    assert segment["/if/ip4"][:, index].sum() == counters.ip4 == 5
    assert segment["/interfaces/host-a/drops"].sum() == counters.drops == 6  # replies, too: no neighbour yet
    assert segment["/sys/vector_rate"] >= 1
    errors = segment.set_errors()
    wanted: dict[str, int] = {}
    for found in dataplane.graph.error_counts():
        wanted[f"/err/{found.node}/{found.reason.name}"] = found.count
    assert errors == wanted != {}
    dataplane.graph.clear_errors()
    await until(lambda: not segment.set_errors())
    segment.disconnect()


async def test_interfaces_come_and_go(server: Server) -> None:
    assert server.stats_socket is not None
    dataplane = server.vpp.dataplane
    segment = await connect(server.stats_socket)
    epoch = segment.epoch
    first, second = dataplane.create_loopback(), dataplane.create_loopback()
    first.counters.drops = 7
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert segment.epoch == epoch + 1, "two changes in one go are one"
    assert segment["/if/names"] == ["local0", "loop0", "loop1"]
    assert segment["/interfaces/loop0/drops"].sum() == 7
    dataplane.delete_interface(first.sw_if_index)
    await until(lambda: segment["/if/names"] == ["local0", "deleted", "loop1"])
    assert segment["/if/drops"] == [[0, 0, 0]]
    assert "/interfaces/loop0/drops" not in segment.directory
    dataplane.create_loopback(instance=5)
    await until(lambda: segment["/if/names"] == ["local0", "loop5", "loop1"])
    assert segment.epoch == epoch + 3
    assert segment["/if/drops"][0][first.sw_if_index] == 0
    assert second.sw_if_index == 2
    segment.disconnect()


async def test_nothing_is_copied_when_nobody_holds_the_memory(server: Server) -> None:
    assert server.stats_socket is not None
    statistics = server._statistics
    assert statistics is not None
    assert not statistics.active
    segment = await connect(server.stats_socket)
    await asyncio.sleep(1.2)
    assert statistics.active
    segment.disconnect()
    await until(lambda: not statistics.active)
    server.vpp.dataplane.create_loopback()
    again = await connect(server.stats_socket)
    assert again["/if/names"] == ["local0", "loop0"]
    again.disconnect()


async def test_a_reader_never_sees_a_mixture(server: Server) -> None:
    """While names and counters change all the time, names and counters that are read together fit together."""
    assert server.stats_socket is not None
    dataplane = server.vpp.dataplane
    segment = await connect(server.stats_socket)
    stop = asyncio.Event()
    seen: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            names = segment["/if/names"]
            assert names[0] == "local0"
            assert all(name == "deleted" or name.startswith("loop") for name in names[1:]), names
            seen.add(len(names))

    readers = asyncio.create_task(asyncio.to_thread(read))
    try:
        for _ in range(150):
            dataplane.create_loopback()
            await asyncio.sleep(0.002)
    finally:
        stop.set()
        await readers
        segment.disconnect()
    assert len(seen) > 3


@pytest.mark.realvpp
async def test_a_reader_of_vpp_itself(server: Server) -> None:
    vpp = os.environ.get("CONTIVPP_VPP")
    program = Path(vpp).with_name("vpp_get_stats") if vpp else None
    if program is None or not program.exists():
        pytest.skip("CONTIVPP_VPP does not name a VPP with vpp_get_stats beside it")
    server.vpp.dataplane.create_loopback().counters.tx_packets = 7
    reading = await asyncio.create_subprocess_exec(
        str(program), "socket-name", str(server.stats_socket), "dump", "/if/names", "/if/tx",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(reading.communicate(), 20)
    assert b"[1]: loop0 /if/names" in output
    assert b"[1 @ 0]: 7 packets, 0 bytes /if/tx" in output


def test_250_interfaces_cost_little() -> None:
    vpp = Vpp()
    for _ in range(250):
        vpp.dataplane.create_loopback()
    segment = Segment(vpp)
    try:
        segment.update()
        durations = []
        for _ in range(20):
            start = time.perf_counter()
            segment.update()
            durations.append(time.perf_counter() - start)
        assert min(durations) < 0.01
    finally:
        segment.close()


async def test_contivpp_reads_it(server: Server) -> None:
    stats = pytest.importorskip("contivpp_vpp.stats")
    assert server.stats_socket is not None
    loop0 = server.vpp.dataplane.create_loopback()
    loop0.counters.tx_packets, loop0.counters.tx_bytes, loop0.counters.drops = 3, 300, 2
    async with stats.StatisticsSegment(server.stats_socket) as statistics:
        found = await statistics.interface_counters()
    assert found["loop0"] == stats.InterfaceCounters(tx_packets=3, tx_bytes=300, drops=2)
