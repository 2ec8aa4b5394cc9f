# SPDX-License-Identifier: Apache-2.0
"""`contivpp scenario` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contivpp_core.cli import main

TEXT = """
nodes: [node1]
steps:
- apply:
  - kind: Pod
    metadata: {namespace: x, name: a}
    spec: {nodeName: node1, containers: [{name: web, ports: [{containerPort: 8080}]}]}
- probe:
  - {from: x/a, to: x/a, port: 8080, expect: allowed}
  - {from: x/a, to: x/a, port: 8081, expect: EXPECT}
"""


@pytest.fixture
def scenario(tmp_path: Path):
    def write(expect: str, name: str = "s.yaml") -> str:
        path = tmp_path / name
        path.write_text(TEXT.replace("EXPECT", expect))
        return str(path)

    return write


def test_exit_0_when_all_expectations_hold(scenario, capsys):
    path = scenario("refused")
    assert main(["scenario", path]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{path}:\nstep  from")
    assert "1 file, 2 probes, 0 failed in" in out
    assert err.splitlines()[0] == f"{path}: starting memory with node1"
    assert err.splitlines()[-1] == f"{path}: step 1: probe, 2 probes"


def test_exit_1_when_one_does_not(scenario, capsys):
    path = scenario("allowed")
    assert main(["scenario", "-q", "-o", "json", path]) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["ok"] for line in lines[:2]] == [True, False]
    assert lines[1]["why"] == "refused, not allowed; the server reset the connection"
    assert lines[1]["file"] == path
    summary = lines[2]["summary"]
    assert (summary["files"], summary["probes"], summary["ok"], summary["failed"]) == (1, 2, 1, 1)
    assert (len(lines), err) == (3, "")


def test_exit_2_when_a_file_is_wrong_and_nothing_runs(scenario, capsys):
    good, bad = scenario("refused"), scenario("maybe", "bad.yaml")
    assert main(["scenario", good, bad, "/nowhere.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"{bad}: steps.1.probe.1.expect: Input should be 'allowed', 'denied' or 'refused', got 'maybe'",
        "/nowhere.yaml: No such file or directory: name a file that can be read",
    ]


@pytest.mark.parametrize("words", [[], ["--on", "moon", "f"], ["-o", "xml", "f"]])
def test_exit_2_when_the_command_line_is_wrong(words):
    with pytest.raises(SystemExit) as ended:
        main(["scenario", *words])
    assert ended.value.code == 2
