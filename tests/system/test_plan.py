# SPDX-License-Identifier: Apache-2.0
"""`contivpp plan` on a node whose VPP and agent are processes: nothing is sent, and what is planned is what happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contivpp_core.cluster import object_key
from contivpp_datastore.embedded.client import EmbeddedStore

from .harness import CONTIVPP, Node, node
from .processes import accepts, end, run, until
from .test_restarts import READS, monitor

pytestmark = [pytest.mark.netns, pytest.mark.tun]

NODE_CONFIG = {
    "apiVersion": "nodeconfig.contiv.vpp/v1",
    "kind": "NodeConfig",
    "metadata": {"name": "node1"},
    "spec": {"mainVPPInterface": {"ip": "192.168.16.77/24"}},
}


async def planned(rig: Node, *arguments: str) -> dict[str, Any]:
    """A plan as JSON; check on the way that VPP was asked to do nothing, and that Linux and ledger did not change."""
    told = await monitor(rig.netns)
    await asyncio.sleep(0.2)
    await rig.vpp.trace_on()
    before = (rig.ledger(), rig.get("items"), rig.get("status")["operations"], rig.get("history"))
    code, out, error = await rig.contivpp("plan", "-o", "json", "--exit-code", *arguments)
    plan: dict[str, Any] = json.loads(out) if out else {}
    assert (code, error) == (2 if plan["changes"] else 0, "")
    assert (rig.ledger(), rig.get("items"), rig.get("status")["operations"], rig.get("history")) == before
    assert [name for name in await rig.vpp.trace() if not READS.fullmatch(name)] == []
    await asyncio.sleep(0.2)
    told.terminate()
    assert (await told.communicate())[0].decode() == ""
    return plan


def operations(rig: Node) -> dict[str, dict[str, int]]:
    """What the agent has done since its start, by kind."""
    done: dict[str, dict[str, int]] = rig.get("status")["operations"]
    assert done.pop("failed") == {}
    return done


async def done(rig: Node, plan: dict[str, Any]) -> None:
    """Wait until all is as it was planned to be, and check that there is nothing more to do."""
    blocked = {each["key"] for each in plan["blocked"]}

    def rested() -> bool:
        return {item["key"] for item in rig.get("items") if item["state"] not in ("applied", "shadowed")} == blocked

    await until(rested, 15, f"only {sorted(blocked)} wait")
    values = {item["key"]: item["value"] for item in rig.get("items")}
    for change in plan["changes"]:
        assert (change["key"] in values) == (change["action"] != "delete"), change
        if change["action"] != "delete":
            assert values[change["key"]] == change["new"]
    again = await planned(rig, "--live")
    assert again["changes"] == []
    assert {each["key"] for each in again["blocked"]} == blocked


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        pytest.param({"mtu": 1300}, {"vpp/mtu", "linux/mtu"}, id="MTU of pods"),
        pytest.param({"underlayMTU": 1400}, {"vpp/mtu", "linux/mtu"}, id="MTU of the underlay"),
        pytest.param({"podVRFID": 1}, {"vpp/vrf", "vpp/interface-vrf", "vpp/address", "vpp/route"}, id="VRF of pods"),
        pytest.param({"routeServiceCIDRToVPP": True}, {"linux/route"}, id="a route of the host"),
    ],
)
async def test_a_restart_with_another_configuration_does_what_was_planned(
    both: Node, tmp_path: Path, change: dict[str, Any], kinds: set[str]
) -> None:
    rig = both
    await rig.pods(2)
    await rig.settled()
    assert (await planned(rig, "--config", str(rig.config_file)))["changes"] == []
    rig.config["contiv"].update(change)
    other = tmp_path / "new.yaml"
    other.write_text(yaml.safe_dump(rig.config))
    plan = await planned(rig, "--config", str(other), "--live")
    assert kinds <= {each["kind"] for each in plan["changes"]}
    assert not any(each["drift"] for each in plan["changes"])
    believed = await planned(rig, "--config", str(other))
    assert [(c["action"], c["key"]) for c in believed["changes"]] == [(c["action"], c["key"]) for c in plan["changes"]]
    await rig.kill_agent()
    await rig.start_agent()
    await done(rig, plan)
    assert operations(rig) == plan["operations"]


@contextlib.asynccontextmanager
async def store(rig: Node) -> AsyncIterator[EmbeddedStore]:
    """A store of the cluster, and the node in it."""
    path = str(rig.folder / "store.sock")
    rig.config["plugins"] = ["vpp", "linux", "ipam", "datastore", "contiv"]
    rig.config["datastore"] = {"socket": path}
    rig.config["contiv"]["nodeID"] = 1
    command = (CONTIVPP[0], "-m", "contivpp_datastore.embedded.server", "--socket", path)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        await until(lambda: accepts(path), 20, "the store serves")
        client = EmbeddedStore(path)
        yield client
        await client.close()
    finally:
        await end(process)


@pytest.mark.usefixtures("able")
async def test_an_object_that_comes_does_what_was_planned(tmp_path: Path) -> None:
    manifest = tmp_path / "nodeconfig.yaml"
    manifest.write_text(yaml.safe_dump(NODE_CONFIG))
    async with node("embedded") as rig, store(rig) as cluster:
        await rig.start_agent()
        first = "vpp/address/loopbackNIC/192.168.16.1/24"
        await until(lambda: first in {item["key"] for item in rig.get("items")}, 10, "the store has told all")
        await rig.settled()
        plan = await planned(rig, "--manifests", str(manifest))
        assert [(change["action"], change["key"]) for change in plan["changes"]] == [
            ("delete", first),
            ("create", "vpp/address/loopbackNIC/192.168.16.77/24"),
        ]
        other = tmp_path / "alone.yaml"
        rig.config["plugins"].remove("datastore")
        other.write_text(yaml.safe_dump(rig.config))
        code, out, error = await rig.contivpp("plan", "--config", str(other))
        assert (code, "datastore: the plugin datastore is not enabled" in error) == (2, True)
        del rig.config["datastore"]
        other.write_text(yaml.safe_dump(rig.config))
        code, out, error = await rig.contivpp("plan", "--config", str(other))
        assert (code, out.splitlines()[0].split(" [")[0], out.splitlines()[-1]) == (
            0, "? plugins", "Nothing would change.",
        )  # fmt: skip
        before = operations(rig)
        await cluster.put(object_key("NodeConfig", "", "node1"), json.dumps(NODE_CONFIG).encode())
        await until(lambda: rig.get("tables", "NodeSettings")["records"], 10, "the object has come")
        await done(rig, plan)
        after = operations(rig)
        for verb, kinds in after.items():
            more = {kind: count - before[verb].get(kind, 0) for kind, count in kinds.items()}
            assert {kind: count for kind, count in more.items() if count} == plan["operations"][verb]


async def test_drift_in_vpp_and_linux_is_told_and_not_repaired(running: Node) -> None:
    code, _, error = await run("ip", "route", "del", "10.1.0.0/16", netns=running.netns)
    assert code == 0, error
    assert (await planned(running))["changes"] == []
    plan = await planned(running, "--live")
    assert [(c["action"], c["key"], c["drift"]) for c in plan["changes"]] == [
        ("create", "linux/route/host/10.1.0.0/16", True)
    ]
    code, out, _ = await run("ip", "route", "show", "10.1.0.0/16", netns=running.netns)
    assert (code, out) == (0, "")


async def test_settings_that_only_a_restart_can_change_are_named(running: Node, tmp_path: Path) -> None:
    other = tmp_path / "new.yaml"
    plugins = [*running.config["plugins"], "datastore"]
    changed = {**running.config, "plugins": plugins, "vpp": {"apiSocket": "/run/other.sock"}}
    other.write_text(yaml.safe_dump(changed))
    code, out, error = await running.contivpp("plan", "--config", str(other))
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["plugins", "vpp.apiSocket"]
    assert lines[-1] == "Nothing would change."
    other.write_text(yaml.safe_dump({**changed, "plugins": [*plugins, "nosuch"]}))
    _, _, started = await run(*CONTIVPP, "agent", "--config", str(other), "--check")
    code, out, error = await running.contivpp("plan", "--config", str(other))
    assert (code, out, error) == (2, "", started)
    assert "plugin nosuch is not installed" in error
