# SPDX-License-Identifier: Apache-2.0
"""The connection and the client against real VPP."""

import asyncio
import os
from ipaddress import ip_address

import pytest

from contivpp_vpp import messages
from contivpp_vpp.client import Connected, VppClient
from contivpp_vpp.connection import Connection
from contivpp_vpp.errors import ConnectionLost, VppError
from contivpp_vpp.incarnation import StartSource
from contivpp_vpp.stats import StatisticsSegment, StatisticsUnavailable
from contivpp_vpp.testing import RealVpp, real_vpp
from contivpp_vpp.transports import unix_socket
from contivpp_vpp.wire.errors import InvalidMessage

pytestmark = pytest.mark.realvpp


@pytest.fixture
async def vpp():
    async with real_vpp() as running:
        yield running


@pytest.fixture
async def connection(vpp: RealVpp):
    opened = await Connection.open(unix_socket(vpp.api_socket), name="test")
    yield opened
    opened.close()


async def loopback(connection: Connection) -> int:
    index = (await connection.request(messages.CreateLoopback())).sw_if_index
    up = messages.IfStatusFlags.ADMIN_UP
    await connection.request(messages.SwInterfaceSetFlags(sw_if_index=index, flags=up))
    return index


async def test_identity(connection: Connection, vpp: RealVpp):
    assert connection.version.split(".")[0].isdigit()
    assert vpp.process is not None
    assert connection.incarnation.pid == vpp.process.pid
    assert connection.incarnation.source is StartSource.PROCESS
    by_uptime = await connection._by_uptime(connection.incarnation.pid)
    assert by_uptime.source is StartSource.UPTIME
    assert by_uptime.same(await connection._by_uptime(connection.incarnation.pid))


async def test_interface_facets_come_back_as_they_were_sent(connection: Connection):
    index = await loopback(connection)
    mac = bytes.fromhex("02fe00000001")
    prefix = messages.Prefix(address=ip_address("10.1.1.1").packed, len=24)
    six = messages.Prefix(address=ip_address("2001:db8::1").packed, len=64)
    await asyncio.gather(
        connection.request(messages.SwInterfaceSetMacAddress(sw_if_index=index, mac_address=mac)),
        connection.request(messages.SwInterfaceSetMtu(sw_if_index=index, mtu=(1400, 0, 0, 0))),
        connection.request(messages.SwInterfaceTagAddDel(sw_if_index=index, tag="contivpp/1")),
        connection.request(messages.IpTableAddDel(table=messages.IpTable(table_id=5, name="pods"))),
        connection.request(messages.SwInterfaceSetTable(sw_if_index=index, vrf_id=5)),
        connection.request(messages.SwInterfaceAddDelAddress(sw_if_index=index, prefix=prefix)),
        connection.request(messages.SwInterfaceAddDelAddress(sw_if_index=index, prefix=six)),
    )
    [found] = await connection.dump(messages.SwInterfaceDump(sw_if_index=index))
    assert (found.interface_name, found.tag, found.l2_address, found.mtu[0]) == ("loop0", "contivpp/1", mac, 1400)
    assert messages.IfStatusFlags.ADMIN_UP in found.flags
    assert (await connection.request(messages.SwInterfaceGetTable(sw_if_index=index))).vrf_id == 5
    assert [d.prefix for d in await connection.dump(messages.IpAddressDump(sw_if_index=index))] == [prefix]
    assert [d.prefix for d in await connection.dump(messages.IpAddressDump(sw_if_index=index, is_ipv6=True))] == [six]
    assert "pods" in {d.table.name for d in await connection.dump(messages.IpTableDump())}


async def test_routes_and_neighbours_come_back_as_they_were_sent(connection: Connection):
    index = await loopback(connection)
    source = (await connection.request(messages.FibSourceAdd(src=messages.FibSource(priority=150, name="mine")))).id
    assert (source, "mine") in {(d.src.id, d.src.name) for d in await connection.dump(messages.FibSourceDump())}
    await connection.request(messages.IpTableAddDel(table=messages.IpTable(table_id=1)))
    path = messages.FibPath(sw_if_index=index, address=ip_address("10.9.9.9").packed)
    route = messages.IpRouteV2(
        table_id=1, src=source, prefix=messages.Prefix(address=ip_address("10.9.0.0").packed, len=16), paths=(path,)
    )
    await connection.request(messages.IpRouteAddDelV2(route=route))
    found = [
        d.route for d in await connection.dump(messages.IpRouteV2Dump(src=source, table=messages.IpTable(table_id=1)))
    ]
    assert [(r.prefix, r.src, r.paths) for r in found] == [(route.prefix, source, (path,))]
    neighbour = messages.IpNeighbor(
        sw_if_index=index,
        flags=messages.IpNeighborFlags.STATIC,
        mac_address=bytes.fromhex("020000000009"),
        ip_address=ip_address("2001:db8::9").packed,
    )
    await connection.request(messages.IpNeighborAddDel(neighbor=neighbour))
    six = messages.IpNeighborDump(af=messages.AddressFamily.IP6)
    assert [d.neighbor for d in await connection.dump(six)] == [neighbour]


async def test_refusals_are_named(connection: Connection):
    with pytest.raises(VppError, match="INVALID_SW_IF_INDEX"):
        await connection.request(messages.DeleteLoopback(sw_if_index=99))
    with pytest.raises(VppError, match="NO_SUCH_FIB"):
        await connection.request(messages.IpRouteAddDelV2(route=messages.IpRouteV2(table_id=77)))
    with pytest.raises(VppError):
        await connection.request(messages.AfPacketDelete(host_if_name="nothing"))


async def test_interface_events(connection: Connection):
    events: asyncio.Queue[messages.SwInterfaceEvent] = asyncio.Queue()
    connection.subscribe(messages.SwInterfaceEvent, events.put_nowait)
    await connection.request(messages.WantInterfaceEvents(pid=1))
    index = await loopback(connection)
    async with asyncio.timeout(5):
        event = await events.get()
    assert event.sw_if_index == index


async def test_kill_and_restart_on_the_same_sockets(vpp: RealVpp):
    news: list[Connected] = []
    lost: list[Exception] = []
    async with VppClient(unix_socket(vpp.api_socket)) as client:
        client.listen(connected=news.append, lost=lost.append)
        connection = await client.wait_connected()
        await loopback(connection)
        waiting = [asyncio.ensure_future(connection.request(messages.ControlPing())) for _ in range(10)]
        await vpp.kill()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(5):
            await connection.lost()
        with pytest.raises(ConnectionLost):
            await connection.request(messages.ControlPing())
        await vpp.start()
        async with asyncio.timeout(10):
            again = await client.wait_connected()
        assert len(await again.dump(messages.SwInterfaceDump())) == 1
    assert [one.restarted for one in news] == [False, True]
    assert lost


async def test_statistics_segment_outlives_a_restart(vpp: RealVpp, connection: Connection):
    await loopback(connection)
    async with StatisticsSegment(vpp.stats_socket) as statistics:
        assert set(await statistics.interface_counters()) == {"local0", "loop0"}
        assert "/sys/heartbeat" in await statistics.names("/sys")
        assert "/sys/heartbeat" in await statistics.read(["/sys/heartbeat", "/no/such"])
        await vpp.kill()
        await statistics.reset()
        with pytest.raises(StatisticsUnavailable, match="stats"):
            await statistics.interface_counters()
        await vpp.start()
        assert set(await statistics.interface_counters()) == {"local0"}


async def test_thousands_of_routes_are_pipelined(connection: Connection):
    index = await loopback(connection)
    errors: list[Exception] = []

    def answered(_: object, error: Exception | None) -> None:
        if error is not None:
            errors.append(error)

    path = messages.FibPath(sw_if_index=index, address=ip_address("10.0.0.1").packed)
    for number in range(10_000):
        prefix = messages.Prefix(address=(0x14000000 + 256 * number).to_bytes(4, "big"), len=24)
        connection.post(
            messages.IpRouteAddDelV2(route=messages.IpRouteV2(prefix=prefix, paths=(path,), src=12)), answered
        )
    await connection.request(messages.ControlPing())
    assert not errors
    assert connection.statistics["ip_route_add_del_v2"].count == 10_000


@pytest.fixture
async def namespace():
    """The path of a network namespace that lives as long as the test, with one end of a veth named inside0."""
    keeper = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "60", stderr=asyncio.subprocess.DEVNULL)
    path = f"/proc/{keeper.pid}/ns/net"
    try:
        own = await asyncio.to_thread(os.readlink, "/proc/self/ns/net")
        for _ in range(100):
            if keeper.returncode is not None:
                pytest.skip("network namespaces cannot be made here")
            if await asyncio.to_thread(os.readlink, path) != own:
                break
            await asyncio.sleep(0.02)
        made = await asyncio.create_subprocess_exec(
            *("nsenter", f"--net={path}", "ip", "link", "add", "inside0", "type", "veth", "peer", "inside1")
        )
        if await made.wait() != 0:
            pytest.skip("no veth can be made here")
        yield path
    finally:
        if keeper.returncode is None:
            keeper.kill()
        await keeper.wait()


@pytest.mark.netns
async def test_vpp_lives_in_the_namespace_that_is_asked_for(namespace: str):
    async with real_vpp(netns=namespace) as vpp:
        connection = await Connection.open(unix_socket(vpp.api_socket))
        await connection.request(messages.AfPacketCreateV3(host_if_name="inside0"))
        found = await connection.dump(messages.AfPacketDump())
        assert [one.host_if_name for one in found] == ["inside0"]
        assert vpp.process is not None
        assert connection.incarnation.pid == vpp.process.pid
        connection.close()


@pytest.mark.parametrize("proto", [messages.FibPathNhProto.IP4, messages.FibPathNhProto.IP6])
async def test_no_path_that_is_let_through_ends_vpp(connection: Connection, proto: messages.FibPathNhProto):
    index = await loopback(connection)
    six = proto is messages.FibPathNhProto.IP6
    address = ip_address("2001:db8::" if six else "10.9.0.0").packed
    prefix = messages.Prefix(address=address, len=32 if six else 16)
    refused = set()
    for kind in messages.FibPathType:
        for interface in (0xFFFFFFFF, index):
            path = messages.FibPath(type=kind, proto=proto, sw_if_index=interface, address=b"")
            route = messages.IpRouteV2(src=12, prefix=prefix, paths=(path,))
            for is_add in (True, False):
                try:
                    await connection.request(messages.IpRouteAddDelV2(is_add=is_add, route=route))
                except InvalidMessage:
                    refused.add((kind.name, interface == index))
                except VppError:
                    assert kind is messages.FibPathType.CLASSIFY, "only this one names what VPP looks up itself"
    assert refused == {
        *(("UDP_ENCAP", known) for known in (False, True)),
        *(("BIER_IMP", known) for known in (False, True)),
        ("DVR", False),
        ("INTERFACE_RX", False),
    }
    await connection.request(messages.ControlPing())


async def test_access_lists_come_back_as_they_were_sent(connection: Connection):
    rules = tuple(
        messages.AclRule(
            is_permit=messages.AclAction.PERMIT_REFLECT if number % 2 else messages.AclAction.DENY,
            src_prefix=messages.Prefix(address=(0x0A000000 + number).to_bytes(4, "big"), len=32),
            dst_prefix=messages.Prefix(address=ip_address("10.1.0.0").packed, len=16),
            proto=messages.IpProto.TCP,
            dstport_or_icmpcode_first=number,
            dstport_or_icmpcode_last=number,
        )
        for number in range(1000)
    )
    six = messages.Prefix(address=ip_address("2001:db8::").packed, len=32)
    first = (await connection.request(messages.AclAddReplace(tag="long", r=rules))).acl_index
    rule = messages.AclRule(src_prefix=six, dst_prefix=six, proto=messages.IpProto.UDP)
    second = (await connection.request(messages.AclAddReplace(tag="six", r=(rule,)))).acl_index
    found = {each.acl_index: (each.tag, each.r) for each in await connection.dump(messages.AclDump())}
    assert found == {first: ("long", rules), second: ("six", (rule,))}
    await connection.request(messages.AclAddReplace(acl_index=first, tag="short", r=rules[:1]))
    [one] = await connection.dump(messages.AclDump(acl_index=first))
    assert (one.tag, one.r) == ("short", rules[:1])
    with pytest.raises(VppError, match="NO_SUCH_ENTRY"):
        await connection.request(messages.AclAddReplace(acl_index=77, r=rules[:1]))
    index = await loopback(connection)
    wanted = messages.AclInterfaceSetAclList(sw_if_index=index, n_input=1, acls=(first, second))
    await connection.request(wanted)
    [lists] = await connection.dump(messages.AclInterfaceListDump(sw_if_index=index))
    assert (lists.n_input, lists.acls) == (1, (first, second))
    with pytest.raises(VppError, match="ACL_IN_USE_INBOUND"):
        await connection.request(messages.AclDel(acl_index=first))
    await connection.request(messages.AclInterfaceSetAclList(sw_if_index=index))
    for each in (first, second):
        await connection.request(messages.AclDel(acl_index=each))
    assert await connection.dump(messages.AclDump()) == []
