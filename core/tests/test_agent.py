# SPDX-License-Identifier: Apache-2.0
"""The agent as a whole: order of life, readiness, hooks that the core calls, local API, command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contivpp_core.agent import Agent
from contivpp_core.api import ApiRoute, Request
from contivpp_core.cli import main
from contivpp_core.clock import run_simulated
from contivpp_core.config import ConfigSection, Section
from contivpp_core.errors import ConfigError, ContivError, PluginError
from contivpp_core.items import Descriptor, Found, Item, Known
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_core.metrics import Metric, read
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record, Table
from contivpp_core.renderers import View
from contivpp_core.state import Put, Ready


class Wish(Record, frozen=True, kw_only=True):
    name: str
    namespace: str = "x"


WISH: Table[Wish] = Table("LocalPod", Wish, lambda wish: wish.name)


class Light(Item, frozen=True, kw_only=True):
    kind: ClassVar[str] = "vpp/tap"
    name: str

    @property
    def key(self) -> str:
        return f"vpp/tap/{self.name}"


class Lights(Descriptor[Light]):
    kind = "vpp/tap"
    item = Light
    domain = "vpp"

    def __init__(self) -> None:
        self.on: set[str] = set()
        self.refused: set[str] = set()

    async def create(self, item: Light, handles: Mapping[str, Any]) -> Any:
        if item.name in self.refused:
            raise ContivError("refused on purpose")
        self.on.add(item.name)
        return len(self.on)

    async def delete(self, item: Light, handle: Any, handles: Mapping[str, Any]) -> None:
        self.on.discard(item.name)

    async def dump(self, known: Known) -> list[Found]:
        return [Found(f"vpp/tap/{name}", Light(name=name)) for name in sorted(self.on)]


class Switch:
    name = "switch"
    table = "LocalPod"
    reads: frozenset[str] = frozenset()
    produces = frozenset({"vpp/tap"})
    derives: frozenset[str] = frozenset()

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        if view.get("LocalPod", key) is not None:
            yield Light(name=key)


class TrialSection(Section):
    mode: str = "usual"


class Trial(Plugin):
    """Every hook that the core calls."""

    name = "trial"

    def __init__(self) -> None:
        self.lights = Lights()
        self.told: list[Any] = []

    @hookimpl
    def config_section(self) -> ConfigSection:
        return ConfigSection("trial", TrialSection)

    @hookimpl
    def tables(self) -> list[Any]:
        return [WISH]

    @hookimpl
    def renderers(self, agent: Agent) -> list[Switch]:
        self.told.append(("mode", agent.config.section("trial", TrialSection).mode))
        return [Switch()]

    @hookimpl
    def descriptors(self) -> list[Lights]:
        return [self.lights]

    @hookimpl
    def metrics(self) -> list[Metric]:
        return [Metric("lights_on", "Lights that are on.", "gauge", lambda: len(self.lights.on))]

    @hookimpl
    def api_routes(self) -> list[ApiRoute]:
        return [
            ApiRoute("GET", "/v1/trial", lambda request: {"query": dict(request.query)}, "A trial."),
            ApiRoute("GET", "/v1/broken", lambda request: 1 // 0, "A broken one."),
        ]

    @hookimpl
    def agent_started(self, event: Any) -> None:
        self.told.append(event)

    @hookimpl
    def agent_stopping(self, event: Any) -> None:
        self.told.append(event)

    @hookimpl
    def item_failed(self, event: Any) -> None:
        self.told.append(event)

    @hookimpl
    def item_recovered(self, event: Any) -> None:
        self.told.append(event)

    @hookimpl
    def resync_done(self, event: Any) -> None:
        self.told.append(event)

    async def start(self, agent: Agent) -> None:
        self.told.append("start")
        await agent.scheduler.domain_up("vpp", "1")
        await agent.controller.write("list", [Ready("LocalPod")])

    async def stop(self) -> None:
        self.told.append("stop")


def rig(trial: Trial, **options: Any) -> Agent:
    return Agent({"nodeName": "n1", "plugins": ["trial"]}, [trial], ledger_path=None, serve=False, **options)


def names(trial: Trial) -> list[str]:
    return [type(event).__name__ for event in trial.told if not isinstance(event, str | tuple)]


def test_hook_tables_renderers_and_descriptors() -> None:
    async def scenario() -> None:
        trial = Trial()
        agent = rig(trial)
        assert not agent.ready
        with pytest.raises(ContivError, match="not open yet"):
            _ = agent.ledger
        await agent.start()
        assert agent.ready
        await agent.controller.write("add", [Put("LocalPod", Wish(name="a"))])
        await agent.controller.settled()
        assert trial.lights.on == {"a"}
        assert [entry.cause for entry in agent.journal.entries()] == ["list", "add"]
        await agent.stop()
        assert trial.lights.on == {"a"}  # pods go on talking
        assert trial.told[-1] == "stop"

    run_simulated(scenario())


def test_hook_config_section() -> None:
    trial = Trial()
    Agent({"trial": {"mode": "odd"}}, [trial], ledger_path=None, serve=False)
    assert trial.told == [("mode", "odd")]


def test_plugins_are_found_by_name_and_by_what_they_fill() -> None:
    class Source(Plugin):
        name = "source"
        sources = ("Pod",)

    source = Source()
    agent = Agent({}, [source], ledger_path=None, serve=False)
    assert agent.plugin("source") is source
    assert (agent.sourced("Pod"), agent.sourced("Node")) == (True, False)
    with pytest.raises(ContivError, match="the plugin ipam is not enabled"):
        agent.plugin("ipam")


def test_hook_metrics() -> None:
    trial = Trial()
    agent = rig(trial)
    trial.lights.on = {"a", "b"}
    found = [(sample.metric.name, sample.value) for sample in read(agent.metrics)]
    assert [each for each in found if not each[0].startswith("contivpp_")] == [("lights_on", 2.0)]


def test_hook_agent_started_and_agent_stopping() -> None:
    async def scenario() -> None:
        trial = Trial()
        agent = rig(trial)
        await agent.start()
        await agent.hooks.drain()
        await agent.stop()
        assert [name for name in names(trial) if name.startswith("Agent")] == [
            "AgentStarted",
            "AgentStopping",
        ]

    run_simulated(scenario())


def test_hook_item_failed_and_item_recovered() -> None:
    async def scenario() -> None:
        trial = Trial()
        trial.lights.refused = {"a"}
        agent = rig(trial)
        await agent.start()
        await agent.controller.write("add", [Put("LocalPod", Wish(name="a"))])
        await asyncio.sleep(60)
        failed = next(event for event in trial.told if type(event).__name__ == "ItemFailed")
        assert (failed.key, failed.error) == ("vpp/tap/a", "refused on purpose")
        await agent.controller.write("note", [Put("LocalPod", Wish(name="b"))])
        assert agent.journal.entries()[-1].failed == {"vpp/tap/a": "refused on purpose"}
        trial.lights.refused = set()
        await asyncio.sleep(60)
        await agent.hooks.drain()
        assert "ItemRecovered" in names(trial)
        await agent.stop()

    run_simulated(scenario())


def test_hook_resync_done() -> None:
    async def scenario() -> None:
        trial = Trial()
        agent = rig(trial)
        await agent.start()
        await agent.controller.settled()
        await agent.hooks.drain()
        assert next(e for e in trial.told if type(e).__name__ == "ResyncDone").domain == "vpp"
        await agent.stop()

    run_simulated(scenario())


def test_a_condition_that_does_not_hold_says_why() -> None:
    async def scenario() -> None:
        agent = rig(Trial())
        await agent.start()
        agent.set_condition("trial id", False, "no node ID yet")
        assert not agent.ready
        assert agent.readiness()["trial id"].reason == "no node ID yet"
        agent.set_condition("trial id", True, "no node ID yet", note="ID 7")
        assert agent.ready
        assert agent.readiness()["trial id"].reason == "ID 7"
        agent.scheduler.domain_down("vpp", "VPP is not connected")
        assert agent.readiness()["dataplane vpp"].reason == "VPP is not connected"
        assert not agent.ready
        await agent.stop()

    run_simulated(scenario())


def test_a_plugin_that_cannot_start_takes_the_others_down() -> None:
    class Bad(Plugin):
        name = "bad"
        requires = ("trial",)

        async def start(self, agent: Agent) -> None:
            raise OSError("no such device")

    class Slow(Bad):
        async def start(self, agent: Agent) -> None:
            await asyncio.sleep(1e6)

    async def scenario(bad: Plugin, why: str) -> None:
        trial = Trial()
        agent = Agent({}, [bad, trial], ledger_path=None, serve=False)
        with pytest.raises(PluginError, match=why):
            await agent.start()
        assert trial.told[-1] == "stop"

    run_simulated(scenario(Bad(), r"plugin bad \(in-process\) cannot start: OSError: no such device"))
    run_simulated(scenario(Slow(), r"plugin bad \(in-process\) cannot start: not within 60 s"))


def test_a_rig_restarts_an_agent_with_its_ledger() -> None:
    async def scenario() -> None:
        ledger = Ledger.open(None)
        for expected in (None, b"1"):
            agent = rig(Trial(), ledger=ledger)
            await agent.start()
            assert agent.ledger.get("trial", "id") == expected
            await agent.ledger.commit(LedgerWrite("trial", "id", b"1"))
            await agent.stop()

    run_simulated(scenario())


def test_what_does_not_fit_together_is_refused() -> None:
    class Other(Plugin):
        name = "other"

        @hookimpl
        def config_section(self) -> ConfigSection:
            return ConfigSection("trial", TrialSection)

    class NoDescriptor(Plugin):
        name = "lone"

        @hookimpl
        def tables(self) -> list[Any]:
            return [WISH]

        @hookimpl
        def renderers(self) -> list[Switch]:
            return [Switch()]

    with pytest.raises(PluginError, match="plugins trial and other both have a section trial"):
        Agent({}, [Trial(), Other()], ledger_path=None)
    with pytest.raises(PluginError, match="makes items of kind vpp/tap, which no enabled plugin can apply"):
        Agent({}, [NoDescriptor()], ledger_path=None)
    with pytest.raises(PluginError, match="plugin trial: table LocalPod is declared twice"):
        Agent({}, [type("L", (NoDescriptor,), {"name": "a"})(), Trial()], ledger_path=None)
    with pytest.raises(ConfigError, match=r"configuration: trial\.mdoe: unknown setting"):
        Agent({"trial": {"mdoe": 1}}, [Trial()], ledger_path=None)


def test_two_sources_of_one_table_are_refused() -> None:
    def source(called: str) -> Plugin:
        return type(called, (Plugin,), {"name": called, "sources": ("Node", "Pod")})()

    with pytest.raises(PluginError, match=r"plugins a and b both fill the table Node.* disable one"):
        Agent({}, [source("a"), source("b")], ledger_path=None)


# --- with files and sockets


class Served:
    """An agent with its sockets, in a directory of its own."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.trial = Trial()
        self.config = {
            "nodeName": "n1",
            "stateDir": str(directory / "state"),
            "runDir": str(directory / "run"),
            **config,
        }
        self.agent = Agent(self.config, [self.trial])
        self.socket = directory / "run" / "agent.sock"

    async def get(self, path: str) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as session,
            session.get(f"http://agent{path}") as response,
        ):
            return response.status, await response.json()

    async def command(self, *words: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "contivpp_core.cli", *words, "--socket", str(self.socket),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def test_hook_api_routes_and_the_local_api(tmp_path: Path) -> None:
    served = Served(tmp_path)
    await served.agent.start()
    await served.agent.controller.write(
        "add", [Put("LocalPod", Wish(name="a")), Put("LocalPod", Wish(name="b"))]
    )
    await served.agent.controller.settled()
    try:
        assert served.socket.stat().st_mode & 0o777 == 0o600
        assert served.socket.parent.stat().st_mode & 0o777 == 0o700
        assert await served.get("/healthz") == (200, {"ok": True})
        status, ready = await served.get("/readyz")
        assert (status, ready["ready"]) == (200, True)
        served.agent.set_condition("trial", False, "on purpose")
        status, ready = await served.get("/readyz")
        assert (status, ready["conditions"]["trial"]) == (503, {"ok": False, "reason": "on purpose"})
        assert [item["key"] for item in (await served.get("/v1/items?prefix=vpp/tap/a"))[1]] == ["vpp/tap/a"]
        assert (await served.get("/v1/items?kind=other"))[1] == []
        assert len((await served.get("/v1/items?state=applied&kind=vpp/tap,x"))[1]) == 2
        assert "known are kind, prefix, state" in (await served.get("/v1/items?colour=red"))[1]["error"]
        assert {"name": "LocalPod", "records": 2, "ready": True, "stale": False, "derived": False} in (
            await served.get("/v1/tables")
        )[1]
        assert [r["key"] for r in (await served.get("/v1/tables/LocalPod"))[1]["records"]] == ["a", "b"]
        assert (await served.get("/v1/tables/None"))[0] == 404
        assert [entry["cause"] for entry in (await served.get("/v1/history?limit=1"))[1]] == ["add"]
        assert (await served.get("/v1/history?limit=x"))[0] == 400
        assert (await served.get("/v1/plugins"))[1][0]["name"] == "trial"
        status = (await served.get("/v1/status"))[1]
        assert status["items"]["applied"] == 2
        assert {name: sum(kinds.values()) for name, kinds in status["operations"].items()} == {
            "created": 2, "updated": 0, "deleted": 0, "failed": 0
        }  # fmt: skip
        assert (await served.get("/v1/trial?a=b")) == (200, {"query": {"a": "b"}})
        status, answer = await served.get("/v1/broken")
        assert status == 500
        assert "ZeroDivisionError" in answer["error"]
    finally:
        await served.agent.stop()
    assert not served.socket.exists()
    assert (tmp_path / "state" / "ledger.db").exists()
    assert b'"cause":"add"' in (tmp_path / "state" / "journal.jsonl").read_bytes()


async def test_a_live_socket_is_refused_and_a_dead_one_taken_over(tmp_path: Path) -> None:
    first = Served(tmp_path)
    await first.agent.start()
    second = Agent({**first.config, "stateDir": str(tmp_path / "other")}, [Trial()])
    with pytest.raises(ContivError, match="in use: a running agent serves it"):
        await second.start()
    assert (await first.get("/healthz"))[0] == 200
    await first.agent.stop()
    server = await asyncio.start_unix_server(lambda reader, writer: None, first.socket)
    server.close()
    await server.wait_closed()
    assert first.socket.exists()  # nobody listens any more
    third = Served(tmp_path)
    await third.agent.start()
    assert (await third.get("/healthz"))[0] == 200
    await third.agent.stop()


async def test_over_tcp_there_is_nothing_but_health(tmp_path: Path, unused_tcp_port: int) -> None:
    config = {
        "stateDir": str(tmp_path),
        "runDir": str(tmp_path),
        "healthAddress": f"127.0.0.1:{unused_tcp_port}",
    }
    agent = Agent(config, [Trial()])
    await agent.start()
    async with aiohttp.ClientSession() as session:
        for path, status in {"/healthz": 200, "/readyz": 200, "/v1/status": 404}.items():
            async with session.get(f"http://127.0.0.1:{unused_tcp_port}{path}") as response:
                assert response.status == status
        async with session.post(f"http://127.0.0.1:{unused_tcp_port}/healthz") as response:
            assert response.status == 405
    await agent.stop()


async def test_metrics_are_served_where_the_probes_are(tmp_path: Path, unused_tcp_port: int) -> None:
    served = Served(tmp_path, healthAddress=f"127.0.0.1:{unused_tcp_port}")
    await served.agent.start()
    await served.agent.controller.write("add", [Put("LocalPod", Wish(name="a"))])
    await served.agent.controller.settled()
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{unused_tcp_port}/metrics") as response:
                assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                families = {f.name: f for f in text_string_to_metric_families(await response.text())}
            async with session.get(f"http://127.0.0.1:{unused_tcp_port}/v1/items") as response:
                assert response.status == 404
        items = {(s.labels["kind"], s.labels["state"]): s.value for s in families["contivpp_items"].samples}
        assert items["vpp/tap", "applied"] == 1
        latency = {s.name: s.value for s in families["contivpp_apply_seconds"].samples if s.labels["kind"] == "vpp/tap"}
        assert latency["contivpp_apply_seconds_count"] == 1
        assert 0 < latency["contivpp_apply_seconds_sum"] < 60
    finally:
        await served.agent.stop()


async def test_commands_show_what_the_agent_knows(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.trial.lights.refused = {"b"}
    await served.agent.start()
    await served.agent.controller.write(
        "add", [Put("LocalPod", Wish(name="a")), Put("LocalPod", Wish(name="b"))]
    )
    await served.agent.controller.settled()
    try:
        code, out, err = await served.command("get", "pods")
        assert (code, err) == (0, "")
        lines = [line.split() for line in out.splitlines()]
        assert lines[0] == ["NAMESPACE", "NAME", "INTERFACE", "ADDRESS", "STATE"]
        assert lines[1] == ["x", "a", "-", "-", "applied"]
        assert lines[2][:2] == ["x", "b"]
        assert lines[2][4] == "failed"
        _, out, _ = await served.command("get", "pods", "-o", "wide")
        assert "vpp/tap/b: refused on purpose" in out
        _, out, _ = await served.command("get", "interfaces", "-o", "json")
        assert [item["key"] for item in json.loads(out)] == ["vpp/tap/a", "vpp/tap/b"]
        _, out, _ = await served.command("get", "items", "--prefix", "vpp/tap/b", "-o", "wide")
        assert "refused on purpose" in out
        for words in (("tables",), ("tables", "LocalPod"), ("plugins",), ("status",)):
            code, out, _ = await served.command("get", *words)
            assert code == 0
            assert len(out.splitlines()) >= 2
        code, out, _ = await served.command("history", "-o", "wide")
        assert code == 0
        assert "LocalPod/a" in out
        code, _, err = await served.command("get", "tables", "Nothing")
        assert code == 1
        assert "no table is named Nothing" in err
    finally:
        await served.agent.stop()


def test_without_an_agent_a_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "pods", "--socket", str(tmp_path / "agent.sock")]) == 1
    told = capsys.readouterr().err
    assert "the agent is not running" in told
    assert str(tmp_path / "agent.sock") in told
    assert "contivpp agent" in told


def test_a_bad_configuration_ends_with_2_and_every_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("plugins: [no-such]\nlogLevel: loud\nhealthAddress: here\n")
    assert main(["agent", "--config", str(path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(str(path)).split(": ")[1] for line in told] == [
        "logLevel",
        "healthAddress",
        "plugins",
    ]
    assert main(["agent", "--config", str(tmp_path / "none")]) == 2


def test_get_is_lean() -> None:
    code = """if True:
        import sys, contivpp_core.cli
        print([name for name in ("aiohttp", "pydantic", "asyncio", "stevedore") if name in sys.modules])
    """
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


async def test_sigterm_ends_the_agent_in_order(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(f"plugins: []\nstateDir: {tmp_path}/state\nrunDir: {tmp_path}/run\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "contivpp_core.cli", "agent", "--config", str(config), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while b"agent started" not in await process.stderr.readline():
            pass
        assert (tmp_path / "run" / "agent.sock").is_socket()
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
    assert not (tmp_path / "run" / "agent.sock").exists()


BROKEN = "import no_such_module"
COMMANDS = """
from contivpp_core.cli.command import Command
from contivpp_core.plugin import Plugin, hookimpl
class P(Plugin):
    name = "echo"
    @hookimpl
    def commands(self):
        return [Command("echo", "say it", lambda arguments: print(arguments.word) or 0,
                        lambda parser: parser.add_argument("word"), (("contivpp echo hi", "says hi"),))]
"""


def test_hook_commands_and_a_broken_plugin_beside_them(tmp_path: Path) -> None:
    for name, code in {"echo": COMMANDS, "ruined": BROKEN}.items():
        info = tmp_path / f"dist_{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[contivpp.plugins]\n{name} = trial_{name}:P\n")
        (tmp_path / f"trial_{name}.py").write_text(code)
    environment = {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "contivpp_core.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    done = run("echo", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert (
        "warning: no commands of plugin ruined: plugin ruined (dist-ruined) cannot be imported" in done.stderr
    )
    assert "contivpp echo hi  says hi" in run("echo", "--help").stdout
    assert run("no-such-command").returncode == 2
    done = run("get", "pods", "--socket", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "ruined" not in done.stderr


async def test_a_handler_is_called_without_a_server() -> None:
    agent = rig(Trial())
    routes = {
        route.path: route for route in __import__("contivpp_core.api_routes").api_routes.core_routes(agent)
    }
    assert routes["/v1/plugins"].handler(Request())[0]["name"] == "trial"
