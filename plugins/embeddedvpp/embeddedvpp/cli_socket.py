# SPDX-License-Identifier: Apache-2.0
"""One connection to the CLI socket, which speaks a little telnet.

VPP asks for the terminal's type at once. ``vppctl`` with a command, or without a terminal, says "vppctl": then there
is no prompt and no echo, and a zero byte ends each answer; ``vppctl`` waits for both. With another type the client
sends single keys and expects them back. Who does not negotiate gets a prompt and is read by lines.
"""

from __future__ import annotations

import asyncio
import inspect
from enum import Enum
from typing import TYPE_CHECKING

from .cli import execute

if TYPE_CHECKING:
    from .api.vpp import Vpp

PROMPT = b"vpp# "
PATIENCE = 1.0  # seconds for the terminal's type, as in VPP
LONGEST = 64 * 1024  # of a line
IAC, DONT, DO, WILL, SB, SE = 255, 254, 253, 251, 250, 240
ECHO, SUPPRESS_GO_AHEAD, TERMINAL_TYPE = 1, 3, 24
GREETING = bytes(
    (IAC, WILL, SUPPRESS_GO_AHEAD, IAC, DO, SUPPRESS_GO_AHEAD, IAC, WILL, ECHO, IAC, DONT, ECHO,
     IAC, DO, TERMINAL_TYPE, IAC, SB, TERMINAL_TYPE, 1, IAC, SE)
)  # fmt: skip


class Mode(Enum):
    """What the client turned out to be."""

    PLAIN = "plain"
    SCRIPT = "script"
    TERMINAL = "terminal"


class Telnet:
    """Takes telnet's options out of a stream."""

    def __init__(self) -> None:
        self.terminal: str | None = None
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What is left; an option that is not complete waits."""
        data, self._rest = self._rest + data, b""
        text, at = bytearray(), 0
        while at < len(data):
            if data[at] != IAC:
                text.append(data[at])
                at += 1
                continue
            end = self._end(data, at)
            if end is None:
                self._rest = data[at : at + LONGEST]
                break
            if data[at + 1] == SB and data[at + 2] == TERMINAL_TYPE:
                self.terminal = data[at + 4 : end - 2].decode("ascii", "replace").lower()
            at = end
        return bytes(text)

    @staticmethod
    def _end(data: bytes, at: int) -> int | None:
        command = data[at + 1] if at + 1 < len(data) else None
        if command == SB:
            found = data.find(bytes((IAC, SE)), at)
            return None if found < 0 else found + 2
        if command is not None and command < SB:
            return at + 2
        return at + 3 if at + 3 <= len(data) else None


class Client:
    """One connection."""

    def __init__(self, vpp: Vpp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.vpp = vpp
        self.reader = reader
        self.writer = writer
        self._telnet = Telnet()
        self._line = bytearray()
        self._mode: Mode | None = None

    async def serve(self) -> None:
        """Until the client goes or says quit."""
        self.writer.write(GREETING)
        try:
            async with asyncio.timeout(PATIENCE):
                data = await self.reader.read(4096)
        except TimeoutError:
            self._start(Mode.PLAIN)
            data = await self.reader.read(4096)
        while data and await self._received(self._telnet.feed(data)):
            await self.writer.drain()
            data = await self.reader.read(4096)

    def _start(self, mode: Mode) -> None:
        self._mode = mode
        if mode is not Mode.SCRIPT:
            self.writer.write(PROMPT)

    async def _received(self, text: bytes) -> bool:
        if self._mode is None:
            if self._telnet.terminal is not None:
                self._start(Mode.SCRIPT if self._telnet.terminal.startswith("vppctl") else Mode.TERMINAL)
            elif text:
                self._start(Mode.PLAIN)
        for byte in text:
            if byte == 0x0A or (byte == 0x0D and self._mode is Mode.TERMINAL):
                if not await self._enter():
                    return False
            elif byte in b"\x7f\b":
                self._erase()
            elif byte == 0x04 and self._mode is Mode.TERMINAL and not self._line:  # Ctrl-D
                return False
            elif byte not in b"\0\r" and len(self._line) < LONGEST:
                self._line.append(byte)
                self._echo(bytes((byte,)))
        return True

    def _echo(self, data: bytes) -> None:
        if self._mode is Mode.TERMINAL:
            self.writer.write(data)

    def _erase(self) -> None:
        if self._line:
            self._line.pop()
            self._echo(b"\b \b")

    async def _enter(self) -> bool:
        line = self._line.decode("utf-8", "replace").strip()
        self._line.clear()
        self._echo(b"\r\n")
        if line in ("quit", "exit", "q"):
            return False
        answer = execute(self.vpp, line)
        text = await answer if inspect.isawaitable(answer) else answer
        self.writer.write(str(text).replace("\n", "\r\n").encode())
        self.writer.write(b"\0" if self._mode is Mode.SCRIPT else PROMPT)
        return True


async def serve_client(vpp: Vpp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection, and close it."""
    try:
        await Client(vpp, reader, writer).serve()
    except ConnectionError:
        pass  # the client went
    finally:
        writer.close()
