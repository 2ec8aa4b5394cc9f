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
import resource
import sys
from pathlib import Path
from typing import Literal

from contivpp_sandbox.sandbox.directory import NodeFolder
from contivpp_sandbox.sandbox.errors import MachineLacks, SandboxError
from contivpp_vpp.testing import VARIABLE, executable, plugin_folder

__all__ = ["Dataplane", "check_limits", "cli", "command", "default_dataplane", "publish"]

Dataplane = Literal["embedded", "vpp"]

_CONFIGURATION = """\
unix {{ nodaemon nosyslog nobanner poll-sleep-usec 100 runtime-dir {folder}/vpp cli-listen {cli}
  log {folder}/vpp/own.log startup-config {folder}/vpp/startup }}
api-segment {{ prefix {prefix} }}
socksvr {{ socket-name {api} }}
statseg {{ socket-name {stats} page-size 4k size 16m }}
memory {{ main-heap-size 256m main-heap-page-size 4k }}
buffers {{ page-size 4k buffers-per-numa 4096 }}
plugins {{ {plugins} plugin dpdk_plugin.so {{ disable }} }}
"""

# With its default, VPP 26.06 tells the kernel that packets have a virtio header; but where the link's offloads are off,
# it leaves the header out, and the kernel drops what it cannot read, without a word.
_STARTUP = "create host-interface name {link} cksum-gso-disable\n"

_LOCKED_BYTES = 256 << 20
_POLL_SECONDS = 0.02

# As vppctl does it: a terminal of this name (telnet, RFC 1091) gets no prompt, no banner, no paging.
_TERMINAL = b"\xff\xfa\x18\0vppctl\xff\xf0"
_TELNET = re.compile(rb"\xff\xfa.*?\xff\xf0|\xff[\xfb-\xfe].|\xff.", re.DOTALL)
_PROMPT = b"vpp# "


def default_dataplane() -> Dataplane:
    """Return which VPP is meant when nothing is said: a real one where there is one."""
    return "vpp" if os.environ.get(VARIABLE) else "embedded"


def check_limits(dataplane: Dataplane) -> None:
    """Raise the limit of locked memory as far as allowed; raise an error where it stops VPP's AF_PACKET interfaces.

    VPP locks their rings in memory, 20 MB or so for each; only real root may do so without limit. TAPs do not need it.
    """
    devices = all(os.access(device, os.R_OK | os.W_OK) for device in ("/dev/vhost-net", "/dev/net/tun"))
    if dataplane == "embedded" or devices or _is_real_root():
        return
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < _LOCKED_BYTES:
        raise MachineLacks(
            f"a real VPP cannot connect pods for an ordinary user here: it locks packet rings in memory, and the limit "
            f"is {hard >> 10} kB (ulimit -l): raise it (memlock in /etc/security/limits.conf), run this as root, or "
            "use --dataplane embedded"
        )


def _is_real_root() -> bool:
    """Tell whether this is root, and not only in a user namespace, where root's limits are those of its maker."""
    try:
        mapping = Path("/proc/self/uid_map").read_text("ascii").split()
    except OSError:  # a kernel without user namespaces
        mapping = []
    return os.geteuid() == 0 and mapping in ([], ["0", "0", "4294967295"])


def command(dataplane: Dataplane, folder: NodeFolder, *, link: str) -> list[str]:
    """Return the command that starts VPP on a node's sockets, with an AF_PACKET interface over a link as its NIC.

    A real VPP serves its API before it has carried out its start-up configuration; so its socket gets the name that is
    known by `publish`. Sockets that a dead one left are removed.
    """
    for path in (folder.api_socket, folder.early_api_socket, folder.cli_socket, folder.stats_socket):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if dataplane == "embedded":
        sockets = ("--api-socket", folder.api_socket, "--cli-socket", folder.cli_socket)
        options = (*sockets, "--stats-socket", folder.stats_socket, "--host-interface", link)
        return [sys.executable, "-m", "embeddedvpp", *options]
    vpp = executable()
    if vpp is None:
        raise SandboxError(f"there is no real VPP: name its executable by {VARIABLE}, or use --dataplane embedded")
    if not os.access(vpp, os.X_OK):
        raise SandboxError(f"{VARIABLE}={vpp}: there is no executable that you may run")
    plugins = plugin_folder(vpp)
    (folder.path / "vpp" / "startup").write_text(_STARTUP.format(link=link), "ascii")
    configuration = folder.path / "vpp.conf"
    text = _CONFIGURATION.format(
        folder=folder.path,
        prefix=f"sandbox-{os.getpid()}-{folder.path.name}",
        api=folder.early_api_socket,
        cli=folder.cli_socket,
        stats=folder.stats_socket,
        plugins=f"path {plugins}" if plugins else "",
    )
    configuration.write_text(text, "utf-8")
    return [str(vpp), "-c", str(configuration)]


async def publish(folder: NodeFolder, interface: str, *, seconds: float = 20.0) -> None:
    """Wait until VPP has its NIC, and give its API's socket the name that is known."""
    end = asyncio.get_running_loop().time() + seconds
    while interface not in await cli(folder.cli_socket, "show interface"):
        if asyncio.get_running_loop().time() > end:
            raise SandboxError(f"VPP has no interface {interface} after {seconds:g} s: see {folder.path}/vpp/own.log")
        await asyncio.sleep(_POLL_SECONDS)
    os.rename(folder.early_api_socket, folder.api_socket)


async def cli(path: str, line: str, *, seconds: float = 10.0) -> str:
    """Run a command of VPP's debug CLI, and return what it prints."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(_TERMINAL + line.encode() + b"\n")
                text = await _answer(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SandboxError(f"VPP's CLI at {path} does not answer: {reason}") from error
    return text.decode("utf-8", "replace").replace("\r", "").strip("\n")


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Read to the end of an answer: a NUL from real VPP; from the embedded a prompt, after the one that begins."""
    data = b""
    while more := await reader.read(65536):
        data += more
        text = _TELNET.sub(b"", data)
        if text.endswith(b"\0"):
            break
        if text.startswith(_PROMPT) and text.endswith(_PROMPT) and len(text) > len(_PROMPT):
            break
    return _TELNET.sub(b"", data).removeprefix(_PROMPT).removesuffix(_PROMPT).replace(b"\0", b"")
