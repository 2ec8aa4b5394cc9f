# SPDX-License-Identifier: Apache-2.0
"""The node of a sandbox: its processes, started in order, each waited for, with an error that shows what it said.

Pods are in `cluster`; the end of everything is in `teardown`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from contivpp_cni import install
from contivpp_sandbox.sandbox.agent_client import AgentClient, AgentDoesNotAnswer
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.vpp import Dataplane, check_limits, cli, command

__all__ = ["PLUGINS", "SandboxNode"]

PLUGINS = ["vpp", "linux", "ipam", "contiv", "sandbox"]
VPP_SECONDS = 60.0
AGENT_SECONDS = 30.0
_POLL_SECONDS = 0.01


class SandboxNode:
    """One node: VPP and agent, on the sockets of a sandbox's folder."""

    def __init__(self, directory: Directory, *, progress: Progress | None = None) -> None:
        self.directory = directory
        self.keeper = KeeperClient(directory)
        self.agent = AgentClient(directory.agent_socket)
        self._progress = progress or Progress()

    # --- what it was made of

    @property
    def made_of(self) -> Mapping[str, Any]:
        """`name` and `dataplane`, as `up` has stored them."""
        found = self.directory.read("node.json")
        if not isinstance(found, dict):
            raise SandboxError(f"{self.directory}: there is no sandbox that is up: 'contivpp sandbox up' makes one")
        return found

    @property
    def name(self) -> str:
        """The node's name."""
        return str(self.made_of["name"])

    # --- up

    async def up(
        self, name: str, dataplane: Dataplane, *, config: Mapping[str, Any] | None = None, with_parent: bool = False
    ) -> None:
        """Start everything. The folder must be made, and nothing of a former sandbox left."""
        check_limits(dataplane)
        with self._progress.step("namespaces of the node") as step:
            keeper = await self.keeper.launch(with_parent=with_parent)
            kind = "network and mounts" if os.geteuid() == 0 else "user, network and mounts: no privileges are needed"
            step.detail = f"{kind}; kept by process {keeper.pid}"
        self.directory.write("node.json", {"name": name, "dataplane": dataplane})
        (self.directory.path / "agent.yaml").write_text(yaml.safe_dump(self._agent_config(name, config or {})), "utf-8")
        with self._progress.step("VPP") as step:
            await self.start_vpp()
            step.detail = (await self.vpp_version()).splitlines()[0]
        with self._progress.step("CNI executable") as step:
            await asyncio.to_thread(self._install_cni)
            step.detail = str(self.directory.cni_executable)
        with self._progress.step("agent"):
            await self.start_agent()

    def _agent_config(self, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return an agent's configuration: the settings that were given, and those of the sandbox."""
        settings = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
        place = self.directory
        contiv: dict[str, Any] = {"nodeID": 1, "cniSocket": place.cni_socket}
        if self.made_of["dataplane"] == "embedded":
            contiv["afPacketLimit"] = 0  # what limits their number is a defect of real VPP
        sockets = {"apiSocket": place.api_socket, "cliSocket": place.cli_socket, "statsSocket": place.stats_socket}
        return {
            "logFormat": "text",
            **settings,
            "nodeName": name,
            "plugins": PLUGINS,
            "stateDir": str(place.path / "state"),
            "runDir": str(place.path / "run"),
            "vpp": {**settings.get("vpp", {}), **sockets},
            "contiv": {**settings.get("contiv", {}), **contiv},
        }

    def _install_cni(self) -> None:
        folder = self.directory.path / "cni"
        options = install.parser().parse_args(
            [
                *("--bin-dir", str(self.directory.cni_executable.parent)),
                *("--conf-dir", str(folder / "net.d")),
                *("--socket", self.directory.cni_socket),
            ]
        )
        try:
            for _ in install.install(options):
                pass
        except (install.InstallError, OSError) as error:
            raise SandboxError(f"the CNI executable cannot be installed in {folder}: {error}") from error

    # --- processes

    async def start_vpp(self) -> None:
        """Start VPP, and wait until its sockets take connections."""
        await self.keeper.start("vpp", command(self.made_of["dataplane"], self.directory))
        sockets = (self.directory.api_socket, self.directory.cli_socket)
        await self._until("vpp", lambda: all(_accepts(path) for path in sockets), VPP_SECONDS)

    async def start_agent(self) -> None:
        """Start the agent, and wait until it is ready; the objects of the cluster are told by who has them."""
        config = str(self.directory.path / "agent.yaml")
        await self.keeper.start("agent", [sys.executable, "-m", "contivpp_core.cli", "agent", "--config", config])
        await self._until("agent", lambda: _accepts(self.directory.agent_socket), AGENT_SECONDS)
        await self._until_ready()

    async def stop(self, *names: str, kill: bool = False) -> None:
        """End processes."""
        await self.keeper.end(*names, kill=kill)

    async def _until(self, name: str, condition: Callable[[], bool], seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not condition():
            await self._check(name)
            if asyncio.get_running_loop().time() > end:
                raise SandboxError(f"{name} does not answer within {seconds:g} s{self._last_words(name)}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _until_ready(self) -> None:
        end = asyncio.get_running_loop().time() + AGENT_SECONDS
        while True:
            reasons = await self.not_ready()
            if not reasons:
                return
            await self._check("agent")
            if asyncio.get_running_loop().time() > end:
                told = "; ".join(reasons) + self._last_words("agent")
                raise SandboxError(f"the agent is not ready within {AGENT_SECONDS:g} s: {told}")
            await asyncio.sleep(5 * _POLL_SECONDS)

    async def not_ready(self) -> list[str]:
        """Return the reasons why the agent is not ready; none if it is."""
        try:
            status = await self.agent.get("/v1/status")
        except AgentDoesNotAnswer as error:
            return [str(error)]
        return [f"{name}: {each['reason']}" for name, each in status["conditions"].items() if not each["ok"]]

    async def _check(self, name: str) -> None:
        """Raise an error if a process has ended."""
        code = (await self.keeper.processes()).get(name, {}).get("code")
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise SandboxError(f"{name} {how}{self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        said = self.directory.log_end(name)
        log = self.directory.log(name)
        return f"; the end of {log}:\n{said}" if said else f" and printed nothing to {log}"

    # --- questions

    async def vpp_version(self) -> str:
        """Return what VPP's CLI tells about its version."""
        return await cli(self.directory.cli_socket, "show version")


def _accepts(path: str) -> bool:
    """Tell whether somebody serves a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        return True
    return False
