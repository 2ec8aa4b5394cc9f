# SPDX-License-Identifier: Apache-2.0
"""Followed namespaces: what both kernels tell of them, and when a settled link is looked at."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from contivpp_linux.kernel import followed
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.kernel.operations import Add, CreateVeth, Delete, DeleteLink, Follow, SetLink, SetSysctl
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import FollowedLink, LinkEventsLost, NetworkNamespace, Route, RouteGone
from contivpp_linux.sightings import Sightings

from .test_scheduler import Driver
from .test_settled import ARP_FILTER, DEFAULT, OTHER, OWN, others_change, pod

PAIR = CreateVeth("eth0", "eth1", mac=OWN, peer_mac="02:00:00:00:00:02")
UP = [SetLink(link="eth0", up=True), SetLink(link="eth1", up=True)]


async def told(events, condition):
    """Wait for events that a condition accepts; return them."""
    async with asyncio.timeout(5):
        while not (found := [event for event in events if condition(event)]):
            await asyncio.sleep(0.005)
    return found


async def quiet():
    await asyncio.sleep(0.1)


async def test_links_of_followed_namespaces_are_told(world):
    kernel = world.rig.kernel
    first, second = world.rig.namespace(), world.rig.namespace()
    identity = await kernel.identify(first)
    events = []
    stop = kernel.watch_followed(events.append)
    for path in (first, second):
        raise_errors(await kernel.apply(path, [PAIR, *UP]))
    await quiet()
    assert events == []
    raise_errors(await kernel.apply(first, [Follow()]))
    raise_errors(await kernel.apply(first, [Follow()]))  # again: nothing happens
    for path in (first, second):
        raise_errors(await kernel.apply(path, [SetLink(link="eth0", mac=OTHER, mtu=1400)]))
    found = await told(events, lambda event: event.mac == OTHER and event.mtu == 1400)
    await quiet()
    index = (await world.links(first))["eth0"].index
    expected = FollowedLink(
        namespace=identity,
        index=index,
        name="eth0",
        mac=OTHER,
        mtu=1400,
        up=True,
        promiscuous=False,
        all_multicast=False,
    )
    assert found[-1] == expected
    assert {event.namespace for event in events} == {identity}
    raise_errors(await kernel.apply(first, [DeleteLink("eth0")]))
    (gone,) = await told(events, lambda event: event.name == "eth0" and event.gone)
    assert gone.index == index
    stop()
    events.clear()
    raise_errors(await kernel.apply(first, [PAIR]))
    await quiet()
    assert events == []


async def test_routes_of_ours_that_are_deleted_are_told_and_no_others(world):
    kernel, path = world.rig.kernel, world.rig.namespace()
    own = Route(ip_network("10.2.0.0/16"), "eth0")
    other = Route(ip_network("10.3.0.0/16"), "eth0", protocol=3)
    raise_errors(await kernel.apply(path, [PAIR, *UP, Add(own), Add(other), Follow()]))
    events = []
    kernel.watch_followed(events.append)
    raise_errors(await kernel.apply(path, [Delete(other)]))
    await quiet()
    assert not [event for event in events if isinstance(event, RouteGone)]
    raise_errors(await kernel.apply(path, [Delete(own)]))
    gone = await told(events, lambda event: isinstance(event, RouteGone))
    assert gone == [RouteGone(await kernel.identify(path))]


async def test_a_followed_namespace_can_end(world):
    kernel, path = world.rig.kernel, world.rig.namespace()
    raise_errors(await kernel.apply(path, [Follow()]))
    world.rig.destroy(path)
    path = world.rig.namespace()
    events = []
    kernel.watch_followed(events.append)
    raise_errors(await kernel.apply(path, [Follow(), PAIR]))
    await told(events, lambda event: event.name == "eth1")
    assert {event.namespace for event in events} == {await kernel.identify(path)}


async def test_sysctls_of_a_link_that_differ_from_those_of_new_links(world):
    kernel, path = world.rig.kernel, world.rig.namespace()
    raise_errors(await kernel.apply(path, [PAIR, *UP, SetLink(link="eth0", mtu=1400)]))
    assert await kernel.link_sysctls(path, "eth0") == {}
    others = SetSysctl("net.ipv4.conf.eth1.forwarding", "1")
    raise_errors(await kernel.apply(path, [SetSysctl(ARP_FILTER, "1"), others]))
    assert await kernel.link_sysctls(path, "eth0") == {ARP_FILTER.replace(".", "/"): "1"}
    assert await kernel.link_sysctls(path, "none") == {}
    with pytest.raises(KernelError):
        await kernel.link_sysctls("/no/such/namespace", "eth0")


async def test_without_the_kernels_events_somebody_reads_again_and_again(monkeypatch):
    monkeypatch.setattr(followed, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(followed, "_LISTEN_ALL_NSID", 9999)  # no such option, as without the capability
    events = []
    watch = followed.FollowedWatch(asyncio.get_running_loop(), lambda number: None, events.append)
    async with asyncio.timeout(5):
        while len(events) < 3:
            await asyncio.sleep(0.01)
    watch.close()
    assert set(events) == {LinkEventsLost()}


class Looking:
    """A driver whose sightings are noted."""

    def __init__(self, world, *, keen=False):
        self.seen = []
        self.driver = Driver(world.kernel)
        self.sightings = Sightings(self.driver.scheduler, world.kernel)
        self.sightings.watch(self.seen.append, lambda namespace, link: keen)
        self.driver.edge.sighted = self.sightings.tell
        self.stop_watching = world.rig.kernel.watch_followed(self.sightings.take)

    async def sees(self, condition):
        return (await told(self.seen, condition))[-1]

    async def stop(self):
        self.stop_watching()
        await self.sightings.stop()
        await self.driver.stop()


async def started(world, items, **options):
    looking = Looking(world, **options)
    looking.driver.want(*items)
    await looking.driver.read()
    return looking


async def test_a_link_is_looked_at_when_others_change_it_and_not_before(world):
    namespace = await world.namespace()
    looking = await started(world, pod(namespace))
    await quiet()
    assert looking.seen == []  # the agent's own work
    await others_change(world.rig.kernel, namespace.path)
    seen = await looking.sees(lambda each: len(each.changed) == 2 and each.link.mac == OTHER)
    assert seen.namespace == namespace
    assert [each.kind for each in seen.changed] == ["linux/mtu", "linux/route"]
    assert dict(seen.sysctls) == {ARP_FILTER.replace(".", "/"): "1"}
    await quiet()
    count = len(looking.seen)
    raise_errors(await world.rig.kernel.apply(namespace.path, [SetLink(link="eth0", up=True)]))  # nothing new
    await quiet()
    assert len(looking.seen) == count
    await looking.stop()


async def test_a_reading_of_the_domain_tells_what_others_changed_meanwhile(world):
    namespace = await world.namespace()
    looking = await started(world, pod(namespace))
    await looking.stop()
    await others_change(world.rig.kernel, namespace.path)
    looking = await started(world, pod(namespace))
    (seen,) = looking.seen
    assert (seen.link.mac, seen.link.mtu, len(seen.changed), seen.sysctls) == (OTHER, 1400, 2, None)
    raise_errors(await world.rig.kernel.apply(namespace.path, [SetLink(link="eth0", mtu=1450), Add(DEFAULT)]))
    assert (await looking.sees(lambda each: each.link.mtu == 1450)).changed == ()
    await looking.stop()


@pytest.mark.parametrize("keen", [False, True])
async def test_a_link_made_anew_is_looked_at_only_if_somebody_is_keen(world, keen):
    namespace = await world.namespace()
    items = pod(namespace)
    looking = await started(world, items, keen=keen)
    await quiet()
    before = (await world.links(namespace.path))["eth0"].index
    looking.seen.clear()
    looking.driver.unwant(*items)
    await looking.driver.settled()
    looking.driver.want(*items)
    await looking.driver.settled()
    if keen:
        seen = await looking.sees(lambda each: each.link.index != before)
        assert seen.changed == ()
    else:
        await quiet()
        assert looking.seen == []
    await looking.stop()


async def test_lost_events_have_every_settled_link_looked_at(world):
    namespaces = [await world.namespace() for _ in range(2)]
    looking = await started(world, pod(namespaces[0]))
    looking.sightings.take(LinkEventsLost())
    seen = await looking.sees(lambda each: True)
    assert seen.namespace == namespaces[0]
    elsewhere = NetworkNamespace(namespaces[1].path, namespaces[1].device, namespaces[1].inode)
    looking.seen.clear()
    looking.sightings.take(RouteGone(elsewhere))
    looking.sightings.look(namespaces[0], "eth0")
    await looking.sees(lambda each: True)
    await quiet()
    assert len(looking.seen) == 1
    await looking.stop()
