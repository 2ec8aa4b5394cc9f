# SPDX-License-Identifier: Apache-2.0
"""What real VPP answered is what the embedded one answers, and what real VPP still answers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from embeddedvpp.api.handlers import HANDLERS

HERE = Path(__file__).parent
DIALOGUES = sorted((HERE / "dialogues").glob("*.json"))


def _load(name: str) -> ModuleType:
    """A module beside this one; tests are not a package."""
    spec = importlib.util.spec_from_file_location(f"embeddedvpp_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dialogue, realvpp = _load("dialogue"), _load("realvpp")
IN_MEMORY = [path for path in DIALOGUES if path.stem not in dialogue.VETHS]
IN_NAMESPACE = [path for path in DIALOGUES if path.stem in dialogue.VETHS]


@pytest.mark.parametrize("path", IN_MEMORY, ids=lambda path: path.stem)
async def test_embedded_vpp_answers_as_real_vpp_did(path: Path) -> None:
    assert not await dialogue.difference(path)


@pytest.mark.netns
@pytest.mark.parametrize("path", IN_NAMESPACE, ids=lambda path: path.stem)
def test_embedded_vpp_in_a_namespace_answers_as_real_vpp_did(path: Path) -> None:
    command = [sys.executable, str(HERE / "dialogue.py"), str(path)]
    _namespace_possible()
    done = subprocess.run(
        realvpp.in_namespace(dialogue.VETHS[path.stem], command),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.realvpp
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
async def test_real_vpp_still_answers_so(path: Path) -> None:
    if realvpp.executable() is None:
        pytest.skip("CONTIVPP_VPP does not name a VPP executable")
    if path in IN_NAMESPACE:
        _namespace_possible()
    recorded = json.loads(path.read_text())
    with realvpp.real_vpp(dialogue.VETHS.get(path.stem, ())) as api_socket:
        peer = dialogue.SocketPeer(api_socket)
        try:
            found = await dialogue.answers(peer, [[step["request"], step["fields"]] for step in recorded])
        finally:
            peer.close()
    for number, (got, wanted) in enumerate(zip(found, recorded, strict=True)):
        assert got == wanted, f"step {number}: {wanted['request']}"


def test_every_message_that_is_answered_is_in_a_dialogue() -> None:
    seen = {step["request"] for path in DIALOGUES for step in json.loads(path.read_text())}
    assert HANDLERS.keys() <= seen | {"sockclnt_create"}, "every dialogue begins with sockclnt_create"


def _namespace_possible() -> None:
    done = subprocess.run(
        realvpp.in_namespace(["probe"], ["true"]), capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode:
        pytest.skip(f"no network namespaces: {done.stderr.strip()}")
