# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks compute of their times, and how they tell it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.bench.__main__ import main
from tests.bench.machine import ROOT
from tests.bench.parts import parts_of
from tests.bench.result import Goal, Measured, Run
from tests.bench.scale import lines

SPANS = [
    ("serve ADD", 1.0, 9.0),
    ("ledger", 1.5, 2.0),
    ("render", 2.0, 3.0),
    ("apply", 3.0, 8.0),
    ("vpp", 3.0, 5.0),
    ("vpp", 4.0, 6.0),
    ("linux", 5.0, 7.0),
    ("serve DEL", 20.0, 21.0),
    ("vpp", 20.0, 21.0),
]


def test_the_parts_are_disjoint_and_add_up_to_the_whole() -> None:
    parts = parts_of([(0.0, 10.0)], SPANS)
    assert parts == {
        "executable": 2000.0,
        "ledger": 500.0,
        "record+render": 1000.0,
        "vpp": 3000.0,
        "linux": 1000.0,
        "scheduler": 1000.0,
        "rest of the agent": 1500.0,
    }
    assert sum(parts.values()) == 10_000.0


@pytest.mark.parametrize(
    ("goal", "ours", "reference", "met"),
    [
        pytest.param(Goal(3.0), 6.0, 2.0, True, id="a ratio at its bound"),
        pytest.param(Goal(3.0), 6.1, 2.0, False, id="a ratio above its bound"),
        pytest.param(Goal(0.7, more_is_better=True), 6.0, 10.0, False, id="a rate below its bound"),
        pytest.param(Goal(5.0, absolute=True), 4.0, 0.1, True, id="an absolute bound ignores the reference"),
        pytest.param(Goal(3.0), 6.0, None, None, id="a ratio without reference"),
        pytest.param(None, 6.0, 2.0, None, id="no goal"),
    ],
)
def test_goal(goal: Goal | None, ours: float, reference: float | None, met: bool | None) -> None:
    assert Measured("x", "x", "ms", ours, reference, goal=goal).met is met


def test_a_run_tells_results_and_reasons_in_both_forms() -> None:
    result = Measured("add", "whole", "ms", 6.0, 2.0, "ptp", Goal(3.0))
    run = Run({"cores": "2"}, [result], {"x": "no Go"}, {"y": "bug"})
    table = run.table()
    assert "add: whole" in table
    assert "3.00 : 1  at most 3 : 1  met" in table
    assert table.endswith("x: skipped: no Go\ny: failed: bug")
    document = json.loads(run.json())
    assert document["machine"] == {"cores": "2"}
    assert (document["results"][0]["ratio"], document["results"][0]["met"]) == (3.0, True)
    assert (document["skipped"], document["broken"]) == ({"x": "no Go"}, {"y": "bug"})


def test_an_unknown_name_is_refused_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nonsense"])
    assert caught.value.code == 2
    assert "add, burst, start" in capsys.readouterr().err


def few_services(number: int) -> dict[str, Any]:
    """Return what the benchmark of many services finds with few, without a VPP."""
    environment = {name: value for name, value in os.environ.items() if name != "CONTIVPP_VPP"}
    command = [sys.executable, "-m", "tests.bench.scale_agent", str(number), "5"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60, cwd=ROOT, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_services_are_measured_without_a_vpp_which_is_told() -> None:
    once, twice = few_services(20), few_services(40)
    table = Run({}, lines([once], [twice])).table()
    assert "20 services from raw JSON to the test dataplane's last answer" in table
    assert "40 services" in table
    assert once["cold_s"] == pytest.approx(once["decode_s"] + once["render_s"] + once["schedule_s"])
    assert (once["changes"], once["services"], once["vpp"]) == (5, 20, "in memory")


def test_of_several_runs_the_medians_are_told() -> None:
    keys = ("cold_s", "decode_s", "render_s", "schedule_s", "cpu_s", "vpp_cpu_s", "pause_ms", "change_p50_ms",
            "change_p99_ms", "resync_s", "resync_pause_ms", "agent_after_mb")  # fmt: skip
    once = [dict.fromkeys(keys, value) | {"services": 10, "vpp": "real"} for value in (1.0, 2.0, 9.0)]
    twice = [each | {"services": 20, "cold_s": 2 * each["cold_s"]} for each in once]
    found = {line.what: line for line in lines(once, twice)}
    assert found["10 services from raw JSON to VPP's last answer"].met
    assert found["20 services"].ratio == 2.0
    assert found["20 services"].met
    assert found["resync when nothing differs"].met is False
