# SPDX-License-Identifier: Apache-2.0
"""Runs one check of the table, with one version and one executable, and cleans up after it.

Whatever the table says, every call is held to the specification: an object of the right shape on stdout or nothing,
the version that was asked for, an exit status that fits, and no traceback.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cni_table import VERSIONS, Answer, Check, Facts, Step, difference, filled, shaped
from .cni_world import World, fresh, links_of, names_in
from .executables import Executable, Outcome
from .processes import run, until

__all__ = ["Case", "Ended"]

ATTACHMENT = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
VARIABLES = {"ADD": ATTACHMENT, "DEL": ATTACHMENT, "CHECK": ATTACHMENT, "GC": ("CNI_PATH",), "STATUS": ("CNI_PATH",)}
NETWORK = "spec-net"
FOREIGN = ("lo", "foreign", "foreign1")  # links that checks make themselves


@dataclass
class Ended:
    """A call, parsed."""

    verb: str
    environment: dict[str, str]
    config: Any
    outcome: Outcome
    printed: Any


class Case:
    """One check in one version."""

    def __init__(self, world: World, check: Check, version: str, executable: Executable) -> None:
        number = world.number()
        self.world, self.check, self.version, self.executable = world, check, version, executable
        self._namespaces: dict[str, str] = {}
        self._prefix = f"case{number}"
        self._folder = fresh(world.rig.folder / "case")
        self._touched: set[tuple[str, str, str]] = set()  # container, interface, network
        self._known: dict[str, Any] = {
            "container": f"spec{number}", "version": version, "network": NETWORK, "own": world.rig.netns,
            "gateway": world.gateway, "bystander": world.bystander, "folder": str(self._folder),
        }  # fmt: skip

    # --- placeholders

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if name.startswith("netns"):
            return self._namespace(name)
        if name == "gone":
            path = self._namespace("gone-soon")
            self._drop("gone-soon")
            self._known["gone"] = path
        elif name == "free":
            self._known["free"] = self.world.free_address()
        elif name == "file":
            (self._folder / "plain").write_text("no namespace")
            self._known["file"] = str(self._folder / "plain")
        elif name == "agent":
            assert self.world.rig.agent is not None
            return str(self.world.rig.agent.pid)
        return self._known[name]

    def _namespace(self, name: str) -> str:
        if name not in self._namespaces:
            self._namespaces[name] = self.world.rig.namespaces.make(f"{self._prefix}-{name}")
        return self._namespaces[name]

    def _drop(self, name: str) -> None:
        path = self._namespaces[name]
        self.world.rig.namespaces.drop(path)
        self._known[name] = path

    def _filled(self, value: Any) -> Any:
        return filled(value, self)  # type: ignore[arg-type]

    # --- steps

    async def run(self) -> None:
        """Run every step; whatever happens, clean up."""
        try:
            for step in self.check.steps:
                for number in range(step.times):
                    self._known["n"] = number
                    await self._step(step)
        finally:
            await self._clean()

    async def _step(self, step: Step) -> None:
        rig = self.world.rig
        if step.drop:
            self._drop(step.drop)
        if step.run:
            code, _, error = await run(*shlex.split(self._filled(step.run)), netns=self._filled(step.run_in))
            assert code == 0, f"{step.run}: {error}"
        if step.agent == "stop":
            await rig.kill_agent()
        elif step.agent == "start":
            await rig.start_agent(seconds=60)
        if step.vpp == "stop":
            await rig.vpp.kill()
        elif step.vpp == "start":
            await rig.vpp.start()
        if not step.call:
            await self._hold(step)
            return
        end = asyncio.get_running_loop().time() + step.within
        while told := await self._call(step):
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(told)
            await asyncio.sleep(0.05)

    async def _call(self, step: Step) -> str:
        """Make the call; return how its answer differs from what is expected, or ""."""
        ended = self.invoke(step)
        self._conforms(ended)
        told = ""
        for answer in step.either or [step]:
            told = self._compare(answer, ended)
            if not told:
                await self._hold(answer)
                self._keep(step, ended)
                return ""
        return f"{step.call}: {told}; it printed {ended.outcome.stdout.decode()[:2000]}"

    def _keep(self, step: Step, ended: Ended) -> None:
        if step.same:
            assert ended.printed == self._known[step.same], "another answer than before"
        if ended.verb == "ADD" and ended.outcome.status == 0:
            self._known["result"] = ended.printed
            index, ours = self._ours(ended)
            self._known |= {"index": index, "mac": ours["mac"]}
            for index, ip in enumerate(ended.printed["ips"]):
                self._known[f"address{index or ''}"] = ip["address"].partition("/")[0]
        if step.save:
            self._known[step.save] = ended.printed

    def invoke(self, step: Step) -> Ended:
        """Start the executable as the step says."""
        config = {"cniVersion": self.version, "name": NETWORK, "type": "contivpp", **self._filled(step.config)}
        for key in step.without:
            del config[key]
        stdin = json.dumps(config).encode()
        if step.stdin is not None:
            config, stdin = None, self._filled(step.stdin).encode()
        elif step.stdin_hex is not None:
            config, stdin = None, bytes.fromhex(step.stdin_hex)
        stdin = stdin.ljust(step.stdin_bytes, b" ")  # JSON may end in white space
        environment = self._environment(step)
        if step.call == "ADD":
            name = config.get("name") if config else NETWORK
            attachment = (environment.get("CNI_CONTAINERID"), environment.get("CNI_IFNAME"), name)
            if all(isinstance(each, str) and each for each in attachment):
                self._touched.add(attachment)  # type: ignore[arg-type]
        raw = {os.fsencode(key): os.fsencode(value) for key, value in environment.items()}
        outcome = self.executable.call(raw, stdin)
        try:
            printed = json.loads(outcome.stdout) if outcome.stdout else None
        except ValueError:
            raise AssertionError(f"{step.call}: stdout is no JSON: {outcome.stdout[:500]!r}") from None
        return Ended(step.call, environment, config, outcome, printed)

    def _environment(self, step: Step) -> dict[str, str]:
        usual = {
            "CNI_CONTAINERID": "${container}", "CNI_NETNS": "${netns}", "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${container}",
            "CNI_PATH": self.executable.folder,
        }  # fmt: skip
        wanted: dict[str, str | None] = {"CNI_COMMAND": step.call}
        wanted |= {key: usual[key] for key in VARIABLES.get(step.call, ())} | step.env
        return {key: str(self._filled(value)) for key, value in wanted.items() if value is not None}

    # --- what must be

    def _conforms(self, ended: Ended) -> None:
        """Hold an answer to what the specification says of every answer."""
        outcome, printed = ended.outcome, ended.printed
        assert b"Traceback" not in outcome.stdout + outcome.stderr, outcome
        if outcome.status != 0:
            shaped(printed, "error")
            if isinstance(ended.config, dict) and ended.config.get("cniVersion") in VERSIONS:
                assert printed["cniVersion"] == self.version, printed
        elif ended.verb == "VERSION":
            shaped(printed, "version")
        elif ended.verb == "ADD":
            shaped(printed, f"result {self.version}")
            self._fits(ended)
        else:
            assert outcome.stdout == b"", outcome

    def _fits(self, ended: Ended) -> None:
        """A result names the interface that was asked for, and its indices lead to it."""
        interfaces = ended.printed["interfaces"]
        index, _ = self._ours(ended)
        assert index in [ip["interface"] for ip in ended.printed["ips"]], ended.printed
        assert all(0 <= ip["interface"] < len(interfaces) for ip in ended.printed["ips"]), ended.printed

    def _ours(self, ended: Ended) -> tuple[int, dict[str, Any]]:
        """The interface of a result that was asked for, and its index."""
        wanted = {"name": ended.environment["CNI_IFNAME"], "sandbox": ended.environment["CNI_NETNS"]}
        (found,) = [each for each in enumerate(ended.printed["interfaces"]) if not difference(wanted, each[1])]
        return found

    def _compare(self, answer: Answer, ended: Ended) -> str:
        code = ended.printed["code"] if ended.outcome.status else None
        if (code is None) != (not answer.codes) or (code is not None and code not in answer.codes):
            return f"code {code}, not {answer.codes or 'success'}"
        text = json.dumps(ended.printed, ensure_ascii=False)
        if lacking := [each for each in self._filled(answer.says) if each not in text]:
            return f"it does not say {lacking}"
        return difference(self._filled(answer.stdout), ended.printed) if answer.stdout is not None else ""

    async def _hold(self, answer: Answer) -> None:
        for facts in answer.facts:
            await self._holds(facts)

    async def _holds(self, facts: Facts) -> None:
        netns, link = self._filled(facts.netns), self._filled(facts.link)
        about_link = (facts.up, facts.mac, facts.mtu, facts.addresses)
        if facts.present is False:  # DEL waits 2 s for that; on a busy machine it may take longer
            await until(lambda: link not in names_in(netns), 5, f"{link} is gone from {netns}")
        elif facts.present:
            assert link in names_in(netns)
        if any(each is not None for each in about_link):
            (found,) = await links_of(netns, link)
            self._link_holds(facts, found)
        if facts.routes or facts.no_routes:
            await self._routes_hold(facts, netns)
        for key, value in facts.sysctl.items():
            path = Path("/proc/sys", *self._filled(key).split("/"))
            _, out, error = await run("cat", str(path), netns=netns)
            assert out.strip() == value, f"{key}: {out}{error}"
        if facts.attachment is not None:
            key = f"{self._filled(facts.container)}/{link}"
            assert (key in self.world.attachments()) == facts.attachment, f"{key}: {list(self.world.attachments())}"
        if facts.pings:
            assert await self.world.pings(netns, self._filled(facts.pings)), f"no answer from {facts.pings}"

    def _link_holds(self, facts: Facts, found: dict[str, Any]) -> None:
        there = [f"{each['local']}/{each['prefixlen']}" for each in found["addr_info"] if each["family"] == "inet"]
        if facts.up is not None:
            assert ("UP" in found["flags"]) == facts.up, found
        if facts.mac is not None:
            assert found["address"] == self._filled(facts.mac), found
        if facts.mtu is not None:
            assert found["mtu"] == facts.mtu, found
        if facts.addresses is not None:
            assert there == self._filled(facts.addresses), found

    async def _routes_hold(self, facts: Facts, netns: str) -> None:
        code, out, error = await run("ip", "-j", "-4", "route", "show", "table", "all", netns=netns)
        assert code == 0, error
        routes = json.loads(out or "[]")
        assert not (told := difference({"$has": self._filled(facts.routes)}, routes)), told
        destinations = [each["dst"] for each in routes]
        assert not [each for each in facts.no_routes if each in destinations], routes

    # --- afterwards

    async def _clean(self) -> None:
        """Remove everything that the check has made, and see that nothing is left of it."""
        world, namespaces = self.world, self.world.rig.namespaces
        if any(step.agent or step.vpp for step in self.check.steps):
            await world.heal()
        for key in world.attachments():
            container, _, interface = key.partition("/")
            network = next((each[2] for each in self._touched if each[:2] == (container, interface)), NETWORK)
            config = {"cniVersion": "1.0.0", "name": network, "type": "contivpp"}
            await world.rig.cni("DEL", container, "", interface=interface, stdin=json.dumps(config).encode())
        assert not world.attachments()
        mine = [netns for netns in self._namespaces.values() if netns in namespaces.made]

        def left() -> list[str]:
            return [name for netns in mine for name in names_in(netns) if name not in FOREIGN]

        try:
            await until(lambda: not left(), 5, "the interfaces are gone")
        finally:
            for netns in mine:
                namespaces.drop(netns)
