# SPDX-License-Identifier: Apache-2.0
"""podman runs containers outside Kubernetes, and our executable connects them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .harness import node
from .podman import NETWORK, Podman, podman
from .processes import until
from .runtimes import Baseline

pytestmark = [pytest.mark.netns, pytest.mark.tun, pytest.mark.runtime]


@pytest_asyncio.fixture
async def engine(able: None, dataplane: str) -> AsyncIterator[Podman]:
    async with node(dataplane, own_mounts=True) as rig, podman(rig) as made:
        await rig.start_agent()
        yield made


@pytest_asyncio.fixture
async def before(engine: Podman) -> Baseline:
    """What is there when a first container has come and gone: podman's folders are made."""
    await engine.run("first", "sleep", "1000000")
    await engine("rm", "--force", "--time", "0", "first")
    inside = engine.rig.machine
    await until(lambda: not any("podman" in each for each in inside.processes().values()), 20, "podman's helpers end")
    baseline = Baseline(engine.rig, engine.traces)
    await baseline.take()
    return baseline


async def test_containers_reach_each_other(engine: Podman, before: Baseline) -> None:
    ids = {name: await engine.run(name, "httpd", "-f", "-h", "/www") for name in ("one", "two")}
    addresses = {}
    records = {pod["container_id"]: pod for pod in engine.rig.get("tables", "LocalPod")["records"]}
    assert sorted(records) == sorted(ids.values())
    for name, container in ids.items():
        told = (await engine.inspect(name))["NetworkSettings"]["Networks"][NETWORK]
        pod = records[container]
        assert (told["IPAddress"], told["Gateway"]) == (pod["address"], pod["gateway"])
        link = await engine("exec", name, "ip", "-o", "link", "show", pod["interface"])
        assert told["MacAddress"] in link
        assert f"inet {pod['address']}/32" in await engine("exec", name, "ip", "-o", "addr")
        addresses[name] = pod["address"]
    for name, other in (("one", "two"), ("two", "one")):
        assert " 0% packet loss" in await engine("exec", name, "ping", "-c", "2", "-W", "5", addresses[other])
        assert await engine("exec", name, "wget", "-qO-", f"http://{addresses[other]}/") == "it works"
    await engine("rm", "--force", "--time", "0", *ids)
    await before.is_back()


async def test_a_container_is_stopped_and_started_again(engine: Podman, before: Baseline) -> None:
    container = await engine.run("one", "sleep", "1000000")
    await engine("stop", "--time", "0", "one")
    assert engine.rig.get("tables", "LocalPod")["records"] == []
    await engine.rig.kill_agent()
    code, _, error = await engine.attempt("start", "one")
    assert code != 0
    assert "agent did not serve ADD" in error
    await engine.rig.start_agent()
    await engine("start", "one")
    (pod,) = engine.rig.get("tables", "LocalPod")["records"]
    assert pod["container_id"] == container
    assert " 0% packet loss" in await engine("exec", "one", "ping", "-c", "2", "-W", "5", pod["gateway"])
    await engine("rm", "--force", "--time", "0", "one")
    await before.is_back()


async def test_address_and_mac_are_asked_for(engine: Podman, before: Baseline) -> None:
    wanted = ("--ip", "10.1.1.99", "--mac-address", "02:00:00:12:34:56")
    await engine.run("one", "sleep", "1000000", options=wanted)
    (pod,) = engine.rig.get("tables", "LocalPod")["records"]
    assert pod["address"] == "10.1.1.99"
    assert "02:00:00:12:34:56" in await engine("exec", "one", "ip", "-o", "link", "show", pod["interface"])
    assert " 0% packet loss" in await engine("exec", "one", "ping", "-c", "2", "-W", "5", pod["gateway"])
    await engine("rm", "--force", "--time", "0", "one")
    await before.is_back()


async def test_agent_is_down_when_a_container_is_removed(engine: Podman, before: Baseline) -> None:
    """podman never repeats a DEL that failed: the agent sees by itself that the namespace has gone."""
    container = await engine.run("one", "sleep", "1000000")
    await engine.rig.kill_agent()
    await engine("rm", "--force", "--time", "0", "one")  # says so or not: it may be a helper that calls DEL
    assert await engine("ps", "--all", "--quiet") == ""
    await engine.rig.start_agent()
    cache = engine.rig.machine.root / "var/lib/cni/results"
    (cache / f"{NETWORK}-{container}-eth0").unlink()  # what podman itself leaves then
    await before.is_back()


async def test_without_a_runtime_that_serves_the_cri_containers_stay(engine: Podman) -> None:
    rig = engine.rig
    rig.config["contiv"]["runtimeSocket"] = "auto"
    container = await engine.run("one", "sleep", "1000000")
    await rig.kill_agent()
    await rig.start_agent()

    def told() -> str:
        return str(rig.get("status")["conditions"].get("contiv runtime", {}).get("reason", ""))

    await until(lambda: "not offered: no socket among /run/containerd/containerd.sock" in told(), 10, "it is told")
    await asyncio.sleep(5)
    assert [pod["container_id"] for pod in rig.get("tables", "LocalPod")["records"]] == [container]
    assert rig.get("status")["ready"]
    await engine("rm", "--force", "--time", "0", "one")
