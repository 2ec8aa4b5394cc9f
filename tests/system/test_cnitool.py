# SPDX-License-Identifier: Apache-2.0
"""containernetworking's own command connects namespaces by our executable, as each runtime on its library does."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contivpp_cni import native

from .harness import Node, node
from .outside import cnitool
from .processes import run
from .runtimes import Baseline, install_cni

pytestmark = [pytest.mark.netns, pytest.mark.tun]

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NETWORK = "k8s-pod-network"


class Tool:
    """cnitool on a node."""

    def __init__(self, rig: Node) -> None:
        self.rig = rig
        self._command = (*rig.machine.enter, str(cnitool()))
        self._bin, self._conf = install_cni(rig)

    def network(self, name: str, version: str, **keys: Any) -> None:
        """Write the configuration of another network."""
        path = self._conf / f"{name}.conflist"
        ours = json.loads((self._conf / "10-contivpp.conflist").read_text())["plugins"][0]
        path.write_text(json.dumps({"cniVersion": version, "name": name, "plugins": [{**ours, **keys}]}))

    async def __call__(self, verb: str, path: str, *, network: str = NETWORK, interface: str = "eth0",
                       **variables: str) -> tuple[int, str, str]:  # fmt: skip
        """Run it; return exit code, stdout, stderr."""
        environment = {
            "CNI_PATH": str(self._bin), "NETCONFPATH": str(self._conf), "CNI_IFNAME": interface,
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={Path(path).name}", **variables,
        }  # fmt: skip
        return await run(*self._command, verb, network, path, env=environment)

    async def succeeds(self, verb: str, path: str, **options: str) -> Any:
        """Run it; return the result, if there is one."""
        code, out, error = await self(verb, path, **options)
        assert code == 0, f"{verb} {path} {options}: {error}"
        return json.loads(out) if out.strip() else None

    def forget(self) -> None:
        """Lose the library's cached results, as a node does that is installed anew."""
        shutil.rmtree(self.rig.machine.root / "var/lib/cni/results")


@pytest_asyncio.fixture
async def tool(able: None, dataplane: str) -> AsyncIterator[Tool]:
    async with node(dataplane, own_mounts=True) as rig:
        made = Tool(rig)
        await rig.start_agent()
        yield made


@pytest_asyncio.fixture
async def before(tool: Tool) -> Baseline:
    baseline = Baseline(tool.rig)
    await baseline.take()
    return baseline


async def link_of(path: str, name: str = "eth0") -> Mapping[str, Any]:
    """What `ip` shows of a link in a namespace: its attributes, addresses, and routes by it."""
    code, out, error = await run("ip", "-j", "addr", "show", "dev", name, netns=path)
    assert code == 0, error
    (link,) = json.loads(out)
    _, routes, _ = await run("ip", "-j", "route", "show", "dev", name, netns=path)
    addresses = [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["family"] == "inet"]
    return {**link, "addresses": addresses, "routes": json.loads(routes or "[]")}


async def compare(result: Mapping[str, Any], path: str, name: str = "eth0") -> str:
    """Assert that a result tells what `ip` shows; return the address."""
    link = await link_of(path, name)
    (address,) = result["ips"]
    told = result["interfaces"][address["interface"]]
    assert (told["name"], told["mac"], told["sandbox"]) == (name, link["address"], path)
    assert [address["address"]] == link["addresses"]
    assert told.get("mtu", link["mtu"]) == link["mtu"]
    assert ("mtu" in told) == (result["cniVersion"] == "1.1.0")
    assert ("version" in address) == result["cniVersion"].startswith("0.")
    for route in result.get("routes", []):
        dst = "default" if route["dst"] == "0.0.0.0/0" else route["dst"]
        assert (dst, route["gw"]) in [(each["dst"], each.get("gateway")) for each in link["routes"]]
    return str(address["address"].partition("/")[0])


async def ping(path: str, address: str) -> None:
    code, out, error = await run("ping", "-c", "2", "-i", "0.2", "-W", "5", address, netns=path)
    assert code == 0, out + error


async def gone(rig: Node, path: str) -> None:
    """Wait until there is no interface any more: DEL is answered before."""
    for _ in range(100):
        if (links := await rig.linux_links(path)) == ["lo"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(links)


@pytest.mark.parametrize("executable", ["python", "native"])
async def test_every_version(tool: Tool, before: Baseline, executable: str) -> None:
    if executable == "native" and not any(shutil.which(name) for name in native.COMPILERS):
        pytest.skip(f"needs one of {', '.join(native.COMPILERS)}")
    install_cni(tool.rig, "--executable", executable)
    path = tool.rig.namespaces.make("one")
    for version in VERSIONS:
        tool.network("net", version)
        result = await tool.succeeds("add", path, network="net")
        assert result["cniVersion"] == version
        await compare(result, path)
        if version != "0.3.1":
            await tool.succeeds("check", path, network="net")
        if version == "1.1.0":
            await tool.succeeds("status", path, network="net")
        await tool.succeeds("del", path, network="net")
        await tool.succeeds("del", path, network="net")
        await gone(tool.rig, path)
    tool.rig.namespaces.drop(path)
    await before.is_back()


async def test_pods_reach_each_other(tool: Tool, before: Baseline) -> None:
    paths = [tool.rig.namespaces.make(name) for name in ("one", "two")]
    results = [await tool.succeeds("add", path) for path in paths]
    addresses = [await compare(result, path) for result, path in zip(results, paths, strict=True)]
    for path, other, result in zip(paths, reversed(addresses), results, strict=True):
        await ping(path, result["ips"][0]["gateway"])
        await ping(path, other)
    for path in paths:
        await tool.succeeds("del", path)
        tool.rig.namespaces.drop(path)
    await before.is_back()


async def test_two_interfaces_of_one_namespace(tool: Tool, before: Baseline) -> None:
    tool.network("second", "1.0.0", defaultRoute=False)
    path = tool.rig.namespaces.make("one")
    first = await compare(await tool.succeeds("add", path), path)
    result = await tool.succeeds("add", path, network="second", interface="net1")
    assert not result.get("routes")
    second = await compare(result, path, "net1")
    assert first != second
    for network, interface in ((NETWORK, "eth0"), ("second", "net1")):
        await tool.succeeds("check", path, network=network, interface=interface)
    await ping(path, result["ips"][0]["gateway"])
    await tool.succeeds("del", path, network="second", interface="net1")
    await tool.succeeds("check", path)
    await ping(path, result["ips"][0]["gateway"])
    await tool.succeeds("del", path)
    tool.rig.namespaces.drop(path)
    await before.is_back()


async def test_address_and_mac_are_asked_for(tool: Tool, before: Baseline) -> None:
    path = tool.rig.namespaces.make("one")
    wanted = {"ips": ["10.1.1.77/24"], "mac": "02:00:00:12:34:56"}
    result = await tool.succeeds("add", path, CAP_ARGS=json.dumps(wanted))
    assert await compare(result, path) == "10.1.1.77"
    assert (await link_of(path))["address"] == wanted["mac"]
    await ping(path, result["ips"][0]["gateway"])
    await tool.succeeds("check", path)
    other = tool.rig.namespaces.make("two")
    code, _, error = await tool("add", other, CAP_ARGS=json.dumps({"ips": wanted["ips"]}))
    assert code != 0
    assert "10.1.1.77" in error
    await tool.succeeds("del", path)
    await tool.succeeds("add", other, CAP_ARGS=json.dumps({"ips": wanted["ips"]}))
    await tool.succeeds("del", other)
    for each in (path, other):
        tool.rig.namespaces.drop(each)
    await before.is_back()


CHANGED = {"mtu": "link set eth0 mtu 900", "mac": "link set eth0 address 02:00:00:12:34:56"}
LOST = {  # what others may have meant is not brought back, but told
    "route del default": "eth0 has lost its route to 0.0.0.0/0",
    "addr del {address} dev eth0": "eth0 has lost its route to 0.0.0.0/0",  # the kernel takes the routes with it
}


async def test_check_mends_a_changed_link_or_tells_it(tool: Tool, before: Baseline) -> None:
    tool.network("net", "1.1.0")
    for what, harm in CHANGED.items():
        path = tool.rig.namespaces.make("one")
        result = await tool.succeeds("add", path, network="net")
        code, _, error = await run("ip", *harm.split(), netns=path)
        assert code == 0, error
        code, _, error = await tool("check", path, network="net")
        if code == 0:
            await compare(result, path)
        else:
            assert f"eth0 has {what} " in error
        await tool.succeeds("del", path, network="net")
        tool.rig.namespaces.drop(path)
    await before.is_back()


async def test_check_brings_back_what_the_agent_needs(tool: Tool, before: Baseline) -> None:
    path = tool.rig.namespaces.make("one")
    result = await tool.succeeds("add", path)
    code, _, error = await run("ip", "link", "set", "eth0", "down", netns=path)
    assert code == 0, error
    await tool.succeeds("check", path)
    await compare(result, path)
    await ping(path, result["ips"][0]["gateway"])
    await tool.succeeds("del", path)
    tool.rig.namespaces.drop(path)
    await before.is_back()


async def test_check_tells_what_is_lost(tool: Tool, before: Baseline) -> None:
    for harm, told in LOST.items():
        path = tool.rig.namespaces.make("one")
        result = await tool.succeeds("add", path)
        code, _, error = await run("ip", *harm.format(address=result["ips"][0]["address"]).split(), netns=path)
        assert code == 0, error
        code, _, error = await tool("check", path)
        assert code != 0
        assert told in error
        await tool.succeeds("del", path)
        tool.rig.namespaces.drop(path)
    await before.is_back()


async def test_status_tells_that_the_agent_is_down(tool: Tool) -> None:
    tool.network("net", "1.1.0")
    path = tool.rig.namespaces.make("one")
    await tool.succeeds("status", path, network="net")
    await tool.rig.kill_agent()
    code, _, error = await tool("status", path, network="net")
    assert code != 0
    assert "agent did not serve STATUS" in error
    await tool.rig.start_agent()
    await tool.succeeds("status", path, network="net")


async def test_garbage_of_one_network_is_removed(tool: Tool, before: Baseline) -> None:
    tool.network("first", "1.1.0")
    tool.network("second", "1.1.0")
    paths = {name: tool.rig.namespaces.make(name) for name in ("first", "second")}
    for network, path in paths.items():
        await tool.succeeds("add", path, network=network)
    # cnitool lists no attachment that is still valid: the library deletes those that it remembers, one by one, and
    # what the agent is then asked to keep is not known.
    code, _, error = await tool("gc", paths["first"], network="first")
    assert code != 0
    assert "cni.dev/valid-attachments: missing" in error
    await gone(tool.rig, paths["first"])
    await tool.succeeds("check", paths["second"], network="second")
    tool.forget()
    await tool("gc", paths["second"], network="second")
    assert await tool.rig.linux_links(paths["second"]) == ["eth0", "lo"]
    await tool.succeeds("del", paths["second"], network="second")
    for path in paths.values():
        tool.rig.namespaces.drop(path)
    await before.is_back()
