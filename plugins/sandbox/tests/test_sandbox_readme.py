# SPDX-License-Identifier: Apache-2.0
"""The README's examples do what the README says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from contivpp_core.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text, tmp_path: Path):
    (tmp_path / "example.py").write_text(text)
    runpy.run_path(str(tmp_path / "example.py"))


def test_the_scenario_prints_what_is_shown(tmp_path: Path, monkeypatch, capsys):
    (shown,) = [text for text in blocks("console") if text.startswith("$ contivpp scenario pods.yaml")]
    (tmp_path / "pods.yaml").write_text(blocks("yaml")[0])
    monkeypatch.chdir(tmp_path)
    assert main(["scenario", "pods.yaml"]) == 0
    printed = re.sub(r"in [\d.]+ s", "in 0.2 s", capsys.readouterr().out)
    assert shown.partition("\n")[2] == printed
