# SPDX-License-Identifier: Apache-2.0
"""One node for tests of the whole system: VPP and the agent are processes, in a network namespace of the test's own.

Pods are network namespaces, too, bound to paths as a container runtime does it. Everything happens in a folder of
the test's own, and only processes that were started here are killed. What the packets do is asked by `Mesh`: a UDP
socket in each pod, so that a hundred pairs of pods cost a hundred datagrams and no process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from contivpp_core.cli.client import Client
from contivpp_core.errors import ContivError
from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.testing import RealVpp, real_vpp
from contivpp_vpp.transports import unix_socket

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
MS_BIND, MNT_DETACH = 4096, 2
LIBC = ctypes.CDLL(None, use_errno=True)
CONTIVPP = (sys.executable, "-m", "contivpp_core.cli")
NETWORK = {"cniVersion": "1.0.0", "name": "k8s", "type": "contivpp"}


def call(function: str, *arguments: object) -> None:
    """Call a function of the C library, in the thread that runs this."""
    if getattr(LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def in_thread(work: Callable[[], T]) -> T:
    """Run work in a thread of its own, which may change its namespace."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_namespace(path: str, work: Callable[[], T]) -> T:
    """Run work inside a network namespace."""

    def run() -> T:
        with open(path, "rb") as file:
            call("setns", file.fileno(), CLONE_NEWNET)
        return work()

    return in_thread(run)


class Namespaces:
    """Network namespaces bound to files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.made: set[str] = set()

    def make(self, name: str) -> str:
        path = str(self._folder / name)

        def work() -> None:
            call("unshare", CLONE_NEWNET)
            Path(path).touch()
            call("mount", b"/proc/thread-self/ns/net", path.encode(), b"none", MS_BIND, None)

        try:
            in_thread(work)
        except OSError as error:
            Path(path).unlink(missing_ok=True)
            pytest.skip(f"network namespaces cannot be made here (root is needed): {error}")
        self.made.add(path)
        return path

    def drop(self, path: str) -> None:
        self.made.discard(path)
        call("umount2", path.encode(), MNT_DETACH)
        os.unlink(path)

    def clear(self) -> None:
        for path in sorted(self.made):
            self.drop(path)


async def run(*command: str, netns: str = "", stdin: bytes = b"", env: Mapping[str, str] | None = None,
              timeout: float = 60.0) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, stdout and stderr."""
    inside = ("nsenter", f"--net={netns}") if netns else ()
    process = await asyncio.create_subprocess_exec(
        *inside, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})},
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


async def until(condition: Callable[[], Any], seconds: float, what: str, *, every: float = 0.02) -> Any:
    """Wait for a condition; return what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(every)
    return found


class EmbeddedVpp:
    """The embedded VPP as a process; it notes every request that it gets."""

    real = False

    def __init__(self, folder: Path, netns: str) -> None:
        self._folder, self._netns = folder, netns
        self.api_socket = str(folder / "api.sock")
        self._trace = folder / "requests"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "vpp.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                "nsenter", f"--net={self._netns}", sys.executable, "-m", "embeddedvpp", "--api-socket", self.api_socket,
                "--api-trace", str(self._trace), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        await until(lambda: accepts(self.api_socket), 20, "the embedded VPP accepts connections", every=0.005)

    async def kill(self) -> None:
        await end(self.process)

    async def trace_on(self) -> None:
        self._trace.write_text("")

    async def trace(self) -> list[str]:
        """The names of the requests since `trace_on`."""
        return [line.split()[-1] for line in self._trace.read_text().splitlines()]

    def output(self) -> str:
        return (self._folder / "vpp.log").read_text(errors="replace")[-3000:]


class RealVppProcess:
    """A real VPP with the same face."""

    real = True

    def __init__(self, vpp: RealVpp) -> None:
        self._vpp = vpp
        self.api_socket = vpp.api_socket

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        return self._vpp.process

    async def start(self) -> None:
        await self._vpp.start()

    async def kill(self) -> None:
        await self._vpp.kill()

    async def trace_on(self) -> None:
        await self._cli("api trace free")
        await self._cli("api trace on")

    async def trace(self) -> list[str]:
        """The names of the requests since `trace_on`, without those of the test itself (CLI)."""
        text = await self._cli("api trace dump")
        names = re.findall(r"^vl_api_(\w+)_t:", text, re.MULTILINE)
        return [name for name in names if name != "cli_inband"]

    async def _cli(self, command: str) -> str:
        connection = await Connection.open(unix_socket(self.api_socket), name="test")
        try:
            return str((await connection.request(m.CliInband(cmd=command))).reply)
        finally:
            connection.close()

    def output(self) -> str:
        return self._vpp.output()


Vpp = EmbeddedVpp | RealVppProcess


def accepts(path: str) -> bool:
    """Tell whether somebody serves a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


async def end(process: asyncio.subprocess.Process | None) -> None:
    """kill -9, and wait for the end."""
    if process is not None and process.returncode is None:
        process.kill()
        await process.wait()


class Node:
    """A node: namespace, VPP, agent, pods."""

    def __init__(self, folder: Path, namespaces: Namespaces, vpp: Vpp, netns: str, settings: Mapping[str, Any]) -> None:
        self.folder, self.namespaces, self.vpp, self.netns = folder, namespaces, vpp, netns
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
            **settings.get("contiv", {}),
        }
        self.agent: asyncio.subprocess.Process | None = None

    # --- the agent

    async def launch(self) -> None:
        """Start the agent without waiting for anything."""
        self.config_file.write_text(yaml.safe_dump(self.config))
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = await asyncio.create_subprocess_exec(
                "nsenter", f"--net={self.netns}", *CONTIVPP, "agent", "--config", str(self.config_file),
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
        now = await self.footprint()
        assert vars(now) == vars(baseline), now.differences(baseline)

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


def descriptors(process: asyncio.subprocess.Process | None) -> dict[str, int]:
    """The open file descriptors of a process, counted by what they are."""
    assert process is not None
    counts: dict[str, int] = {}
    folder = f"/proc/{process.pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            target = os.readlink(f"{folder}/{name}")
            kind = target.partition(":")[0] if ":[" in target else target
            counts[kind] = counts.get(kind, 0) + 1
    return counts


class Mesh:
    """A UDP socket in each pod; tells which pairs of pods reach each other."""

    PORT = 7000

    def __init__(self, pods: Mapping[str, str]) -> None:
        self._addresses = list(pods.values())
        self._sockets = [in_namespace(path, self._socket) for path in pods]
        self._seen: set[tuple[int, int]] = set()
        self._round = 0
        loop = asyncio.get_running_loop()
        for index, each in enumerate(self._sockets):
            loop.add_reader(each, self._receive, index)

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", self.PORT))
        made.setblocking(False)
        return made

    def _receive(self, index: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = self._sockets[index].recvfrom(64)
                number, sender = map(int, data.split())
                if number == self._round and source[0] == self._addresses[sender]:
                    self._seen.add((sender, index))

    async def connected(self, seconds: float) -> float:
        """Wait until every pod has got a datagram from every other one, sent after this call; return the seconds."""
        begin = time.monotonic()
        self._round += 1
        self._seen.clear()
        everybody = range(len(self._sockets))
        missing = {(a, b) for a in everybody for b in everybody if a != b}
        while missing:
            if time.monotonic() - begin > seconds:
                raise AssertionError(f"{len(missing)} pairs not within {seconds:g} s, as {sorted(missing)[:5]}")
            for a, b in sorted(missing):
                with contextlib.suppress(OSError):
                    self._sockets[a].sendto(b"%d %d" % (self._round, a), (self._addresses[b], self.PORT))
            await asyncio.sleep(0.03)
            missing -= self._seen
        return time.monotonic() - begin

    def close(self) -> None:
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()


@contextlib.asynccontextmanager
async def node(kind: str, *, settings: Mapping[str, Any] | None = None) -> AsyncIterator[Node]:
    """A node with VPP (`embedded` or `real`) and an agent that is not started yet; everything ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="contivpp-system-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        namespaces = Namespaces(folder / "netns")
        stack.callback(namespaces.clear)
        netns = namespaces.make("node")
        await run("ip", "link", "set", "lo", "up", netns=netns)
        vpp: Vpp
        if kind == "real":
            vpp = RealVppProcess(await stack.enter_async_context(real_vpp(netns=netns)))
        else:
            vpp = EmbeddedVpp(folder, netns)
            await vpp.start()
            stack.push_async_callback(vpp.kill)
        made = Node(folder, namespaces, vpp, netns, settings or {})
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
