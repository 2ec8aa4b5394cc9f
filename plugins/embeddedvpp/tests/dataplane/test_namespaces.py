# SPDX-License-Identifier: Apache-2.0
"""AF_PACKET and TAP ports between real network namespaces."""

import asyncio
import importlib.util
import socket
import struct
import subprocess
from pathlib import Path as FilePath

import pytest

from embeddedvpp.dataplane import (
    Dataplane,
    DataplaneError,
    Retval,
    TapConfig,
    TapFlag,
    create_af_packet,
    create_tap,
    delete_tap,
    ip4,
)
from embeddedvpp.dataplane.sub_interfaces import create_vlan

_spec = importlib.util.spec_from_file_location(
    "bench_forwarding", FilePath(__file__).parents[1] / "bench_forwarding.py"
)
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)
_reason = bench.possible()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(_reason), reason=_reason)]


@pytest.fixture
def namespace():
    made = bench.Namespace()
    yield made
    made.close()


@pytest.fixture
async def dataplane():
    made = Dataplane()
    yield made
    await made.close()


async def closed(dataplane):
    for thread in list(dataplane.closing):
        await asyncio.to_thread(thread.join)


async def refused(retval, awaitable):
    with pytest.raises(DataplaneError) as caught:
        await awaitable
    assert caught.value.retval == retval


def host_ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("kind", [pytest.param("tap", marks=pytest.mark.tun), "af-packet"])
async def test_udp_and_ping_are_forwarded_between_two_namespaces(kind):
    result = await bench.measure(kind, seconds=0.5, pace=5000.0)
    assert result["pings_answered"] >= 100
    assert result["received"] > 0.9 * result["offered"]


@pytest.mark.tun
async def test_a_tap_is_set_up_in_its_namespace_and_goes_with_its_interface(dataplane, namespace):
    config = TapConfig(
        host_if_name="eth0",
        host_namespace=namespace.name,
        host_mac=bytes.fromhex("020000000099"),
        host_mtu=1400,
        host_ip4=(ip4("10.9.1.2"), 24),
        host_ip4_gateway=ip4("10.9.1.1"),
    )
    interface = await create_tap(dataplane, config, tag="pod")
    assert (interface.name, interface.tag, interface.link_up) == ("tap0", "pod", True)
    text = namespace.run("ip", "address", "show", "eth0")
    assert all(part in text for part in ("02:00:00:00:00:99", "mtu 1400", "10.9.1.2/24", ",UP"))
    assert "default via 10.9.1.1" in namespace.run("ip", "route")
    await refused(Retval.INVALID_INTERFACE, create_tap(dataplane, TapConfig(id=0)))
    delete_tap(dataplane, interface.sw_if_index)
    await closed(dataplane)
    assert "eth0" not in namespace.run("ip", "link")


@pytest.mark.tun
async def test_a_persistent_tap_outlives_the_dataplane_and_is_attached_again(namespace):
    config = TapConfig(host_if_name="eth0", host_namespace=namespace.name, flags=TapFlag.PERSIST)
    first = Dataplane()
    await create_tap(first, config)
    await first.close()
    namespace.run("ip", "address", "add", "10.9.1.2/24", "dev", "eth0")
    index = namespace.run("cat", "/proc/net/dev_snmp6/eth0").split()[1]
    second = Dataplane()
    again = TapConfig(
        host_if_name="eth0", host_namespace=namespace.name, flags=TapFlag.PERSIST | TapFlag.ATTACH
    )
    interface = await create_tap(second, again)
    assert namespace.run("cat", "/proc/net/dev_snmp6/eth0").split()[1] == index
    assert "10.9.1.2/24" in namespace.run("ip", "address", "show", "eth0")
    delete_tap(second, interface.sw_if_index)
    await second.close()
    assert "eth0" not in namespace.run("ip", "link")


@pytest.mark.tun
async def test_taps_made_at_once_get_different_numbers_and_a_name_can_be_used_again(dataplane, namespace):
    configs = [TapConfig(host_if_name=f"t{number}", host_namespace=namespace.name) for number in range(10)]
    made = await asyncio.gather(*(create_tap(dataplane, config) for config in configs))
    assert sorted(found.instance for found in made) == list(range(10))
    for _ in range(3):
        delete_tap(dataplane, made[0].sw_if_index)
        made[0] = await create_tap(dataplane, configs[0])


@pytest.mark.tun
async def test_a_tap_whose_client_goes_in_the_middle_is_made_and_can_be_deleted(dataplane, namespace):
    config = TapConfig(host_if_name="eth0", host_namespace=namespace.name)
    asking = asyncio.ensure_future(create_tap(dataplane, config, tag="pod"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    for _ in range(200):
        if "tap0" in dataplane.interfaces.by_name:
            break
        await asyncio.sleep(0.01)
    interface = dataplane.interfaces.by_name["tap0"]
    assert interface.tag == "pod"
    delete_tap(dataplane, interface.sw_if_index)
    await create_tap(dataplane, config)


@pytest.mark.tun
async def test_refusals_name_what_is_wrong(dataplane, namespace):
    await refused(
        Retval.SYSCALL_ERROR_2, create_tap(dataplane, TapConfig(host_namespace="no-such-namespace"))
    )
    await refused(Retval.SYSCALL_ERROR_3, create_tap(dataplane, TapConfig(host_namespace="/dev/null")))
    await refused(Retval.NO_MATCHING_INTERFACE, create_tap(dataplane, TapConfig(flags=TapFlag.ATTACH)))
    taken = TapConfig(host_if_name="lo", host_namespace=namespace.name)
    await refused(Retval.SYSCALL_ERROR_3, create_tap(dataplane, taken))
    with pytest.raises(DataplaneError) as caught:
        create_af_packet(dataplane, "no-such-link")
    assert caught.value.retval == Retval.INVALID_INTERFACE
    assert len(dataplane.interfaces) == 1
    assert not dataplane.reserved_taps


@pytest.mark.parametrize("kind", [pytest.param("tap", marks=pytest.mark.tun), "af-packet"])
async def test_the_link_goes_down_once_when_its_other_side_goes(dataplane, namespace, kind):
    events = []
    interface = await bench.pod(dataplane, kind, namespace, 1)
    dataplane.subscribe_interfaces(lambda event, found: events.append((event.value, found.link_up)))
    dataplane.add_neighbor(interface.sw_if_index, ip4("10.9.1.2"), bytes(6))
    namespace.run("ip", "link", "del", "eth0")
    for _ in range(100):
        await asyncio.sleep(0.02)
        await dataplane.graph.icmp.ping(ip4("10.9.1.2"), timeout=0.001)
        if not interface.link_up:
            break
    await asyncio.sleep(0.05)
    assert events == [("state", False)]
    dataplane.delete_interface(interface.sw_if_index)


async def test_af_packet_sets_its_link_up_and_leaves_it_when_deleted(dataplane):
    name = "evaf0test"
    host_ip("link", "add", name, "type", "veth")
    try:
        interface = create_af_packet(dataplane, name)
        assert (interface.name, interface.host_if_name) == (f"host-{name}", name)
        assert "UP" in host_ip("link", "show", name)
        with pytest.raises(DataplaneError) as caught:
            create_af_packet(dataplane, name)
        assert caught.value.retval == Retval.IF_ALREADY_EXISTS
        dataplane.delete_interface(interface.sw_if_index)
        host_ip("link", "show", name)
    finally:
        host_ip("link", "del", name)


def sends_and_gets(end, frame):
    """Send a frame; what comes in return, with its tag, which the kernel takes off (``packet(7)``, PACKET_AUXDATA)."""
    end.send(frame)
    while True:
        data, extra, _, address = end.recvmsg(2048, 64)
        if address[2] != 4 and data[12:14] == b"\x08\6":  # ARP, and not what was sent from here
            break
    status, tag = struct.unpack_from("=I12xH", extra[0][2])
    return data[:12] + b"\x81\0" + struct.pack("!H", tag) + data[12:] if status & 16 else data


async def test_the_tags_that_the_kernel_takes_off_reach_sub_interfaces(dataplane):
    name, peer = "evvlan0test", "evvlan1test"
    host_ip("link", "add", name, "type", "veth", "peer", "name", peer)
    try:
        parent = create_af_packet(dataplane, name)
        host_ip("link", "set", peer, "up")
        sub = create_vlan(dataplane, parent, 100)
        for interface, subnet in ((parent, 1), (sub, 2)):
            dataplane.set_admin_state(interface.sw_if_index, up=True)
            dataplane.add_address(interface.sw_if_index, ip4(f"10.9.{subnet}.1"), 24)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as end:
            end.bind((peer, 3))
            end.setsockopt(263, 8, 1)
            end.settimeout(2)
            for subnet, tag in ((2, b"\x81\0\0\x64"), (1, b""), (2, b"\x81\0\0\x64")):
                addresses = (b"\2\0\0\0\0\7", ip4(f"10.9.{subnet}.2"), bytes(6), ip4(f"10.9.{subnet}.1"))
                body = struct.pack("!HHBBH6sI6sI", 1, 0x0800, 6, 4, 1, *addresses)
                asked = b"\xff" * 6 + addresses[0] + tag + b"\x08\6" + body
                reply = await asyncio.to_thread(sends_and_gets, end, asked)
                assert reply[:6] + reply[12:] == addresses[0] + tag + b"\x08\6" + reply[-28:]
                assert reply[-28:-14] == body[:7] + b"\2" + parent.mac
    finally:
        host_ip("link", "del", name)
