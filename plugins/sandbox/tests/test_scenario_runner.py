# SPDX-License-Identifier: Apache-2.0
"""The runner on a rig that says what it is told to: order of steps, expectations, deadlines, errors."""

from __future__ import annotations

import asyncio

import pytest

from contivpp_core.clock import run_simulated
from contivpp_sandbox.rigs.base import (
    ObjectReference,
    RigError,
    Verdict,
    cni_environment,
    container_id,
    summarise,
)
from contivpp_sandbox.scenario.reading import parse
from contivpp_sandbox.scenario.report import record_fields, summary_line, table
from contivpp_sandbox.scenario.runner import Outcome, run_scenario

ALLOWED = Verdict(verdict="allowed", reached=("x/a:80",), seen_source="x/a", source_address="10.1.1.2")
DENIED = Verdict(verdict="denied", why="node n: VPP interface tap0: ip4-drop")


class ScriptedRig:
    """Notes what it is asked, and answers probes in turn; the last answer stays."""

    name = "scripted"

    def __init__(self, *answers: Verdict, settles: list[str] | None = None, fails: str = "") -> None:
        self.calls: list[object] = []
        self.answers = list(answers)
        self.settles = settles or []
        self.fails = fails

    async def _called(self, *call: object) -> None:
        self.calls.append(call)
        if call[0] == self.fails:
            raise RigError(f"{self.fails} went wrong")

    async def start(self, nodes, config, underlay):
        await self._called("start", nodes, config, underlay)

    async def apply(self, objects):
        await self._called("apply", [found["metadata"]["name"] for found in objects])

    async def delete(self, references):
        await self._called("delete", references)

    async def restart(self, what, node, *, kill):
        await self._called("restart", what, node, kill)

    async def advance(self, seconds):
        await self._called("advance", seconds)
        await asyncio.sleep(seconds)

    async def settle(self, deadline):
        await self._called("settle")
        return self.settles

    async def probe(self, probe):
        await self._called("probe", probe.port)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def stop(self):
        await self._called("stop")


def run(text: str, rig: ScriptedRig) -> Outcome:
    prefix = "nodes: [n]\nsteps:\n- apply: {kind: Pod, metadata: {namespace: x, name: a}, spec: {nodeName: n}}\n"
    scenario, faults = parse("f", prefix + text)
    assert scenario is not None, faults
    return run_simulated(run_scenario("f", scenario, rig))


def test_steps_are_carried_out_in_order_and_each_is_waited_for():
    rig = ScriptedRig(ALLOWED)
    text = (
        "- wait: 2s\n- restart: [agent, {what: vpp, kill: true, node: n}]\n"
        "- probe: {from: x/a, to: x/a, port: 80, expect: allowed}\n- delete: {kind: Pod, namespace: x, name: a}"
    )
    assert run(text, rig).ok
    assert rig.calls == [
        ("start", ["n"], {}, (1500, 0.0)), ("settle",),
        ("apply", ["a"]), ("settle",),
        ("advance", 2.0), ("settle",),
        ("restart", "agent", None, False), ("restart", "vpp", "n", True), ("settle",),
        ("settle",), ("probe", 80),
        ("delete", [ObjectReference("Pod", "x", "a")]), ("settle",),
        ("stop",),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "answer", "why"),
    [
        ("expect: allowed", ALLOWED, ""),
        ("expect: denied", DENIED, DENIED.why),
        ("expect: allowed", DENIED, f"denied, not allowed; {DENIED.why}"),
        ("expect: denied", ALLOWED, "allowed, not denied"),
        ("expect: allowed, reaches: ['x/a:80']", ALLOWED, ""),
        ("expect: allowed, reaches: ['x/b:80', 'x/a:80']", ALLOWED, "reached x/a:80, not x/a:80, x/b:80"),
        ("expect: allowed, source: x/a", ALLOWED, ""),
        ("expect: allowed, source: 10.1.1.2", ALLOWED, ""),
        ("expect: allowed, source: 10.1.1.3", ALLOWED, "the server saw x/a, not 10.1.1.3"),
    ],
)
def test_expectations(more, answer, why):
    outcome = run(f"- probe: {{from: x/a, to: x/a, port: 80, {more}}}", ScriptedRig(answer))
    (record,) = outcome.records
    assert (record.ok, record.why, record.step) == (not why or why == answer.why, why, 1)
    assert outcome.ok == record.ok


def test_a_probe_with_a_deadline_is_repeated_until_it_holds():
    rig = ScriptedRig(DENIED, DENIED, ALLOWED)
    assert run("- probe: {from: x/a, to: x/a, port: 80, expect: allowed, within: 5s}", rig).ok
    assert [call for call in rig.calls if call[0] == "advance"] == [("advance", 0.5)] * 2


def test_a_deadline_ends():
    rig = ScriptedRig(DENIED)
    assert not run("- probe: {from: x/a, to: x/a, port: 80, expect: allowed, within: 2s}", rig).ok
    assert sum(call[0] == "probe" for call in rig.calls) == 5


@pytest.mark.parametrize("fails", ["start", "apply", "settle", "probe"])
def test_an_error_of_the_rig_is_told_and_the_rig_is_stopped(fails):
    rig = ScriptedRig(ALLOWED, fails=fails)
    outcome = run("- probe: {from: x/a, to: x/a, port: 80, expect: allowed}", rig)
    assert (outcome.error, outcome.ok) == (f"{fails} went wrong", False)
    assert rig.calls[-1] == ("stop",)


def test_what_is_not_applied_is_listed_but_fails_nothing():
    rig = ScriptedRig(ALLOWED, settles=["node n: vpp/tap/a is pending"])
    outcome = run("- probe: {from: x/a, to: x/a, port: 80, expect: allowed}", rig)
    assert outcome.ok
    assert outcome.unsettled[-1] == "step 1: node n: vpp/tap/a is pending"
    assert summary_line([outcome], 0.04) == "1 file, 1 probe, 0 failed, 3 things not applied in 0.0 s"


def test_records_have_the_fields_of_the_format():
    text = "- probe:\n  - {from: x/a, to: x/a, port: 80, expect: allowed}\n"
    text += "  - {from: x/a, to: 10.1.1.9, protocol: ICMP, expect: allowed}"
    outcome = run(text, ScriptedRig(ALLOWED, DENIED))
    assert record_fields(outcome.records[0]) == {
        "file": "f", "step": 1, "from": "x/a", "to": "x/a", "port": 80, "protocol": "TCP", "expect": "allowed",
        "verdict": "allowed", "reached": ["x/a:80"], "source": "x/a", "ok": True, "why": "",
    }  # fmt: skip
    assert table(outcome.records).splitlines() == [
        "step  from  to        port  protocol  expect   verdict  reached  source  ok   why",
        "1     x/a   x/a       80    TCP       allowed  allowed  x/a:80   x/a     yes  -",
        "1     x/a   10.1.1.9  -     ICMP      allowed  denied   -        -       NO   denied, not allowed; "
        "node n: VPP interface tap0: ip4-drop",
    ]


def test_a_summary_is_ruled_by_the_first_repeat_that_was_not_expected():
    other = Verdict(verdict="allowed", reached=("x/b:80",), seen_source="x/a", source_address="10.1.1.2")
    assert summarise("allowed", [ALLOWED, other]).reached == ("x/a:80", "x/b:80")
    mixed = summarise("allowed", [ALLOWED, DENIED, other])
    assert (mixed.verdict, mixed.why, mixed.seen_source) == ("denied", DENIED.why, "x/a")
    assert summarise("denied", [DENIED, ALLOWED]).verdict == "allowed"


def test_a_new_pod_of_an_old_name_has_another_container():
    ids = {container_id("x", "a", "u", 1), container_id("x", "a", "u", 2), container_id("x", "a", "v", 1)}
    assert len(ids) == 3
    assert all(len(found) == 64 and int(found, 16) for found in ids)
    environment = cni_environment("ADD", container="c", netns="/n", namespace="x", name="a", uid="u")
    assert environment["CNI_ARGS"] == (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u"
    )
