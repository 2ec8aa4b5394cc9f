# SPDX-License-Identifier: Apache-2.0
"""A real VPP of a test's own: started from the executable that CONTIVPP_VPP names, in a folder of its own, and ended.

With ``veths`` it runs in a new network namespace where these interfaces exist, each the end of a veth pair.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """\
unix {{ nodaemon nosyslog nobanner poll-sleep-usec 100 runtime-dir {folder} cli-listen {folder}/cli.sock
  log {folder}/vpp.log }}
api-segment {{ prefix {prefix} }}
socksvr {{ socket-name {folder}/api.sock }}
statseg {{ socket-name {folder}/stats.sock page-size 4k size 16m }}
memory {{ main-heap-size 256m main-heap-page-size 4k }}
buffers {{ page-size 4k buffers-per-numa 4096 }}
plugins {{ {plugins} }}
"""


def executable() -> Path | None:
    """What CONTIVPP_VPP names."""
    named = os.environ.get("CONTIVPP_VPP")
    return Path(named).resolve() if named else None


def plugins(vpp: Path) -> str:
    """The option that names the folder of plugins, which is found relative to the executable."""
    found = [*vpp.parent.parent.glob("lib*/vpp_plugins"), *vpp.parent.parent.glob("lib*/*/vpp_plugins")]
    return f"path {sorted(found)[0]}" if found else ""


def in_namespace(veths: Sequence[str], command: Sequence[str]) -> list[str]:
    """A command that runs another one in a new network namespace with veths."""
    if not veths:
        return list(command)
    add = "".join(f"ip link add {name} type veth peer name {name}-peer && " for name in veths)
    return ["unshare", "--net", "sh", "-c", add + 'exec "$0" "$@"', *command]


@contextmanager
def real_vpp(veths: Sequence[str] = ()) -> Iterator[str]:
    """A VPP that answers; gives the path of its API socket."""
    vpp = executable()
    assert vpp is not None, "CONTIVPP_VPP does not name a VPP"
    folder = Path(tempfile.mkdtemp(prefix="embeddedvpp-"))
    configuration = folder / "startup.conf"
    configuration.write_text(
        CONFIGURATION.format(folder=folder, prefix=folder.name, plugins=plugins(vpp)), encoding="utf-8"
    )
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            in_namespace(veths, [str(vpp), "-c", str(configuration)]),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait(process, folder)
        yield str(folder / "api.sock")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(folder / "api.sock"))
                return
            except OSError:
                time.sleep(0.05)
        output = (folder / "output").read_text(errors="replace")[-2000:]
        assert process.poll() is None, f"VPP ended with {process.returncode}\n{output}"
        assert time.monotonic() < end, f"VPP does not answer\n{output}"
