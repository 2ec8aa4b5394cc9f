# SPDX-License-Identifier: Apache-2.0
"""For tests that want a real VPP of their own.

    async with real_vpp() as vpp:
        connection = await Connection.open(unix_socket(vpp.api_socket))

The executable is named by CONTIVPP_VPP; its plugins are found relative to it. Each VPP has a folder of its own
for all its sockets and shared memory, needs no hugepages, takes no packets from the machine, and is ended with
the block.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contivpp_vpp.connection import Connection
from contivpp_vpp.errors import VppConnectionError
from contivpp_vpp.transports import unix_socket

VARIABLE = "CONTIVPP_VPP"

_CONFIGURATION = """\
unix {{ nodaemon nosyslog nobanner poll-sleep-usec 100 runtime-dir {folder} cli-listen {folder}/cli.sock
  log {folder}/vpp.log }}
api-segment {{ prefix {prefix} }}
socksvr {{ socket-name {folder}/api.sock }}
statseg {{ socket-name {folder}/stats.sock page-size 4k size 16m }}
memory {{ main-heap-size {heap} main-heap-page-size 4k }}
buffers {{ page-size 4k buffers-per-numa 4096 }}
plugins {{ {plugins} }}
{extra}
"""


class VppDidNotStart(RuntimeError):
    """VPP ended, or did not answer in time; carries the end of its output."""


def executable() -> Path | None:
    """The VPP that the environment names."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def plugin_folder(vpp: Path) -> Path | None:
    """Where the plugins of an executable are: in the library folder of its installation or build tree."""
    for library in sorted((vpp.resolve().parent.parent).glob("lib*")):
        for folder in (library / "vpp_plugins", *sorted(library.glob("*/vpp_plugins"))):
            if folder.is_dir():
                return folder
    return None


class RealVpp:
    """A VPP process on sockets in its own folder."""

    def __init__(self, vpp: Path, folder: Path, *, netns: str, configuration: str) -> None:
        self._vpp = vpp
        self._netns = netns
        self.folder = folder
        self.api_socket = str(folder / "api.sock")
        self.cli_socket = str(folder / "cli.sock")
        self.stats_socket = str(folder / "stats.sock")
        self.process: asyncio.subprocess.Process | None = None
        (folder / "startup.conf").write_text(configuration, encoding="utf-8")

    async def start(self, *, timeout: float = 60.0) -> None:
        """Start, and wait until the API answers."""
        self._remove_sockets()
        inside = ["nsenter", f"--net={self._netns}"] if self._netns else []
        with (self.folder / "output").open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *inside,
                str(self._vpp),
                "-c",
                str(self.folder / "startup.conf"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            async with asyncio.timeout(timeout):
                await self._answers()
        except TimeoutError:
            raise VppDidNotStart(f"no answer in {timeout:g} s\n{self.output()}") from None

    def _remove_sockets(self) -> None:
        """A VPP that was killed leaves them, and they look as if one were there."""
        for path in (self.api_socket, self.cli_socket, self.stats_socket):
            Path(path).unlink(missing_ok=True)

    async def _answers(self) -> None:
        assert self.process is not None
        while True:
            if self.process.returncode is not None:
                raise VppDidNotStart(f"VPP ended with {self.process.returncode}\n{self.output()}")
            try:
                connection = await Connection.open(unix_socket(self.api_socket), name="start")
            except (OSError, VppConnectionError):
                await asyncio.sleep(0.05)
                continue
            connection.close()
            return

    def output(self) -> str:
        """The end of what VPP printed."""
        output = self.folder / "output"
        return output.read_text(encoding="utf-8", errors="replace")[-2000:] if output.exists() else ""

    async def kill(self) -> None:
        """kill -9, as a crash would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End VPP, gently first."""
        await self._end(signal.SIGTERM)

    async def restart(self) -> None:
        """Kill, and start on the same sockets."""
        await self.kill()
        await self.start()

    async def _end(self, number: signal.Signals) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def real_vpp(
    *, netns: str = "", heap: str = "256m", extra: str = "", vpp: Path | None = None
) -> AsyncIterator[RealVpp]:
    """A VPP that answers; `netns` is the path of a network namespace, `extra` more of its start-up configuration."""
    vpp = vpp or executable()
    if vpp is None:
        raise VppDidNotStart(f"{VARIABLE} does not name a VPP executable")
    folder = Path(tempfile.mkdtemp(prefix="vpp-"))
    plugins = plugin_folder(vpp)
    configuration = _CONFIGURATION.format(
        folder=folder, prefix=folder.name, heap=heap, plugins=f"path {plugins}" if plugins else "", extra=extra
    )
    running = RealVpp(vpp, folder, netns=netns, configuration=configuration)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()
        shutil.rmtree(folder, ignore_errors=True)
