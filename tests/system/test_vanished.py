# SPDX-License-Identifier: Apache-2.0
"""Pods that vanish without a DEL: nothing of them stays, and nobody else is touched."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .harness import Node
from .processes import Namespaces, run

pytestmark = [pytest.mark.netns, pytest.mark.tun]


async def test_pods_that_vanish_while_the_agent_is_away_are_cleaned_up_at_its_start(both: Node) -> None:
    await both.pods(1, prefix="kept")
    before = await both.footprint()
    kept = both.leftovers()
    paths = list(await both.pods(3, prefix="lost"))
    await both.kill_agent()
    both.namespaces.drop(paths[0])  # as a reboot of the sandbox's virtual machine would
    both.namespaces.drop(paths[1])
    again = both.namespaces.make(Path(paths[1]).name)  # another sandbox is at its path
    await both.start_agent()
    await both.delete("lost2", paths[2])
    await both.settled()
    await asyncio.sleep(0.5)
    await both.settled()
    assert both.leftovers() == kept
    await both.same(before)
    assert await both.add("lost1", again)
    code, out, _ = await run("ping", "-c", "1", "-W", "2", "10.1.1.1", netns=again)
    assert code == 0, out


async def test_pods_stay_while_the_folder_of_namespaces_cannot_be_seen(both: Node) -> None:
    folder = both.folder / "sandboxes"
    sandboxes = Namespaces(folder)
    try:
        path = sandboxes.make("pod")
        await both.add("pod", path)
        held = both.leftovers()
        await both.kill_agent()
        folder.rename(folder.with_name("aside"))
        try:
            await both.start_agent()
            await asyncio.sleep(0.5)
            assert both.leftovers() == held
        finally:
            folder.with_name("aside").rename(folder)
        code, answer = await both.cni("CHECK", "pod", path)
        assert code == 0, answer
    finally:
        sandboxes.clear()
