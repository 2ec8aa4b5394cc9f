# SPDX-License-Identifier: Apache-2.0
"""VPP in a sandbox: the embedded one, or a real one named by CONTIVPP_VPP; how it is started, and its CLI.

Real VPP needs neither hugepages nor NICs here, sleeps between polls (several share a small machine), and has its
shared memory in the node's own /dev/shm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from typing import Literal

from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_vpp.testing import VARIABLE, executable, plugin_folder

__all__ = ["Dataplane", "cli", "command", "default_dataplane"]

Dataplane = Literal["embedded", "vpp"]

_CONFIGURATION = """\
unix {{ nodaemon nosyslog nobanner poll-sleep-usec 100 runtime-dir {folder}/vpp cli-listen {cli}
  log {folder}/log/vpp-own.log }}
api-segment {{ prefix {prefix} }}
socksvr {{ socket-name {api} }}
statseg {{ socket-name {stats} page-size 4k size 16m }}
memory {{ main-heap-size 256m main-heap-page-size 4k }}
buffers {{ page-size 4k buffers-per-numa 4096 }}
plugins {{ {plugins} plugin dpdk_plugin.so {{ disable }} }}
"""

# As vppctl does it: a terminal of this name (telnet, RFC 1091) gets no prompt, no banner, no paging.
_TERMINAL = b"\xff\xfa\x18\0vppctl\xff\xf0"
_TELNET = re.compile(rb"\xff\xfa.*?\xff\xf0|\xff[\xfb-\xfe].|\xff.", re.DOTALL)
_PROMPT = "vpp# "


def default_dataplane() -> Dataplane:
    """Return which VPP is meant when nothing is said: a real one where there is one."""
    return "vpp" if os.environ.get(VARIABLE) else "embedded"


def command(dataplane: Dataplane, directory: Directory) -> list[str]:
    """Return the command that starts VPP on the sockets of a sandbox; sockets that a dead one left are removed."""
    for path in (directory.api_socket, directory.cli_socket, directory.stats_socket):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if dataplane == "embedded":
        sockets = ("--api-socket", directory.api_socket, "--cli-socket", directory.cli_socket)
        return [sys.executable, "-m", "embeddedvpp", *sockets, "--stats-socket", directory.stats_socket]
    vpp = executable()
    if vpp is None:
        raise SandboxError(f"there is no real VPP: name its executable by {VARIABLE}, or use --dataplane embedded")
    if not os.access(vpp, os.X_OK):
        raise SandboxError(f"{VARIABLE}={vpp}: there is no executable that you may run")
    plugins = plugin_folder(vpp)
    (directory.path / "vpp").mkdir(mode=0o700, exist_ok=True)
    configuration = directory.path / "vpp.conf"
    text = _CONFIGURATION.format(
        folder=directory.path,
        prefix=f"sandbox-{os.getpid()}",
        api=directory.api_socket,
        cli=directory.cli_socket,
        stats=directory.stats_socket,
        plugins=f"path {plugins}" if plugins else "",
    )
    configuration.write_text(text, "utf-8")
    return [str(vpp), "-c", str(configuration)]


async def cli(path: str, line: str, *, seconds: float = 10.0) -> str:
    """Run a command of VPP's debug CLI, and return what it prints."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(_TERMINAL + line.encode() + b"\nquit\n")
                answer = await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SandboxError(f"VPP's CLI at {path} does not answer: {reason}") from error
    text = _TELNET.sub(b"", answer).replace(b"\0", b"").decode("utf-8", "replace").replace("\r", "")
    return text.removeprefix(_PROMPT).removesuffix(_PROMPT).rstrip("\n")
