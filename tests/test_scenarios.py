# SPDX-License-Identifier: Apache-2.0
"""Every scenario on every rig: what holds in memory must hold on a real VPP."""

from __future__ import annotations

from pathlib import Path

import pytest

from contivpp_sandbox.scenario.command import read_all, run_one
from contivpp_sandbox.scenario.report import table

FILES = sorted(Path(__file__).parent.joinpath("scenarios").glob("*.yaml"))
RIGS = [
    "memory",
    pytest.param("sandbox", marks=pytest.mark.netns),
    pytest.param("vpp", marks=[pytest.mark.netns, pytest.mark.realvpp]),
]


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, rig: str) -> None:
    ((name, scenario),) = read_all([str(path)])
    outcome = run_one(name, scenario, rig=rig)
    if outcome.unavailable:
        pytest.skip(outcome.error)
    assert not outcome.error
    assert outcome.records, "a scenario without probes shows nothing"
    wrong = [record for record in outcome.records if not record.ok]
    assert not wrong, f"\n{table(wrong)}"
    assert outcome.unsettled == []
