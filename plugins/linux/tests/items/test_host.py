# SPDX-License-Identifier: Apache-2.0
"""The tables of the host's own addresses and routes."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from contivpp_core.agent import Agent
from contivpp_core.namespaces import HOST
from contivpp_core.node import HOST_ADDRESS, HOST_ROUTE
from contivpp_linux import items
from contivpp_linux.host import LONGEST_PAUSE_SECONDS, is_hosts_own
from contivpp_linux.kernel.operations import Add, CreateVeth, Delete, DeleteLink, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import OWN_PROTOCOL, Address, Route
from contivpp_linux.plugin import LinuxPlugin

from .test_plugin import Watcher, settled, until, want

STATIC = 4  # RTPROT_STATIC


@pytest.mark.parametrize(
    ("link", "own"),
    [("eth0", True), ("mgmt0", True), ("bond0.7", True), ("elo", True)]
    + [(name, False) for name in ("lo", "docker0", "virbr0", "vpp1", "vpp2", "cvpp1234", "cvp-0123456789a")],
)
def test_whose_a_link_is_by_its_name(link: str, own: bool) -> None:
    assert is_hosts_own(link) is own


class Host:
    """An agent, and the host's namespace."""

    def __init__(self, world) -> None:
        self.kernel = world.kernel
        self.agent = Agent(
            {"nodeName": "node1"}, [LinuxPlugin(kernel=world.kernel), Watcher()], ledger_path=None, serve=False
        )

    def rows(self, table):
        return self.agent.controller._state.table(table.name)

    def ready(self, table):
        return self.agent.controller._state.ready(table.name)

    @property
    def addresses(self):
        return {(each.link, each.address) for each in self.rows(HOST_ADDRESS).records()}

    @property
    def routes(self):
        return {(each.destination, each.link, each.gateway) for each in self.rows(HOST_ROUTE).records()}

    async def apply(self, *operations):
        raise_errors(await self.kernel.apply("", operations))


@pytest.fixture
async def host(world):
    host = Host(world)
    await host.apply(CreateVeth("mgmt0", "mgmt1"), SetLink(link="mgmt0", up=True), SetLink(link="mgmt1", up=True))
    await host.apply(Add(Address("mgmt0", ip_interface("10.200.0.1/24"))))
    try:
        yield host
    finally:
        await host.agent.stop()
        await world.rig.kernel.apply("", [DeleteLink("mgmt0")])


async def test_the_first_list_makes_the_tables_ready(host) -> None:
    await host.apply(Add(route("0.0.0.0/0", "mgmt0", "10.200.0.254")))
    await host.agent.start()
    await until(lambda: host.ready(HOST_ADDRESS) and host.ready(HOST_ROUTE))
    assert host.addresses == {("mgmt0", "10.200.0.1/24")}
    assert host.routes == {("10.200.0.0/24", "mgmt0", ""), ("0.0.0.0/0", "mgmt0", "10.200.0.254")}
    assert host.agent.sourced("HostAddress")
    assert host.agent.sourced("HostRoute")


async def test_changes_are_followed(host) -> None:
    await host.agent.start()
    await until(lambda: host.ready(HOST_ROUTE))
    second = Address("mgmt0", ip_interface("10.201.0.7/16"))
    there = route("10.99.0.0/16", "mgmt0", "10.200.0.9")
    await host.apply(Add(second), Add(there))
    await until(
        lambda: ("mgmt0", "10.201.0.7/16") in host.addresses and ("10.99.0.0/16", "mgmt0", "10.200.0.9") in host.routes
    )
    await host.apply(Delete(second))
    await until(lambda: host.addresses == {("mgmt0", "10.200.0.1/24")})
    await host.apply(SetLink(link="mgmt0", up=False))
    await until(lambda: host.routes == set())
    assert host.addresses == {("mgmt0", "10.200.0.1/24")}
    await host.apply(DeleteLink("mgmt0"))
    await until(lambda: host.addresses == set())
    await host.apply(CreateVeth("mgmt0", "mgmt1"))


async def test_what_is_not_the_hosts_own_is_left_out(host) -> None:
    await host.apply(CreateVeth("docker0", "veth7"), CreateVeth("vpp1", "vpp2"))
    for link in ("lo", "docker0", "veth7", "vpp1", "vpp2"):
        await host.apply(SetLink(link=link, up=True))
    await host.apply(
        Add(Address("docker0", ip_interface("172.17.0.1/16"))),
        Add(Address("vpp1", ip_interface("172.30.1.2/24"))),
        Add(Address("mgmt0", ip_interface("169.254.7.7/16"))),
        Add(route("10.98.0.0/16", "vpp1", "172.30.1.1")),
        Add(Route(ip_network("10.97.0.0/16"), "mgmt0", ip_address("10.200.0.9"), on_link=True)),
    )
    try:
        await host.agent.start()
        await until(lambda: host.ready(HOST_ROUTE))
        assert host.addresses == {("mgmt0", "10.200.0.1/24")}
        assert host.routes == {("10.200.0.0/24", "mgmt0", "")}
    finally:
        await host.apply(DeleteLink("docker0"), DeleteLink("vpp1"))


async def test_what_items_make_is_left_out_and_has_our_protocol_number(host) -> None:
    await host.agent.start()
    await until(lambda: host.ready(HOST_ROUTE))
    wanted = [
        items.Veth(namespace=HOST, name="h0", peer_namespace=HOST, peer_name="h1"),
        items.LinkUp(namespace=HOST, name="h0"),
        items.LinkUp(namespace=HOST, name="h1"),
        items.Address(namespace=HOST, link="h0", address="172.30.1.2/24"),
        items.Route(namespace=HOST, destination="10.1.0.0/16", link="h0", gateway="172.30.1.1", source="172.30.1.2"),
        items.Route(namespace=HOST, destination="172.30.0.0/16", link="h0", gateway="172.30.1.1"),
    ]
    await want(host.agent, *wanted)
    assert {status.state for status in host.agent.scheduler.items()} == {"applied"}
    made = {str(each.destination): each for each in await host.kernel.routes("") if each.protocol == OWN_PROTOCOL}
    assert set(made) == {"10.1.0.0/16", "172.30.0.0/16"}
    assert (str(made["10.1.0.0/16"].gateway), str(made["10.1.0.0/16"].source)) == ("172.30.1.1", "172.30.1.2")
    await host.apply(Add(Address("mgmt0", ip_interface("10.202.0.1/24"))))
    await until(lambda: ("mgmt0", "10.202.0.1/24") in host.addresses)
    assert {link for link, _ in host.addresses} == {"mgmt0"}
    assert {link for _, link, _ in host.routes} == {"mgmt0"}
    await want(host.agent)
    await settled(host.agent)


async def test_a_reading_that_fails_is_tried_again_and_the_records_stand(host, monkeypatch) -> None:
    await host.agent.start()
    await until(lambda: host.ready(HOST_ROUTE))
    before = host.addresses
    real = host.kernel.addresses
    failures = [OSError("broken")]

    async def addresses(namespace):
        if failures:
            raise failures.pop()
        return await real(namespace)

    monkeypatch.setattr(host.kernel, "addresses", addresses, raising=False)
    await host.apply(Add(Address("mgmt0", ip_interface("10.203.0.1/24"))))
    await until(lambda: not failures)
    assert host.addresses == before
    await until(lambda: ("mgmt0", "10.203.0.1/24") in host.addresses)


async def test_events_that_change_nothing_are_read_rarely(host, monkeypatch) -> None:
    await host.agent.start()
    await until(lambda: host.ready(HOST_ROUTE))
    readings = 0
    real = host.kernel.routes

    async def routes(namespace):
        nonlocal readings
        readings += 1
        return await real(namespace)

    monkeypatch.setattr(host.kernel, "routes", routes, raising=False)
    for _ in range(60):
        await host.apply(SetLink(link="mgmt1", mtu=1400))
        await host.apply(SetLink(link="mgmt1", mtu=1500))
        await asyncio.sleep(0.02)
    assert 1 <= readings <= 5
    await host.apply(Add(Address("mgmt0", ip_interface("10.204.0.1/24"))))
    async with asyncio.timeout(LONGEST_PAUSE_SECONDS + 1):
        while ("mgmt0", "10.204.0.1/24") not in host.addresses:
            await asyncio.sleep(0.02)


def route(destination: str, link: str, gateway: str) -> Route:
    return Route(ip_network(destination), link, ip_address(gateway), protocol=STATIC)
