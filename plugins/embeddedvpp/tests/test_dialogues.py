# SPDX-License-Identifier: Apache-2.0
"""What real VPP answered is what the embedded one answers."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "embeddedvpp_dialogue", Path(__file__).with_name("dialogue.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
dialogue = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(dialogue)
DIALOGUES = sorted(Path(__file__).with_name("dialogues").glob("*.json"))


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
async def test_embedded_vpp_answers_as_real_vpp_did(path: Path) -> None:
    recorded = json.loads(path.read_text())
    peer = dialogue.MemoryPeer()
    found = dialogue.answers(peer, [[step["request"], step["fields"]] for step in recorded])
    peer.close()
    for number, (got, wanted) in enumerate(zip(found, recorded, strict=True)):
        assert got == wanted, f"step {number}: {wanted['request']}"


@pytest.mark.realvpp
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_real_vpp_still_answers_so(path: Path) -> None:
    where = os.environ.get("CONTIVPP_VPP_API_SOCKET")
    if not where:
        pytest.skip("set CONTIVPP_VPP_API_SOCKET to the API socket of a freshly started VPP")
    recorded = json.loads(path.read_text())
    peer = dialogue.SocketPeer(where)
    try:
        assert dialogue.answers(peer, [[step["request"], step["fields"]] for step in recorded]) == recorded
    finally:
        peer.close()
