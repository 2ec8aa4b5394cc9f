# SPDX-License-Identifier: Apache-2.0
"""What somebody deletes or changes by hand in VPP and Linux comes back within one round, and is named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.transports import unix_socket
from contivpp_vpp.values import address_text

from .harness import Node, node
from .processes import run, until

pytestmark = [pytest.mark.netns, pytest.mark.tun]

INTERVAL_SECONDS = 2.0
SETTINGS = {"drift": {"intervalSeconds": INTERVAL_SECONDS, "share": 0.5}}
READS = ("_dump", "_get", "_get_table", "control_ping", "cli_inband", "show_version")
NOTHING = 0xFFFFFFFF


@asynccontextmanager
async def by_hand(rig: Node) -> AsyncIterator[Connection]:
    """A connection of somebody else."""
    connection = await Connection.open(unix_socket(rig.vpp.api_socket), name="somebody")
    try:
        yield connection
    finally:
        connection.close()


async def route_of(vpp: Connection, address: str) -> m.IpRouteV2 | None:
    dump = m.IpRouteV2Dump(src=0, table=m.IpTable(table_id=0, is_ip6=False))
    routes = [each.route for each in await vpp.dump(dump) if each.route.prefix.len == 32]
    return next((each for each in routes if address_text(each.prefix.address) == address), None)


async def neighbour_of(vpp: Connection, address: str) -> m.IpNeighbor | None:
    found = [each.neighbor for each in await vpp.dump(m.IpNeighborDump(sw_if_index=NOTHING))]
    return next((each for each in found if address_text(each.ip_address) == address), None)


async def mtu_of(vpp: Connection, index: int) -> tuple[int, ...]:
    return next(each.mtu for each in await vpp.dump(m.SwInterfaceDump()) if each.sw_if_index == index)


def host_route(rig: Node) -> Any:
    """A route of ours in the host's namespace."""
    routes = [item["value"] for item in rig.get("items", kind="linux/route")]
    return next(route for route in routes if not route["namespace"]["path"])


async def there(rig: Node, route: Any) -> bool:
    _, out, _ = await run("ip", "route", "show", route["destination"], netns=rig.netns)
    return bool(out.strip())


async def test_what_is_deleted_or_changed_by_hand_comes_back_and_is_named(dataplane: str) -> None:
    async with node(dataplane, settings=SETTINGS) as rig:
        await rig.start_agent()
        await rig.settled()
        address = await rig.add("pod", rig.namespaces.make("pod"))
        await rig.settled()
        async with by_hand(rig) as vpp:
            await spoil_and_wait(rig, vpp, address)
        await named(rig, address)


async def spoil_and_wait(rig: Node, vpp: Connection, address: str) -> None:
    """Delete a route, a neighbour and a Linux route, change an MTU, add a route of somebody else's; wait."""
    route, neighbour, linux = await route_of(vpp, address), await neighbour_of(vpp, address), host_route(rig)
    assert route is not None
    assert neighbour is not None
    index = neighbour.sw_if_index
    mtu = await mtu_of(vpp, index)
    theirs = m.IpRouteV2(
        prefix=m.Prefix(address=bytes((198, 51, 100, 7)), len=32), src=0,
        paths=(m.FibPath(type=m.FibPathType.DROP, address=bytes(4)),),
    )  # fmt: skip
    await vpp.request(m.IpRouteAddDelV2(route=theirs))
    await run("ip", "route", "add", "unreachable", "203.0.113.0/24", netns=rig.netns)
    begin = time.monotonic()
    await vpp.request(m.IpRouteAddDelV2(is_add=False, route=route))
    await vpp.request(m.IpNeighborAddDel(is_add=False, neighbor=neighbour))
    await vpp.request(m.SwInterfaceSetMtu(sw_if_index=index, mtu=(1234, 0, 0, 0)))
    code, _, error = await run("ip", "route", "del", linux["destination"], netns=rig.netns)
    assert code == 0, error
    assert await mtu_of(vpp, index) != mtu

    async def repaired() -> bool:
        return (
            await route_of(vpp, address) == route  # not that of the neighbour, which VPP makes by itself
            and await neighbour_of(vpp, address) == neighbour
            and await mtu_of(vpp, index) == mtu
            and await there(rig, linux)
        )

    while not await repaired():
        assert time.monotonic() - begin < 2 * INTERVAL_SECONDS + 8, (rig.get("drift"), rig.log())
        await asyncio.sleep(0.05)
    print(f"all four are back after {time.monotonic() - begin:.2f} s, with rounds of {INTERVAL_SECONDS:g} s")
    await rig.settled()
    assert await route_of(vpp, "198.51.100.7") is not None
    assert await there(rig, {"destination": "203.0.113.0/24"})
    await rig.vpp.trace_on()
    before = rig.get("status")["operations"]
    await asyncio.sleep(2 * INTERVAL_SECONDS)
    sent = set(await rig.vpp.trace())
    assert "ip_neighbor_dump" in sent
    assert {name for name in sent if not name.endswith(READS)} == set()
    assert rig.get("status")["operations"] == before


async def named(rig: Node, address: str) -> None:
    """Assert that the commands tell what was repaired."""
    kinds = {kind["kind"]: kind for kind in rig.get("drift")["kinds"]}
    for kind in ("vpp/route", "vpp/neighbour", "vpp/mtu", "linux/route"):
        entry = kinds[kind]
        assert (entry["differences"], entry["repaired"], entry["open"]) == (1, 1, 0), entry
    assert kinds["vpp/route"]["last"]["key"] == f"vpp/route/0/{address}/32"
    assert "was gone, wanted: " in kinds["vpp/route"]["last"]["words"]
    assert kinds["vpp/mtu"]["last"]["words"].startswith("had mtu=1234, wanted mtu=")
    assert not [kind for kind in kinds.values() if kind["failed"]]
    code, out, error = await rig.contivpp("get", "drift")
    assert (code, error) == (0, "")
    print(out)
    assert f"vpp/route/0/{address}/32 was gone" in out
    assert "running; " in out.splitlines()[-1]
    code, out, error = await rig.contivpp("history", "--limit", "100")
    assert (code, error) == (0, "")
    for kind in ("vpp/route", "vpp/neighbour", "vpp/mtu", "linux/route"):
        assert f"drift of {kind}: {kind}/" in out


async def test_a_pods_own_changes_are_not_fought(dataplane: str) -> None:
    """What others make of a pod's link is theirs: initial values are not drift."""
    async with node(dataplane, settings=SETTINGS) as rig:
        await rig.start_agent()
        await rig.settled()
        path = rig.namespaces.make("pod")
        await rig.add("pod", path)
        await rig.settled()
        assert (await run("ip", "link", "set", "eth0", "mtu", "1300", netns=path))[0] == 0
        assert (await run("ip", "route", "add", "unreachable", "203.0.113.0/24", netns=path))[0] == 0
        checks = {kind["kind"]: kind["checks"] for kind in rig.get("drift")["kinds"]}

        def checked() -> bool:
            return all(kind["checks"] >= checks[kind["kind"]] + 2 for kind in rig.get("drift")["kinds"])

        await until(checked, 5 * INTERVAL_SECONDS + 10, "two more rounds are done")
        assert sum(kind["differences"] for kind in rig.get("drift")["kinds"]) == 0, rig.get("drift")
        _, out, _ = await run("ip", "link", "show", "eth0", netns=path)
        assert "mtu 1300" in out
