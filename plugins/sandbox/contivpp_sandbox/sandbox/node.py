# SPDX-License-Identifier: Apache-2.0
"""A node of a sandbox: its processes, started in order, each waited for, with an error that shows what it said.

The node's namespaces are held by the responder of its host, so that VPP and the agent can be restarted in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from contivpp_cni import install
from contivpp_sandbox.agent_routes import SETTLED_PATH
from contivpp_sandbox.rigs.layout import MAIN_INTERFACE, UPLINK
from contivpp_sandbox.sandbox.agent_client import AgentClient, AgentDoesNotAnswer
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory, NodePlace
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.processes import Process
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.station import Station, responder_command
from contivpp_sandbox.sandbox.vpp import cli, command, publish
from contivpp_sandbox.servers.layout import agent_sections

__all__ = ["SandboxNode", "accepts"]

VPP_SECONDS = 60.0
AGENT_SECONDS = 60.0
_POLL_SECONDS = 0.01
_ANSWER_MARGIN = 10.0
_LONGEST_SECONDS = 600.0


class SandboxNode:
    """A node that is part of the cluster: its host, VPP and agent, on the sockets of its folder."""

    def __init__(
        self, directory: Directory, inventory: Inventory, place: NodePlace, *, progress: Progress | None = None
    ) -> None:
        self.directory = directory
        self.place = place
        self.name = place.name
        self.folder = directory.node(place.position)
        self.keeper = KeeperClient(directory)
        self.agent = AgentClient(self.folder.agent_socket)
        self.host = Station(f"node {self.name}", self.folder.host_socket, directory.log(self._log("host")))
        self._inventory = inventory
        self._progress = progress or Progress()

    def process_name(self, what: str) -> str:
        """Return what the keeper calls this node's `agent`, `vpp`, or `node`, which holds its namespaces."""
        return f"{what}:{self.name}"

    def _log(self, what: str) -> str:
        return f"n{self.place.position}-{what}"

    # --- up

    async def hold(self) -> Process:
        """Make the namespaces of the node, which the process of its host holds."""
        self.folder.make()
        name = f"node:{self.name}"
        process = await self.keeper.start(
            self.process_name("node"),
            responder_command(name, self.folder.host_socket),
            log=self._log("host"),
            makes="node",
            hostname=self.name[:63],
        )
        await self.host.until_serves(process)
        return process

    async def up(self) -> None:
        """Start VPP and the agent; the namespaces must be connected."""
        (self.folder.path / "agent.yaml").write_text(yaml.safe_dump(self._agent_config()), "utf-8")
        with self._progress.step(f"VPP of {self.name}") as step:
            await self.start_vpp()
            step.detail = (await self.vpp_version()).splitlines()[0]
        await asyncio.to_thread(self._install_cni)
        with self._progress.step(f"agent of {self.name}") as step:
            await self.start_agent()
            step.detail = f"node ID {self.place.node_id}"

    def _agent_config(self) -> dict[str, Any]:
        """Return an agent's configuration: the settings that were given, and those of the sandbox."""
        config = self._inventory.config
        settings = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
        place = self.folder
        wiring: dict[str, Any] = {"mainInterface": MAIN_INTERFACE, "underlayMTU": self._inventory.mtu}
        wiring["runtimeSocket"] = "none"  # this machine's runtime has nothing to do with it
        if self._inventory.dataplane == "embedded":
            wiring["afPacketLimit"] = 0  # what limits their number is a defect of real VPP
        sockets = {"apiSocket": place.api_socket, "cliSocket": place.cli_socket, "statsSocket": place.stats_socket}
        return {
            "logFormat": "text",
            **settings,
            "nodeName": self.name,
            "stateDir": str(place.path / "state"),
            "runDir": str(place.path / "run"),
            "vpp": {**_section(settings, "vpp"), **sockets},
            **agent_sections(self.directory, self._inventory.datastore, self.name),
            "contiv": {**wiring, **_section(settings, "contiv"), "cniSocket": place.cni_socket},
        }

    def _install_cni(self) -> None:
        folder = self.folder.path / "cni"
        options = install.parser().parse_args(
            [
                *("--bin-dir", str(self.folder.cni_executable.parent)),
                *("--conf-dir", str(folder / "net.d")),
                *("--socket", self.folder.cni_socket),
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
        await self._start("vpp", command(self._inventory.dataplane, self.folder, link=UPLINK))
        real = self._inventory.dataplane == "vpp"
        sockets = (self.folder.early_api_socket if real else self.folder.api_socket, self.folder.cli_socket)
        await self._until("vpp", lambda: all(accepts(path) for path in sockets), VPP_SECONDS)
        if real:
            await publish(self.folder, MAIN_INTERFACE)

    async def launch_agent(self) -> None:
        """Start the agent, and wait for nothing."""
        config = str(self.folder.path / "agent.yaml")
        await self._start("agent", [sys.executable, "-m", "contivpp_core.cli", "agent", "--config", config])

    async def start_agent(self) -> None:
        """Start the agent, and wait until it is ready."""
        await self.launch_agent()
        await self._until("agent", lambda: accepts(self.folder.agent_socket), AGENT_SECONDS)
        await self._until_ready()

    async def _start(self, what: str, words: list[str]) -> None:
        holder = (await self.keeper.processes()).get(self.process_name("node"), {"pid": None, "code": 0})
        if holder["code"] is not None:
            raise SandboxError(f"node {self.name}: its namespaces are gone: take the sandbox down, and up again")
        await self.keeper.start(self.process_name(what), words, log=self._log(what), inside=holder["pid"])

    async def stop(self, *what: str, kill: bool = False) -> None:
        """End processes, in this order."""
        for each in what:
            await self.keeper.end(self.process_name(each), kill=kill)

    async def _until(self, name: str, condition: Callable[[], bool], seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not condition():
            await self._check(name)
            if asyncio.get_running_loop().time() > end:
                raise SandboxError(f"{self.name}: {name} does not answer within {seconds:g} s{self._last_words(name)}")
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
                raise SandboxError(f"{self.name}: the agent is not ready within {AGENT_SECONDS:g} s: {told}")
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
        code = (await self.keeper.processes()).get(self.process_name(name), {}).get("code")
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise SandboxError(f"{self.name}: {name} {how}{self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        said = self.directory.log_end(self._log(name))
        log = self.directory.log(self._log(name))
        return f"; the end of {log}:\n{said}" if said else f" and printed nothing to {log}"

    # --- questions

    async def vpp_version(self) -> str:
        """Return what VPP's CLI tells about its version."""
        return await cli(self.folder.cli_socket, "show version")

    async def settled(self, seconds: float, revision: int) -> tuple[bool, list[str]]:
        """Wait until the agent has settled, with all that the store held at a revision; tell what is not applied."""
        seconds = min(max(seconds, 0.1), _LONGEST_SECONDS)
        target = f"{SETTLED_PATH}?seconds={seconds:.3f}&revision={revision}"
        answer = await self.agent.get(target, seconds=seconds + _ANSWER_MARGIN)
        return bool(answer["settled"]), [str(line) for line in answer["unapplied"]]


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section that was given; what is none is left to the agent, which says so."""
    found = settings.get(name)
    return found if isinstance(found, Mapping) else {}


def accepts(path: str) -> bool:
    """Tell whether somebody serves a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        return True
    return False
