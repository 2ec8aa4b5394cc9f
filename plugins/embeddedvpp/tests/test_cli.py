# SPDX-License-Identifier: Apache-2.0
"""The CLI: VPP's columns, abbreviations, and the socket as vppctl uses it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from embeddedvpp.api import Vpp
from embeddedvpp.cli import Failure, execute
from embeddedvpp.cli_socket import Telnet
from embeddedvpp.dataplane import CLI, Dataplane, Feature, PathType, VxlanTunnel, add_memory_interface, link
from embeddedvpp.dataplane import Path as RoutePath
from embeddedvpp.dataplane.l2_fib import L2FibEntry
from embeddedvpp.pytest_plugin import EmbeddedVpp
from embeddedvpp.server import Server


@pytest.fixture
def vpp() -> Vpp:
    made = Vpp(Dataplane(time=lambda: 100.0), time=lambda: 1_000_000.0)
    loop0, loop1 = made.dataplane.create_loopback(), made.dataplane.create_loopback()
    made.dataplane.set_admin_state(1, up=True)
    made.dataplane.add_address(1, 0x0A010001, 24)
    made.dataplane.fibs.add(7)
    made.dataplane.set_table(2, 7)
    made.dataplane.add_address(2, 0x0A070001, 16)
    made.dataplane.set_mtu(2, [1400, 1300, 0, 0])
    loop0.counters.tx_packets, loop0.counters.tx_bytes, loop0.counters.drops = 6, 252, 3
    assert loop1.sw_if_index == 2
    return made


def test_show_interface_has_the_columns_of_vpp(vpp: Vpp) -> None:
    assert execute(vpp, "show interface") == (
        "              Name               Idx    State  MTU (L3/IP4/IP6/MPLS)     Counter          Count     \n"
        "local0                            0     down          0/0/0/0       \n"
        "loop0                             1      up          9000/0/0/0     tx packets                     6\n"
        "                                                                    tx bytes                     252\n"
        "                                                                    drops                          3\n"
        "loop1                             2     down       1400/1300/0/0    \n"
    )


def test_show_interface_address(vpp: Vpp) -> None:
    vpp.dataplane.add_interface("host-lo", device_class="af-packet", instance=0)
    vpp.dataplane.set_unnumbered(3, 1)
    text = (
        "host-lo (dn): \n  unnumbered, use loop0\n  L3 10.1.0.1/24\n"
        "local0 (dn):\n"
        "loop0 (up):\n  L3 10.1.0.1/24\n"
        "loop1 (dn):\n  L3 10.7.0.1/16 ip4 table-id 7 fib-idx 1\n"
    )
    assert execute(vpp, "show interface address") == execute(vpp, "sh int addr") == text
    assert execute(vpp, "show interface loop0 addr") == "loop0 (up):\n  L3 10.1.0.1/24\n"


def test_show_hardware_interfaces(vpp: Vpp) -> None:
    assert execute(vpp, "show hardware-interfaces") == (
        "              Name                Idx   Link  Hardware\n"
        "local0                             0    down  local0\n  Link speed: unknown\n  local\n"
        "loop0                              1     up   loop0\n  Link speed: unknown\n"
        "  Ethernet address de:ad:00:00:00:00\n"
        "loop1                              2    down  loop1\n  Link speed: unknown\n"
        "  Ethernet address de:ad:00:00:00:01\n"
    )


def test_show_errors_and_neighbors_cut_and_centre(vpp: Vpp) -> None:
    from embeddedvpp.dataplane.reasons import ARP_SRC_IS_LOCAL

    vpp.dataplane.graph.count("arp-reply", ARP_SRC_IS_LOCAL, 5)
    assert execute(vpp, "show errors") == (
        "   Count                  Node                              Reason               Severity \n"
        "         5             arp-reply             IP4 source address matches local in   error  \n"
    )
    vpp.dataplane.add_neighbor(1, 0x0A010009, b"\2\0\0\0\0\x09", static=False)
    assert execute(vpp, "show ip neighbors") == (
        "     Age                       IP                    Flags      Ethernet              Interface       \n"
        "       .0000                10.1.0.9                   D    02:00:00:00:00:09 loop0\n"
    )


def test_show_ip_fib_tells_buckets(vpp: Vpp) -> None:
    plane = vpp.dataplane
    plane.add_neighbor(1, 0x0A010009, b"\2\0\0\0\0\x09")

    def route(text: str, *paths: RoutePath) -> str:
        address = int.from_bytes(bytes(map(int, text.split("."))), "big")
        plane.route_update(address, 24, paths, source=CLI)
        lines = str(execute(vpp, f"show ip fib {text}/24")).splitlines()
        assert lines[1:3] == [f"{text}/24", "  unicast-ip4-chain"]
        return "\n".join(line.split(": ", 1)[1] if "dpo-load" in line[:30] else line for line in lines[3:])

    resolved = RoutePath(next_hop=0x0A010009, sw_if_index=1, weight=3)
    unresolved = RoutePath(next_hop=0x0A01000A, sw_if_index=1)
    found = route("10.24.0.0", resolved, unresolved)
    assert "buckets:4" in found
    assert "    [0-2] [@5]: ipv4 via 10.1.0.9 loop0: mtu:9000 next:1 flags:[] 020000000009dead000000000800" in found
    assert "    [3] [@3]: arp-ipv4: via 10.1.0.10 loop0" in found
    assert "          [0] [@5]: ipv4 via 10.1.0.9" in route("10.25.0.0", RoutePath(next_hop=0x0A010009))
    assert "lookup in ipv4-VRF:7" in route("10.26.0.0", RoutePath(table_id=7))
    assert "ip4-null action:send-unreachable" in route("10.28.0.0", RoutePath(type=PathType.ICMP_UNREACH))
    assert "[@0]: dpo-drop ip4" in route("10.29.0.0", RoutePath(next_hop=0x63090909))
    assert "[@4]: ipv4-glean: [src:10.1.0.0/24] loop0:" in str(execute(vpp, "show ip fib table 0"))
    assert "dpo-receive: 10.1.0.1 on loop0" in str(execute(vpp, "show ip fib 10.1.0.1"))
    assert execute(vpp, "show ip fib table 99") == ""


def test_failures_are_told_apart(vpp: Vpp) -> None:
    for line, text in {
        "nonsense here": "unknown input `nonsense here'\n",
        "show foo": "show: unknown input `foo'\n",
        "show interface nope": "show interface: unknown input `nope'\n",
    }.items():
        answer = execute(vpp, line)
        assert answer == text
        assert isinstance(answer, Failure)
    assert not isinstance(execute(vpp, "show version"), Failure)


def test_telnet_options_may_come_in_pieces() -> None:
    data = b"show \xff\xfb\x18version\xff\xfa\x18\0vppctl\xff\xf0\n"
    telnet = Telnet()
    assert b"".join(telnet.feed(bytes((byte,))) for byte in data) == b"show version\n"
    assert telnet.terminal == "vppctl"


async def test_terminal_gets_echo_and_backspace(vpp: Vpp, tmp_path: Path) -> None:
    path = str(tmp_path / "cli.sock")
    async with Server(vpp, api_socket=str(tmp_path / "api.sock"), cli_socket=path), asyncio.timeout(10):
        reader, writer = await asyncio.open_unix_connection(path)
        assert (await reader.readuntil(b"\xff\xf0")).endswith(b"\xff\xfa\x18\x01\xff\xf0")
        writer.write(b"\xff\xfa\x18\0xterm\xff\xf0")
        assert await reader.readuntil(b"# ") == b"vpp# "
        for byte in b"show foox\x7f\r":
            writer.write(bytes((byte,)))
        assert await reader.readuntil(b"# ") == b"show foox\b \b\r\nshow: unknown input `foo'\r\nvpp# "
        writer.write(b"\x04")
        assert await reader.read() == b""
        writer.close()


async def test_who_says_nothing_gets_a_prompt(vpp: Vpp, tmp_path: Path) -> None:
    path = str(tmp_path / "cli.sock")
    async with Server(vpp, api_socket=str(tmp_path / "api.sock"), cli_socket=path), asyncio.timeout(10):
        reader, writer = await asyncio.open_unix_connection(path)
        assert (await reader.readuntil(b"# ")).endswith(b"vpp# ")
        writer.close()


async def test_ping_between_two(tmp_path: Path) -> None:
    one, other = Vpp(), Vpp()
    ports = [add_memory_interface(vpp.dataplane, "host-a") for vpp in (one, other)]
    link(*ports)
    for number, vpp in enumerate((one, other), 1):
        vpp.dataplane.add_address(1, 0x0A000000 + number, 24)
        vpp.dataplane.set_admin_state(1, up=True)
    path = str(tmp_path / "cli.sock")
    async with Server(one, api_socket=str(tmp_path / "api.sock"), cli_socket=path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"ping 10.0.0.2 repeat 3\nquit\n")
        text = (await asyncio.wait_for(reader.read(-1), 10)).decode("ascii", "replace")
        writer.close()
    assert "bytes from 10.0.0.2: icmp_seq=3 ttl=64 time=" in text
    assert "Statistics: 3 sent, " in text


async def test_trace_is_saved(vpp: Vpp) -> None:
    assert execute(vpp, "api trace on") == ""
    vpp.traced("me", "show_version")
    name = f"embeddedvpp-{os.getpid()}.api"
    answer = execute(vpp, f"api trace save ../{name}")
    assert not isinstance(answer, str)
    assert await answer == f"API trace saved to /tmp/{name}\n"
    saved = Path("/tmp", name)
    assert saved.read_text() == "1000000.000000 me show_version\n"
    saved.unlink()


@pytest.mark.realvpp
def test_vppctl(embedded_vpp: EmbeddedVpp) -> None:
    vpp = os.environ.get("CONTIVPP_VPP")
    vppctl = Path(vpp).with_name("vppctl") if vpp else None
    if vppctl is None or not vppctl.exists():
        pytest.skip("CONTIVPP_VPP does not name a VPP with vppctl beside it")

    def run(*words: str, typed: str = "") -> str:
        done = subprocess.run(
            [str(vppctl), "-s", embedded_vpp.cli_socket, *words],
            input=typed, capture_output=True, text=True, timeout=20, check=not typed,
        )  # fmt: skip - what is typed ends with quit, and vppctl may then fail to say quit itself
        return done.stdout.replace("\r", "")

    assert run("show", "interface", "address") == "local0 (dn):\n"
    assert run("set", "interface", "state", "local0", "up") == ""
    assert run("show foo") == "show: unknown input `foo'\n"
    assert run(typed="show int addr\nshow ip fib table 5\nnonsense\nquit\n") == (
        "local0 (up):\nunknown input `nonsense'\n"
    )


def test_show_vxlan_tunnel_has_the_line_of_vpp(vpp: Vpp) -> None:
    assert execute(vpp, "show vxlan tunnel") == "No vxlan tunnels configured...\n"
    table = vpp.dataplane.fibs.get(7)
    tunnels = (
        VxlanTunnel(0x0A000001, 0x0A000002, 10, vpp.dataplane.fibs.get(0)),
        VxlanTunnel(0x0A000001, 0x0A000003, 10, table, destination_port=4790, instance=5, decap_next=0),
    )
    for tunnel in tunnels:
        vpp.dataplane.graph.vxlan.add(tunnel)
    assert execute(vpp, "sh vxlan tun") == (
        "[0] instance 0 src 10.0.0.1 dst 10.0.0.2 src_port 4789 dst_port 4789 vni 10 "
        "fib-idx 0 sw-if-idx 3 encap-dpo-idx 0 \n"
        "[1] instance 5 src 10.0.0.1 dst 10.0.0.3 src_port 4789 dst_port 4790 vni 10 "
        "fib-idx 1 sw-if-idx 4 encap-dpo-idx 0 decap-next-drop \n"
    )


def test_learnt_entries_show_their_age_and_entries_of_dead_interfaces_are_stale(vpp: Vpp) -> None:
    bridges = vpp.dataplane.bridges
    domain = bridges.add(1, features=Feature.FWD, mac_age=5)
    interface = vpp.dataplane.interfaces.get(1)
    bridges.join(interface, 1)
    bridges.fib.add(L2FibEntry(domain.index, bytes(5) + b"\1", 1, learnt=True, sequence=(0, 1), updated=-50.0))
    bridges.fib.add(L2FibEntry(domain.index, bytes(5) + b"\2", 77, static=True))
    bridges.fib.add_filter(domain.index, bytes(5) + b"\3")
    lines = str(execute(vpp, "show l2fib verbose")).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["00:00:00:00:00:01", "1", "1", "0/1", "2", "-", "-", "-", "loop0"],
        ["00:00:00:00:00:02", "1", "77", "0/0", "no", "*", "-", "-", "Stale"],
        ["00:00:00:00:00:03", "1", "-1", "0/0", "no", "*", "*", "-", "N/A"],
    ]
    assert "total/learned entries: 3/1" in lines[4]
