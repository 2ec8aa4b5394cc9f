# SPDX-License-Identifier: Apache-2.0
"""`contivpp plan`: what is told, of which request, and that nothing is touched."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from contivpp_core.agent import Agent
from contivpp_core.api import encode
from contivpp_core.cli import main
from contivpp_core.cli.plan_text import text_of
from contivpp_core.clock import run_simulated
from contivpp_core.config import Source
from contivpp_core.errors import ConfigError, ContivError, NotReady
from contivpp_core.items import Descriptor
from contivpp_core.kubernetes import POD, Namespace, Pod
from contivpp_core.plan import Plan
from contivpp_core.plan.rehearsal import DECLARED, IO, PURE
from contivpp_core.plugin import hookimpl
from contivpp_core.state import Put, Ready, State, Write
from contivpp_core.testing.dataplane import FakeDataplane

from .plans import Fake, Ports, Rig, Settings, manifest


def scenario(*manifests: Any, **settings: Any) -> Callable[[Callable[[Rig], Coroutine[Any, Any, None]]], Any]:
    """Run a test with an agent that has these pods; at the end it is checked that planning touched nothing."""

    def wrap(body: Callable[[Rig], Coroutine[Any, Any, None]]) -> Any:
        async def run() -> None:
            rig = Rig(**settings)
            await rig.start(*manifests)
            await body(rig)
            await rig.agent.stop()

        def test() -> None:
            run_simulated(run())

        test.__name__, test.__doc__ = body.__name__, body.__doc__
        return test

    return wrap


def told(plan: Plan) -> list[str]:
    """The lines that people see."""
    return text_of(json.loads(encode(plan))).splitlines()


P = manifest("p", addresses=("1",), routes="1")


@scenario(P)
async def test_without_a_difference_nothing_would_change(rig: Rig) -> None:
    for request in ({}, {"live": True}, {"settings": {}}):
        plan = await rig.plan(**request)
        assert told(plan) == ["Nothing would change."]
        assert (plan.changes, plan.blocked, plan.steps) == ((), (), ())


@scenario(P)
async def test_another_setting_changes_what_follows_from_it_in_the_order_it_would_happen(rig: Rig) -> None:
    before = rig.everything()
    plan = await rig.plan(settings={"vrf": 2})
    assert told(plan) == [
        "fake",
        "  fake/address",
        "    ~ make again fake/address/p/1: vrf 1 -> 2  (ports:default/p)",
        "  fake/vrf",
        "    ~ update fake/vrf/p: vrf 1 -> 2  (ports:default/p)",
        "1 to update, 1 to make again. Nothing was applied.",
    ]
    assert plan.steps == (
        ("delete", "fake/address/p/1"), ("update", "fake/vrf/p"), ("create", "fake/address/p/1"),
    )  # fmt: skip
    assert msgspec.to_builtins(plan.operations) == {
        "created": {"fake/address": 1}, "updated": {"fake/vrf": 1}, "deleted": {"fake/address": 1},
    }  # fmt: skip
    assert rig.everything() == before


@scenario(P)
async def test_what_lives_in_an_object_that_is_made_again_is_named_as_well(rig: Rig) -> None:
    plan = await rig.plan(settings={"model": "b"})
    actions = {change.key: (change.action, change.operations) for change in plan.changes}
    assert actions["fake/port/p"] == ("recreate", ("delete", "create"))
    assert actions["fake/vrf/p"] == ("recreate", ("create",))
    assert "    ~ make again fake/port/p: model a -> b  (ports:default/p)" in told(plan)
    assert (
        "    ~ make again fake/vrf/p: what it is in, or stands on, is made again  (ports:default/p)" in told(plan)
    )


@scenario(P)
async def test_what_a_start_writes_itself_is_in_the_plan(rig: Rig) -> None:
    plan = await rig.plan(settings={"sticky": True})
    assert [(change.action, change.key) for change in plan.changes] == [("create", "fake/address/p/3")]


@scenario(P, manifest("q", routes="2"))
async def test_manifests_replace_by_name_and_with_replace_all_others_go(rig: Rig) -> None:
    other = manifest("p", addresses=("2",), routes="1")
    plan = await rig.plan(other)
    assert [(change.action, change.key) for change in plan.changes] == [
        ("delete", "fake/address/p/1"),
        ("create", "fake/address/p/2"),
    ]
    plan = await rig.plan(other, replace=True)
    gone = {change.key: change.operations for change in plan.changes if change.action == "delete"}
    assert gone == {
        "fake/address/p/1": ("delete",), "fake/port/q": ("delete",), "fake/link/q": ("delete",),
        "fake/route/2": ("delete",), "fake/vrf/q": (),
    }  # fmt: skip
    assert "    - delete fake/vrf/q: goes with what it is in  (ports:default/q)" in told(plan)


@scenario()
async def test_lists_are_opened_and_objects_without_a_namespace_are_in_the_default_one(rig: Rig) -> None:
    bare = manifest("p")
    del bare["metadata"]["namespace"]
    plan = await rig.plan({"kind": "List", "items": [bare, {"kind": "Deployment", "metadata": {"name": "d"}}]})
    assert {owner for change in plan.changes for owner in change.owners} == {"ports:default/p"}
    assert plan.notes == ("document 1, item 2: Deployment: the agent reads no objects of this kind",)


@scenario(P)
async def test_objects_that_no_plugin_makes_anything_of_are_named(rig: Rig) -> None:
    plan = await rig.plan(P, {"kind": "Service", "metadata": {"name": "s"}})
    assert plan.changes == ()
    assert plan.notes == ("Service: no enabled plugin makes anything of objects of this kind",)


@scenario(P)
async def test_every_object_that_is_wrong_is_told(rig: Rig) -> None:
    with pytest.raises(ConfigError) as raised:
        await rig.plan({"kind": "Pod", "metadata": {"name": 7}}, "text", P, P, {"metadata": {}})
    assert [fault.split(": ")[0] for fault in raised.value.faults] == [
        "document 1", "document 2", "document 4", "document 5",
    ]  # fmt: skip
    assert "stands in the manifests twice" in raised.value.faults[2]
    with pytest.raises(ContivError, match="the body is not a plan's request"):
        await rig.planner.plan(b'{"configuration": 1}')


@scenario(P)
async def test_faults_of_the_configuration_are_those_that_a_start_tells(rig: Rig) -> None:
    text = yaml.safe_dump({"logLevel": "loud", "fake": {"vrf": "x", "colour": 1}, "other": {}})
    with pytest.raises(ConfigError) as started:
        Agent(Source.parse("new.yaml", text), [Fake(rig.world)])
    with pytest.raises(ConfigError) as raised:
        await rig.planner.plan(msgspec.json.encode({"config": {"name": "new.yaml", "text": text}}))
    assert raised.value.faults == started.value.faults
    assert len(raised.value.faults) == 4
    with pytest.raises(ConfigError, match=r"new\.yaml: line 1: not YAML"):
        await rig.planner.plan(msgspec.json.encode({"config": {"name": "new.yaml", "text": "a: b: c"}}))


@scenario(P)
async def test_what_only_a_restart_can_do_is_named_and_the_rest_planned(rig: Rig) -> None:
    config = {"nodeName": "n2", "stateDir": "/elsewhere", "fake": {"socket": "/run/other.sock", "vrf": 2}}
    plan = await rig.planner.plan(msgspec.json.encode({"config": {"name": "c", "text": json.dumps(config)}}))
    assert [(s.setting, s.new) for s in plan.settings] == [
        ("nodeName", "n2"), ("stateDir", "/elsewhere"), ("fake.socket", "/run/other.sock"),
    ]  # fmt: skip
    assert told(plan)[2] == (
        "? fake.socket /run/fake.sock -> /run/other.sock: only a restart can do this; it is not in the plan"
    )
    assert [change.key for change in plan.changes] == ["fake/address/p/1", "fake/vrf/p"]


@scenario(manifest("p", routes="1", over="nobody"))
async def test_what_waits_says_for_what_and_is_no_change(rig: Rig) -> None:
    plan = await rig.plan()
    assert [(b.key, b.needs, b.state, b.reason) for b in plan.blocked] == [
        ("fake/route/1", "create", "pending", "waits for fake/if/nobody"),
    ]
    assert "    ! pending fake/route/1: to create: waits for fake/if/nobody  (routes:default/p)" in told(plan)
    assert told(plan)[-1] == "Nothing would change. (1 cannot be done.)"
    plan = await rig.plan(manifest("nobody"))
    assert (plan.blocked, {c.key for c in plan.changes} >= {"fake/port/nobody", "fake/route/1"}) == ((), True)


@scenario(manifest("p", down="yes"))
async def test_what_cannot_be_made_again_is_named_with_what_is_in_it(rig: Rig) -> None:
    rig.world.routes[7] = 0  # ours; the renderer that fails may want it
    other = (manifest("p", model="b", down="yes"), manifest("q", routes="x"))
    plan = await rig.plan(*other, replace=True, live=True)
    assert {(each.needs, each.key, each.reason) for each in plan.blocked} == {
        ("update", "fake/port/p", "waits for fake/route/7 to be taken down"),
        ("recreate", "fake/vrf/p", "goes down with fake/port/p"),
        ("delete", "fake/route/7", "renderer routes failed: it may want this item"),
    }


@scenario(manifest("p", routes="1", down="yes"))
async def test_what_waits_for_nobody_gives_way_to_what_must_be_made_again(rig: Rig) -> None:
    other = (manifest("p", model="b", down="yes"), manifest("q", routes="1", over="nobody"))
    plan = await rig.plan(*other, replace=True)
    assert [(each.needs, each.key, each.reason) for each in plan.blocked] == [
        ("create", "fake/route/1", "waits for fake/if/nobody")
    ]
    assert {(c.action, c.key) for c in plan.changes} >= {("recreate", "fake/port/p"), ("delete", "fake/route/1")}


@scenario()
async def test_what_failed_fails_in_the_plan_until_its_value_changes(rig: Rig) -> None:
    rig.world.fail("fake/vrf/p", times=1000)
    await rig.replace(P)
    plan = await rig.plan()
    blocked = {each.key: each for each in plan.blocked}
    assert (blocked["fake/vrf/p"].state, blocked["fake/vrf/p"].reason) == (
        "failed", "create fake/vrf/p is refused by plan",
    )  # fmt: skip
    assert blocked["fake/address/p/1"].state == "pending"
    assert plan.changes == ()
    plan = await rig.plan(settings={"vrf": 2})
    assert {"fake/vrf/p", "fake/address/p/1"} <= {change.key for change in plan.changes}


@scenario(P)
async def test_a_renderer_that_fails_is_named_and_what_it_may_want_is_held(rig: Rig) -> None:
    before = rig.everything()
    plan = await rig.plan(manifest("q", broken="yes"))
    assert plan.failures == {"ports:default/q": "ValueError: on purpose"}
    assert told(plan)[0] == "! renderer ports:default/q fails: ValueError: on purpose"
    assert rig.everything() == before


@scenario(P)
async def test_drift_shows_only_when_the_dataplane_is_read_and_is_not_repaired(rig: Rig) -> None:
    world = rig.world
    world.routes[7] = 0  # ours, and nobody wants it
    del world.routes[1]
    world.facets[0, "vrf"] = 9
    before = rig.everything()
    assert (await rig.plan()).changes == ()
    plan = await rig.plan(live=True)
    changes = {change.key: (change.action, change.drift) for change in plan.changes}
    assert changes["fake/route/1"] == ("create", True)
    assert changes["fake/route/7"] == ("delete", True)
    assert changes["fake/vrf/p"] == ("update", True)
    assert changes["fake/address/p/1"] == ("recreate", False)  # it stands on the VRF, which cannot change under it
    assert plan.live
    assert any(line.startswith("    + create fake/route/1: port p (drift)") for line in told(plan))
    assert rig.everything() == before
    await rig.agent.scheduler.resync("fake")
    await rig.agent.controller.settled()
    done = [call for call in world.calls[-40:] if call[0] != "dump"][-len(plan.steps) :]
    assert set(done) == set(plan.steps)
    assert (await rig.plan(live=True)).changes == ()


@scenario(P)
async def test_what_dangles_is_taken_away_first(rig: Rig) -> None:
    rig.world.routes[8] = 5
    plan = await rig.plan(live=True)
    assert plan.steps == (("delete", "fake/route/8"),)
    assert [(c.action, c.key, c.drift) for c in plan.changes] == [("delete", "fake/route/8", True)]
    assert rig.world.routes[8] == 5


@scenario(P)
async def test_a_dataplane_that_cannot_be_reached_lets_everything_wait(rig: Rig) -> None:
    rig.agent.scheduler.domain_down("fake", "fake is away")
    plan = await rig.plan(settings={"vrf": 2}, live=True)
    assert plan.changes == ()
    assert {each.key for each in plan.blocked} == {"fake/address/p/1", "fake/vrf/p"}
    assert plan.notes == ("fake: fake is away: nothing can be done there now",)


@scenario(P)
async def test_a_reading_that_fails_is_an_error(rig: Rig) -> None:
    rig.world.reachable = False
    with pytest.raises(NotReady, match="the dataplane cannot be read: no answer to dump"):
        await rig.plan(live=True)
    rig.world.reachable = True
    assert told(await rig.plan(live=True)) == ["Nothing would change."]


@scenario(P)
async def test_operations_under_way_are_told(rig: Rig) -> None:
    rig.world.delay = 30.0
    await rig.agent.controller.write("q", [Put(POD.name, Pod(namespace="default", name="q"))])
    plan = await rig.plan()
    assert plan.notes == ("1 operations are under way: they are shown as still to be done",)
    assert "fake/port/q" in {change.key for change in plan.changes}


async def test_rendering_and_deciding_are_done_in_a_thread_and_logged_nowhere(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    await rig.start(P)
    threads: set[int] = set()
    render = Ports.render

    def noting(self: Ports, view: Any, key: str) -> Any:
        threads.add(threading.get_ident())
        return render(self, view, key)

    monkeypatch.setattr(Ports, "render", noting)
    logging.getLogger().addHandler(caplog.handler)
    caplog.clear()
    plan = await rig.plan(manifest("q", broken="yes"))
    logging.getLogger().removeHandler(caplog.handler)
    assert plan.failures
    assert threads
    assert threading.get_ident() not in threads
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    await rig.agent.stop()


async def test_plans_at_the_same_time_and_writes_meanwhile_do_not_meet() -> None:
    rig = Rig()
    await rig.start(P)
    plans = asyncio.gather(*(rig.plan(settings={"vrf": number}) for number in (2, 3, 1)))
    written = await rig.agent.controller.write("other", [Put("Namespace", Namespace(name="x")), Ready("Namespace")])
    assert rig.agent.state.revision == written
    assert [[c.new.vrf for c in plan.changes if c.kind == "fake/vrf"] for plan in await plans] == [[2], [3], []]  # type: ignore[union-attr]
    await rig.agent.stop()


def test_every_method_of_a_descriptor_is_handed_on_or_replaced() -> None:
    public = {name for name in vars(Descriptor) if not name.startswith("_")} | set(Descriptor.__annotations__)
    assert public == {*DECLARED, *PURE, *IO}


# --- the command


class Served:
    """An agent with its socket."""

    def __init__(self, folder: Path) -> None:
        self.world = FakeDataplane()
        self.config = {"nodeName": "n1", "stateDir": str(folder / "state"), "runDir": str(folder / "run")}
        self.agent = Agent(self.config, [Fake(self.world)])
        self.socket = str(folder / "run" / "agent.sock")

    async def command(self, *words: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "contivpp_core.cli", "plan", *words, "--socket", self.socket,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def test_the_command_prints_plans_and_ends_as_it_says(tmp_path: Path) -> None:
    served = Served(tmp_path)
    await served.agent.start()
    await served.agent.controller.write("pod", [Put(POD.name, Pod(namespace="default", name="p")), Ready(POD.name)])
    await served.agent.controller.settled()
    files = {
        "same.yaml": yaml.safe_dump(served.config),
        "vrf.yaml": yaml.safe_dump({**served.config, "fake": {"vrf": 2}}),
        "bad.yaml": yaml.safe_dump({**served.config, "fake": {"vrf": "x"}, "logLevel": 1}),
        "pods.yaml": yaml.safe_dump_all([manifest("q"), None, manifest("r")]),
        "broken.yaml": "a: b: c",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    at = {name: str(tmp_path / name) for name in files}
    try:
        assert await served.command() == (0, "Nothing would change.\n", "")
        assert (await served.command("--config", at["same.yaml"], "--exit-code"))[0] == 0
        code, out, _ = await served.command("--config", at["vrf.yaml"])
        assert (code, "~ update fake/vrf/p: vrf 1 -> 2" in out) == (0, True)
        code, out, _ = await served.command("--config", at["vrf.yaml"], "--exit-code", "-o", "json")
        assert (code, [change["fields"] for change in json.loads(out)["changes"]]) == (2, [{"vrf": [1, 2]}])
        code, out, _ = await served.command("--manifests", at["pods.yaml"], "--live")
        assert (code, out.splitlines()[-1]) == (0, "6 to create. Nothing was applied.")
        code, out, _ = await served.command("--manifests", at["pods.yaml"], "--replace")
        assert out.splitlines()[-1] == "6 to create, 3 to delete. Nothing was applied."
        code, out, err = await served.command("--config", at["bad.yaml"])
        assert (code, out) == (2, "")
        assert [line.split(": ")[:2] for line in err.splitlines()] == [
            [at["bad.yaml"], "logLevel"], [at["bad.yaml"], "fake.vrf"],
        ]  # fmt: skip
        assert (await served.command("--config", at["bad.yaml"], "--exit-code"))[::2] == (1, err)
        code, _, err = await served.command("--manifests", at["broken.yaml"])
        assert (code, f"{at['broken.yaml']}: line 1: not YAML" in err) == (2, True)
        assert (await served.command("--manifests", str(tmp_path / "none")))[0] == 2
        assert (await served.command("--replace"))[0] == 2
        assert not [call for call in served.world.calls if call[0] != "dump"][4:]
    finally:
        await served.agent.stop()


def test_without_an_agent_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--socket", str(tmp_path / "agent.sock")]) == 1
    assert "the agent is not running" in capsys.readouterr().err


def test_hook_planned_start_is_asked_of_an_agent_with_the_other_configuration() -> None:
    async def run() -> None:
        asked: list[tuple[str, bool, list[str]]] = []

        class Asked(Fake):
            @hookimpl
            def planned_start(self, agent: Agent, state: State) -> list[Write]:
                asked.append((agent.node_name, agent.config.section("fake", Settings).sticky, list(state.table("Pod"))))
                return []

        rig = Rig(plugin=Asked)
        await rig.start(P)
        assert (await rig.plan(settings={"sticky": True})).changes == ()
        assert asked == [("n1", True, ["default/p"])]
        await rig.agent.stop()

    run_simulated(run())
