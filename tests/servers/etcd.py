# SPDX-License-Identifier: Apache-2.0
"""Real etcd for tests: one member in a temporary folder, on loopback, plain or with mutual TLS; or several, plain.

    with Etcd(tmp_path) as etcd:
        store = EtcdStore(etcd.options())
        etcd.stop(); etcd.start(); etcd.wipe(); etcd.freeze(); etcd.thaw()

    with EtcdCluster(tmp_path) as cluster:
        store = EtcdStore(cluster.options())
        cluster.leader().stop()

Users are made by `contivpp_datastore.etcd.access`. The executable is `etcd` on the PATH, or what CONTIVPP_ETCD names.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from contivpp_datastore.etcd.options import EtcdOptions
from contivpp_sandbox.servers.certificates import Authority
from contivpp_sandbox.servers.programs import NO_ETCD as MISSING
from contivpp_sandbox.servers.programs import etcd_command
from contivpp_sandbox.servers.programs import etcd_executable as executable

__all__ = ["MISSING", "NEEDS_ETCD", "Etcd", "EtcdCluster", "executable"]

DEADLINE = 30.0


NEEDS_ETCD = pytest.mark.skipif(not executable(), reason=MISSING)


class Etcd:
    """One etcd. `arguments` are further ones of its command line; it starts with `with`, or by `start`."""

    def __init__(self, folder: Path, *, tls: bool = False, arguments: tuple[str, ...] = ()) -> None:
        if not executable():
            pytest.skip(MISSING)
        self.folder = folder
        self.tls = tls
        self.port = _free_port()
        self.name = "m0"
        self.peer = f"http://127.0.0.1:{_free_port()}"
        self.others: Mapping[str, str] = {}
        """The URLs of its peers by name, if it is not the only member."""
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
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it, and wait for nothing: a member alone does not serve."""
        assert self._process is None
        ca, pair = (self.ca, self.server) if self.tls else (None, None)
        command = etcd_command(
            self.folder / "data", client=self.endpoint, peer=self.peer, others=self.others, name=self.name, ca=ca,
            pair=pair,
        )  # fmt: skip
        command += self._arguments
        with self.log.open("ab") as log:
            self._before = log.tell()
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

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

    def wait(self) -> None:
        """Wait until it serves."""
        assert self._process is not None
        before = self._before
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if b"published local member to cluster" in self.log.read_bytes()[before:] and _answers(self.port):
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"etcd does not start: {self.log.read_text(errors='replace')[-2000:]}")


class EtcdCluster:
    """Members of one etcd. `arguments` are further ones of each command line; it starts with `with`."""

    def __init__(self, folder: Path, *, size: int = 3, arguments: tuple[str, ...] = ()) -> None:
        self.members = [Etcd(folder / f"m{number}", arguments=arguments) for number in range(size)]
        peers = {}
        for number, member in enumerate(self.members):
            member.name = f"m{number}"
            peers[member.name] = member.peer
        for member in self.members:
            member.others = {name: url for name, url in peers.items() if name != member.name}

    def __enter__(self) -> EtcdCluster:
        self.start(*self.members)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            member.stop()

    def start(self, *members: Etcd) -> None:
        """Start members at once, and wait until each serves."""
        for member in members:
            member.launch()
        for member in members:
            member.wait()

    def options(self, **others: Any) -> EtcdOptions:
        """Return how it is reached, by every member; `others` are further options."""
        return EtcdOptions(**{"endpoints": tuple(each.endpoint for each in self.members), **others})

    def leader(self) -> Etcd:
        """Return the leader, as soon as there is one that a member knows."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            known = {ids[0]: member for member in self.members if (ids := _ids(member))}
            for leader in {ids[1] for member in self.members if (ids := _ids(member))}:
                if leader in known:
                    return known[leader]
            time.sleep(0.05)
        raise RuntimeError("no member of etcd leads")


def _ids(member: Etcd) -> tuple[str, str] | None:
    """Return the ID of a member and that of its leader, as it tells them; None if it tells nothing."""
    request = urllib.request.Request(f"{member.endpoint}/v3/maintenance/status", data=b"{}")
    try:
        with urllib.request.urlopen(request, timeout=1) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return None
    return found["header"]["member_id"], found.get("leader", "")


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
