# SPDX-License-Identifier: Apache-2.0
"""An agent that cannot start says why, and does no harm to one that runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from .harness import CONTIVPP, Faulty, node
from .processes import run

pytestmark = [pytest.mark.netns, pytest.mark.tun]


def agent(config: Path) -> subprocess.CompletedProcess[str]:
    command = [*CONTIVPP, "agent", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_broken_configuration_is_told_with_every_fault(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(
        "nodeName: ''\nlogLevel: loud\ncolour: red\n"
        "contiv: {podInterface: carrier pigeon, mtu: 3}\nipam: {podSubnetCIDR: 10.1.0.0/99}\n"
    )
    done = agent(config)
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    for setting in ("nodeName", "logLevel", "colour", "contiv.podInterface", "contiv.mtu", "ipam.podSubnetCIDR"):
        assert len([line for line in lines if line.startswith(f"{config}: {setting}: ")]) == 1, done.stderr
    assert len(lines) == 6
    config.write_text("nodeName: [\n")
    done = agent(config)
    assert (done.returncode, f"{config}: line " in done.stderr) == (2, True), done.stderr
    done = agent(tmp_path / "none.yaml")
    assert (done.returncode, "No such file" in done.stderr, "--config" in done.stderr) == (2, True, True)


async def test_a_second_agent_is_refused_and_the_first_goes_on(faulty: Faulty) -> None:
    rig = faulty.rig
    text = rig.config_file.read_text()
    done = await asyncio.to_thread(agent, rig.config_file)
    assert done.returncode == 1
    assert "another agent" in done.stderr
    assert str(rig.folder / "state" / "ledger.db") in done.stderr
    other = rig.folder / "other.yaml"
    other.write_text(text.replace(str(rig.folder / "state"), str(rig.folder / "state2")))
    done = await asyncio.to_thread(agent, other)
    assert done.returncode == 1
    assert f"{rig.cni_socket} is in use" in done.stderr
    assert "set contiv.cniSocket" in done.stderr
    other.write_text(other.read_text().replace(rig.cni_socket, f"{rig.cni_socket}2"))
    done = await asyncio.to_thread(agent, other)
    assert done.returncode == 1
    assert rig.agent_socket in done.stderr
    path = rig.namespaces.make("pod")
    await rig.add("pod", path)
    await rig.delete("pod", path)
    await faulty.clean()


async def test_a_file_in_the_place_of_the_socket(able: None) -> None:
    async with node("embedded") as rig:
        Path(rig.cni_socket).write_text("precious")
        await rig.launch()
        assert rig.agent is not None
        assert await asyncio.wait_for(rig.agent.wait(), 20) == 1
        assert f"{rig.cni_socket} is not a socket: remove it, or set contiv.cniSocket" in rig.log()
        assert Path(rig.cni_socket).read_text() == "precious"
        with contextlib.suppress(FileNotFoundError):
            assert os.listdir(rig.folder / "run") == []


async def test_a_full_disk(able: None) -> None:
    async with node("embedded", settings={"contiv": {"addDeadlineSeconds": 3}}) as rig:
        state = rig.folder / "state"
        state.mkdir(mode=0o700)
        code, _, error = await run("mount", "-t", "tmpfs", "-o", "size=300k", "none", str(state))
        assert code == 0, error
        try:
            await rig.start_agent()
            await rig.settled()
            faulty = Faulty(rig, await rig.footprint())
            first, second = rig.namespaces.make("first"), rig.namespaces.make("second")
            await rig.add("first", first)
            fill(state / "filler")
            says = (str(state / "ledger.db"), "disk is full", "check that the disk has room")
            await faulty.refused("second", second, code=5, says=says)
            code, answer = await rig.cni("DEL", "first", first)
            assert (code, answer["code"]) == (1, 5)
            assert await rig.cni("CHECK", "first", first) == (0, None)
            (state / "filler").unlink()
            await rig.add("second", second)
            await rig.delete("first", first)
            await rig.delete("second", second)
            await faulty.clean()
        finally:
            await rig.kill_agent()
            await run("umount", "-l", str(state))


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
