# SPDX-License-Identifier: Apache-2.0
"""Every kind of the installed executable, run as a runtime runs it, against a small server."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
# Replaces itself by the executable, with an environment as no dictionary can hold it.
EXECVE = """
import ctypes, sys
strings = lambda values: (ctypes.c_char_p * (len(values) + 1))(*[value.encode() for value in values])
ctypes.CDLL(None).execve(sys.argv[1].encode(), strings(sys.argv[1:2]), strings(sys.argv[2:]))
"""


async def raw(
    command: Sequence[str | Path], stdin: bytes | int, *, stdout: int = -1, **env: str | bytes
) -> tuple[int, bytes]:
    """Exit status and output; nothing may be on stderr."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin if isinstance(stdin, int) else -1,
        stdout=stdout,
        stderr=-1,
        env={"CNI_COMMAND": "ADD", **env},
    )
    output, errors = await process.communicate(None if isinstance(stdin, int) else stdin)
    assert errors == b""
    assert process.returncode is not None
    return process.returncode, output


async def run(shim: Path, stdin: bytes | int = b'{"cniVersion":"0.4.0"}', **env: str | bytes) -> tuple[int, Any]:
    status, output = await raw([shim], stdin, **env)
    assert output.isascii()
    return status, json.loads(output)


async def serve(shim: Path, handler: Handler) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    return await asyncio.start_unix_server(handle, shim.parent.parent / "s")


async def receive(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    version, env, stdin = (await reader.readline()).split()
    assert version == b"contivpp-cni/1"
    return await reader.readexactly(int(env)), await reader.readexactly(int(stdin))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    block, text = await receive(reader)
    body = json.dumps([block.decode("latin-1"), len(text), text[:40].decode("latin-1")]).encode()
    for byte in b"7 %d\n" % len(body) + body[:3]:
        writer.write(bytes([byte]))
        await writer.drain()
    writer.write(body[3:])


def answering(answer: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receive(reader)
        writer.write(answer)

    return handler


async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


# --- what passes


async def test_everything_passes_unchanged_in_parallel(shim: Path) -> None:
    async with await serve(shim, echo):
        odd = b"a=b\nc\xff"
        calls = [run(shim, b"\0\xff{" + b"x" * number, CNI_ARGS=odd, OTHER="no") for number in range(8)]
        for number, (status, (block, size, text)) in enumerate(await asyncio.gather(*calls)):
            assert (status, size, text[:3]) == (7, number + 3, "\0\xff{")
            assert set(block.split("\0")) == {"CNI_COMMAND=ADD", "CNI_ARGS=a=b\nc\xff", ""}
        assert (await run(shim, b"y" * (1 << 20)))[1][1] == 1 << 20
        assert (await run(shim, b"y" * ((1 << 20) + 1)))[1]["code"] == 7


async def test_a_large_environment_and_a_command_that_only_the_agent_knows(shim: Path) -> None:
    async with await serve(shim, echo):
        block = (await run(shim, CNI_COMMAND="NEW", CNI_ARGS="z" * 120_000, CNI_X="z" * 120_000))[1][0]
    assert set(block.split("\0")) == {"CNI_COMMAND=NEW", "CNI_ARGS=" + "z" * 120_000, "CNI_X=" + "z" * 120_000, ""}


async def test_of_a_variable_that_is_there_twice_the_first_counts(shim: Path) -> None:
    command = [sys.executable, "-c", EXECVE, shim, "CNI_COMMAND=DEL", "CNI_A=1", "CNI_COMMAND=ADD", "CNI_A=2", "CNI_B"]
    async with await serve(shim, echo):
        _, output = await raw(command, b"")
    assert json.loads(output)[0] == "CNI_COMMAND=DEL\0CNI_A=1\0"


async def test_the_largest_answer_passes_through_a_descriptor_that_does_not_block(shim: Path) -> None:
    body = b"0123456789abcdef" * (1 << 20)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    async with await serve(shim, answering(b"200 %d\n" % len(body) + body + b"more")):
        call = asyncio.create_task(raw([shim], b"{}", stdout=writing))
        with open(reading, "rb") as stream:
            received = asyncio.create_task(asyncio.to_thread(stream.read))
            status, _ = await call
            os.close(writing)
            assert (status, await received == body) == (200, True)


# --- what is answered without the agent


async def test_version_and_missing_command_need_no_agent(shim: Path) -> None:
    assert await run(shim, CNI_COMMAND="VERSION") == (0, {"cniVersion": "0.4.0", "supportedVersions": VERSIONS})
    answer = (await run(shim, CNI_COMMAND=""))[1]
    assert (answer["code"], answer["cniVersion"]) == (4, "0.4.0")
    status, output = await raw(["env", "-i", shim], b"")
    assert (status, json.loads(output)["code"]) == (1, 4)


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        pytest.param(b"", "1.1.0", id="nothing"),
        pytest.param(b'\n{ "name":"a" , "cniVersion"\t:\r"1.0.0"}', "1.0.0", id="spaces"),
        pytest.param(b'{"prevResult":{"cniVersion":"0.3.1"},"cniVersion":"0.4.0"}', "0.4.0", id="prevResult first"),
        pytest.param(b'{"a":"\\"cniVersion\\":\\"0.3.1","cniVersion":"0.4.0"}', "0.4.0", id="in a string"),
        pytest.param(b'{"a":"cniVersion","cniVersion":"0.4.0"}', "0.4.0", id="as a value"),
        pytest.param(b'{"cniVersion":"9.9.9-rc1"}', "9.9.9-rc1", id="unknown"),
        pytest.param(b'{"cniVersion":"12345678901234567"}', "1.1.0", id="long"),
        pytest.param(b'{"cniVersion":"..."}', "1.1.0", id="no version"),
        pytest.param(b'{"cniVersion":"1.\xc3\xa9"}', "1.1.0", id="not ASCII"),
        pytest.param(b'{"cniVersion":1}', "1.1.0", id="no string"),
        pytest.param(b'{"cniVersion":"1.0', "1.1.0", id="cut off"),
        pytest.param(b'{"cniVersion":' + b" " * 56 + b'"1.0.0"}', "1.0.0", id="at the end of what is looked at"),
        pytest.param(b'{"cniVersion":' + b" " * 57 + b'"1.0.0"}', "1.1.0", id="too far away"),
        pytest.param(b'{"\\', "1.1.0", id="backslash at the end"),
        pytest.param(b"[" * 100_000, "1.1.0", id="deep"),
    ],
)
async def test_the_version_of_the_configuration(shim: Path, stdin: bytes, version: str) -> None:
    assert (await run(shim, stdin, CNI_COMMAND="VERSION"))[1]["cniVersion"] == version


@pytest.mark.parametrize(
    ("command", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50), ("FROB", 4)]
)
async def test_agent_down(shim: Path, command: str, code: int) -> None:
    path = '/nowhere/"\\\n\U0001f600'
    status, answer = await run(shim, CNI_COMMAND=command, CONTIVPP_CNI_SOCKET=path)
    assert (status, answer["code"], answer["cniVersion"]) == (1, code, "0.4.0")
    assert command in answer["msg"]
    assert (path in answer["msg"]) == (code != 4)


async def test_bytes_that_are_no_text(shim: Path) -> None:
    path = b"/\xff\xe0\x80\xed\xa0\x80\xf0\x90\x80\xc3\xa9\xf4\x90\x7f\x01\xe2\x82"
    message = (await run(shim, CONTIVPP_CNI_SOCKET=path))[1]["msg"]
    assert path.decode("utf-8", "replace") in message


async def test_a_path_that_no_socket_can_have(shim: Path) -> None:
    assert "path too long" in (await run(shim, CONTIVPP_CNI_SOCKET="/" + "x" * 107))[1]["msg"]
    assert "path too long" not in (await run(shim, CONTIVPP_CNI_SOCKET="/" + "x" * 106))[1]["msg"]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"0 ", b"0 9\n{}", b"x 2\n{}", b"256 2\n{}", b"0 -2\n{}", b"1 0\n", b"z" * 99, b" 2\n{}", b"0  2\n{}",
        b"0\n{}", b"\n", b"0 16777217\n{}", b"0 99999999999999999999999999999\n", b"0 2 \n{}", b"\0 2\n{}",
        b"0 2\r\n{}", b"+0 2\n{}", b"0 0000000000000000000000000000002\n{}",
    ],
)  # fmt: skip
async def test_broken_answers(shim: Path, answer: bytes) -> None:
    async with await serve(shim, answering(answer)):
        status, error = await run(shim)
    assert (status, error["code"]) == (1, 11)


async def test_a_refusal_before_everything_is_read(shim: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"3 2\n{}")
        await writer.drain()

    async with await serve(shim, handler):
        for _ in range(5):
            assert await run(shim, b"x" * (1 << 20)) == (3, {})


# --- descriptors


async def test_stdin_that_is_closed_counts_as_empty(shim: Path) -> None:
    async with await serve(shim, echo):
        status, output = await raw(["sh", "-c", 'exec "$0" <&-', shim], -3)
    assert (status, json.loads(output)[1]) == (7, 0)


async def test_stdin_that_cannot_be_read(shim: Path) -> None:
    unreadable = os.open("/proc/self/mem", os.O_RDONLY)  # nothing is at address 0
    try:
        status, answer = await run(shim, unreadable)
    finally:
        os.close(unreadable)
    assert (status, answer["code"]) == (1, 5)
    assert "I/O error" in answer["msg"] or "Input/output error" in answer["msg"]  # as the libc has it


async def test_stdin_that_does_not_block_and_comes_late(shim: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    async with await serve(shim, echo):
        call = asyncio.create_task(run(shim, reading))
        await asyncio.sleep(0.2)
        os.write(writing, b"late")
        os.close(writing)
        assert (await call)[1][2] == "late"
    os.close(reading)


async def test_a_terminal_is_not_waited_for(shim: Path) -> None:
    master, terminal = pty.openpty()
    async with await serve(shim, echo):
        assert (await run(shim, terminal))[1][1] == 0
    os.close(terminal)
    os.close(master)


async def test_closed_stdout_is_a_failure_and_not_the_agents_connection(shim: Path) -> None:
    rest: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receive(reader)
        writer.write(b"0 2\n{}")
        rest.append(await reader.read())

    for closed in (">&-", "<&- >&-"):
        async with await serve(shim, handler):
            assert await raw(["sh", "-c", f'exec "$0" {closed}', shim], b"{}") == (1, b"")
    assert rest == [b"", b""]


async def test_a_reader_of_stdout_that_is_gone(shim: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    async with await serve(shim, answering(b"0 200000\n" + b"x" * 200_000)):
        assert await raw([shim], b"{}", stdout=writing) == (1, None)
    assert await raw([shim], b"{}", stdout=writing, CNI_COMMAND="VERSION") == (1, None)
    os.close(writing)


# --- deadline and signals


async def test_deadline(shim: Path) -> None:
    async with await serve(shim, hanging):
        for ready in (b"{}", b"x" * (1 << 20)):
            answer = (await run(shim, ready, CONTIVPP_CNI_DEADLINE="0.3"))[1]
            assert answer["code"] == 11
            assert "within 0.3 s" in answer["msg"]


async def test_deadline_of_a_stdin_that_never_ends(shim: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"cniVersion":"0.3.1",')
    answer = (await run(shim, reading, CONTIVPP_CNI_DEADLINE=".3", CNI_COMMAND="STATUS"))[1]
    assert (answer["code"], answer["cniVersion"]) == (50, "0.3.1")
    os.close(reading)
    os.close(writing)


async def test_deadline_of_a_server_that_never_accepts(shim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(shim.parent.parent / "s"))
        listener.listen(0)
        other.connect(listener.getsockname())
        answer = (await run(shim, CONTIVPP_CNI_DEADLINE="0.3"))[1]
    assert "within 0.3 s" in answer["msg"]


async def test_the_alarm_rings_where_the_caller_blocks_or_ignores_it(shim: Path) -> None:
    prepare = (
        "import os,signal,sys; signal.pthread_sigmask(0,[signal.SIGALRM]); signal.signal(signal.SIGALRM,signal.SIG_IGN)"
    )
    command = [sys.executable, "-c", f"{prepare}; os.execv(sys.argv[1], sys.argv[1:])", shim]
    async with await serve(shim, hanging):
        _, output = await raw(command, b"{}", CONTIVPP_CNI_DEADLINE="0.3")
    assert "within 0.3 s" in json.loads(output)["msg"]


@pytest.mark.parametrize(
    "text",
    ["0", "0.0", "-1", "111", "110.001", "inf", "nan", "1e1", "0x1", "1_0", " 1", "1 ", ".", "1.1.1", "x", "1" * 17],
)
async def test_deadlines_that_are_none(shim: Path, text: str) -> None:
    status, answer = await run(shim, CONTIVPP_CNI_DEADLINE=text, CNI_COMMAND="VERSION")
    assert (status, answer["code"]) == (1, 4)
    assert text in answer["msg"]


@pytest.mark.parametrize("text", ["", "110", "110.0", "00000000000000.5", "1.", ".9"])
async def test_deadlines_that_are_fine(shim: Path, text: str) -> None:
    assert (await run(shim, CONTIVPP_CNI_DEADLINE=text, CNI_COMMAND="VERSION"))[0] == 0


async def test_the_shortest_deadline_is_not_none_at_all(shim: Path) -> None:
    async with await serve(shim, hanging):
        assert (await run(shim, CONTIVPP_CNI_DEADLINE="0.00000000000001"))[1]["code"] == 11


async def test_being_stopped_and_continued_changes_nothing(shim: Path) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receive(reader)
        arrived.set()
        await go_on.wait()
        writer.write(b"0 2\n{}")

    async with await serve(shim, handler):
        process = await asyncio.create_subprocess_exec(shim, stdin=-3, stdout=-1, env={"CNI_COMMAND": "ADD"})
        await arrived.wait()
        for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGWINCH, signal.SIGSTOP, signal.SIGCONT):
            process.send_signal(number)
            await asyncio.sleep(0.02)
        go_on.set()
        assert (await process.communicate(), process.returncode) == ((b"{}", None), 0)
