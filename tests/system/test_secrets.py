# SPDX-License-Identifier: Apache-2.0
"""Passwords, tokens and keys reach no log, no answer and no file, whatever fails.

The programs as they are run, at level debug, with an etcd and an API server that refuse them, are lost, and come back
under another CA.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from contivpp_core.api_routes import core_routes
from contivpp_datastore.etcd import access
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_ksr.testing import FakeApiServer
from contivpp_sandbox.servers.certificates import Authority
from tests.servers.etcd import NEEDS_ETCD, Etcd

WRONG, RIGHT, TOKEN, IN_URL = CANARIES = "canary-wrong", "canary-right", "canary-token", "canary-url"
URL = f"https://root:{IN_URL}@127.0.0.1"
PLAN = f"""\
plugins: [datastore]
logLevel: '{URL}'
datastore: {{driver: etcd, endpoints: '{URL}', passwordFile: {WRONG}}}
"""


class Program:
    """A `contivpp` with everything that it writes."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.out = folder / "out"
        self._command = (str(Path(sys.executable).parent / "contivpp"), *command)
        self._process: asyncio.subprocess.Process | None = None
        self._seen = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with self.out.open("ab") as file:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=file, stderr=file)
        try:
            yield
        finally:
            self._process.terminate()
            await self._process.wait()

    async def told(self, text: str, seconds: float = 40.0) -> None:
        """Wait until it has written something, after what was looked at before."""
        before = self._seen
        end = time.monotonic() + seconds
        while text.encode() not in self.out.read_bytes()[before:]:
            assert time.monotonic() < end, f"not told: {text}: {self.out.read_text()[-3000:]}"
            await asyncio.sleep(0.1)
        self._seen = self.out.read_bytes().index(text.encode(), before)


def settings(folder: Path, etcd: Etcd, ca: Path, plugins: list[str], **others: Any) -> str:
    folder.mkdir()
    found = {
        "nodeName": "node1",
        "plugins": plugins,
        "logLevel": "debug",
        "runDir": str(folder),
        "stateDir": str(folder),
        "datastore": {
            "driver": "etcd",
            "endpoints": [etcd.endpoint],
            "ca": str(ca),
            "certificate": str(etcd.client.certificate),
            "key": str(etcd.client.key),
            "user": "node1",
            "passwordFile": str(folder.parent / "password"),
        },
        **others,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(found))
    return str(folder / "config.yaml")


async def answers(socket: Path, paths: list[str], plan: bytes = b"") -> str:
    """Return all that is told on a socket."""
    found = []
    async with aiohttp.ClientSession("http://x", connector=aiohttp.UnixConnector(str(socket))) as session:
        for path in paths:
            async with session.get(path) as answer:
                found.append(await answer.text())
        if plan:
            async with session.post("/v1/plan", data=plan) as answer:
                found.append(await answer.text())
    return "\n".join(found)


@NEEDS_ETCD
async def test_secrets_are_told_nowhere(tmp_path: Path) -> None:
    ca, password, token = tmp_path / "ca.pem", tmp_path / "password", tmp_path / "token"
    password.write_text(WRONG)
    token.write_text(TOKEN)
    with Etcd(tmp_path / "etcd", tls=True) as etcd:
        ca.write_bytes(etcd.ca.read_bytes())
        root = EtcdStore(etcd.options())
        await access.grant(root, "node1", RIGHT, access.reflector_rights())
        await access.enable(root, RIGHT)
        await root.close()
        async with FakeApiServer().serving() as server:
            server.token = "another"
            section = {"server": server.url, "tokenFile": str(token), "socket": str(tmp_path / "reflector/ksr.sock")}
            files = settings(tmp_path / "reflector", etcd, ca, ["datastore", "ksr"], ksr=section)
            reflector = Program(tmp_path / "reflector", "ksr", "--config", files)
            agent_config = settings(tmp_path / "agent", etcd, ca, ["datastore"])
            agent = Program(tmp_path / "agent", "agent", "--config", agent_config)
            async with agent.running(), reflector.running():
                await reflector.told("401")
                await asyncio.gather(*(each.told("user or password is wrong") for each in (agent, reflector)))
                everything = await _told(tmp_path)
                password.write_text(RIGHT)
                server.token = TOKEN
                await asyncio.gather(*(each.told("connected to etcd") for each in (agent, reflector)))
                ca.write_bytes(Authority(tmp_path / "other").ca.read_bytes())
                await asyncio.to_thread(etcd.stop)
                await asyncio.to_thread(etcd.start)
                await reflector.told("does not answer")
                everything += await _told(tmp_path)
                ca.write_bytes(etcd.ca.read_bytes())
                await agent.told("connected to etcd")
                everything += await _told(tmp_path)
        keys = [line for line in etcd.client.key.read_text().splitlines() if "-----" not in line]
    everything += await _faults(tmp_path)
    for folder in (tmp_path / "agent", tmp_path / "reflector"):
        for path in folder.iterdir():
            everything += path.read_bytes().decode("latin-1") if path.is_file() else ""
            if path.name not in ("config.yaml", "out"):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert len(everything) > 20_000
    for secret in (*CANARIES, *keys):
        assert secret not in everything


async def _told(folder: Path) -> str:
    """Return what agent and reflector answer to whoever may ask."""
    paths = [each.path for each in core_routes(None) if each.method == "GET" and "{" not in each.path]  # type: ignore[arg-type]
    ours = ["/v1/datastore", *(path for path in paths if path != "/v1/plan")]
    said = await answers(folder / "agent" / "agent.sock", ours, PLAN.encode())
    return said + await answers(folder / "reflector" / "ksr.sock", ["/v1/ksr", "/metrics", "/stats", "/readyz"])


async def _faults(folder: Path) -> str:
    """Return what commands say of a configuration that has secrets in the wrong places."""
    (folder / "wrong.yaml").write_text(PLAN)
    said = ""
    for command in (("agent", "--config"), ("plan", "--config"), ("ksr", "--check", "--config")):
        program = Path(sys.executable).parent / "contivpp"
        process = await asyncio.create_subprocess_exec(
            str(program), *command, str(folder / "wrong.yaml"), stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env={**os.environ, "CONTIVPP_SOCKET": str(folder / "none.sock")},
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode
        said += out.decode()
    return said


