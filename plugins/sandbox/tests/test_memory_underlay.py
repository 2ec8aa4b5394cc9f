# SPDX-License-Identifier: Apache-2.0
"""The underlay in memory: what a switch does, what it loses, and sizes of packets across a router."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.clock import run_simulated
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.operations import Add, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Address, Route
from contivpp_sandbox.rigs.base import Probe, Verdict
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.packets import (
    ICMP,
    UDP,
    Ipv4,
    datagram,
    fragments,
    icmp,
    ipv4,
    packet_ends,
    parse_ipv4,
)
from contivpp_sandbox.rigs.memory.prober import Prober
from contivpp_sandbox.rigs.memory.reassembly import PathMtus, Reassembly
from contivpp_sandbox.rigs.memory.servers import EVERY_PORT
from contivpp_sandbox.rigs.memory.stack import Host
from contivpp_sandbox.rigs.memory.underlay import Switch

ROUTER = int(ip_address("10.0.0.254"))
ROUTER_MAC = b"\x02\xee\0\0\0\x01"


class Lan:
    """Hosts h1, h2… with 10.0.0.N/24 on a switch, in simulated time; all serve every port."""

    def __init__(self, *, mtu: int = 1500, loss: float = 0.0) -> None:
        self.notes = Notes()
        self.kernel = MemoryKernel()
        self.switch = Switch(mtu=mtu, loss=loss, notes=self.notes)
        self.hosts: dict[str, Host] = {}
        self.prober = Prober(self.notes, lambda address: str(ip_address(address)))
        self.now = 0.0

    async def add(self, number: int, *, network: str = "10.0.0", mtu: int = 1500) -> Host:
        name = f"h{number}"
        self.kernel.create_namespace(name)
        link = self.kernel.plug(name, "eth0", f"02:00:00:00:00:{number:02x}", mtu, lambda frame: None)
        self.switch.connect(name, link)
        operations = [
            SetLink(link="lo", up=True),
            SetLink(link="eth0", up=True),
            Add(Address("eth0", ip_interface(f"{network}.{number}/24"))),
            Add(Route(ip_network("0.0.0.0/0"), "eth0", ip_address("10.0.0.254"), on_link=True)),
        ]
        raise_errors(await self.kernel.apply(name, operations))
        host = Host(name, link.namespace, ports=EVERY_PORT, notes=self.notes, time=lambda: self.now)
        host.attach()
        self.hosts[name] = host
        return host

    async def probe(self, source: str, target: str, protocol: str = "UDP", **more: object) -> Verdict:
        port = 0 if protocol == "ICMP" else 99
        asked = Probe(source=source, target=target, expect="allowed", protocol=protocol, port=port, **more)  # type: ignore[arg-type]
        return await self.prober.probe(self.hosts[source], int(ip_address(target)), asked)


class Router:
    """Answers ARP for .254, and forwards every packet by a link of MTU `mtu`, to the host that has the address."""

    def __init__(self, lan: Lan, mtu: int) -> None:
        self.lan = lan
        self.mtu = mtu
        lan.kernel.create_namespace("router")
        self.link = lan.kernel.plug("router", "eth0", ROUTER_MAC.hex(":"), 9000, lambda frame: None)
        self.link.namespace.set_up(self.link, up=True)
        self.link.listener = self.receive
        lan.switch.connect("router", self.link)

    def receive(self, frame: bytes) -> None:
        if frame[12:14] == b"\x08\x06":
            if frame[20:22] == b"\0\1" and frame[38:42] == ROUTER.to_bytes(4, "big"):
                answer = frame[14:20] + b"\0\2" + ROUTER_MAC + frame[38:42] + frame[22:32]
                self.link.transmit(frame[6:12] + ROUTER_MAC + b"\x08\x06" + answer)
            return
        data = frame[14:]
        packet = parse_ipv4(data)
        assert packet is not None
        if 20 + len(packet.payload) > self.mtu and data[6] & 0x40:
            rest = bytes(2) + self.mtu.to_bytes(2, "big")
            error = Ipv4(ROUTER, packet.source, ICMP, icmp(3, 4, rest, data[:28]))
            self.link.transmit(frame[6:12] + ROUTER_MAC + b"\x08\0" + ipv4(error))
            return
        number = packet.target & 0xFF
        for part in fragments(packet, self.mtu):
            self.link.transmit(bytes((2, 0, 0, 0, 0, number)) + ROUTER_MAC + b"\x08\0" + ipv4(part))


def on_lan(**lan_options):
    """Run a test on a LAN with h1 and h2."""

    def decorate(test):
        def run():
            async def main() -> None:
                lan = Lan(**lan_options)
                await lan.add(1)
                await lan.add(2)
                await test(lan)

            run_simulated(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


@on_lan()
async def test_the_switch_learns_and_floods_only_what_it_does_not_know(lan):
    await lan.add(3)
    seen = []
    third = lan.kernel.link("h3", "eth0")
    listener = third.listener
    third.listener = lambda frame: (seen.append(frame), listener(frame))
    assert (await lan.probe("h1", "10.0.0.2")).reached == ("h2:99",)
    assert [frame[:6] for frame in seen] == [b"\xff" * 6]  # the question by ARP, and nothing else


@on_lan()
async def test_a_station_that_moves_is_found_at_its_new_place(lan):
    assert (await lan.probe("h1", "10.0.0.2")).verdict == "allowed"
    link = lan.kernel.link("h2", "eth0")
    lan.switch.disconnect("h2")
    assert (await lan.probe("h1", "10.0.0.2")).verdict == "denied"
    lan.switch.connect("elsewhere", link)
    assert (await lan.probe("h1", "10.0.0.2")).verdict == "allowed"


@on_lan()
async def test_parts_do_not_reach_each_other_until_they_are_joined(lan):
    await lan.add(3)
    for _ in range(2):
        lan.switch.partition("h1", "h2")
        assert (await lan.probe("h1", "10.0.0.2")).verdict == "allowed"
        for source, target in (("h1", "10.0.0.3"), ("h3", "10.0.0.2")):
            assert (await lan.probe(source, target)).verdict == "denied"
        lan.switch.heal()
        assert (await lan.probe("h1", "10.0.0.3")).verdict == "allowed"
    lan.switch.partition("h3")
    found = await lan.probe("h1", "10.0.0.3")
    assert (found.verdict, found.why) == ("denied", "underlay: h1 and h3 are cut off from each other")


@on_lan(mtu=1000)
async def test_frames_larger_than_the_switch_takes_are_dropped_and_said(lan):
    assert (await lan.probe("h1", "10.0.0.2", size=972)).verdict == "allowed"
    found = await lan.probe("h1", "10.0.0.2", size=973)
    reason = "underlay: a packet of 1001 bytes from h1 is larger than the MTU, 1000"
    assert (found.verdict, found.why) == ("denied", reason)


@on_lan(loss=0.3)
async def test_loss_loses_some_and_attempts_overcome_it(lan):
    verdicts = [(await lan.probe("h1", "10.0.0.2", "ICMP", size=size)).verdict for size in range(40)]
    assert 0 < verdicts.count("denied") < 20


@pytest.mark.parametrize("protocol", ["UDP", "ICMP", "TCP"])
def test_what_is_larger_than_the_path_is_fragmented_or_refused(protocol):
    async def main() -> None:
        lan = Lan()
        await lan.add(1)
        await lan.add(2, network="10.1.0")
        Router(lan, 1000)
        for size in (100, 972, 973, 1472, 1473, 9000):
            found = await lan.probe("h1", "10.1.0.2", protocol, size=size)
            assert (size, found.verdict, found.why) == (size, "allowed", "")
        if protocol == "TCP":  # which uses smaller segments, whatever is asked for
            assert (await lan.probe("h1", "10.1.0.2", "TCP", size=5000, do_not_fragment=True)).verdict == "allowed"
            return
        assert (await lan.probe("h1", "10.1.0.2", protocol, size=972, do_not_fragment=True)).verdict == "allowed"
        found = await lan.probe("h1", "10.1.0.2", protocol, size=973, do_not_fragment=True)
        said = "ICMP fragmentation needed, from 10.0.0.254: 1001 bytes do not fit the next hop's MTU, 1000"
        assert (found.verdict, found.why) == ("refused", said)
        found = await lan.probe("h1", "10.1.0.2", protocol, size=973, do_not_fragment=True)
        said = "h1: 1001 bytes do not fit the MTU of the path to 10.1.0.2, 1000"
        assert (found.verdict, found.why) == ("refused", said)
        assert (await lan.probe("h1", "10.1.0.2", protocol, size=973)).verdict == "allowed"
        lan.now += 601  # what was learnt is forgotten
        found = await lan.probe("h1", "10.1.0.2", protocol, size=973, do_not_fragment=True)
        assert found.why.startswith("ICMP fragmentation needed")

    run_simulated(main())


def test_a_path_mtu_only_becomes_smaller_and_is_forgotten():
    now = 0.0
    paths = PathMtus(lambda: now)
    for mtu, known in ((1400, 1400), (1450, 1400), (1300, 1300), (0, 1300), (67, 1300), (68, 68)):
        paths.learn(7, mtu)
        assert paths.towards(7, 1500) == known
    assert (paths.towards(7, 60), paths.towards(8, 1500), paths.towards(8, 65536)) == (60, 1500, 65535)
    now = 601.0
    assert paths.towards(7, 1500) == 1500


@given(st.binary(min_size=1, max_size=4000), st.integers(68, 1500), st.randoms(use_true_random=False))
def test_fragments_in_any_order_and_some_of_them_twice_make_the_packet(payload, mtu, shuffle):
    packet = Ipv4(1, 2, UDP, payload, identification=9)
    parts = fragments(packet, mtu)
    parts += shuffle.choices(parts, k=min(3, len(parts) - 1)) if len(parts) > 1 else []
    shuffle.shuffle(parts)
    reassembly = Reassembly()
    found = [whole for part in parts if (whole := reassembly.take(part)) is not None]
    assert packet in found
    assert all(whole == packet for whole in found)


def test_the_ends_of_a_packet_in_vxlan_are_those_of_the_inner_one():
    inner = bytes(12) + b"\x08\0" + ipv4(Ipv4(0x0A010102, 0x0A010203, ICMP, bytes(8)))
    outer = Ipv4(5, 6, UDP, datagram(5, 6, 1234, 4789, bytes(8) + inner))
    assert packet_ends(ipv4(outer)) == (0x0A010102, 0x0A010203)
    assert packet_ends(ipv4(outer._replace(payload=datagram(5, 6, 1, 2, inner)))) == (5, 6)
    assert packet_ends(b"no packet") == (0, 0)
