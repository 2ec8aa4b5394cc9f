# SPDX-License-Identifier: Apache-2.0
"""Initial values: applied when a link is new, and then left as others make them, until another value is wanted."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.namespaces import HOST, Namespace
from contivpp_linux.items import Address, LinkUp, Mtu, Neighbour, Route, Settled, Sysctl, Veth, settled_key
from contivpp_linux.kernel import values
from contivpp_linux.kernel.operations import Add, Delete, Replace, SetLink, SetSysctl
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.marks import Mark
from contivpp_linux.settled import alias_of, applied_of, split_alias

from .test_scheduler import Driver

GATEWAY = "10.1.1.1"
OWN, OTHER = "02:00:00:00:01:01", "02:00:00:00:01:77"
ARP_FILTER = "net.ipv4.conf.eth0.proxy_arp"
DEFAULT = values.Route(ip_network("0.0.0.0/0"), "eth0", ip_address(GATEWAY), on_link=True)


def veth(namespace, label="pod"):
    return Veth(
        namespace=namespace,
        name="eth0",
        peer_namespace=HOST,
        peer_name="pod1",
        mac=OWN,
        alias=label,
        initial_mac=True,
    )


def pod(namespace, *, mtu=1450, mac=OWN, label="pod"):
    """Return the items of a pod whose settings are initial."""
    initial = (
        Mtu(namespace=namespace, link="eth0", mtu=mtu, initial=True),
        Sysctl(namespace=namespace, name="net.ipv4.ip_forward", value="1", link="eth0", initial=True),
        Route(namespace=namespace, destination=f"{GATEWAY}/32", link="eth0", scope="link", initial=True),
        Route(namespace=namespace, destination="0.0.0.0/0", link="eth0", gateway=GATEWAY, initial=True),
    )
    pair = veth(namespace, label)
    return [
        pair,
        *initial,
        Settled(namespace=namespace, link="eth0", initial=initial, mark=Mark.of(pair, "a").alias),
        LinkUp(namespace=HOST, name="pod1"),
        LinkUp(namespace=namespace, name="eth0"),
        Address(namespace=namespace, link="eth0", address="10.1.1.2/32"),
        Neighbour(namespace=namespace, link="eth0", address=GATEWAY, mac="02:00:00:00:02:01", link_mac=mac),
    ]


async def others_change(kernel, path):
    """Change everything that others may change after the ADD."""
    results = await kernel.apply(
        path,
        [
            SetLink(link="eth0", mtu=1400, mac=OTHER),
            SetSysctl("net.ipv4.ip_forward", "0"),
            SetSysctl(ARP_FILTER, "1"),
            Delete(DEFAULT),
            Add(values.Address("eth0", ip_interface("10.9.9.9/32"), protocol=0)),
        ],
    )
    raise_errors(results)


async def there(world, path):
    link = (await world.links(path))["eth0"]
    routes = await world.rig.kernel.routes(path)
    addresses = await world.rig.kernel.addresses(path)
    return {
        "mtu": link.mtu,
        "mac": link.mac,
        "forward": (await world.rig.kernel.read_sysctls(path, ["net.ipv4.ip_forward"]))[0],
        "proxy": (await world.rig.kernel.read_sysctls(path, [ARP_FILTER]))[0],
        "default": DEFAULT in routes,
        "other address": any(str(each.address) == "10.9.9.9/32" for each in addresses),
        "neighbours": {(str(each.address), each.mac) for each in await world.rig.kernel.neighbours(path)},
    }


NEIGHBOURS = {(GATEWAY, "02:00:00:00:02:01")}
CHANGED = {
    "mtu": 1400,
    "mac": OTHER,
    "forward": "0",
    "proxy": "1",
    "default": False,
    "other address": True,
    "neighbours": NEIGHBOURS,
}
AS_MADE = {
    "mtu": 1450,
    "mac": OWN,
    "forward": "1",
    "proxy": "0",
    "default": True,
    "other address": False,
    "neighbours": NEIGHBOURS,
}


async def started(world, items):
    driver = Driver(world.kernel)
    driver.want(*items)
    await driver.read()
    return driver


async def test_what_others_change_is_left_by_checks_and_restarts(world):
    namespace = await world.namespace()
    driver = await started(world, pod(namespace))
    assert await there(world, namespace.path) == AS_MADE
    await others_change(world.rig.kernel, namespace.path)
    for kind in driver.scheduler.descriptors:
        drifted = await driver.scheduler.check(kind)
        assert drifted == ({kind: 1} if kind == "linux/neighbour" else {})  # the kernel forgot it with the MAC
    await driver.settled()
    assert await there(world, namespace.path) == CHANGED
    await driver.stop()

    world.kernel.batches.clear()
    driver = await started(world, pod(namespace))
    driver.assert_applied(11 - 1)
    assert await there(world, namespace.path) == CHANGED
    assert [str(each) for _, operations in world.kernel.batches for each in operations] == ["follow the namespace"]
    await driver.stop()


async def test_a_value_that_is_wanted_anew_is_applied_and_the_others_are_left(world):
    namespace = await world.namespace()
    driver = await started(world, pod(namespace))
    await others_change(world.rig.kernel, namespace.path)
    driver.want(*pod(namespace, mtu=1300))
    await driver.settled()
    expected = CHANGED | {"mtu": 1300, "neighbours": set()}  # nobody has read it since the MAC was changed
    assert await there(world, namespace.path) == expected
    await driver.stop()

    for mtu in (1300, 1200):  # the same again, then another one that is wanted by the next agent
        driver = await started(world, pod(namespace, mtu=mtu))
        assert await there(world, namespace.path) == CHANGED | {"mtu": mtu}
        await driver.stop()
    raise_errors(await world.rig.kernel.apply(namespace.path, [SetLink(link="eth0", mtu=1111)]))
    driver = await started(world, pod(namespace, mtu=1200))
    assert await there(world, namespace.path) == CHANGED | {"mtu": 1111}
    await driver.stop()


async def test_the_mark_costs_one_batch_of_its_own(world):
    namespace = await world.namespace()
    driver = await started(world, [])
    driver.want(*pod(namespace))
    await driver.settled()
    batches = [operations for where, operations in world.kernel.batches if where != ""]
    assert len(batches) <= 4, batches
    assert [type(each).__name__ for each in batches[-1]] == ["Follow", "SetLink"]
    await driver.stop()


async def test_a_link_that_was_left_half_done_is_completed(world):
    namespace = await world.namespace()
    items = pod(namespace)
    half = [item for item in items if item.kind not in ("linux/route", "linux/settled")]
    driver = await started(world, half)
    await driver.stop()
    raise_errors(await world.rig.kernel.apply(namespace.path, [SetLink(link="eth0", mtu=1400)]))
    driver = await started(world, items)
    driver.assert_applied(len(items))
    assert await there(world, namespace.path) == AS_MADE
    await driver.stop()


async def test_no_mark_as_long_as_an_initial_value_is_missing(world):
    namespace = await world.namespace()
    items = pod(namespace)
    wrong = Route(namespace=namespace, destination="10.0.0.1/8", link="eth0", initial=True)
    pair, settled = items[0], next(item for item in items if isinstance(item, Settled))
    settled = msgspec.structs.replace(settled, initial=(*settled.initial, wrong))
    driver = await started(world, [*items, wrong, settled])
    assert driver.states()[settled.key][0] == "pending"
    assert driver.states()[wrong.key][0] == "failed"
    assert (await world.links(namespace.path))["eth0"].alias == Mark.of(pair, "a").alias
    await driver.stop()


async def test_a_link_that_is_made_anew_gets_the_initial_values(world):
    namespace = await world.namespace()
    items = pod(namespace)
    driver = await started(world, items)
    await others_change(world.rig.kernel, namespace.path)
    driver.unwant(*items)
    await driver.settled()
    driver.want(*items)
    await driver.settled()
    driver.assert_applied(len(items))
    assert await there(world, namespace.path) == AS_MADE
    await driver.stop()


async def test_routes_of_a_link_that_is_found_down_come_back(world):
    namespace = await world.namespace()
    driver = await started(world, pod(namespace))
    raise_errors(await world.rig.kernel.apply(namespace.path, [SetLink(link="eth0", mtu=1400, up=False)]))
    await driver.stop()
    driver = await started(world, pod(namespace))
    assert await there(world, namespace.path) == AS_MADE | {"mtu": 1400}
    assert (await world.links(namespace.path))["eth0"].up
    await driver.stop()


async def test_a_foreign_route_in_the_place_of_an_initial_one_is_left(world):
    namespace = await world.namespace()
    driver = await started(world, pod(namespace))
    await driver.stop()
    foreign = values.Route(ip_network("0.0.0.0/0"), "eth0", ip_address("10.1.1.7"), on_link=True, protocol=3)
    raise_errors(await world.rig.kernel.apply(namespace.path, [Delete(DEFAULT), Add(foreign)]))
    driver = await started(world, pod(namespace))
    driver.assert_applied(10)
    routes = await world.rig.kernel.routes(namespace.path)
    assert foreign in routes
    assert DEFAULT not in routes
    await driver.stop()


async def test_a_neighbour_is_told_anew_at_another_mac_of_its_link(world):
    namespace = await world.namespace()
    driver = await started(world, pod(namespace))
    raise_errors(await world.rig.kernel.apply(namespace.path, [SetLink(link="eth0", mac=OTHER)]))
    assert await world.rig.kernel.neighbours(namespace.path) == []
    driver.want(*pod(namespace, mac=OTHER))
    await driver.settled()
    assert (await there(world, namespace.path))["neighbours"] == NEIGHBOURS
    assert (await there(world, namespace.path))["mac"] == OTHER
    await driver.stop()


async def test_a_new_label_of_the_pair_keeps_the_note_of_applied_values(world):
    namespace = await world.namespace()
    driver = await started(world, pod(namespace))
    before = (await world.links(namespace.path))["eth0"].alias
    raise_errors(await world.rig.kernel.apply(namespace.path, [SetLink(link="eth0", mac=OTHER)]))
    pair = veth(namespace, "another label")
    driver.want(pair)
    await driver.settled()
    link = (await world.links(namespace.path))["eth0"]
    assert link.mac == OTHER
    assert split_alias(link.alias)[1] == split_alias(before)[1] != ""
    assert split_alias(link.alias)[0] == Mark.of(pair, "a").alias
    await driver.stop()


async def test_an_address_of_ours_that_nobody_wants_goes_from_a_pod_and_one_of_others_stays(world):
    namespace = await world.namespace()
    driver = await started(world, pod(namespace))
    await driver.stop()
    kept = values.Address("eth0", ip_interface("10.9.9.9/32"), protocol=0)
    gone = values.Address("eth0", ip_interface("10.9.9.8/32"))
    raise_errors(await world.rig.kernel.apply(namespace.path, [Replace(kept), Replace(gone)]))
    driver = await started(world, pod(namespace))
    addresses = {str(each.address) for each in await world.rig.kernel.addresses(namespace.path)}
    assert "10.9.9.9/32" in addresses
    assert "10.9.9.8/32" not in addresses
    await driver.stop()


NETNS = Namespace("/proc/7/ns/net", 4, 4026532000)
mtus = st.builds(Mtu, namespace=st.just(NETNS), link=st.just("eth0"), mtu=st.integers(68, 9000), initial=st.just(True))
routes = st.builds(
    Route,
    namespace=st.just(NETNS),
    destination=st.integers(0, 255).map(lambda number: f"10.{number}.0.0/16"),
    link=st.just("eth0"),
    gateway=st.sampled_from(("", GATEWAY)),
    metric=st.integers(0, 3),
    initial=st.just(True),
)
MARKS = st.sampled_from(("", *(Mark.of(veth(NETNS, label), "a").alias for label in ("pod", "a space / and more"))))


@given(MARKS, mtus, st.lists(routes, max_size=40, unique=True), mtus)
def test_an_alias_tells_what_was_applied_and_whose_the_link_is(mark, mtu, more, another):
    item = Settled(namespace=NETNS, link="eth0", initial=(mtu, *more), mark=mark)
    alias = alias_of(item)
    assert len(alias.encode()) <= 255
    applied = applied_of(alias)
    assert all(map(applied.has, item.initial))
    assert applied.are(item.initial)
    assert applied.has(another) == (another == mtu) or applied.width < 4  # short digests may be alike
    assert split_alias(alias)[0] == mark
    assert Mark.parse(alias) == Mark.parse(mark)


@pytest.mark.parametrize("alias", ["", "uplink", *(f"contivpp/settled/{rest}" for rest in ("1/", "1/x", "2/4ab"))])
def test_other_aliases_tell_nothing(alias):
    assert applied_of(alias) is None


def test_an_alias_without_room_is_refused():
    initial = tuple(Mtu(namespace=NETNS, link="eth0", mtu=mtu, initial=True) for mtu in range(1000, 1200))
    with pytest.raises(ValueError, match="no room to note 200"):
        alias_of(Settled(namespace=NETNS, link="eth0", initial=initial))


def test_the_mark_is_keyed_by_its_link():
    assert Settled(namespace=NETNS, link="eth0", initial=()).key == settled_key(NETNS, "eth0")
