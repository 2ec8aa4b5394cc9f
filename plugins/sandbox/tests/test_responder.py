# SPDX-License-Identifier: Apache-2.0
"""A pod's process and its probes, over loopback: no namespaces are needed for that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_sandbox.probing import _asked, _checksum, _icmp, get_page, probe
from contivpp_sandbox.responder import Port, Responder

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


@pytest.fixture
async def served() -> AsyncIterator[tuple[Responder, int]]:
    responder, number = Responder("x/a"), free_port()
    await responder.serve([Port("TCP", number, "web"), Port("UDP", number), Port("SCTP", number)])
    yield responder, number
    await responder.serve([])
    await asyncio.sleep(0)


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("size", [None, 24, 1000, 20000])
async def test_answers_with_its_name_and_the_clients_address(served, protocol: str, size: int | None):
    _, number = served
    result = await probe(protocol=protocol, address=HOST, port=number, size=size)
    assert (result["verdict"], result["answer"]) == ("allowed", f"x/a:{number} from {HOST}")
    assert result["ms"] < 4000


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
async def test_a_port_that_is_no_longer_declared_refuses(served, protocol: str):
    responder, number = served
    await responder.serve([])
    await asyncio.sleep(0)
    result = await probe(protocol=protocol, address=HOST, port=number)
    assert (result["verdict"], result["why"]) == ("refused", "Connection refused")


async def test_http(served):
    responder, number = served
    page = await get_page(address=HOST, port=number)
    assert (page["status"], page["body"]) == ("HTTP/1.1 200 OK", f"x/a:{number} from {HOST}\n")
    await responder.serve([Port("TCP", number)])  # not named http or web: an HTTP request is answered as well
    assert (await get_page(address=HOST, port=number))["status"] == "HTTP/1.1 200 OK"
    assert "refused" in (await get_page(address=HOST, port=free_port()))["error"]


@pytest.mark.parametrize("said", [b"", b"hello\n", b"contivpp-probe 999999\nshort"])
async def test_whoever_says_little_is_answered_too(served, said: bytes):
    responder, _ = served
    number = free_port()
    await responder.serve([Port("TCP", number)])
    reader, writer = await asyncio.open_connection(HOST, number)
    writer.write(said)
    assert await asyncio.wait_for(reader.read(), 5) == f"x/a:{number} from {HOST}\n".encode()
    writer.close()
    await writer.wait_closed()


async def test_no_answer_is_denied():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        result = await probe(protocol="UDP", address=HOST, port=silent.getsockname()[1], attempts=1)
    assert (result["verdict"], result["why"]) == ("denied", f"no answer from {HOST} within 1 s")


async def test_the_process(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a relative path, as tmp_path can be too long for a socket
    number = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "contivpp_sandbox.responder", "x/b", "--socket", "s", f"--port=TCP:{number}:http"
    )
    try:
        for _ in range(2000):
            if os.path.exists("s"):
                break
            await asyncio.sleep(0.01)
        assert os.stat("s").st_mode & 0o777 == 0o600
        asked = await control({"do": "probe", "protocol": "TCP", "address": HOST, "port": number})
        assert asked["answer"]["answer"].startswith(f"x/b:{number} ")
        assert "is not served" in (await control({"do": "dance"}))["error"]
        assert "nothing is watched" in (await control({"do": "arrival"}))["error"]
        assert "error" in await control([])
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def control(request: Any) -> Any:
    reader, writer = await asyncio.open_unix_connection("s")
    writer.write(json.dumps(request).encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


@given(st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_a_message_with_its_checksum_sums_to_zero(payload: bytes, identifier: int):
    assert _checksum(_icmp(8, identifier, 1, payload)) == 0


@given(st.binary(max_size=40), st.sampled_from(["TCP", "UDP", "ICMP"]))
def test_any_packet_can_come_in(message: bytes, protocol: str):
    assert all(0 <= port < 65536 for port in _asked(protocol, message))


@pytest.mark.parametrize(
    ("flags", "asks"), [(0x02, True), (0x12, False), (0x18, True), (0x04, False), (0x14, False)],
    ids=["SYN", "SYN ACK", "PSH ACK", "RST", "RST ACK"],
)  # fmt: skip
def test_what_counts_as_a_clients_packet(flags: int, asks: bool):
    segment = bytes((0, 1, 0, 80)) + bytes(9) + bytes((flags,)) + bytes(6)
    assert list(_asked("TCP", segment)) == ([80] if asks else [])
