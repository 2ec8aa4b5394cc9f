# SPDX-License-Identifier: Apache-2.0
"""The example of a plugin is small, installs by pip, and its item shows up in `contivpp get items`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parents[1] / "examples" / "blackhole"


def test_the_example_has_under_80_lines() -> None:
    lines = (EXAMPLE / "contivpp_blackhole.py").read_text().splitlines()
    assert len(lines) < 80


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install the example by pip, from a copy, without the network."""
    copy = tmp_path / "source"
    subprocess.run(["cp", "-r", str(EXAMPLE), str(copy)], check=True)
    target = tmp_path / "site"
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_the_tests_of_the_example_pass(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    given = {"env": {**os.environ, "PYTHONPATH": str(installed)}, "cwd": tmp_path / "source"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_example_is_enabled_in_the_configuration_and_seen(installed: Path, tmp_path: Path) -> None:
    config = {
        "nodeName": "node1",
        "plugins": ["vpp", "blackhole"],
        "stateDir": str(tmp_path / "state"),
        "runDir": str(tmp_path / "run"),
        "vpp": {"apiSocket": str(tmp_path / "api.sock")},
        "blackhole": {"prefixes": ["192.0.2.0/24"]},
    }
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    vpp = subprocess.Popen([sys.executable, "-m", "embeddedvpp", "--api-socket", str(tmp_path / "api.sock")])
    contivpp = [sys.executable, "-m", "contivpp_core.cli"]
    agent = subprocess.Popen([*contivpp, "agent", "--config", str(tmp_path / "agent.yaml")], env=environment)
    try:
        get = [*contivpp, "get", "items", "-o", "json", "--socket", str(tmp_path / "run" / "agent.sock")]
        items: list[dict[str, object]] = []
        for _ in range(200):
            done = subprocess.run(get, capture_output=True, text=True, check=False, env=environment)
            items = json.loads(done.stdout) if done.returncode == 0 else []
            if items and items[0]["state"] == "applied":
                break
            time.sleep(0.1)
        assert [(item["key"], item["state"]) for item in items] == [("vpp/route/0/192.0.2.0/24", "applied")]
    finally:
        for process in (agent, vpp):
            process.terminate()
            process.wait(timeout=20)
