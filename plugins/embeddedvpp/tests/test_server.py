# SPDX-License-Identifier: Apache-2.0
"""Sockets, framing, and vpp_papi as a client."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from embeddedvpp.api import ApiSession, Vpp
from embeddedvpp.pytest_plugin import EmbeddedVpp
from embeddedvpp.server import SocketInUse, listen


def test_giant_length_closes_only_that_client() -> None:
    vpp, sent = Vpp(), bytearray()
    bad, good = ApiSession(vpp, bytes), ApiSession(vpp, sent.extend)
    bad.feed(struct.pack(">QII", 0, 0xFFFFFFFF, 0))
    assert bad.closed
    body = struct.pack(">HI64s", 15, 7, b"good")
    frame = struct.pack(">QII", 0, len(body), 0) + body
    for byte in frame:
        good.feed(bytes((byte,)))
    assert not good.closed
    assert struct.unpack_from(">H", sent, 16) == (16,)


def test_unknown_message_is_ignored() -> None:
    sent = bytearray()
    session = ApiSession(Vpp(), sent.extend)
    session.feed(struct.pack(">QIIHII", 0, 10, 0, 60000, 0, 0))
    assert not sent
    assert not session.closed


def test_live_socket_is_refused_and_stale_one_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    first = listen(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(SocketInUse, match="another server"):
        listen(path)
    first.close()
    listen(path).close()


def test_vpp_papi_works_unchanged(embedded_vpp: EmbeddedVpp) -> None:
    script = """
import sys
from vpp_papi import VPPApiClient
client = VPPApiClient(server_address=sys.argv[1], bootstrapapi=True)
client.connect("test")
index = client.api.create_loopback().sw_if_index
assert client.api.sw_interface_set_flags(sw_if_index=index, flags=1).retval == 0
assert client.api.sw_interface_add_del_address(sw_if_index=index, is_add=True, prefix="10.0.0.1/24").retval == 0
print([found.interface_name for found in client.api.sw_interface_dump()])
print(len(client.api.ip_route_dump(table={"table_id": 0})))
client.disconnect()
"""
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script, embedded_vpp.api_socket],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.splitlines() == ["['local0', 'loop0']", "9"], done.stderr


def test_cli_answers_a_line(embedded_vpp: EmbeddedVpp) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(embedded_vpp.cli_socket)
        client.sendall(b"show version\nnonsense\nquit\n")
        data = b""
        while part := client.recv(4096):
            data += part
    assert b"vpp v26.06-release" in data
    assert b"unknown input `nonsense'" in data


@pytest.mark.netns
def test_host_interfaces_are_there_from_the_start(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from embeddedvpp.__main__ import main
from embeddedvpp.api import Vpp

async def start():
    vpp = Vpp()
    vpp.create_host_interfaces(["one", "two"])
    print([(i.name, i.sw_if_index, i.flags, i.tag) for i in vpp.dataplane.interfaces])
    await vpp.dataplane.close()

asyncio.run(start())
sys.exit(main(["--api-socket", sys.argv[1], "--host-interface", "one", "--host-interface", "three"]))
"""
    import sys

    links = "ip link add one type veth peer name two && "
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", links + 'exec "$0" "$@"', sys.executable, "-c", script,
         str(tmp_path / "api.sock")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip(f"no network namespaces: {done.stderr.strip()}")
    assert done.stdout.strip() == "[('local0', 0, 0, ''), ('host-one', 1, 2, ''), ('host-two', 2, 2, '')]", done.stderr
    assert done.returncode == 1
    assert "no Linux interface 'three'" in done.stderr
    assert not (tmp_path / "api.sock").exists()
