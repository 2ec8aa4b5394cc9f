# SPDX-License-Identifier: Apache-2.0
"""What runtimes may do besides one ADD and one DEL for a pod: GC, STATUS, further interfaces, networks of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contivpp_contiv import names
from contivpp_core.clock import run_simulated
from contivpp_core.namespaces import HOST
from contivpp_linux import items as linux

from .nodes import Node, address, simulated

VALID = "cni.dev/valid-attachments"


def valid(*numbers: int) -> dict[str, Any]:
    return {VALID: [{"containerID": f"c{number}", "ifname": "eth0"} for number in numbers]}


def items(node: Node, kind: str, interface: str = "eth0") -> list[Any]:
    return [i for i in node.world.there.values() if i.kind == kind and getattr(i, "link", interface) == interface]


# --- GC


@simulated
async def test_gc_removes_what_is_not_named_of_its_network_only() -> None:
    node = Node()
    await node.start()
    for number in (1, 2, 3):
        await node.cni("ADD", number)
    await node.cni("ADD", 4, name="other")
    assert await node.cni("GC", 0, **valid(1)) == {}
    await asyncio.sleep(5)
    assert set(node.ledger.items("contiv.pod")) == {"c1/eth0", "c4/eth0"}
    assert await node.cni("GC", 0, **valid()) == {}
    assert await node.cni("CHECK", 4, name="other") == {}
    await node.cni("DEL", 4, name="other")
    await asyncio.sleep(5)
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_gc_leaves_an_add_alone_that_is_going_on() -> None:
    node = Node()
    await node.start()
    node.world.block = "vpp/mtu"
    adding = asyncio.create_task(node.cni("ADD", 1))
    await asyncio.sleep(1)
    assert await node.cni("GC", 0, **valid()) == {}
    assert not adding.done()
    assert set(node.ledger.items("contiv.pod")) == {"c1/eth0"}
    adding.cancel()
    await node.kill()


@simulated
async def test_gc_with_a_malformed_list_removes_nothing() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    for config in ({}, {VALID: [{"containerID": "c9"}]}):
        assert (await node.cni("GC", 0, **config))["code"] == 7
    assert await node.cni("CHECK", 1) == {}
    await node.kill()


# --- pods that vanished


@simulated
async def test_a_pod_that_vanished_while_the_agent_was_away_is_taken_down() -> None:
    node = Node()
    await node.start()
    for number in (1, 2, 3):
        await node.cni("ADD", number)
    await node.kill()
    del node.world.namespaces["/netns/1"]
    node.world.namespaces["/netns/2"] = 999  # another one is at its path
    await node.start()
    await node.agent.controller.settled()
    await asyncio.sleep(1)
    assert set(node.ledger.items("contiv.pod")) == {"c3/eth0"}
    assert set(node.ledger.items("ipam")) == {"last", "address/c3/eth0"}
    assert not [key for key in node.pod_keys() if "10.1.1.2/32" in key or "10.1.1.3/32" in key]
    assert await node.cni("CHECK", 3) == {}
    await node.kill()


@simulated
async def test_what_cannot_be_looked_for_stays_until_it_can() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    await node.kill()
    del node.world.namespaces["/netns/1"]
    node.world.hidden = True  # the folder is not mounted
    node.world.writes = 0
    await node.start()
    await node.agent.controller.settled()
    assert node.world.writes == 0
    assert set(node.ledger.items("contiv.pod")) == {"c1/eth0"}
    node.world.hidden = False
    await node.cni("ADD", 2)
    await asyncio.sleep(5)
    assert set(node.ledger.items("contiv.pod")) == {"c2/eth0"}
    await node.kill()


# --- STATUS


@simulated
async def test_status_tells_what_is_used_up() -> None:
    node = Node(prefix=29)  # four addresses
    await node.start()
    for number in range(1, 5):
        assert await node.cni("STATUS", 0) == {}
        await node.cni("ADD", number)
    status = await node.cni("STATUS", 0)
    assert (status["code"], "all 4 are in use" in status["msg"]) == (50, True)
    await node.kill()


@simulated
async def test_status_tells_that_vpp_stands_no_more_af_packet_interfaces() -> None:
    node = Node()
    node.world.taps = False
    await node.start()
    await asyncio.gather(*(node.cni("ADD", number) for number in range(1, 14)))
    status = await node.cni("STATUS", 0)
    assert (status["code"], "modprobe vhost_net" in status["msg"]) == (50, True)
    await node.kill()


# --- several interfaces, several networks, namespaces


@simulated
async def test_each_interface_of_a_container_has_routes_of_its_own() -> None:
    node = Node()
    await node.start()
    first = await node.cni("ADD", 1)
    second = await node.cni("ADD", 1, interface="net1")
    third = await node.cni("ADD", 1, interface="net2")
    assert len({address(result) for result in (first, second, third)}) == 3
    assert [result["routes"][0].get("priority", 0) for result in (first, second, third)] == [0, 100, 200]
    metrics = {(route.destination, route.metric) for route in items(node, "linux/route", "net1")}
    assert metrics == {("0.0.0.0/0", 100), ("10.1.1.1/32", 100)}
    await node.cni("DEL", 1, interface="net1")
    assert (await node.cni("ADD", 1, interface="net3"))["routes"][0]["priority"] == 100
    assert await node.cni("CHECK", 1, interface="net2", prevResult=third) == {}
    for interface in ("eth0", "net2", "net3"):
        await node.cni("DEL", 1, interface=interface)
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_an_attachment_belongs_to_one_network() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    again = await node.cni("ADD", 1, name="other")
    assert (again["code"], again["msg"][:5]) == (7, "name:")
    assert (await node.cni("CHECK", 1, name="other"))["code"] == 3
    assert await node.cni("CHECK", 1) == {}
    await node.kill()


@simulated
async def test_an_interface_that_is_being_taken_down_is_waited_for() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    descriptor = node.agent.scheduler.descriptors["vpp/tap"]
    delete = descriptor.delete

    async def slow(item: Any, handle: Any, handles: Any) -> None:
        await asyncio.sleep(7)
        await delete(item, handle, handles)

    descriptor.delete = slow  # type: ignore[method-assign]
    assert await node.cni("DEL", 1) == {}
    assert (await node.cni("CHECK", 1))["code"] == 3
    assert "ips" in await node.cni("ADD", 2, netns="/netns/1")  # another container in the same namespace
    await node.kill()


@simulated
async def test_a_link_that_the_kernel_is_still_closing_is_waited_for() -> None:
    node = Node()
    await node.start()
    node.world.foreign_links = ["eth0"]
    adding = asyncio.create_task(node.cni("ADD", 1))
    await asyncio.sleep(0.5)
    node.world.foreign_links = []
    assert "ips" in await adding
    await node.kill()


@simulated
async def test_an_interface_that_is_there_already_is_an_error() -> None:
    node = Node()
    await node.start()
    node.world.foreign_links = ["eth0"]
    assert (await node.cni("ADD", 1))["code"] == 100
    node.assert_nothing_left()
    assert "ips" in await node.cni("ADD", 1, interface="eth1")
    await node.kill()


@simulated
async def test_the_nodes_own_namespace_needs_the_override() -> None:
    node = Node()
    await node.start()
    node.world.namespaces["/netns/own"] = 1000
    assert (await node.cni("ADD", 1, netns="/netns/own"))["code"] == 8
    result = await node.cni("ADD", 1, netns="/netns/own", override="true")
    assert result["interfaces"][0]["sandbox"] == "/netns/own"
    assert {item.namespace for item in items(node, "linux/address") if item.link == "eth0"} == {HOST}
    await node.cni("DEL", 1)
    node.assert_nothing_left()
    await node.kill()


# --- what a network asks for


@simulated
async def test_what_the_network_asks_for_is_set_and_kept() -> None:
    node = Node()
    await node.start()
    asked: dict[str, Any] = {
        "mtu": 1400,
        "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"},
        "routes": [{"dst": "10.99.0.0/16"}],
        "defaultRoute": False,
        "runtimeConfig": {"mac": "02:00:00:00:00:07", "ips": ["10.1.1.77"]},
    }
    result = await node.cni("ADD", 1, **asked)
    assert result["interfaces"] == [{"name": "eth0", "mac": "02:00:00:00:00:07", "mtu": 1400, "sandbox": "/netns/1"}]
    assert address(result) == "10.1.1.77/32"
    assert result["routes"] == [{"dst": "10.99.0.0/16", "gw": "10.1.1.1"}]
    for _ in range(2):
        assert [item.mtu for item in items(node, "linux/mtu")] == [1400]
        assert {item.destination for item in items(node, "linux/route")} == {"10.1.1.1/32", "10.99.0.0/16"}
        (sysctl,) = (item for item in node.world.there.values() if isinstance(item, linux.Sysctl))
        assert (sysctl.name, sysctl.value) == ("net/ipv4/conf/eth0/arp_filter", "1")
        (neighbour,) = (i for i in node.world.there.values() if i.kind == "vpp/neighbour" and i.address == "10.1.1.77")
        assert neighbour.mac == "02:00:00:00:00:07" != names.pod_mac("c1", "eth0")
        assert await node.cni("ADD", 1) == result
        await node.kill()
        node.world.writes = 0
        await node.start()
        await node.agent.controller.settled()
        assert node.world.writes == 0
    await node.cni("DEL", 1)
    node.assert_nothing_left()
    await node.kill()


@pytest.mark.parametrize(
    ("config", "args", "code", "path"),
    [
        ({"mtu": 1451}, "", 7, "mtu:"),
        ({"runtimeConfig": {"ips": ["10.9.9.9"]}}, "", 7, "pod default/p1: 10.9.9.9"),
        ({}, "MAC=nonsense", 7, "CNI_ARGS MAC:"),
        ({"prevResult": {"interfaces": [{"name": "eth0", "sandbox": "/netns/1"}]}}, "", 7, "prevResult:"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_stays(config: dict[str, Any], args: str, code: int, path: str) -> None:
    async def main() -> None:
        node = Node()
        await node.start()
        result = await node.cni("ADD", 1, args=args, **config)
        assert (result["code"], result["msg"][: len(path)]) == (code, path)
        assert await node.cni("DEL", 1, args=args, **config) == {}
        node.assert_nothing_left()
        await node.kill()

    run_simulated(main())


@simulated
async def test_an_earlier_plugins_default_route_is_the_only_one() -> None:
    node = Node()
    await node.start()
    interfaces = [{"name": "net0", "sandbox": "/netns/1"}]
    before = {"interfaces": interfaces, "routes": [{"dst": "0.0.0.0/0", "gw": "10.7.0.1"}]}
    result = await node.cni("ADD", 1, prevResult=before)
    assert result["routes"] == before["routes"]
    assert [route.destination for route in items(node, "linux/route")] == ["10.1.1.1/32"]
    assert await node.cni("CHECK", 1, prevResult=result) == {}
    await node.kill()


# --- CHECK


@simulated
async def test_check_compares_with_the_result_of_the_whole_list() -> None:
    node = Node()
    await node.start()
    result = await node.cni("ADD", 1)
    assert await node.cni("CHECK", 1, prevResult=result) == {}
    for field, value in (("mtu", 1300), ("mac", "02:00:00:00:00:09")):
        changed = {**result, "interfaces": [{**result["interfaces"][0], field: value}]}
        check = await node.cni("CHECK", 1, prevResult=changed)
        assert (check["code"], f"prevResult says {value}" in check["msg"]) == (101, True)
    other = {**result, "ips": [{"address": "10.1.1.99/32"}]}
    assert (await node.cni("CHECK", 1, prevResult=other))["code"] == 101
    assert (await node.cni("CHECK", 1, prevResult={"ips": 7}))["code"] == 7
    await node.kill()


@simulated
async def test_check_tells_what_cannot_be_repaired() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    route = next(key for key in node.world.there if key.startswith("linux/route/4:"))
    del node.world.there[route]
    node.world.refuse = "linux/route"
    check = await node.cni("CHECK", 1)
    assert (check["code"], route in check["msg"]) == (101, True)
    node.world.refuse = ""
    await node.kill()
