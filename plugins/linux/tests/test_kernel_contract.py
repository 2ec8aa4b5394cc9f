# SPDX-License-Identifier: Apache-2.0
"""What both kernels do alike, error numbers included."""

from __future__ import annotations

import asyncio
import errno
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from contivpp_linux.kernel.errors import KernelError, NamespaceGone
from contivpp_linux.kernel.operations import (
    Add,
    CreateVeth,
    Delete,
    DeleteLink,
    MoveLink,
    Operation,
    Replace,
    SetLink,
    SetOffloads,
    SetSysctl,
)
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import (
    PROTOCOL_KERNEL,
    TABLE_LOCAL,
    Address,
    LinkChanged,
    LinkEvent,
    LinkGone,
    Neighbour,
    NetworkNamespace,
    Offload,
    Route,
    RouteType,
    Scope,
)

MAC_A, MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
GATEWAY = ip_address("169.254.1.1")
ADDRESS = Address("eth0", ip_interface("10.1.1.2/32"))
LINK_ROUTE = Route(ip_network("169.254.1.1/32"), "eth0")
DEFAULT = Route(ip_network("0.0.0.0/0"), "eth0", GATEWAY)
NEIGHBOUR = Neighbour("eth0", GATEWAY, MAC_B)
NO_IPV6 = SetSysctl("net.ipv6.conf.all.disable_ipv6", "1")
POD: list[Operation] = [
    NO_IPV6,
    SetLink(link="lo", up=True),
    SetLink(link="eth0", mtu=1450, mac=MAC_A, up=True),
    Replace(ADDRESS),
    Replace(NEIGHBOUR),
    Replace(LINK_ROUTE),
    Replace(DEFAULT),
]


async def numbers(rig, namespace, *operations):
    """Run operations, return error numbers (0: done)."""
    results = await rig.kernel.apply(namespace, operations)
    assert len(results) == len(operations)
    return [0 if error is None else error.errno for error in results]


async def pair(rig, *, up=True):
    """Return two namespaces with a veth between them, eth0 in each, without IPv6."""
    one, two = rig.namespace(), rig.namespace()
    for namespace in (one, two):
        raise_errors(
            await rig.kernel.apply(
                namespace, [NO_IPV6, SetSysctl(NO_IPV6.name.replace("all", "default"), "1")]
            )
        )
    raise_errors(await rig.kernel.apply(one, [CreateVeth("eth0", "eth0", two, MAC_A, MAC_B, 1450, 1450)]))
    if up:
        for namespace in (one, two):
            raise_errors(await rig.kernel.apply(namespace, [SetLink(link="eth0", up=True)]))
    return one, two


async def link(rig, namespace, name="eth0"):
    return next((link for link in await rig.kernel.links(namespace) if link.name == name), None)


async def routes(rig, namespace):
    return set(await rig.kernel.routes(namespace))


async def test_fresh_namespace_has_only_lo(rig):
    (lo,) = await rig.kernel.links(rig.namespace())
    assert (lo.index, lo.name, lo.mac, lo.mtu, lo.up) == (1, "lo", "00:00:00:00:00:00", 65536, False)


async def test_veth_ends_are_made_in_their_namespaces(rig):
    one, two = await pair(rig, up=False)
    near, far = await link(rig, one), await link(rig, two)
    assert (near.kind, near.mac, near.mtu, near.up, near.carrier) == ("veth", MAC_A, 1450, False, False)
    assert (far.kind, far.mac, far.mtu) == ("veth", MAC_B, 1450)
    assert (near.peer_index, far.peer_index) == (far.index, near.index)
    assert near.peer_namespace is not None
    assert far.peer_namespace is not None


async def test_veth_within_one_namespace(rig):
    namespace = rig.namespace()
    assert await numbers(rig, namespace, CreateVeth("a", "b")) == [0]
    a, b = await link(rig, namespace, "a"), await link(rig, namespace, "b")
    assert (a.peer_index, b.peer_index) == (b.index, a.index)
    assert a.peer_namespace is b.peer_namespace is None


async def test_carrier_follows_the_peer(rig):
    one, two = await pair(rig, up=False)
    await numbers(rig, one, SetLink(link="eth0", up=True))
    assert not (await link(rig, one)).carrier
    await numbers(rig, two, SetLink(link="eth0", up=True))
    assert (await link(rig, one)).carrier
    await numbers(rig, two, SetLink(link="eth0", up=False))
    assert not (await link(rig, one)).carrier


async def test_deleting_one_end_deletes_the_other(rig):
    one, two = await pair(rig)
    assert await numbers(rig, one, DeleteLink("eth0"), DeleteLink("eth0")) == [0, errno.ENODEV]
    assert await link(rig, two) is None


async def test_a_batch_uses_what_it_made_itself(rig):
    namespace = rig.namespace()
    done = await numbers(
        rig,
        namespace,
        CreateVeth("a", "b"),
        SetLink(link="a", name="c", up=True),
        SetLink(link="a", up=True),
        SetLink(link="c", alias="what for", mtu=1400),
        SetLink(link="b", up=True),
        Add(Address("c", ip_interface("10.0.0.1/24"))),
        DeleteLink("b"),
        SetLink(link="c", up=True),
    )
    assert done == [0, 0, errno.ENODEV, 0, 0, 0, 0, errno.ENODEV]


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        pytest.param(CreateVeth("eth0", "x"), errno.EEXIST, id="name in use"),
        pytest.param(CreateVeth("x", "eth0"), errno.EEXIST, id="peer's name in use"),
        pytest.param(CreateVeth("x", "x"), errno.EEXIST, id="both ends of one name"),
        pytest.param(CreateVeth("x", "y", mtu=60), errno.EINVAL, id="MTU too small"),
        pytest.param(CreateVeth("x", "y", mtu=70000), errno.EINVAL, id="MTU too big"),
        pytest.param(CreateVeth("x", "y", mac="01:00:00:00:00:01"), errno.EADDRNOTAVAIL, id="group MAC"),
        pytest.param(CreateVeth("a/b", "y"), errno.EINVAL, id="name with a slash"),
        pytest.param(CreateVeth("x" * 16, "y"), errno.ERANGE, id="name too long"),
        pytest.param(CreateVeth("x", "y", "/nowhere"), errno.ENOENT, id="peer's namespace gone"),
        pytest.param(DeleteLink("x"), errno.ENODEV, id="delete absent link"),
        pytest.param(DeleteLink("lo"), errno.EOPNOTSUPP, id="delete lo"),
        pytest.param(SetLink(link="x", up=True), errno.ENODEV, id="set absent link"),
        pytest.param(SetLink(link="x" * 16, up=True), errno.ERANGE, id="set link of too long a name"),
        pytest.param(SetLink(link="eth0", name="lo"), errno.EEXIST, id="rename to a name in use"),
        pytest.param(SetLink(link="eth0", name="eth0"), 0, id="rename to itself"),
        pytest.param(SetLink(link="eth0", name="eth1"), 0, id="rename while up"),
        pytest.param(SetLink(link="eth0", mtu=67), errno.EINVAL, id="set MTU too small"),
        pytest.param(SetLink(link="eth0", mac="00:00:00:00:00:00"), errno.EADDRNOTAVAIL, id="zero MAC"),
        pytest.param(SetLink(link="eth0", mac="02:00:00:00:00:77"), 0, id="set MAC while up"),
        pytest.param(MoveLink("x", ""), errno.ENODEV, id="move absent link"),
        pytest.param(MoveLink("eth0", "/nowhere"), errno.ENOENT, id="move into a namespace that is gone"),
        pytest.param(MoveLink("lo", ""), errno.EINVAL, id="move lo"),
        pytest.param(
            Add(Address("x", ip_interface("10.0.0.1/24"))), errno.ENODEV, id="address on absent link"
        ),
        pytest.param(Delete(ADDRESS), errno.EADDRNOTAVAIL, id="delete absent address"),
        pytest.param(
            Add(Address("eth0", ip_interface("fd00::1/64"))), errno.EACCES, id="IPv6 address, disabled"
        ),
        pytest.param(Add(Route(ip_network("10.9.0.0/16"), "x")), errno.ENODEV, id="route on absent link"),
        pytest.param(Add(Route(ip_network("10.9.0.0/16"))), errno.ENODEV, id="route to nowhere"),
        pytest.param(
            Add(Route(ip_network("10.9.0.0/16"), "lo")), errno.ENETDOWN, id="route on a link that is down"
        ),
        pytest.param(Add(DEFAULT), errno.ENETUNREACH, id="route by a gateway out of reach"),
        pytest.param(
            Add(Route(ip_network("0.0.0.0/0"), None, GATEWAY)),
            errno.ENETUNREACH,
            id="gateway without link out of reach",
        ),
        pytest.param(
            Add(Route(ip_network("10.9.0.0/16"), "eth0", source=ip_address("10.7.7.7"))),
            errno.EINVAL,
            id="source not ours",
        ),
        pytest.param(Add(Route(ip_network("10.9.0.0/16"), type=RouteType.BLACKHOLE)), 0, id="blackhole"),
        pytest.param(Delete(LINK_ROUTE), errno.ESRCH, id="delete absent route"),
        pytest.param(Delete(NEIGHBOUR), errno.ENOENT, id="delete absent neighbour"),
        pytest.param(Add(Neighbour("eth0", GATEWAY, "02:00")), errno.EINVAL, id="short neighbour MAC"),
        pytest.param(Add(Neighbour("x", GATEWAY, MAC_A)), errno.ENODEV, id="neighbour on absent link"),
        pytest.param(SetSysctl("net.ipv4.nothing", "1"), errno.ENOENT, id="no such sysctl"),
        pytest.param(SetSysctl("net.ipv4.ip_forward", "yes"), errno.EINVAL, id="bad value"),
        pytest.param(SetSysctl("kernel.hostname", "1"), errno.EINVAL, id="not of the network"),
        pytest.param(SetSysctl("net/../kernel/hostname", "1"), errno.EINVAL, id="way out"),
        pytest.param(SetOffloads("x", ((Offload.TSO, False),)), errno.ENODEV, id="offloads of absent link"),
    ],
)
async def test_error_numbers(rig, operation, number):
    one, _ = await pair(rig)
    assert await numbers(rig, one, operation) == [number]


async def test_gateway_said_to_be_on_link(rig):
    one, _ = await pair(rig)
    route = Route(DEFAULT.destination, "eth0", GATEWAY, on_link=True)
    assert await numbers(rig, one, SetLink(link="lo", up=True), Add(route)) == [0, 0]
    assert route in await routes(rig, one)


async def test_adding_twice_and_replacing_twice(rig):
    one, _ = await pair(rig)
    for value in (ADDRESS, LINK_ROUTE, NEIGHBOUR, DEFAULT):
        assert await numbers(rig, one, Replace(value), Replace(value), Add(value)) == [0, 0, errno.EEXIST]
    for value in (DEFAULT, LINK_ROUTE, NEIGHBOUR, ADDRESS):
        results = await rig.kernel.apply(one, [Delete(value), Delete(value)])
        assert results[0] is None
        assert results[1].absent
    assert ADDRESS not in await rig.kernel.addresses(one)
    assert await routes(rig, one) == set()
    assert await rig.kernel.neighbours(one) == []


async def test_a_pod_as_listed(rig):
    one, _ = await pair(rig)
    for _ in range(2):  # the second time changes nothing
        assert await numbers(rig, one, *POD) == [0] * len(POD)
        eth0 = await link(rig, one)
        assert (eth0.mtu, eth0.mac, eth0.up) == (1450, MAC_A, True)
        assert set(await rig.kernel.addresses(one)) == {
            ADDRESS,
            Address("lo", ip_interface("127.0.0.1/8"), Scope.HOST, 0),
        }
        assert await rig.kernel.neighbours(one) == [NEIGHBOUR]
        found = await routes(rig, one)
        assert {route for route in found if route.protocol != PROTOCOL_KERNEL} == {LINK_ROUTE, DEFAULT}
        own = {
            (str(route.destination), route.link, route.type) for route in found if route.table == TABLE_LOCAL
        }
        assert own == {
            ("10.1.1.2/32", "eth0", RouteType.LOCAL),
            ("127.0.0.0/8", "lo", RouteType.LOCAL),
            ("127.0.0.1/32", "lo", RouteType.LOCAL),
            ("127.255.255.255/32", "lo", RouteType.BROADCAST),
        }


async def test_connected_routes_come_and_go_with_address_and_link(rig):
    one, _ = await pair(rig, up=False)
    first, second = (Address("eth0", ip_interface(f"10.2.0.{host}/24")) for host in (1, 2))
    source = first.address.ip  # of both: the second one is secondary
    local = {
        Route(
            ip_network(a.address.ip),
            "eth0",
            source=source,
            table=TABLE_LOCAL,
            protocol=2,
            type=RouteType.LOCAL,
        )
        for a in (first, second)
    }
    connected = {
        Route(ip_network("10.2.0.0/24"), "eth0", source=first.address.ip, protocol=2),
        Route(
            ip_network("10.2.0.255/32"),
            "eth0",
            source=first.address.ip,
            table=TABLE_LOCAL,
            protocol=2,
            type=RouteType.BROADCAST,
        ),
    }
    await numbers(rig, one, Add(first), Add(second))
    assert await routes(rig, one) == local
    await numbers(rig, one, SetLink(link="eth0", up=True))
    assert await routes(rig, one) == local | connected
    via = Route(ip_network("10.3.0.0/16"), "eth0", ip_address("10.2.0.9"))
    other = Route(ip_network("10.4.0.0/16"), "eth0", ip_address("10.3.0.9"))
    own = Route(ip_network("10.3.0.0/16"), "eth0", first.address.ip)  # a gateway of ours is accepted as such
    assert await numbers(rig, one, Add(via), Add(other), Add(own)) == [0, errno.ENETUNREACH, errno.EEXIST]
    await numbers(rig, one, SetLink(link="eth0", up=False))
    assert await routes(rig, one) == local
    assert {first, second} <= set(await rig.kernel.addresses(one))
    await numbers(rig, one, SetLink(link="eth0", up=True))
    assert await routes(rig, one) == local | connected
    await numbers(rig, one, Delete(second))
    assert await routes(rig, one) == {r for r in local if r.destination == ip_network(source)} | connected
    await numbers(rig, one, Delete(first))
    assert await routes(rig, one) == set()


async def test_a_link_that_goes_down_loses_neighbours_and_routes(rig):
    one, _ = await pair(rig)
    await numbers(rig, one, *POD, SetLink(link="eth0", up=False))
    assert await rig.kernel.neighbours(one) == []
    assert {route.type for route in await routes(rig, one) if route.link == "eth0"} == {RouteType.LOCAL}
    assert await numbers(rig, one, Add(LINK_ROUTE)) == [errno.ENETDOWN]


async def test_routes_differ_by_metric_and_table(rig):
    one, _ = await pair(rig)
    prefix = ip_network("10.5.0.0/16")
    wanted = {Route(prefix, "eth0"), Route(prefix, "eth0", metric=7), Route(prefix, "eth0", table=1000)}
    assert await numbers(rig, one, *map(Add, wanted)) == [0, 0, 0]
    assert await routes(rig, one) == wanted
    assert await numbers(rig, one, Delete(Route(prefix, "eth0", table=1001))) == [errno.ESRCH]
    assert await numbers(rig, one, *map(Delete, wanted)) == [0, 0, 0]
    assert await routes(rig, one) == set()


async def test_a_delete_of_another_protocols_route_finds_none(rig):
    one, _ = await pair(rig)
    foreign = Route(LINK_ROUTE.destination, "eth0", protocol=3)
    assert await numbers(rig, one, Add(foreign), Delete(LINK_ROUTE), Delete(foreign)) == [0, errno.ESRCH, 0]


async def test_ipv6_address_and_route(rig):
    namespace = rig.namespace()
    await numbers(
        rig,
        namespace,
        CreateVeth("a", "b"),
        SetSysctl("net.ipv6.conf.a.accept_dad", "0"),
        SetLink(link="a", up=True),
        SetLink(link="b", up=True),
    )
    address = Address("a", ip_interface("fd00::1/64"))
    gateway = Route(ip_network("::/0"), "a", ip_address("fd00::2"))
    assert await numbers(rig, namespace, Add(address), Add(address), Replace(gateway)) == [0, errno.EEXIST, 0]
    assert address in await rig.kernel.addresses(namespace)
    found = await routes(rig, namespace)
    assert gateway in found
    assert Route(ip_network("fd00::/64"), "a", metric=256, protocol=2) in found
    await numbers(rig, namespace, SetSysctl("net.ipv6.conf.a.disable_ipv6", "1"))
    assert not [a for a in await rig.kernel.addresses(namespace) if a.link == "a"]


async def test_moved_link_arrives_down_and_bare(rig):
    one, two = await pair(rig)
    await numbers(rig, one, *POD)
    assert await numbers(rig, one, MoveLink("eth0", two)) == [errno.EEXIST]
    third = rig.namespace()
    assert await numbers(rig, one, MoveLink("eth0", third, "eth7")) == [0]
    assert await link(rig, one) is None
    moved = await link(rig, third, "eth7")
    assert (moved.mac, moved.mtu, moved.up) == (MAC_A, 1450, False)
    assert await rig.kernel.addresses(third) == []
    assert await routes(rig, third) == set()
    assert (await link(rig, two)).peer_index == moved.index


async def test_rename_keeps_what_the_link_holds(rig):
    one, _ = await pair(rig)
    await numbers(rig, one, *POD, SetLink(link="eth0", name="net1", alias="pod"))
    assert (await link(rig, one, "net1")).alias == "pod"
    assert Address("net1", ADDRESS.address) in await rig.kernel.addresses(one)
    assert {route.link for route in await routes(rig, one)} == {"net1", "lo"}
    assert (await rig.kernel.read_sysctls(one, ["net.ipv6.conf.net1.disable_ipv6"])) == ["1"]


async def test_sysctls_are_of_the_namespace(rig):
    one, two = rig.namespace(), rig.namespace()
    name = "net.ipv4.conf.lo.forwarding"
    assert await numbers(rig, one, SetSysctl("net/ipv4/conf/lo/forwarding", "1")) == [0]
    (in_one,) = await rig.kernel.read_sysctls(one, [name])
    in_two, missing, foreign = await rig.kernel.read_sysctls(two, [name, "net.x", "kernel.pid_max"])
    assert (in_one, in_two) == ("1", "0")
    assert (missing.errno, foreign.errno) == (errno.ENOENT, errno.EINVAL)


async def test_offloads(rig):
    one, _ = await pair(rig)
    before = await rig.kernel.offloads(one, "eth0")
    assert before[Offload.TX_CHECKSUM]
    assert before[Offload.TSO]
    assert await numbers(rig, one, SetOffloads("eth0", ((Offload.TX_CHECKSUM, False),))) == [0]
    off = await rig.kernel.offloads(one, "eth0")
    changed = {offload for offload in Offload if before[offload] != off[offload]}
    assert changed == {Offload.TX_CHECKSUM, Offload.TSO}
    assert await numbers(rig, one, SetOffloads("eth0", ((Offload.TX_CHECKSUM, True),))) == [0]
    assert await rig.kernel.offloads(one, "eth0") == before
    with pytest.raises(KernelError) as caught:
        await rig.kernel.offloads(one, "nope")
    assert caught.value.errno == errno.ENODEV


async def test_identity_of_namespaces(rig):
    path = rig.namespace()
    identity = await rig.kernel.identify(path)
    assert identity == await rig.kernel.identify(path)
    assert await rig.kernel.links(identity)
    keep = rig.namespace()
    rig.destroy(path)
    for namespace in (path, identity):
        with pytest.raises(NamespaceGone):
            await rig.kernel.links(namespace)
    rig.namespace(path)
    stale = NetworkNamespace(path, identity.device, (await rig.kernel.identify(keep)).inode)
    with pytest.raises(NamespaceGone):
        await rig.kernel.apply(stale, [])


async def test_destroying_a_namespace_takes_the_other_ends(rig):
    one, two = await pair(rig)
    rig.destroy(one)
    for _ in range(100):  # the real kernel does it in the background
        if await link(rig, two) is None:
            break
        await asyncio.sleep(0.05 if rig.real else 0)
    assert await link(rig, two) is None


async def test_own_namespace_and_its_events(rig):
    events: list[LinkEvent] = []
    stop = rig.kernel.watch_links(events.append)
    other = rig.namespace()
    raise_errors(await rig.kernel.apply("", [CreateVeth("cvtest0", "eth0", other)]))
    try:
        raise_errors(await rig.kernel.apply(other, [SetLink(link="eth0", up=True)]))
        raise_errors(await rig.kernel.apply(None, [SetLink(link="cvtest0", up=True)]))
    finally:
        raise_errors(await rig.kernel.apply("", [DeleteLink("cvtest0")]))
    await asyncio.sleep(0.1 if rig.real else 0)
    mine = [event for event in events if event.link.name == "cvtest0"]
    assert isinstance(mine[-1], LinkGone)
    assert any(isinstance(event, LinkChanged) and event.link.carrier for event in mine)
    stop()
    count = len(events)
    raise_errors(await rig.kernel.apply("", [CreateVeth("cvtest0", "cvtest1"), DeleteLink("cvtest0")]))
    await asyncio.sleep(0)
    assert len(events) == count


async def test_changes_of_the_own_network_are_told(rig):
    told = 0

    def callback() -> None:
        nonlocal told
        told += 1

    async def tells(*operations: Operation, namespace: str = "") -> bool:
        nonlocal told
        await asyncio.sleep(0.05 if rig.real else 0)
        told = 0
        raise_errors(await rig.kernel.apply(namespace, operations))
        await asyncio.sleep(0.1 if rig.real else 0)
        return told > 0

    stop = rig.kernel.watch_network(callback)
    route = Route(ip_network("10.77.0.0/16"), "cvtest0", ip_address("10.9.0.2"), on_link=True)
    try:
        assert await tells(CreateVeth("cvtest0", "cvtest1"))
        assert await tells(SetLink(link="cvtest0", up=True), SetLink(link="cvtest1", up=True))
        assert await tells(Add(Address("cvtest0", ip_interface("10.9.0.1/24"))))
        assert await tells(Add(route))
        assert await tells(Delete(route))
        assert await tells(SetLink(link="cvtest0", up=False))
        other = rig.namespace()
        assert not await tells(SetLink(link="lo", up=True), namespace=other)
    finally:
        await rig.kernel.apply("", [DeleteLink("cvtest0")])
    stop()
    assert not await tells(CreateVeth("cvtest0", "cvtest1"), DeleteLink("cvtest0"))
