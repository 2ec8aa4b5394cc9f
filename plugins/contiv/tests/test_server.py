# SPDX-License-Identifier: Apache-2.0
"""The CNI socket: protocol, rights, bad callers."""

from __future__ import annotations

import asyncio
import socket as unix
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from contivpp_contiv.cni.server import CniServer
from contivpp_core.errors import ContivError


async def echo(environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
    return 3, environment["CNI_COMMAND"].encode() + stdin


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    server = CniServer(tmp_path / "run" / "cni.sock", echo)
    await server.start()
    yield tmp_path / "run" / "cni.sock"
    await server.stop()


async def call(path: Path, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(sent)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_call_is_answered(socket: Path) -> None:
    environment = b"CNI_COMMAND=ADD\0CNI_X=a=b\nc\0"
    assert await call(socket, b"contivpp-cni/1 %d 2\n" % len(environment) + environment + b"in") == b"3 5\nADDin"


async def test_too_many_variables_are_refused_for_good(socket: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(b"contivpp-cni/1 300000 2\n" + b"x" * 300002)
    code, size = (await reader.readline()).split()
    assert code == b"1"
    assert b'"code":4' in await reader.readexactly(int(size))
    writer.close()


async def test_every_pod_of_a_node_may_call_at_once(socket: Path) -> None:
    callers = [unix.socket(unix.AF_UNIX) for _ in range(300)]
    try:
        for caller in callers:  # the server has no turn meanwhile
            caller.setblocking(False)
            caller.connect(str(socket))
    finally:
        for caller in callers:
            caller.close()
    assert await call(socket, b"contivpp-cni/1 16 0\nCNI_COMMAND=ADD\0") == b"3 3\nADD"


async def test_only_the_owner_can_open_the_socket(socket: Path) -> None:
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"hello\n", id="no numbers"),
        pytest.param(b"contivpp-cni/2 0 0\n", id="another protocol"),
        pytest.param(b"contivpp-cni/1 -1 0\n", id="negative"),
        pytest.param(b"contivpp-cni/1 0 99999999\n", id="too large"),
        pytest.param(b"x" * 100_000, id="no end of line"),
        pytest.param(b"contivpp-cni/1 10 10\nabc", id="cut short"),
    ],
)
async def test_a_bad_caller_is_hung_up_on_and_hurts_nobody(socket: Path, sent: bytes) -> None:
    assert await call(socket, sent) == b""
    assert await call(socket, b"contivpp-cni/1 16 0\nCNI_COMMAND=ADD\0") == b"3 3\nADD"


async def test_a_socket_in_use_is_an_error_and_a_stale_one_is_taken_over(socket: Path) -> None:
    second = CniServer(socket, echo)
    with pytest.raises(ContivError, match="in use: another agent runs here"):
        await second.start()
    stale = socket.with_name("stale.sock")
    first = await asyncio.start_unix_server(lambda reader, writer: None, str(stale))
    first.close()
    third = CniServer(stale, echo)
    await third.start()
    assert await call(stale, b"contivpp-cni/1 16 0\nCNI_COMMAND=ADD\0") == b"3 3\nADD"
    await third.stop()


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cni.sock").write_text("precious")
    with pytest.raises(ContivError, match="is not a socket"):
        await CniServer(tmp_path / "cni.sock", echo).start()
    assert (tmp_path / "cni.sock").read_text() == "precious"
