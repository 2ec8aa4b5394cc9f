# SPDX-License-Identifier: Apache-2.0
"""The CRI's client with a server that answers as runtimes do, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from contivpp_contiv.runtime.client import CriClient
from contivpp_contiv.runtime.errors import NoCri, NoSandbox, RuntimeFault
from contivpp_contiv.runtime.messages import SERVICE, message
from contivpp_contiv.runtime.verdict import Sandbox
from contivpp_contiv.runtime.watch import find_socket


class Server(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers each method with bytes, a status, or never (None); others are not implemented."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def service(self, details: Any) -> Any:
        name = details.method.removeprefix(SERVICE)
        if name not in self.answers:
            return None

        async def answer(request: bytes, context: Any) -> bytes:
            found = self.answers[name]
            if found is None:
                await asyncio.sleep(60)
            if isinstance(found, grpc.StatusCode):
                await context.abort(found, "so it is")
            return bytes(found)

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="cri-") as made:
        yield Path(made)


@contextlib.asynccontextmanager
async def served(folder: Path, **answers: Any) -> AsyncIterator[CriClient]:
    path = str(folder / "s")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Server(**answers),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        async with CriClient(path, seconds=1) as client:
            yield client
    finally:
        await server.stop(0)


def listing(*items: dict[str, Any]) -> bytes:
    return bytes(message("ListPodSandboxResponse")(items=items).SerializeToString())


async def test_sandboxes_are_listed_in_every_state(folder: Path) -> None:
    metadata = {"name": "web", "namespace": "shop"}
    items = [{"id": "a", "metadata": metadata}, {"id": "b", "state": 1}, {"id": "c", "state": 7}]
    version = message("VersionResponse")(runtime_name="containerd", runtime_version="v2.1").SerializeToString()
    async with served(folder, Version=version, ListPodSandbox=listing(*items)) as client:
        assert await client.version() == "containerd v2.1"
        assert await client.sandboxes() == [
            Sandbox(id="a", namespace="shop", name="web", ready=True),
            Sandbox(id="b", ready=False),
            Sandbox(id="c", ready=False),
        ]


async def test_what_is_not_known_of_an_answer_is_passed_over(folder: Path) -> None:
    labels = bytes.fromhex("0a0d") + b"\x0a\x01a" + b"\x2a\x04\x0a\x02io" + b"\x38\x07"  # id, labels, something new
    async with served(folder, ListPodSandbox=b"\x0a\x0b" + labels[2:]) as client:
        assert await client.sandboxes() == [Sandbox(id="a")]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(b"\xff\xff\xff", "cannot be read", id="no message"),
        pytest.param(listing({"id": "a"}, {"id": "b"})[:-1], "cannot be read", id="cut off"),
        pytest.param(bytes.fromhex("0a040a02c328"), "cannot be read", id="no text"),
        pytest.param(listing({"id": "a"}, {"id": "a"}), "without an ID, or twice", id="twice"),
        pytest.param(listing({"id": "a"}, {}), "without an ID, or twice", id="no ID"),
        pytest.param(bytes(17 << 20), "larger than max", id="too large"),
        pytest.param(grpc.StatusCode.UNAVAILABLE, "so it is", id="not yet"),
        pytest.param(grpc.StatusCode.PERMISSION_DENIED, "so it is", id="refused"),
        pytest.param(None, "no answer within 1 s", id="never"),
    ],
)
async def test_without_a_whole_answer_there_is_none(folder: Path, answer: Any, says: str) -> None:
    async with served(folder, ListPodSandbox=answer) as client:
        with pytest.raises(RuntimeFault, match=says) as caught:
            await client.sandboxes()
        assert str(folder) in str(caught.value)


async def test_a_server_without_the_cri(folder: Path) -> None:
    async with served(folder) as client:
        with pytest.raises(NoCri, match="does not serve the CRI"):
            await client.version()


async def test_nobody_and_somebody_else_at_the_socket(folder: Path) -> None:
    path = str(folder / "s")
    async with CriClient(path, seconds=2) as client:
        with pytest.raises(RuntimeFault, match="No such file"):
            await client.sandboxes()
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(path)
        frozen.listen()
        async with CriClient(path, seconds=0.5) as client:
            with pytest.raises(RuntimeFault, match=r"no answer within 0\.5 s"):
                await client.sandboxes()


@pytest.mark.parametrize(
    ("status", "addresses"),
    [
        ({"id": "a", "network": {"ip": "10.1.1.2", "additional_ips": [{"ip": "fd00::2"}]}}, ["10.1.1.2", "fd00::2"]),
        ({"id": "a", "network": {"ip": "10.1.1.2"}, "state": 1}, []),
        ({"id": "a", "network": {"ip": "192.168.1.1"}, "linux": {"namespaces": {"options": {"network": 2}}}}, []),
        ({"id": "a"}, []),
        ({"id": "other", "network": {"ip": "10.1.1.2"}}, []),
    ],
)
async def test_addresses_of_a_sandbox(folder: Path, status: dict[str, Any], addresses: list[str]) -> None:
    answer = message("PodSandboxStatusResponse")(status=status).SerializeToString()
    async with served(folder, PodSandboxStatus=answer) as client:
        assert await client.addresses("a") == addresses


async def test_a_sandbox_that_went_meanwhile_has_no_addresses(folder: Path) -> None:
    async with served(folder, PodSandboxStatus=grpc.StatusCode.NOT_FOUND, ListPodSandbox=b"") as client:
        assert await client.addresses("a") == []
        assert await client.sandboxes() == []
    assert issubclass(NoSandbox, RuntimeFault)


def test_the_socket_is_found_and_of_several_none_is_taken(folder: Path) -> None:
    one, two, file = (str(folder / name) for name in ("one", "two", "file"))
    assert find_socket("auto", (one, two)) == ("", f"not offered: no socket among {one}, {two}")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(one)
        Path(file).touch()
        assert find_socket("auto", (file, one, two)) == (one, "")
        assert find_socket(one, ()) == (one, "")
        second.bind(two)
        assert find_socket("auto", (one, two))[0] == ""
        assert "there are several" in find_socket("auto", (one, two))[1]
        assert find_socket("none", (one,))[0] == ""
        assert find_socket(file, (one,)) == ("", f"{file} is not there, or no socket")


def test_grpc_is_imported_only_when_there_is_a_runtime() -> None:
    program = (
        "import sys, contivpp_contiv.plugin\n"
        "sys.exit(any(name.partition('.')[0] in ('grpc', 'google') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
