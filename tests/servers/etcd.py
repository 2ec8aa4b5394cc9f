# SPDX-License-Identifier: Apache-2.0
"""Real etcd for tests: one member in a temporary folder, on loopback, plain or with mutual TLS.

    with Etcd(tmp_path) as etcd:
        store = EtcdStore(etcd.options())
        etcd.stop(); etcd.start(); etcd.wipe(); etcd.freeze(); etcd.thaw()

Users are made by `contivpp_datastore.etcd.access`. The executable is `etcd` on the PATH, or what CONTIVPP_ETCD names.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from contivpp_datastore.etcd.options import EtcdOptions
from contivpp_sandbox.servers.certificates import Authority
from contivpp_sandbox.servers.programs import NO_ETCD as MISSING
from contivpp_sandbox.servers.programs import etcd_command
from contivpp_sandbox.servers.programs import etcd_executable as executable

__all__ = ["MISSING", "NEEDS_ETCD", "Etcd", "executable"]

DEADLINE = 30.0


NEEDS_ETCD = pytest.mark.skipif(not executable(), reason=MISSING)


class Etcd:
    """One etcd. `arguments` are further ones of its command line; it starts with `with`, or by `start`."""

    def __init__(self, folder: Path, *, tls: bool = False, arguments: tuple[str, ...] = ()) -> None:
        if not executable():
            pytest.skip(MISSING)
        self.folder = folder
        self.tls = tls
        self.port, self._peer = _free_port(), _free_port()
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.log = folder / "etcd.log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if tls:
            authority = Authority(folder / "pki")
            self.ca = authority.ca
            self.server = authority.issue("server")
            self.client = authority.issue("client", addresses=())

    def __enter__(self) -> Etcd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def options(self, **others: Any) -> EtcdOptions:
        """Return how it is reached; `others` are further options."""
        if self.tls:
            files = {"ca": self.ca, "certificate": self.client.certificate, "key": self.client.key}
            others = {**files, **others}
        return EtcdOptions(**{"endpoints": (self.endpoint,), **others})

    # --- what a test may do to it

    def start(self) -> None:
        """Start it, and wait until it serves."""
        assert self._process is None
        peer = f"http://127.0.0.1:{self._peer}"
        ca, pair = (self.ca, self.server) if self.tls else (None, None)
        command = etcd_command(self.folder / "data", client=self.endpoint, peer=peer, ca=ca, pair=pair)
        command += self._arguments
        with self.log.open("ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait(before)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it, by default at once; its data stays."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(DEADLINE)
            self._process = None

    def wipe(self) -> None:
        """End it, remove its data, and start it empty: revisions begin again at 1."""
        self.stop()
        shutil.rmtree(self.folder / "data")
        self.start()

    def save(self) -> None:
        """Keep a copy of the data as it is now, for `restore`."""
        self.stop(signal.SIGTERM)
        shutil.copytree(self.folder / "data", self.folder / "saved", dirs_exist_ok=True)
        self.start()

    def restore(self) -> None:
        """Put the data back as `save` has found it."""
        self.stop()
        shutil.rmtree(self.folder / "data")
        shutil.copytree(self.folder / "saved", self.folder / "data")
        self.start()

    def freeze(self) -> None:
        """Stop the process where it stands, with all its threads: a signal takes its time on a busy machine."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        end = time.monotonic() + 10
        while time.monotonic() < end and not self._stopped(self._process.pid):
            time.sleep(0.01)

    @staticmethod
    def _stopped(pid: int) -> bool:
        states = [each.read_text().rpartition(")")[2].split()[0] for each in Path(f"/proc/{pid}/task").glob("*/stat")]
        return {*states} == {"T"}

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _wait(self, before: int) -> None:
        assert self._process is not None
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if b"published local member to cluster" in self.log.read_bytes()[before:] and _answers(self.port):
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"etcd does not start: {self.log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
