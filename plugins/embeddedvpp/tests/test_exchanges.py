# SPDX-License-Identifier: Apache-2.0
"""What real VPP sent and counted for a frame is what the embedded one does, and what real VPP still does."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
EXCHANGES = sorted((HERE / "exchanges").glob("*.json"))


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module beside this one; it is a program, too, and imports its neighbours by name."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("exchange")


@pytest.mark.parametrize("path", EXCHANGES, ids=lambda path: path.stem)
def test_embedded_vpp_does_with_packets_what_real_vpp_did(path: Path, exchange: ModuleType) -> None:
    for got, wanted in zip(exchange.embedded(path), json.loads(path.read_text())["steps"], strict=True):
        assert got == wanted, wanted.get("what") or wanted["request"]


@pytest.mark.realvpp
@pytest.mark.parametrize("path", EXCHANGES, ids=lambda path: path.stem)
def test_real_vpp_still_does_so_with_packets(path: Path, exchange: ModuleType) -> None:
    if exchange.executable() is None:
        pytest.skip("CONTIVPP_VPP does not name a VPP executable")
    done = subprocess.run(
        exchange.in_namespace(["probe"], ["true"]), capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode:
        pytest.skip(f"no network namespaces: {done.stderr.strip()}")
    for got, wanted in zip(exchange.real(path), json.loads(path.read_text())["steps"], strict=True):
        assert got == wanted, wanted.get("what") or wanted["request"]


def test_a_difference_would_be_found(exchange: ModuleType, tmp_path: Path) -> None:
    recorded = json.loads(EXCHANGES[0].read_text())
    step = next(found for found in recorded["steps"] if found.get("out"))
    step["frame"] = step["frame"][:-2] + ("00" if step["frame"][-2:] != "00" else "01")
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(recorded))
    assert exchange.embedded(changed) != recorded["steps"]
