# SPDX-License-Identifier: Apache-2.0
"""The host stack in memory: two hosts on one cable, and everything that can be missing."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from contivpp_core.clock import run_simulated
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.memory_links import MemoryLink
from contivpp_linux.kernel.operations import Add, CreateVeth, Delete, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Address, Neighbour, Route
from contivpp_sandbox.rigs.base import Probe, Verdict
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.packets import TCP, UDP
from contivpp_sandbox.rigs.memory.prober import Prober
from contivpp_sandbox.rigs.memory.stack import Host

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


class Cable:
    """Two hosts, `x/client` and `x/server`, at the ends of a veth pair; `lose` decides which frames are lost."""

    def __init__(self) -> None:
        self.kernel = MemoryKernel()
        self.notes = Notes()
        self.now = 0.0
        self.lose: Callable[[bytes], bool] = lambda frame: False
        self.frames: list[bytes] = []
        self.hosts: dict[str, Host] = {}

    async def build(self, *, mtu: int = 1500) -> None:
        for path in ("/client", "/server"):
            self.kernel.create_namespace(path)
        await self.apply("/client", CreateVeth("eth0", "eth0", "/server"))
        names = {int(ip_address(CLIENT)): "x/client", int(ip_address(SERVER)): "x/server"}
        self.prober = Prober(self.notes, lambda address: names.get(address, str(ip_address(address))))
        for path in ("/client", "/server"):
            await self.apply(path, SetLink(link="lo", up=True), SetLink(link="eth0", up=True, mtu=mtu))
        for path, address in (("/client", CLIENT), ("/server", SERVER)):
            await self.apply(path, Add(Address("eth0", ip_interface(f"{address}/24"))))
            namespace = self.kernel.link(path, "lo").namespace
            ports = {(TCP, 80), (UDP, 53)} if path == "/server" else set()
            host = Host(f"x{path}", namespace, ports=ports, notes=self.notes, time=lambda: self.now)
            host.attach()
            self.hosts[path] = host
            self._tap(self.kernel.link(path, "eth0"))

    def _tap(self, link: MemoryLink) -> None:
        listener = link.listener
        assert listener is not None

        def receive(frame: bytes) -> None:
            self.frames.append(frame)
            if not self.lose(frame):
                listener(frame)

        link.listener = receive

    async def apply(self, path: str, *operations: object) -> None:
        raise_errors(await self.kernel.apply(path, operations))  # type: ignore[arg-type]

    async def probe(self, protocol: str = "TCP", port: int = 80, *, source: str = "/client", **more: object) -> Verdict:
        target = int(ip_address(str(more.pop("to", SERVER))))
        asked = Probe(
            source="x/client", target=SERVER, expect="allowed", protocol=protocol, port=port, **more  # type: ignore[arg-type]
        )
        return await self.prober.probe(self.hosts[source], target, asked)


def on_cable(mtu: int = 1500):
    """Run a test on a cable, in simulated time."""

    def decorate(test):
        def run():
            async def main() -> None:
                cable = Cable()
                await cable.build(mtu=mtu)
                await test(cable)

            run_simulated(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


@on_cable()
async def test_open_ports_answer_with_name_and_port(cable):
    for protocol, port, reached in (("TCP", 80, "x/server:80"), ("UDP", 53, "x/server:53"), ("ICMP", 0, "x/server")):
        verdict = await cable.probe(protocol, port)
        expected = Verdict(
            verdict="allowed", reached=(reached,), seen_source="x/client", source_address=CLIENT
        )
        assert verdict == expected


@on_cable()
async def test_other_ports_are_refused(cable):
    assert (await cable.probe("TCP", 81)).why == "the server reset the connection"
    verdict = await cable.probe("UDP", 54)
    assert (verdict.verdict, verdict.seen_source) == ("refused", "x/client")
    assert verdict.why == f"ICMP destination unreachable, code 3, from {SERVER}"


@on_cable()
async def test_nobody_there(cable):
    verdict = await cable.probe("ICMP", 0, to="10.0.0.9")
    assert (verdict.verdict, verdict.why) == ("denied", "x/client: no answer to ARP for 10.0.0.9 on eth0")


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        pytest.param(
            ("/client", SetLink(link="eth0", up=False)), f"x/client: no route to {SERVER}", id="own link down"
        ),
        pytest.param(("/server", SetLink(link="eth0", up=False)), "x/client: eth0 has no carrier", id="peer down"),
        pytest.param(
            ("/client", Delete(Address("eth0", ip_interface(f"{CLIENT}/24")))),
            f"x/client: no route to {SERVER}",
            id="no address",
        ),
        pytest.param(
            ("/server", Delete(Address("eth0", ip_interface(f"{SERVER}/24")))),
            f"x/client: no answer to ARP for {SERVER} on eth0",
            id="server without address",
        ),
        pytest.param(
            ("/client", Add(Neighbour("eth0", ip_address(SERVER), "02:00:00:00:00:99"))),
            "x/server: eth0 received a frame for another MAC address, 02:00:00:00:00:99",
            id="wrong neighbour",
        ),
        pytest.param(
            ("/client", Add(Route(ip_network(f"{SERVER}/32"), "eth0", ip_address("10.0.0.7")))),
            "x/client: no answer to ARP for 10.0.0.7 on eth0",
            id="route to a wrong gateway",
        ),
        pytest.param(
            ("/server", Delete(Route(ip_network("10.0.0.0/24"), "eth0", protocol=2, source=ip_address(SERVER)))),
            f"x/server: no route to {CLIENT}",
            id="no way back",
        ),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_what_is_missing_makes_probes_fail(break_it, why, warm):
    """`warm`: neighbours are known and routes were looked up before; what changed must be seen nevertheless."""

    async def main() -> None:
        cable = Cable()
        await cable.build()
        if warm:
            assert (await cable.probe()).verdict == "allowed"
            for host in cable.hosts.values():
                cable.now += 100  # learnt neighbours are forgotten
                assert host is not None
        await cable.apply(*break_it)
        verdict = await cable.probe()
        assert (verdict.verdict, verdict.reached) == ("denied", ())
        assert verdict.why == why

    run_simulated(main())


@on_cable()
async def test_permanent_neighbours_need_no_arp(cable):
    for path, other, address in (("/client", "/server", SERVER), ("/server", "/client", CLIENT)):
        mac = cable.kernel.link(other, "eth0").mac
        await cable.apply(path, Add(Neighbour("eth0", ip_address(address), mac)))
    assert (await cable.probe()).verdict == "allowed"
    assert all(frame[12:14] == b"\x08\x00" for frame in cable.frames)


@on_cable()
async def test_lost_frames_are_sent_again(cable):
    for lost in range(1, 7):  # SYN, SYN-ACK, request, answer, FIN, ACK, each lost once
        await cable.probe()
        begin = len(cable.frames)
        cable.lose = lambda frame, number=begin + lost: len(cable.frames) == number
        verdict = await cable.probe()
        assert (lost, verdict.verdict, verdict.reached) == (lost, "allowed", ("x/server:80",))
        cable.lose = lambda frame: False


@on_cable()
async def test_changed_bytes_are_no_answer(cable):
    await cable.probe()

    def corrupt(link: MemoryLink) -> None:
        listener = link.listener
        assert listener is not None
        link.listener = lambda frame: listener(frame[:-1] + bytes((frame[-1] ^ 1,)))

    corrupt(cable.kernel.link("/client", "eth0"))
    verdict = await cable.probe("UDP", 53)
    assert (verdict.verdict, verdict.why) == ("denied", "x/client: received a packet with a wrong checksum or length")


@on_cable(mtu=600)
async def test_large_datagrams_go_in_fragments_and_large_requests_in_segments(cable):
    for size in (572, 573, 3000, 20000):
        assert (await cable.probe("UDP", 53, size=size)).verdict == "allowed"
        assert (await cable.probe("ICMP", 0, size=size)).verdict == "allowed"
        assert (await cable.probe("TCP", 80, size=size)).reached == ("x/server:80",)
    assert max(map(len, cable.frames)) == 614


@on_cable(mtu=600)
async def test_do_not_fragment(cable):
    assert (await cable.probe("UDP", 53, size=572, do_not_fragment=True)).verdict == "allowed"
    verdict = await cable.probe("UDP", 53, size=573, do_not_fragment=True)
    assert (verdict.verdict, verdict.why) == ("refused", "x/client: 601 bytes do not fit the MTU of eth0, 600")


@on_cable()
async def test_one_way_packets_count_when_they_arrive(cable):
    stray = await cable.probe("TCP", 80, one_way=True)
    assert (stray.verdict, stray.reached, stray.seen_source) == ("allowed", ("x/server:80",), "x/client")
    assert (await cable.probe("TCP", 81, one_way=True)).verdict == "allowed"  # it arrived, though nobody listens
    await cable.probe("UDP", 53)
    cable.lose = lambda frame: True
    assert (await cable.probe("UDP", 53, one_way=True)).verdict == "denied"


@on_cable()
async def test_a_host_reaches_itself_by_lo(cable):
    before = len(cable.frames)
    verdict = await cable.probe(source="/server")
    assert (verdict.verdict, verdict.reached, verdict.source_address) == ("allowed", ("x/server:80",), SERVER)
    assert len(cable.frames) == before
    await cable.apply("/server", SetLink(link="lo", up=False))
    assert (await cable.probe(source="/server")).why == "x/server: lo is down"


@on_cable()
async def test_repeats_use_ports_of_their_own_unless_one_is_given(cable):
    await cable.probe(repeat=5)
    assert len({frame[34:36] for frame in cable.frames if frame[12:14] == b"\x08\x00"}) == 6  # 5 and the server's
    cable.frames.clear()
    verdict = await cable.probe(repeat=5, source_port=4000)
    assert verdict.verdict == "allowed"
    assert {frame[34:36] for frame in cable.frames} == {(4000).to_bytes(2, "big"), (80).to_bytes(2, "big")}


@on_cable()
async def test_packets_for_others_are_not_taken(cable):
    await cable.probe()
    mac = cable.kernel.link("/server", "eth0").mac
    await cable.apply("/client", Add(Route(ip_network("10.9.0.0/16"), "eth0", ip_address(SERVER))))
    await cable.apply("/client", Add(Neighbour("eth0", ip_address(SERVER), mac)))
    verdict = await cable.probe("ICMP", 0, to="10.9.0.1")
    assert (verdict.verdict, verdict.why) == ("denied", "x/server: has no address 10.9.0.1, and does not forward")
