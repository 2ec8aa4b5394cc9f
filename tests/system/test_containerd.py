# SPDX-License-Identifier: Apache-2.0
"""containerd runs pods over the CRI, as the kubelet has it do, and our executable connects them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .containerd import Containerd, Refused, containerd
from .harness import node
from .runtimes import Baseline

pytestmark = [pytest.mark.netns, pytest.mark.tun, pytest.mark.runtime]


@pytest_asyncio.fixture
async def daemon(able: None, dataplane: str) -> AsyncIterator[Containerd]:
    async with node(dataplane, own_mounts=True) as rig, containerd(rig) as made:
        await rig.start_agent()
        yield made


@pytest_asyncio.fixture
async def before(daemon: Containerd) -> Baseline:
    """What was there before the first pod."""
    baseline = Baseline(daemon.rig, daemon.traces)
    await baseline.take()
    return baseline


async def ping(daemon: Containerd, container: str, address: str) -> None:
    """Ping from inside a container."""
    told = await daemon.crictl("exec", "--sync", container, "/bin/ping", "-c", "2", "-W", "5", address)
    assert " 0% packet loss" in told


async def test_pods_as_the_kubelet_makes_them(daemon: Containerd, before: Baseline) -> None:
    one, two = await daemon.run_pod("one"), await daemon.run_pod("two", namespace="other")
    container = await daemon.run_container(one, "one", "/bin/sleep", "1000000")
    records = {pod["container_id"]: pod for pod in daemon.rig.get("tables", "LocalPod")["records"]}
    for sandbox, namespace, name in ((one, "default", "one"), (two, "other", "two")):
        assert (records[sandbox]["namespace"], records[sandbox]["name"]) == (namespace, name)
        assert records[sandbox]["address"] == await daemon.address(sandbox)
    links = await daemon.crictl("exec", "--sync", container, "/bin/ip", "-o", "addr")
    assert f"eth0    inet {records[one]['address']}/32" in links
    await ping(daemon, container, records[one]["gateway"])
    await ping(daemon, container, records[two]["address"])
    for sandbox in (one, two):
        await daemon.remove_pod(sandbox)
    await before.is_back()


async def test_agent_and_daemon_are_killed_between(daemon: Containerd, before: Baseline) -> None:
    sandboxes = [await daemon.run_pod(name) for name in ("one", "two")]
    container = await daemon.run_container(sandboxes[0], "one", "/bin/sleep", "1000000")
    address = await daemon.address(sandboxes[1])
    await daemon.rig.kill_agent()
    await daemon.kill()
    await daemon.start()
    await ping(daemon, container, address)
    await daemon.rig.start_agent()
    await ping(daemon, container, address)
    assert await daemon.address(sandboxes[1]) == address
    third = await daemon.run_pod("three")
    await ping(daemon, container, await daemon.address(third))
    for sandbox in (*sandboxes, third):
        await daemon.remove_pod(sandbox)
    await before.is_back()


async def test_agent_is_down_when_a_pod_stops(daemon: Containerd, before: Baseline) -> None:
    sandbox = await daemon.run_pod("one")
    await daemon.rig.kill_agent()
    with pytest.raises(Refused, match="agent did not serve DEL"):
        await daemon.crictl("stopp", sandbox)
    await daemon.rig.start_agent()
    await daemon.remove_pod(sandbox)
    await before.is_back()


async def test_agent_is_down_when_a_pod_starts(daemon: Containerd, before: Baseline) -> None:
    await daemon.rig.kill_agent()
    with pytest.raises(Refused, match="agent did not serve ADD"):
        await daemon.run_pod("one")
    await daemon.rig.start_agent()
    for sandbox in await daemon.sandboxes("one"):
        await daemon.remove_pod(sandbox)
    again = await daemon.run_pod("one", attempt=1)
    assert [pod["container_id"] for pod in daemon.rig.get("tables", "LocalPod")["records"]] == [again]
    await daemon.remove_pod(again)
    await before.is_back()


async def test_network_namespaces_with_long_paths(able: None, dataplane: str) -> None:
    async with node(dataplane, own_mounts=True) as rig, containerd(rig, deep=True) as daemon:
        await rig.start_agent()
        before = Baseline(rig, daemon.traces)
        await before.take()
        one, two = await daemon.run_pod("one"), await daemon.run_pod("two")
        paths = {pod["netns"]["path"] for pod in rig.get("tables", "LocalPod")["records"]}
        assert all(path.startswith(str(daemon.folder)) and len(path) > 64 for path in paths)
        container = await daemon.run_container(one, "one", "/bin/sleep", "1000000")
        await rig.kill_agent()
        await rig.start_agent()
        await ping(daemon, container, await daemon.address(two))
        for sandbox in (one, two):
            await daemon.remove_pod(sandbox)
        await before.is_back()
