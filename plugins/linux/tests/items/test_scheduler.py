# SPDX-License-Identifier: Apache-2.0
"""The items of whole pods through the core's scheduler, on both kernels."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import threading

import pytest

from contivpp_core.items import Owner
from contivpp_core.namespaces import HOST
from contivpp_core.scheduler import Scheduler
from contivpp_linux.descriptors import all_descriptors
from contivpp_linux.edge import Edge
from contivpp_linux.items import Address, LinkUp, Mac, Mtu, Neighbour, Offload, Route, Sysctl, Veth
from contivpp_linux.kernel.values import OWN_PROTOCOL

CLONE_NEWNET = 0x40000000
GATEWAY = "169.254.1.1"


def pod_items(namespace, number):
    """Return the items of a pod, and of its way out of the host."""
    link, host, address = "eth0", f"pod{number}", f"10.1.1.{number}"
    pod_mac, host_mac = f"02:00:00:00:01:{number:02x}", f"02:00:00:00:02:{number:02x}"
    return [
        Veth(
            namespace=namespace,
            name=link,
            peer_namespace=HOST,
            peer_name=host,
            peer_mac=host_mac,
            alias=f"pod/{number}",
        ),
        Sysctl(namespace=namespace, name="net.ipv6.conf.all.disable_ipv6", value="1"),
        LinkUp(namespace=namespace, name="lo"),
        Mtu(namespace=namespace, link=link, mtu=1450),
        Mac(namespace=namespace, link=link, mac=pod_mac),
        Address(namespace=namespace, link=link, address=f"{address}/32"),
        LinkUp(namespace=namespace, name=link),
        Route(namespace=namespace, destination=f"{GATEWAY}/32", link=link, scope="link"),
        Route(namespace=namespace, destination="0.0.0.0/0", link=link, gateway=GATEWAY, source=address),
        Neighbour(namespace=namespace, link=link, address=GATEWAY, mac=host_mac),
        Offload(namespace=namespace, link=link, features=(("tx-checksumming", False),)),
        LinkUp(namespace=HOST, name=host),
        Route(namespace=HOST, destination=f"{address}/32", link=host, scope="link"),
        Neighbour(namespace=HOST, link=host, address=address, mac=pod_mac),
    ]


FORWARD = Sysctl(namespace=HOST, name="net.ipv4.ip_forward", value="1")


class Driver:
    """A scheduler over a kernel."""

    def __init__(self, kernel) -> None:
        self.scheduler = Scheduler(seed=1)
        self.edge = Edge(lambda key: self.scheduler.graph.provider(key) is not None)
        self.edge.open(kernel)
        for descriptor in all_descriptors(self.edge):
            self.scheduler.register(descriptor)

    def want(self, *items):
        self.scheduler.submit(
            [item.key for item in items], {item.key: {Owner("pods", "test"): item} for item in items}
        )

    def unwant(self, *items):
        self.scheduler.submit([item.key for item in items], {})

    async def read(self):
        await self.scheduler.domain_up("linux", "boot")
        await self.settled()

    async def settled(self):
        async with asyncio.timeout(10):
            await self.scheduler.settled()

    def states(self):
        return {status.key: (status.state, status.reason) for status in self.scheduler.items()}

    def assert_applied(self, count):
        states = self.states()
        assert {key: state for key, state in states.items() if state[0] != "applied"} == {}
        assert len(states) == count

    async def stop(self):
        await self.scheduler.stop()
        await self.edge.close()


def ping(namespace_path, destination):
    """Return whether an ICMP echo from a namespace is answered; runs in a thread of its own."""
    answers = []

    def work():
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(namespace_path, os.O_RDONLY)
        assert libc.setns(descriptor, CLONE_NEWNET) == 0
        os.close(descriptor)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
            icmp.settimeout(2)
            words = (0x0800, 0, 77, 1)
            checksum = ~(sum(words) % 0xFFFF) & 0xFFFF
            icmp.sendto(struct.pack("!4H", 0x0800, checksum, 77, 1), (destination, 0))
            try:
                packet, (source, _) = icmp.recvfrom(2048)
            except TimeoutError:
                return
            answers.append(source == destination and packet[20] == 0)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return answers == [True]


async def leftovers(world, *namespaces):
    left = []
    for path in ("", *(namespace.path for namespace in namespaces)):
        left += [link.name for link in await world.rig.kernel.links(path) if link.name != "lo"]
        left += [route for route in await world.rig.kernel.routes(path) if route.protocol == OWN_PROTOCOL]
        left += await world.rig.kernel.neighbours(path)
    return left


async def test_two_pods_talk_are_adopted_and_removed(world):
    pods = [await world.namespace() for _ in range(2)]
    items = [FORWARD, *(item for number, pod in enumerate(pods, 1) for item in pod_items(pod, number))]
    driver = Driver(world.kernel)
    await driver.read()
    driver.want(*items)
    await driver.settled()
    driver.assert_applied(len(items))
    if world.rig.real:
        assert await asyncio.to_thread(ping, pods[0].path, "10.1.1.2")
        assert await asyncio.to_thread(ping, pods[1].path, "10.1.1.1")
    await driver.stop()

    world.kernel.batches.clear()
    driver = Driver(world.kernel)
    driver.want(*items)
    await driver.read()
    driver.assert_applied(len(items))
    assert world.kernel.batches == []
    for kind in driver.scheduler.descriptors:
        assert await driver.scheduler.check(kind) == {}

    driver.unwant(*items)
    await driver.settled()
    assert driver.states() == {}
    assert await leftovers(world, *pods) == []
    await driver.stop()


async def test_pod_costs_few_batches(world):
    namespace = await world.namespace()
    driver = Driver(world.kernel)
    await driver.read()
    driver.want(*pod_items(namespace, 1))
    await driver.settled()
    batches = [len(operations) for where, operations in world.kernel.batches if where != ""]
    assert len(batches) <= 4, batches  # three, and one more for the MAC, which looks for neighbours first
    await driver.stop()


async def test_orphans_of_a_crash_are_removed(world):
    pods = [await world.namespace() for _ in range(2)]
    driver = Driver(world.kernel)
    await driver.read()
    driver.want(*pod_items(pods[0], 1), *pod_items(pods[1], 2))
    await driver.settled()
    await driver.stop()

    driver = Driver(world.kernel)
    driver.want(*pod_items(pods[0], 1))
    await driver.read()
    driver.assert_applied(14)
    assert {link.name for link in await world.rig.kernel.links("")} == {"lo", "pod1"}
    assert {link.name for link in await world.rig.kernel.links(pods[1].path)} == {"lo"}
    await driver.stop()


async def test_replaced_namespace_fails_alone_and_its_old_items_go(world):
    pods = [await world.namespace() for _ in range(2)]
    driver = Driver(world.kernel)
    await driver.read()
    old = pod_items(pods[0], 1)
    driver.want(*old, *pod_items(pods[1], 2))
    await driver.settled()
    world.rig.destroy(pods[0].path)
    new_namespace = await world.namespace(pods[0].path)
    new = pod_items(new_namespace, 3)
    driver.want(*new)
    await driver.settled()
    assert {state for key, (state, _) in driver.states().items() if str(new_namespace) in key} == {"applied"}
    driver.unwant(*old)
    await driver.settled()
    driver.assert_applied(len(new) + 14)
    late = pod_items(pods[0], 4)
    driver.want(*late)
    await driver.settled()
    states = driver.states()
    state, reason = states[late[0].key]
    assert state == "failed"
    assert "replaced" in reason
    assert sum(state == "applied" for state, _ in states.values()) == len(new) + 14
    driver.unwant(*late)
    await driver.settled()
    driver.assert_applied(len(new) + 14)
    await driver.stop()


async def test_change_of_every_value_in_place(world):
    namespace = await world.namespace()
    driver = Driver(world.kernel)
    await driver.read()
    driver.want(*pod_items(namespace, 1))
    await driver.settled()
    before = (await world.links(namespace.path))["eth0"].index
    changed = [
        Mtu(namespace=namespace, link="eth0", mtu=1400),
        Mac(namespace=namespace, link="eth0", mac="02:00:00:00:09:09"),
        Neighbour(namespace=namespace, link="eth0", address=GATEWAY, mac="02:00:00:00:09:08"),
    ]
    driver.want(*changed)
    await driver.settled()
    driver.assert_applied(14)
    for kind in driver.scheduler.descriptors:
        assert await driver.scheduler.check(kind) == {}
    assert (await world.links(namespace.path))["eth0"].index == before
    await driver.stop()


@pytest.mark.parametrize("kind", ["linux/link-up", "linux/address", "linux/route", "linux/neighbour"])
async def test_one_facet_goes_alone(world, kind):
    namespace = await world.namespace()
    driver = Driver(world.kernel)
    await driver.read()
    items = pod_items(namespace, 1)
    driver.want(*items)
    await driver.settled()
    gone = [item for item in items if item.kind == kind and item.namespace == namespace]
    driver.unwant(*gone)
    await driver.settled()
    states = driver.states()
    assert not {item.key for item in gone} & set(states)
    # What needed it waits; nothing fails, and all of it comes back.
    assert {state for state, _ in states.values()} <= {"applied", "pending"}
    driver.want(*gone)
    await driver.settled()
    driver.assert_applied(14)
    for checked in driver.scheduler.descriptors:
        assert await driver.scheduler.check(checked) == {}
    await driver.stop()
