# SPDX-License-Identifier: Apache-2.0
"""The embedded VPP and a real one as processes, with the same face."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.testing import RealVpp
from contivpp_vpp.transports import unix_socket

from .processes import accepts, end, until


class EmbeddedVpp:
    """The embedded VPP as a process; it notes every request that it gets."""

    real = False

    def __init__(self, folder: Path, enter: Sequence[str]) -> None:
        self._folder, self._enter = folder, enter
        self.api_socket = str(folder / "api.sock")
        self._trace = folder / "requests"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "vpp.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._enter, sys.executable, "-m", "embeddedvpp", "--api-socket", self.api_socket, "--api-trace",
                str(self._trace), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        await until(lambda: accepts(self.api_socket), 20, "the embedded VPP accepts connections", every=0.005)

    async def kill(self) -> None:
        await end(self.process)

    async def trace_on(self) -> None:
        self._trace.write_text("")

    async def trace(self) -> list[str]:
        """The names of the requests since `trace_on`."""
        return [line.split()[-1] for line in self._trace.read_text().splitlines()]

    def output(self) -> str:
        return (self._folder / "vpp.log").read_text(errors="replace")[-3000:]


class RealVppProcess:
    """A real VPP with the same face."""

    real = True

    def __init__(self, vpp: RealVpp) -> None:
        self._vpp = vpp
        self.api_socket = vpp.api_socket

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        return self._vpp.process

    async def start(self) -> None:
        await self._vpp.start()

    async def kill(self) -> None:
        await self._vpp.kill()

    async def trace_on(self) -> None:
        await self._cli("api trace free")
        await self._cli("api trace on")

    async def trace(self) -> list[str]:
        """The names of the requests since `trace_on`, without those of the test itself (CLI)."""
        text = await self._cli("api trace dump")
        names = re.findall(r"^vl_api_(\w+)_t:", text, re.MULTILINE)
        return [name for name in names if name != "cli_inband"]

    async def _cli(self, command: str) -> str:
        connection = await Connection.open(unix_socket(self.api_socket), name="test")
        try:
            return str((await connection.request(m.CliInband(cmd=command))).reply)
        finally:
            connection.close()

    def output(self) -> str:
        return self._vpp.output()


Vpp = EmbeddedVpp | RealVppProcess
