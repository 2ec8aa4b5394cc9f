# SPDX-License-Identifier: Apache-2.0
"""The agent compares its attachments with containerd's sandboxes: what containerd has lost goes, and nothing else."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contivpp_contiv.runtime.verdict import AGAIN_SECONDS

from .containerd import Containerd, containerd
from .harness import Node, node
from .processes import until
from .runtimes import Baseline
from .test_containerd import ping

pytestmark = [pytest.mark.netns, pytest.mark.tun, pytest.mark.runtime]

LONG_ENOUGH = 2 * AGAIN_SECONDS + 2
"""Whatever would be concluded is concluded by then, in seconds: it is compared every 10 s here."""
SLOW = """\
#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && exec echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}'
[ "$CNI_COMMAND" = ADD ] || exec cat > /dev/null
sleep SECONDS
exec python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["prevResult"]))'
"""


@pytest_asyncio.fixture
async def daemon(able: None, dataplane: str) -> AsyncIterator[Containerd]:
    async with node(dataplane, own_mounts=True) as rig, containerd(rig) as made:
        rig.config["contiv"] |= {"runtimeSocket": made.socket, "runtimeCheckSeconds": 10}
        await rig.start_agent()
        await says(rig, "containerd 1.")
        yield made


def told(rig: Node) -> str:
    """What the agent says of the runtime."""
    return str(rig.get("status")["conditions"].get("contiv runtime", {}).get("reason", ""))


async def says(rig: Node, text: str, *, seconds: float = 30) -> None:
    await until(lambda: text in told(rig), seconds, f"the agent says {text!r}\n{rig.log()}")


def attached(rig: Node) -> list[str]:
    """The container IDs of all attachments."""
    return sorted(pod["container_id"] for pod in rig.get("tables", "LocalPod")["records"])


async def seen(rig: Node, *sandboxes: str) -> None:
    """Wait until the agent has seen sandboxes in containerd's list."""
    await until(lambda: set(sandboxes) <= rig.ledger().get("contiv.listed", {}).keys(), 30, "the sandboxes are seen")


async def lose(daemon: Containerd, sandbox: str) -> None:
    """Have containerd forget a sandbox without any CNI call; its process ends, its network namespace stays."""
    await daemon.ctr("tasks", "kill", "--signal", "SIGKILL", sandbox)
    await daemon.kill()
    await daemon.start()
    await daemon.ctr("containers", "rm", sandbox)
    await daemon.kill()
    await daemon.start()
    assert sandbox not in await daemon.sandboxes()


async def several_comparisons() -> None:
    await asyncio.sleep(LONG_ENOUGH)


async def test_a_sandbox_that_containerd_lost_while_the_agent_was_down(daemon: Containerd) -> None:
    rig = daemon.rig
    kept = await daemon.run_pod("kept")
    container = await daemon.run_container(kept, "kept", "/bin/sleep", "1000000")
    address = await rig.add("alien", rig.namespaces.make("alien"))  # by another user of CNI: containerd never knew it
    await Baseline(rig, daemon.traces).take()
    before, entries = await rig.footprint(), rig.leftovers()
    lost = await daemon.run_pod("lost")
    await seen(rig, kept, lost)
    await rig.kill_agent()
    await lose(daemon, lost)
    await rig.start_agent()
    await asyncio.sleep(AGAIN_SECONDS / 2)
    assert lost in attached(rig)
    await until(lambda: lost not in attached(rig), 40, f"the lost pod's attachment goes\n{rig.log()}")
    await until(lambda: rig.leftovers() == entries, 10, "its address is free")
    await rig.settled()
    await rig.same(before)
    assert "the runtime has removed its sandbox" in rig.log()
    await several_comparisons()
    assert attached(rig) == sorted(["alien", kept])
    await ping(daemon, container, address)
    assert list(rig.ledger()["contiv.listed"]) == [kept]


async def test_a_sandbox_that_was_removed_while_no_delete_could_come(daemon: Containerd) -> None:
    rig = daemon.rig
    before = Baseline(rig, daemon.traces)
    await before.take()
    sandbox = await daemon.run_pod("one")
    await rig.kill_agent()
    executable = rig.folder / "cni-bin" / "contivpp"
    aside = executable.with_name("aside")
    executable.rename(aside)
    executable.symlink_to(shutil.which("true") or "/bin/true")
    await daemon.remove_pod(sandbox)
    executable.unlink()
    aside.rename(executable)
    await rig.start_agent()
    await before.is_back()


async def test_a_pod_that_containerd_does_not_list_yet_stays(daemon: Containerd) -> None:
    """The rest of its chain takes long: containerd lists a sandbox only when its whole CNI ADD is done."""
    rig = daemon.rig
    slow, config = rig.folder / "cni-bin" / "slow", rig.folder / "cni-conf" / "10-contivpp.conflist"
    slow.write_text(SLOW.replace("SECONDS", str(LONG_ENOUGH + 3)))
    slow.chmod(0o755)
    plugins: dict[str, Any] = json.loads(config.read_text())
    plugins["plugins"].append({"type": "slow"})
    config.write_text(json.dumps(plugins))
    await daemon.kill()
    await daemon.start()
    making = asyncio.ensure_future(daemon.run_pod("one"))
    await until(lambda: len(attached(rig)) == 1, 20, "the pod is attached")
    assert await daemon.sandboxes() == []
    await asyncio.sleep(LONG_ENOUGH - 3)
    assert await daemon.sandboxes() == []
    assert len(attached(rig)) == 1
    sandbox = await making
    assert attached(rig) == [sandbox]
    await seen(rig, sandbox)
    await daemon.remove_pod(sandbox)
    await until(lambda: not attached(rig), 10, "the pod is gone")


async def test_nothing_is_concluded_while_containerd_gives_no_answer(daemon: Containerd) -> None:
    rig = daemon.rig
    sandbox = await daemon.run_pod("one")
    await seen(rig, sandbox)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    await says(rig, "the runtime gives no answer within", seconds=45)
    assert rig.get("status")["ready"]
    daemon.process.send_signal(signal.SIGCONT)
    await says(rig, "containerd 1.", seconds=80)
    await daemon.kill()
    await says(rig, "sandboxes are not known", seconds=30)
    assert attached(rig) == [sandbox]
    Path(daemon.socket).unlink(missing_ok=True)
    await several_comparisons()
    assert attached(rig) == [sandbox]
    await daemon.start()
    await says(rig, "containerd 1.", seconds=80)
    await several_comparisons()
    assert attached(rig) == [sandbox]
    await daemon.remove_pod(sandbox)


async def test_pods_without_an_attachment_are_named(daemon: Containerd) -> None:
    """The agent has lost its ledger: one pod's address may be given again; the other pod has the node's network."""
    rig = daemon.rig
    one = await daemon.run_pod("one")
    host = await daemon.run_pod("host", host_network=True)
    assert attached(rig) == [one]
    await rig.kill_agent()
    shutil.rmtree(rig.folder / "state")
    await rig.start_agent()
    assert attached(rig) == []
    faults: list[dict[str, str]] = []

    def named() -> bool:
        faults[:] = [fault for fault in rig.get("tables", "Fault")["records"] if "sandbox" in fault["subject"]]
        return bool(faults)

    await until(named, 40, f"the pod is named\n{rig.log()}")
    assert [fault["subject"] for fault in faults] == [f"pod default/one sandbox {one[:13]}"]
    assert "has 10.1.1.2, an address of this node's pods" in faults[0]["reason"]
    for sandbox in (one, host):
        await daemon.remove_pod(sandbox)
    await until(lambda: not named(), 40, "the fault goes with the pod")
