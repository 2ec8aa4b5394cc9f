# SPDX-License-Identifier: Apache-2.0
"""The installed executable, run as a runtime runs it, against a small server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from contivpp_cni import install

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["compiled", "text"])
def shim(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    arguments = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "conf")]
    assert install.main([*arguments, "--socket", str(tmp_path / "s")]) == 0
    path = tmp_path / "bin" / "contivpp"
    if request.param == "text":
        path.write_text(path.read_text().replace("MAGIC_NUMBER == ", "b'' == "))
    return path


async def run(shim: Path, stdin: bytes = b'{"cniVersion":"0.4.0"}', **env: str | bytes) -> tuple[int, Any]:
    process = await asyncio.create_subprocess_exec(
        shim, stdin=-1, stdout=-1, stderr=-1, env={"CNI_COMMAND": "ADD", **env}
    )
    output, errors = await process.communicate(stdin)
    assert errors == b""
    assert process.returncode is not None
    return process.returncode, json.loads(output)


async def serve(shim: Path, handler: Handler) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    return await asyncio.start_unix_server(handle, shim.parent.parent / "s")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    version, env, stdin = (await reader.readline()).split()
    assert version == b"contivpp-cni/1"
    block, text = await reader.readexactly(int(env)), await reader.readexactly(int(stdin))
    body = json.dumps([block.decode("latin-1"), len(text), text[:40].decode("latin-1")]).encode()
    for byte in b"7 %d\n" % len(body) + body[:3]:
        writer.write(bytes([byte]))
        await writer.drain()
    writer.write(body[3:])


async def test_everything_passes_unchanged_in_parallel(shim: Path) -> None:
    async with await serve(shim, echo):
        odd = b"a=b\nc\xff"
        calls = [run(shim, b"\0\xff{" + b"x" * number, CNI_ARGS=odd, OTHER="no") for number in range(8)]
        for number, (status, (block, size, text)) in enumerate(await asyncio.gather(*calls)):
            assert (status, size, text[:3]) == (7, number + 3, "\0\xff{")
            assert set(block.split("\0")) == {"CNI_COMMAND=ADD", "CNI_ARGS=a=b\nc\xff", ""}
        assert (await run(shim, b"y" * (1 << 20)))[1][1] == 1 << 20
        assert (await run(shim, b"y" * ((1 << 20) + 1)))[1]["code"] == 7


async def test_version_and_missing_command_need_no_agent(shim: Path) -> None:
    status, answer = await run(shim, CNI_COMMAND="VERSION")
    assert (status, answer["cniVersion"]) == (0, "0.4.0")
    assert answer["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    assert (await run(shim, CNI_COMMAND=""))[1]["code"] == 4


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("STATUS", 50)])
async def test_agent_down(shim: Path, command: str, code: int) -> None:
    path = '/nowhere/"\\\n\U0001f600'
    status, answer = await run(shim, CNI_COMMAND=command, CONTIVPP_CNI_SOCKET=path)
    assert (status, answer["code"], answer["cniVersion"]) == (1, code, "0.4.0")
    assert path in answer["msg"]


@pytest.mark.parametrize(
    "answer", [b"", b"0 ", b"0 9\n{}", b"x 2\n{}", b"256 2\n{}", b"0 -2\n{}", b"1 0\n", b"z" * 99]
)
async def test_broken_answers(shim: Path, answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)

    async with await serve(shim, handler):
        assert (await run(shim))[1]["code"] == 11


async def test_deadline(shim: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with await serve(shim, handler):
        answer = (await run(shim, CONTIVPP_CNI_DEADLINE="0.3"))[1]
    assert answer["code"] == 11
    assert "within 0.3 s" in answer["msg"]
