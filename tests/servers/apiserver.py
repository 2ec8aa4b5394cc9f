# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver for tests, over a real etcd, on loopback, with RBAC.

    with Etcd(tmp_path / "etcd") as etcd, ApiServer(tmp_path / "api", etcd.endpoint) as api:
        async with api.admin() as admin:
            await admin.create("/api/v1/namespaces", {"metadata": {"name": "x"}})
        api.kill(); api.start(); api.freeze(); api.thaw()

The executable is built from `tests/apiserver` by `python -m tests.servers.apiserver` (Go is needed; some minutes, once)
and kept in `~/.cache/contivpp-tests/apiserver`; or CONTIVPP_KUBE_APISERVER names one, or the PATH has one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import pytest
import yaml

from contivpp_sandbox.servers.api import Api as Kubectl
from contivpp_sandbox.servers.certificates import Authority
from contivpp_sandbox.servers.programs import APISERVER_CACHE as CACHE
from contivpp_sandbox.servers.programs import APISERVER_VERSION as VERSION
from contivpp_sandbox.servers.programs import NO_APISERVER as MISSING
from contivpp_sandbox.servers.programs import NO_ETCD, apiserver_command, etcd_executable
from contivpp_sandbox.servers.programs import apiserver_executable as executable

__all__ = ["MISSING", "NEEDS_APISERVER", "ApiServer", "Kubectl", "await_build", "build", "executable"]

SOURCE = Path(__file__).parents[1] / "apiserver"
BUILDING = CACHE.with_name("building")
BUILD_SECONDS = 1200.0
DEADLINE = 90.0
ADMIN = "admin-of-the-test"


def _missing() -> str:
    if not etcd_executable():
        return NO_ETCD
    return "" if executable() or _being_built() else MISSING


def _being_built() -> bool:
    """Tell whether another process builds it now."""
    try:
        os.kill(int(BUILDING.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def await_build() -> None:
    """Wait for the executable, if it is being built; skip the test if it is not there then."""
    end = time.monotonic() + BUILD_SECONDS
    while not executable() and _being_built() and time.monotonic() < end:
        time.sleep(1)
    if not etcd_executable():
        pytest.skip(NO_ETCD)
    if not executable():
        pytest.skip(MISSING)


NEEDS_APISERVER = pytest.mark.skipif(bool(_missing()), reason=_missing())


def build() -> str:
    """Build the executable unless it is there; return what keeps it from being built, or ""."""
    if executable():
        return ""
    go = shutil.which("go")
    if go is None:
        return "Go is not installed: kube-apiserver cannot be built, and tests that need it are skipped"
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    BUILDING.write_text(str(os.getpid()))
    made = CACHE.with_name(f"new-{os.getpid()}")
    version = "k8s.io/component-base/version"
    numbers = VERSION.removeprefix("v").split(".")
    flags = (
        f"-s -w -X {version}.gitVersion={VERSION} -X {version}.gitMajor={numbers[0]} -X {version}.gitMinor={numbers[1]}"
    )
    command = [go, "build", "-trimpath", "-ldflags", flags, "-o", str(made), "."]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"kube-apiserver cannot be built: {done.stderr[-1000:]}"
    made.replace(CACHE)
    return ""


class ApiServer:
    """One kube-apiserver over an etcd. It starts with `with`, or by `start`."""

    def __init__(
        self, folder: Path, etcd: str, *, users: tuple[str, ...] = (), arguments: tuple[str, ...] = ()
    ) -> None:
        await_build()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"https://127.0.0.1:{self.port}"
        self.log = folder / "apiserver.log"
        self.authority = Authority(folder / "pki")
        self.ca = self.authority.ca
        self._etcd = etcd
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        lines = [f'{ADMIN},admin,admin,"system:masters"', *(f"token-of-{user},{user},{user}" for user in users)]
        (folder / "tokens.csv").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> ApiServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process's ID."""
        assert self._process is not None
        return self._process.pid

    # --- what a test may do to it

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if self._ready():
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"kube-apiserver does not start: {self.log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process where it stands."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    # --- asking it

    @asynccontextmanager
    async def client(self, token: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Kubectl]:
        """Ask it with a token, and further headers."""
        context = ssl.create_default_context(cafile=self.ca)
        connector = aiohttp.TCPConnector(ssl=context, limit=50)
        headers = {"Authorization": f"Bearer {token}", **(headers or {})}
        async with aiohttp.ClientSession(self.url, connector=connector, headers=headers) as session:
            yield Kubectl(session)

    def admin(self) -> Any:
        """Ask it as one who may do everything."""
        return self.client(ADMIN)

    def token_file(self, user: str) -> Path:
        """Return a file with the token of one of `users`, or of "admin"."""
        path = self.folder / f"{user.replace(':', '-')}.token"
        path.write_text(ADMIN if user == "admin" else f"token-of-{user}")
        return path

    def kubeconfig(self, user: str) -> Path:
        """Return a kubeconfig of one of `users`, or of "admin"."""
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        token = self.token_file(user).read_text()
        found = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(found))
        return path

    def _command(self) -> list[str]:
        pki, server, accounts = self.folder / "pki", "server", "accounts"
        if not (pki / "server.pem").exists():
            self.authority.issue(server)
            self.authority.issue(accounts)
        command = apiserver_command(
            self.folder,
            address="127.0.0.1",
            port=self.port,
            ca=self.ca,
            server=self.authority.pair(server),
            accounts=self.authority.pair(accounts),
            settings={"etcd-servers": self._etcd, "token-auth-file": self.folder / "tokens.csv"},
        )
        return [*command, *self._arguments]

    def _ready(self) -> bool:
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {ADMIN}"})
        try:
            context = ssl.create_default_context(cafile=self.ca)
            with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


if __name__ == "__main__":
    if reason := build():
        print(reason, file=sys.stderr)
        sys.exit(1)
    print(executable())
