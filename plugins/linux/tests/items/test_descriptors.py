# SPDX-License-Identifier: Apache-2.0
"""Every kind on both kernels: made, found, changed, removed, each twice; namespaces that go; orphans; others."""

from __future__ import annotations

import asyncio
from ipaddress import ip_interface, ip_network

import pytest

from contivpp_core.items import Outcome
from contivpp_core.namespaces import HOST, Namespace
from contivpp_linux.errors import ForeignObject, NamespaceVanished
from contivpp_linux.items import Address, LinkUp, Mac, Mtu, Neighbour, Offload, Route, Sysctl, Veth
from contivpp_linux.kernel import operations as op
from contivpp_linux.kernel import values
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.marks import Mark

MAC_A, MAC_B, MAC_C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
DEFAULT, GATEWAY = "0.0.0.0/0", "169.254.1.1"


def veth(namespace, **fields):
    names = {"name": "eth0", "peer_namespace": HOST, "peer_name": "pod1"}
    return Veth(namespace=namespace, **(names | fields))


def facet(kind, **fields):
    return lambda namespace: kind(namespace=namespace, **fields)


OBJECTS = [
    pytest.param(facet(LinkUp, name="eth0"), None, id="link-up"),
    pytest.param(facet(Address, link="eth0", address="10.1.1.2/32"), None, id="address"),
    pytest.param(facet(Address, link="eth0", address="10.1.1.2/24"), None, id="address-with-network"),
    pytest.param(facet(Address, link="eth0", address="fd00::2/64"), None, id="address-ipv6"),
    pytest.param(facet(Route, destination="169.254.1.1/32", link="eth0", scope="link"), None, id="link-route"),
    pytest.param(
        facet(Route, destination=DEFAULT, link="eth0", gateway=GATEWAY),
        facet(Route, destination=DEFAULT, link="eth0", gateway="169.254.1.9"),
        id="default-route",
    ),
    pytest.param(
        facet(Route, destination=DEFAULT, link="eth0", gateway=GATEWAY, metric=7),
        facet(Route, destination=DEFAULT, link="eth0", gateway=GATEWAY, metric=7, source="10.9.9.9"),
        id="route-with-metric-and-source",
    ),
    pytest.param(
        facet(Route, destination="fd01::/64", link="eth0", gateway="fe80::1"),
        facet(Route, destination="fd01::/64", link="eth0", gateway="fe80::2"),
        id="route-ipv6",
    ),
    pytest.param(
        facet(Neighbour, link="eth0", address=GATEWAY, mac=MAC_B),
        facet(Neighbour, link="eth0", address=GATEWAY, mac=MAC_C),
        id="neighbour",
    ),
    pytest.param(
        facet(Neighbour, link="eth0", address="fe80::1", mac=MAC_B),
        facet(Neighbour, link="eth0", address="fe80::1", mac=MAC_C),
        id="neighbour-ipv6",
    ),
]
SETTINGS = [
    pytest.param(facet(Mtu, link="eth0", mtu=1450), facet(Mtu, link="eth0", mtu=1400), id="mtu"),
    pytest.param(facet(Mac, link="eth0", mac=MAC_A), facet(Mac, link="eth0", mac=MAC_B), id="mac"),
    pytest.param(
        facet(Sysctl, name="net.ipv4.conf.eth0.rp_filter", value="1"),
        facet(Sysctl, name="net.ipv4.conf.eth0.rp_filter", value="2"),
        id="sysctl-of-link",
    ),
    pytest.param(
        facet(Sysctl, name="net.ipv6.conf.all.disable_ipv6", value="1"),
        facet(Sysctl, name="net.ipv6.conf.all.disable_ipv6", value="0"),
        id="sysctl",
    ),
    pytest.param(
        facet(Offload, link="eth0", features=(("tx-checksumming", False),)),
        facet(Offload, link="eth0", features=(("generic-receive-offload", True), ("tx-checksumming", True))),
        id="offload",
    ),
]


async def pod(world, *, up=True):
    """Return a namespace with a veth into it that is up."""
    namespace = await world.namespace()
    await world.create(veth(namespace))
    if up:
        await world.create(LinkUp(namespace=namespace, name="eth0"), LinkUp(namespace=HOST, name="pod1"))
        await world.create(Address(namespace=namespace, link="eth0", address="10.9.9.9/32"))
    return namespace


async def same(world, item):
    found = await world.found(item)
    assert found is not None, f"{item.key} is not found"
    assert world.of(item).equal(item, found), found
    return found


@pytest.mark.parametrize(("make", "change"), OBJECTS)
async def test_object_is_made_found_changed_and_removed(world, make, change):
    namespace = await pod(world)
    item = make(namespace)
    if isinstance(item, LinkUp):
        await world.delete(item)
    assert await world.found(item) is None
    for _ in range(2):
        await world.create(item)
        assert await same(world, item) == item
    if change is not None:
        new = change(namespace)
        assert new.key == item.key
        for _ in range(2):
            await world.update(item, new)
            assert await same(world, new) == new
        item = new
    for _ in range(2):
        await world.delete(item)
        assert await world.found(item) is None


@pytest.mark.parametrize(("make", "change"), SETTINGS)
async def test_setting_is_made_found_changed_and_left(world, make, change):
    namespace = await pod(world)
    for item in (make(namespace), change(namespace)):
        for _ in range(2):
            await world.create(item)
            assert await same(world, item) == item
    old, new = change(namespace), make(namespace)
    await world.update(old, new)
    await same(world, new)
    await world.delete(new)
    await same(world, new)
    assert await world.dump(new.kind) == {}  # nobody wants it: nobody reads it


async def test_veth_is_made_found_changed_and_removed(world):
    namespace = await world.namespace()
    item = veth(namespace, mac=MAC_A, peer_mac=MAC_B, alias="default/web")
    for _ in range(2):
        await world.create(item)
        assert await same(world, item) == item
    ends = (await world.links(namespace.path))["eth0"], (await world.links())["pod1"]
    assert [(end.mac, Mark.parse(end.alias).end) for end in ends] == [(MAC_A, "a"), (MAC_B, "b")]
    new = veth(namespace, mac=MAC_C, peer_mac=MAC_B, alias="default/db")
    await world.update(item, new)
    assert await same(world, new) == new
    for _ in range(2):
        await world.delete(new)
        assert await world.found(new) is None
    assert set(await world.links()) == set(await world.links(namespace.path)) == {"lo"}


@pytest.mark.parametrize("host_first", [True, False])
async def test_veth_between_any_two_namespaces(world, host_first):
    one = HOST if host_first else await world.namespace()
    item = Veth(namespace=one, name="a", peer_namespace=one, peer_name="b")
    await world.create(item)
    await same(world, item)
    await world.delete(item)
    assert set(await world.links(one.path)) == {"lo"}


@pytest.mark.parametrize(("make", "_"), [*OBJECTS, *SETTINGS, pytest.param(veth, None, id="veth")])
@pytest.mark.parametrize("replaced", [False, True])
async def test_namespace_is_gone(world, make, _, replaced):
    namespace = await pod(world, up=False)
    world.rig.destroy(namespace.path)
    if replaced:
        other = await world.namespace(namespace.path)
        assert other != namespace
        before = await world.links(namespace.path)
    item = make(namespace)
    await world.delete(item)
    with pytest.raises(NamespaceVanished, match="gone, or was replaced") as caught:
        await world.of(item).create(item, {})
    assert world.of(item).classify(caught.value) is Outcome.CHANGE
    if not isinstance(item, Veth):
        assert await world.found(item) is None
    if replaced:
        assert await world.links(namespace.path) == before


async def test_peer_namespace_is_gone(world):
    gone = Namespace("/nowhere/netns", 4, 4711)
    item = Veth(namespace=HOST, name="pod1", peer_namespace=gone, peer_name="eth0")
    with pytest.raises(NamespaceVanished):
        await world.of(item).create(item, {})
    assert set(await world.links()) == {"lo"}


async def test_orphan_veth_is_found_by_its_mark_and_removed(world):
    namespace = await world.namespace()
    item = veth(namespace, alias="left over")
    await world.create(item)
    found = await world.dump(Veth.kind)
    assert list(found) == [item.key]
    orphan = found[item.key]
    assert orphan.ours
    assert set(world.of(item).provides(orphan.item)) == set(world.of(item).provides(item))
    await world.delete(orphan.item)
    assert set(await world.links()) == set(await world.links(namespace.path)) == {"lo"}


async def test_half_made_veth_is_no_obstacle(world):
    namespace = await world.namespace()
    item = veth(namespace)
    await world.create(item)
    (batch,) = [operations for _, operations in world.kernel.batches if isinstance(operations[0], op.CreateVeth)]
    await world.delete(item)
    raise_errors(await world.rig.kernel.apply(namespace.path, batch[:1]))  # the agent was killed here
    assert await world.found(item) is None
    await world.create(item)
    await same(world, item)
    assert set(await world.links(namespace.path)) == {"lo", "eth0"}


async def test_half_made_veth_in_the_host_is_removed(world):
    item = Veth(namespace=HOST, name="pod1", peer_namespace=await world.namespace(), peer_name="eth0")
    await world.create(item)
    batch = world.kernel.batches[0][1]
    await world.delete(item)
    raise_errors(await world.rig.kernel.apply("", batch[:1]))
    (found,) = (await world.dump(Veth.kind)).values()
    assert (found.item, found.ours) == (None, True)
    await world.of(item).delete(None, found.handle, {})
    assert set(await world.links()) == {"lo"}


@pytest.mark.parametrize("where", ["first", "peer"])
async def test_foreign_link_of_our_name_is_left_alone(world, where):
    namespace = await world.namespace()
    place, name = (namespace.path, "eth0") if where == "first" else ("", "pod1")
    raise_errors(await world.rig.kernel.apply(place, [op.CreateVeth(name, "other")]))
    before = await world.links(place)
    item = veth(namespace)
    with pytest.raises(ForeignObject, match=name) as caught:
        await world.create(item)
    assert world.of(item).classify(caught.value) is Outcome.CONFLICT
    assert await world.links(place) == before
    assert await world.dump(Veth.kind, item) == {}


async def test_veth_whose_end_was_renamed_is_made_again(world):
    namespace = await world.namespace()
    item = veth(namespace)
    await world.create(item)
    raise_errors(await world.rig.kernel.apply("", [op.SetLink(link="pod1", name="other")]))
    found = await world.found(item)
    assert world.of(item).recreates(found, item)
    await world.delete(found)
    await world.create(item)
    await same(world, item)


async def test_foreign_route_is_left_alone(world):
    namespace = await pod(world)
    foreign = values.Route(ip_network("10.5.0.0/16"), "eth0", protocol=4)
    raise_errors(await world.rig.kernel.apply(namespace.path, [op.Add(foreign)]))
    item = Route(namespace=namespace, destination="10.5.0.0/16", link="eth0", scope="link")
    with pytest.raises(ForeignObject) as caught:
        await world.create(item)
    assert world.of(item).classify(caught.value) is Outcome.CONFLICT
    found = (await world.dump(Route.kind, item))[item.key]
    assert not found.ours
    await world.delete(item)
    assert foreign in await world.rig.kernel.routes(namespace.path)


async def test_ours_in_the_host_are_found_and_others_are_not(world):
    await pod(world)
    raise_errors(
        await world.rig.kernel.apply(
            "",
            [
                op.CreateVeth("nic", "wire"),
                op.SetLink(link="nic", up=True),
                op.SetLink(link="lo", up=True),
                op.Add(values.Address("nic", ip_interface("192.168.1.1/24"), protocol=0)),
                op.Add(values.Neighbour("nic", ip_interface("192.168.1.9/32").ip, MAC_C)),
                op.Add(values.Route(ip_network("10.77.0.0/16"), "nic", protocol=4)),
                op.Add(values.Address("pod1", ip_interface("10.3.0.1/24"))),
                op.Add(values.Neighbour("pod1", ip_interface("10.3.0.2/32").ip, MAC_A)),
                op.Add(values.Route(ip_network("10.4.0.0/16"), "pod1")),
            ],
        )
    )
    assert set(await world.dump(Address.kind)) == {"linux/address/host/pod1/10.3.0.1/24"}
    assert set(await world.dump(Neighbour.kind)) == {"linux/neighbour/host/pod1/10.3.0.2"}
    assert set(await world.dump(Route.kind)) == {"linux/route/host/10.4.0.0/16"}
    assert await world.dump(LinkUp.kind) == {}


async def test_new_mac_keeps_permanent_neighbours(world):
    namespace = await pod(world)
    neighbour = Neighbour(namespace=namespace, link="eth0", address=GATEWAY, mac=MAC_B)
    old, new = (Mac(namespace=namespace, link="eth0", mac=mac) for mac in (MAC_A, MAC_C))
    await world.create(old, neighbour)
    await world.update(old, new)
    await same(world, new)
    await same(world, neighbour)


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        pytest.param(facet(Mtu, link="eth0", mtu=10), Outcome.CHANGE, id="mtu-too-small"),
        pytest.param(facet(Mac, link="eth0", mac="02:00:00:00:00:0A"), Outcome.CHANGE, id="mac-in-upper-case"),
        pytest.param(facet(Mac, link="eth0", mac="01:00:5e:00:00:01"), Outcome.CHANGE, id="mac-of-group"),
        pytest.param(facet(Address, link="eth0", address="10.1.1.2"), Outcome.CHANGE, id="no-length"),
        pytest.param(facet(Address, link="none", address="10.1.1.2/32"), Outcome.RETRY, id="no-link"),
        pytest.param(facet(Route, destination="10.1.1.2/24", link="eth0"), Outcome.CHANGE, id="host-bits"),
        pytest.param(
            facet(Route, destination=DEFAULT, link="eth0", gateway=GATEWAY, source="10.8.8.8"),
            Outcome.CHANGE,
            id="unknown-source",
        ),
        pytest.param(facet(Sysctl, name="kernel.hostname", value="x"), Outcome.CHANGE, id="not-net"),
        pytest.param(facet(Sysctl, name="net.ipv4.nothing", value="1"), Outcome.CHANGE, id="no-such-sysctl"),
        pytest.param(facet(Offload, link="eth0", features=(("none", True),)), Outcome.CHANGE, id="no-offload"),
        pytest.param(lambda namespace: veth(namespace, alias="x" * 300), Outcome.CHANGE, id="alias-too-long"),
    ],
)
async def test_refused_values(world, make, outcome):
    item = make(await pod(world))
    with pytest.raises((KernelError, ValueError)) as caught:
        await world.create(item)
    assert world.of(item).classify(caught.value) is outcome


async def test_route_over_a_link_that_is_down_is_tried_again(world):
    namespace = await pod(world, up=False)
    item = Route(namespace=namespace, destination=DEFAULT, link="eth0", gateway=GATEWAY)
    with pytest.raises(KernelError) as caught:
        await world.create(item)
    assert world.of(item).classify(caught.value) is Outcome.RETRY


async def test_lost_answers_are_read_back(world):
    descriptor = world.descriptors[Address.kind]
    assert descriptor.classify(TimeoutError()) is Outcome.UNKNOWN


async def test_what_is_asked_at_once_goes_in_one_batch_and_fails_alone(world):
    namespace = await pod(world, up=False)
    items = [
        Neighbour(namespace=namespace, link="eth0", address=GATEWAY, mac=MAC_B),
        Offload(namespace=namespace, link="eth0", features=(("tx-checksumming", False),)),
        Address(namespace=namespace, link="eth0", address="10.1.1.2/32"),
        Mtu(namespace=namespace, link="eth0", mtu=1),
        LinkUp(namespace=namespace, name="eth0"),
        Sysctl(namespace=namespace, name="net.ipv4.conf.all.rp_filter", value="2"),
    ]
    world.kernel.batches.clear()
    results = await asyncio.gather(*(world.of(item).create(item, {}) for item in items), return_exceptions=True)
    assert [type(result) for result in results].count(type(None)) == len(items) - 1
    assert isinstance(results[3], KernelError)
    ((_, operations),) = world.kernel.batches
    kinds = [type(operation) for operation in operations]
    assert kinds == [op.SetSysctl, op.SetLink, op.Replace, op.SetLink, op.Replace, op.SetOffloads]


async def test_cancelled_request_does_not_harm_the_others(world):
    namespace = await pod(world, up=False)
    one, two = (Address(namespace=namespace, link="eth0", address=f"10.1.1.{n}/32") for n in (1, 2))
    tasks = [asyncio.create_task(world.of(item).create(item, {})) for item in (one, two)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await same(world, two)
    assert await world.found(one) is None


async def test_veth_is_as_wanted_while_the_way_to_its_namespace_is_hidden(world):
    """The folder of namespaces may be mounted late: to make the pair anew would cut a pod that runs."""
    namespace = await world.namespace()
    names = {"name": "eth0", "peer_namespace": HOST, "peer_name": "pod1"}
    await world.create(Veth(namespace=namespace, **names))
    hidden = Veth(namespace=Namespace("/hidden", namespace.device, namespace.inode), **names)
    found = (await world.dump(Veth.kind, hidden))[hidden.key].item
    assert world.of(hidden).equal(hidden, found)


async def test_a_pair_whose_namespace_cannot_be_entered_goes_by_its_other_end_after_several_readings(world):
    namespace = await world.namespace()
    veth = Veth(namespace=namespace, name="eth0", peer_namespace=HOST, peer_name="pod1")
    await world.create(veth)
    found = (await world.dump(Veth.kind))[veth.key].item  # nobody knows the namespace's path any more
    again = (await world.dump(Veth.kind, found))[veth.key].item
    await world.delete(again)
    assert "pod1" not in await world.links()
    assert await world.dump(Veth.kind) == {}


async def test_a_mac_that_is_set_after_the_neighbours_keeps_them(world):
    namespace = await world.namespace()
    veth = Veth(namespace=namespace, name="eth0", peer_namespace=HOST, peer_name="pod1")
    neighbour = Neighbour(namespace=namespace, link="eth0", address=GATEWAY, mac=MAC_B)
    await world.create(veth, LinkUp(namespace=namespace, name="eth0"), neighbour)
    await world.create(Mac(namespace=namespace, link="eth0", mac=MAC_A))
    await same(world, neighbour)


async def test_a_pair_that_became_another_one_before_its_second_end_was_marked_is_reached_and_goes(world):
    namespace = await world.namespace()
    old, new = (Veth(namespace=namespace, name="eth0", peer_namespace=HOST, peer_name=name) for name in ("one", "two"))
    await world.create(old)
    await world.kernel.apply("", [op.SetLink(link="one", alias="")])
    found = (await world.dump(Veth.kind, new))[new.key].item
    await world.delete(found)
    assert set(await world.links()) == {"lo"}
    assert set(await world.links(namespace.path)) == {"lo"}
