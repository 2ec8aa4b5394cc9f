# SPDX-License-Identifier: Apache-2.0
"""One node for tests of the whole system: VPP and the agent are processes, in a network namespace of the test's own.

Pods are network namespaces, too, bound to paths as a container runtime does it. Everything happens in a folder of
the test's own, and only processes that were started here are killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from contivpp_core.cli.client import Client
from contivpp_core.errors import ContivError
from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.testing import real_vpp
from contivpp_vpp.transports import unix_socket

from .dataplanes import EmbeddedVpp, RealVppProcess, Vpp
from .machine import Machine, machine, shared
from .processes import Namespaces, end, run, until

CONTIVPP = (sys.executable, "-m", "contivpp_core.cli")
NETWORK = {"cniVersion": "1.0.0", "name": "k8s", "type": "contivpp"}


class Node:
    """A node: namespace, VPP, agent, pods."""

    def __init__(self, folder: Path, namespaces: Namespaces, vpp: Vpp, inside: Machine,
                 settings: Mapping[str, Any]) -> None:  # fmt: skip
        self.folder, self.namespaces, self.vpp, self.machine = folder, namespaces, vpp, inside
        self.netns = inside.netns
        self.cni_socket = str(folder / "cni.sock")
        self.agent_socket = str(folder / "run" / "agent.sock")
        self.config_file = folder / "agent.yaml"
        self.config: dict[str, Any] = {
            "nodeName": "node1",
            "plugins": ["vpp", "linux", "ipam", "contiv"],
            "stateDir": str(folder / "state"),
            "runDir": str(folder / "run"),
            **settings,
        }
        self.config["vpp"] = {"apiSocket": vpp.api_socket, **settings.get("vpp", {})}
        self.config["contiv"] = {
            "cniSocket": self.cni_socket,
            "podInterface": "afpacket" if vpp.real else "tap",
            "runtimeSocket": "none",
            **settings.get("contiv", {}),
        }
        self.agent: asyncio.subprocess.Process | None = None

    # --- the agent

    async def launch(self) -> None:
        """Start the agent without waiting for anything."""
        self.config_file.write_text(yaml.safe_dump(self.config))
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = await asyncio.create_subprocess_exec(
                *self.machine.enter, *CONTIVPP, "agent", "--config", str(self.config_file),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def start_agent(self, *, seconds: float = 20.0) -> None:
        """Start the agent, and wait until it can connect pods."""
        await self.launch()
        await until(self.ready, seconds, f"the agent is ready\n{self.log()}")

    async def kill_agent(self) -> None:
        await end(self.agent)

    def ready(self) -> bool:
        assert self.agent is not None
        if self.agent.returncode is not None:
            raise AssertionError(f"the agent ended with {self.agent.returncode}\n{self.log()}")
        try:
            return bool(self.get("status")["ready"])
        except ContivError:
            return False

    def get(self, *path: str, **query: object) -> Any:
        """Ask the agent's local API. Blocks for some milliseconds."""
        return Client(self.agent_socket).get("v1", *path, query=query)

    def log(self) -> str:
        log = self.folder / "agent.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    async def contivpp(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command with this node's socket."""
        return await run(*CONTIVPP, *arguments, "--socket", self.agent_socket)

    async def settled(self, seconds: float = 10.0) -> None:
        """Wait until every item is applied, and nothing is in flight."""

        def done() -> bool:
            counts = self.get("status")["items"]
            return not any(number for state, number in counts.items() if state not in ("applied", "shadowed"))

        try:
            await until(done, seconds, "every item is applied")
        except AssertionError as error:
            bad = [i for i in self.get("items") if i["state"] not in ("applied", "shadowed")]
            raise AssertionError(f"{error}: {json.dumps(bad[:5], indent=1)}") from None

    # --- CNI

    async def cni(self, command: str, container: str, netns: str, *, name: str = "", interface: str = "eth0",
                  stdin: bytes | None = None, timeout: float = 115.0) -> tuple[int, Any]:  # fmt: skip
        """Speak the protocol of the CNI executable; return exit code and what is printed. OSError: no answer."""
        variables = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": interface, "CNI_NETNS": netns,
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name or container}",
        }  # fmt: skip
        block = b"".join(f"{key}={value}".encode() + b"\0" for key, value in variables.items())
        text = json.dumps(NETWORK).encode() if stdin is None else stdin
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(self.cni_socket)
            try:
                writer.write(b"contivpp-cni/1 %d %d\n" % (len(block), len(text)) + block + text)
                await writer.drain()
                answer = await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        header, separator, body = answer.partition(b"\n")
        if not separator:
            raise ConnectionError("the agent closed the connection without an answer")
        return int(header.split()[0]), json.loads(body) if body else None

    async def add(self, container: str, netns: str, **options: Any) -> str:
        """ADD that must succeed; return the pod's address."""
        code, answer = await self.cni("ADD", container, netns, **options)
        assert code == 0, answer
        return str(answer["ips"][0]["address"].partition("/")[0])

    async def delete(self, container: str, netns: str = "", **options: Any) -> None:
        """DEL that must succeed."""
        assert await self.cni("DEL", container, netns, **options) == (0, None)

    async def pods(self, count: int, *, prefix: str = "pod") -> dict[str, str]:
        """Connect pods, all at once; return address by path of the namespace."""
        paths = [self.namespaces.make(f"{prefix}{index}") for index in range(count)]
        addresses = await asyncio.gather(*(self.add(Path(path).name, path) for path in paths))
        return dict(zip(paths, addresses, strict=True))

    # --- what is there

    def ledger(self) -> dict[str, dict[str, bytes]]:
        """Every entry of the ledger by space, read from its file."""
        database = sqlite3.connect(f"file:{self.folder / 'state' / 'ledger.db'}?mode=ro", uri=True)
        spaces: dict[str, dict[str, bytes]] = {}
        try:
            for space, key, value in database.execute("SELECT space, key, value FROM entry"):
                spaces.setdefault(space, {})[key] = value
        finally:
            database.close()
        return spaces

    def leftovers(self) -> list[str]:
        """What the ledger holds of pods: attachments, tombstones, addresses."""
        held = self.ledger()
        return [
            f"{space}: {key}"
            for space, entries in sorted(held.items())
            for key in sorted(entries)
            if space in ("contiv.pod", "contiv.tombstone") or (space == "ipam" and key.startswith("address/"))
        ]

    async def vpp_interfaces(self) -> list[str]:
        connection = await Connection.open(unix_socket(self.vpp.api_socket), name="test")
        try:
            return sorted(each.interface_name for each in await connection.dump(m.SwInterfaceDump()))
        finally:
            connection.close()

    async def vpp_routes(self) -> list[str]:
        """Every route of VPP's table 0, whoever's it is."""
        connection = await Connection.open(unix_socket(self.vpp.api_socket), name="test")
        try:
            dump = m.IpRouteV2Dump(src=0, table=m.IpTable(table_id=0, is_ip6=False))
            return sorted(str(each.route.prefix) for each in await connection.dump(dump))
        finally:
            connection.close()

    async def linux_links(self, netns: str = "") -> list[str]:
        code, out, error = await run("ip", "-j", "link", netns=netns or self.netns)
        assert code == 0, error
        return sorted(link["ifname"] for link in json.loads(out))

    async def nothing_left(self, baseline: Footprint) -> None:
        """Assert that no pod has left anything behind."""
        await until(lambda: not self.leftovers(), 10, f"the ledger forgets the pods; it holds {self.leftovers()}")
        await self.settled()
        assert self.get("tables", "LocalPod")["records"] == []
        await self.same(baseline)

    async def same(self, baseline: Footprint) -> None:
        """Assert that VPP, Linux and the agent's items are as they were."""
        for _ in range(20):  # the agent may be trying what VPP can, with a TAP of its own
            now = await self.footprint()
            if vars(now) == vars(baseline):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(now.differences(baseline))

    async def footprint(self) -> Footprint:
        return Footprint(
            await self.vpp_interfaces(),
            await self.vpp_routes(),
            await self.linux_links(),
            [item["key"] for item in self.get("items")],
        )


class Footprint:
    """What is there of the system, to be compared."""

    def __init__(self, interfaces: list[str], routes: list[str], links: list[str], items: list[str]) -> None:
        self.vpp_interfaces, self.vpp_routes, self.links, self.items = interfaces, routes, links, items

    def differences(self, before: Footprint) -> str:
        """Say what is there now and was not before, and the other way round."""
        lines = []
        for name, there in vars(self).items():
            was = vars(before)[name]
            lines += [f"{name}: more: {each}" for each in there if each not in was]
            lines += [f"{name}: less: {each}" for each in was if each not in there]
        return "\n".join(lines)


class Faulty:
    """A node with what was there before the fault."""

    def __init__(self, rig: Node, before: Footprint) -> None:
        self.rig, self.before = rig, before

    async def refused(self, container: str, netns: str, *, code: int, says: tuple[str, ...], **options: Any) -> None:
        """ADD must fail so, and leave nothing."""
        answered, answer = await self.rig.cni("ADD", container, netns, **options)
        assert answered == 1, answer
        assert answer["code"] == code, answer
        text = answer["msg"] + answer.get("details", "")
        for each in says:
            assert each in text

    async def clean(self) -> None:
        await self.rig.nothing_left(self.before)


@contextlib.asynccontextmanager
async def node(
    kind: str, *, settings: Mapping[str, Any] | None = None, own_mounts: bool = False
) -> AsyncIterator[Node]:
    """A node with VPP (`embedded` or `real`) and an agent that is not started yet; everything ends with the block.

    With `own_mounts` it also has a mount namespace of its own, for container runtimes.
    """
    folder = Path(tempfile.mkdtemp(prefix="contivpp-system-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if own_mounts:
            stack.enter_context(shared(folder))
        namespaces = Namespaces(folder / "netns")
        stack.callback(namespaces.clear)
        netns = namespaces.make("node")
        await run("ip", "link", "set", "lo", "up", netns=netns)
        inside = await stack.enter_async_context(machine(folder, netns)) if own_mounts else Machine(netns)
        vpp: Vpp
        if kind == "real":
            vpp = RealVppProcess(await stack.enter_async_context(real_vpp(netns=netns)))
        else:
            vpp = EmbeddedVpp(folder, inside.enter)
            await vpp.start()
            stack.push_async_callback(vpp.kill)
        made = Node(folder, namespaces, vpp, inside, settings or {})
        stack.push_async_callback(made.kill_agent)
        yield made


def tools() -> str:
    """Say what this machine lacks for these tests, or ""."""
    missing: Iterable[str] = (name for name in ("nsenter", "ip", "ping") if shutil.which(name) is None)
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if named := ", ".join(missing):
        return f"needs the commands {named}"
    return "" if Path("/dev/net/tun").exists() else "needs /dev/net/tun for TAPs"
