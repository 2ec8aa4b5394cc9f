# SPDX-License-Identifier: Apache-2.0
"""What others make of a pod's link: VPP follows, the ledger remembers, and a fault tells what was lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_contiv.altered import CHAIN_SECONDS, judged
from contivpp_contiv.records import ALTERED_LINK, LOCAL_POD, AlteredLink, LocalPod
from contivpp_core.faults import FAULT
from contivpp_core.ledger import LedgerError, LedgerWrite
from contivpp_core.namespaces import Namespace
from contivpp_linux import items as linux
from contivpp_linux.kernel.values import Link
from contivpp_linux.sightings import Sighting
from contivpp_vpp import items as vpp

from .nodes import Node, simulated
from .test_pods import POD

MAC = "02:00:00:00:00:77"
KEY = "c1/eth0"


def sighting(pod: LocalPod, *, index: int = 2, mac: str = "", mtu: int = 0, routes: tuple[str, ...] = (),
             promiscuous: bool = False, sysctls: dict[str, str] | None = None) -> Sighting:  # fmt: skip
    """What is seen of a pod's link: as its ADD left it, but for what is given."""
    changed: list[linux.Mtu | linux.Route] = []
    if mtu:
        changed.append(linux.Mtu(namespace=pod.netns, link=pod.interface, mtu=pod.mtu, initial=True))
    changed += [linux.Route(namespace=pod.netns, destination=each, link=pod.interface, initial=True) for each in routes]
    mac, mtu = mac or pod.mac, mtu or pod.mtu
    link = Link(index=index, name=pod.interface, mac=mac, mtu=mtu, up=True, promiscuous=promiscuous)
    return Sighting(pod.netns, link, tuple(changed), sysctls)


class Wired:
    """A node with one pod."""

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def pod(self) -> LocalPod:
        pod: LocalPod = self.node.agent.state.get(LOCAL_POD.name, KEY)
        return pod

    async def sees(self, **seen: Any) -> None:
        self.node.world.sighted(sighting(self.pod, **seen))
        await asyncio.sleep(0.1)
        await self.node.agent.controller.settled()

    def known(self) -> AlteredLink | None:
        known: AlteredLink | None = self.node.agent.state.get(ALTERED_LINK.name, KEY)
        return known

    def faults(self) -> list[str]:
        return [f"{each.subject}: {each.reason}" for each in self.node.agent.state.table(FAULT.name).records()]

    def macs(self) -> set[str]:
        """By which MACs VPP knows the pod, and at which the pod's own neighbour was told."""
        there = self.node.world.there.values()
        in_vpp = {each.mac for each in there if isinstance(each, vpp.Neighbour) and each.address == self.pod.address}
        return in_vpp | {each.link_mac for each in there if isinstance(each, linux.Neighbour)} - {""}


async def wired() -> Wired:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    return Wired(node)


@simulated
async def test_vpp_follows_a_mac_and_an_agents_restart_writes_nothing() -> None:
    it = await wired()
    assert it.macs() == {it.pod.mac}
    await it.sees(mac=MAC)
    assert it.macs() == {MAC}
    await it.node.kill()
    it.node.world.writes = 0
    await it.node.start()
    await it.node.agent.controller.settled()
    assert it.node.world.writes == 0
    assert it.macs() == {MAC}
    await it.sees()  # the plugin restored it at its DEL
    assert it.macs() == {it.pod.mac}
    assert it.known() is None
    assert it.node.ledger.items("contiv.altered") == {}
    await it.node.kill()


@simulated
async def test_what_went_with_a_former_link_is_told_until_the_pod_goes() -> None:
    it = await wired()
    await it.sees(mac=MAC, mtu=1400, routes=("0.0.0.0/0",), promiscuous=True, sysctls={"net/ipv4/conf/eth0/x": "1"})
    assert it.faults() == []
    assert it.node.world.keen(it.pod.netns, "eth0")
    await it.sees(index=3, mac=MAC, sysctls={})
    (fault,) = it.faults()
    assert fault.startswith("pod default/p1 interface eth0: ")
    for lost in ("MTU 1400", "promiscuous mode", "sysctl net/ipv4/conf/eth0/x=1", "0.0.0.0/0", "delete the pod"):
        assert lost in fault
    assert MAC not in fault
    answer = await it.node.cni("CHECK", 1)
    assert answer["code"] == 101
    assert "MTU 1400" in answer["msg"]
    await it.node.kill()
    await it.node.start()
    await it.node.agent.controller.settled()
    assert it.faults() == [fault]
    await it.sees(index=3, mac=MAC)
    assert it.faults() == [fault]
    await it.sees(index=4, sysctls={})
    assert f"MAC {MAC}" in it.faults()[0]
    assert "MTU 1400" in it.faults()[0]
    await it.node.cni("DEL", 1)
    await asyncio.sleep(0.1)
    assert it.faults() == []
    assert it.known() is None
    assert it.node.ledger.items("contiv.altered") == {}
    it.node.assert_nothing_left()
    await it.node.kill()


@simulated
async def test_a_link_made_anew_that_nobody_had_changed_is_no_fault() -> None:
    it = await wired()
    await it.sees()
    assert not it.node.world.keen(it.pod.netns, "eth0")
    await it.sees(index=3)
    assert (it.known(), it.faults()) == (None, [])
    assert await it.node.cni("CHECK", 1) == {}
    await it.node.kill()


@simulated
async def test_sysctls_are_looked_for_when_the_rest_of_the_chain_is_done() -> None:
    it = await wired()
    other = await it.node.cni("ADD", 2)
    assert "code" not in other
    it.node.world.sysctls = {"net/ipv4/conf/eth0/x": "1"}
    assert it.node.world.looks == []
    await asyncio.sleep(CHAIN_SECONDS + 1)
    assert it.node.world.looks == [(str(it.pod.netns), "eth0"), ("4:2", "eth0")]
    await it.node.kill()


@simulated
async def test_a_full_disk_does_not_keep_vpp_from_following() -> None:
    it = await wired()
    commit = it.node.ledger.commit

    async def full(*writes: LedgerWrite) -> None:
        if any(write.space == "contiv.altered" for write in writes):
            raise LedgerError("the disk is full")
        await commit(*writes)

    vars(it.node.ledger)["commit"] = full
    await it.sees(mac=MAC)
    assert it.macs() == {MAC}
    assert it.node.ledger.items("contiv.altered") == {}
    vars(it.node.ledger)["commit"] = commit
    await asyncio.sleep(10)
    assert set(it.node.ledger.items("contiv.altered")) == {KEY}
    await it.node.kill()


@simulated
async def test_a_new_sandbox_of_the_same_container_id_inherits_nothing() -> None:
    it = await wired()
    await it.sees(mac=MAC, mtu=1400)
    await it.node.cni("ADD", 1, netns="/netns/9")
    await asyncio.sleep(0.1)
    await it.node.agent.controller.settled()
    assert it.pod.netns.inode == 9
    assert (it.known(), it.faults()) == (None, [])
    assert it.macs() == {it.pod.mac}
    await it.sees(index=7)
    assert it.faults() == []
    await it.node.kill()


@simulated
async def test_links_of_nobody_are_not_kept() -> None:
    it = await wired()
    elsewhere = Namespace("/netns/7", 4, 7)
    it.node.world.sighted(sighting(it.pod, mac=MAC)._replace(namespace=elsewhere))
    await asyncio.sleep(0.1)
    assert it.node.agent.state.table(ALTERED_LINK.name).records() == []
    await it.node.kill()


seen = st.fixed_dictionaries(
    {
        "index": st.integers(2, 4),
        "mac": st.sampled_from(("", MAC)),
        "mtu": st.sampled_from((0, 1400)),
        "routes": st.sampled_from(((), ("0.0.0.0/0",))),
        "promiscuous": st.booleans(),
        "sysctls": st.sampled_from((None, {}, {"net/ipv4/conf/eth0/x": "1"})),
    }
)


@given(st.lists(seen, max_size=6))
def test_only_a_link_made_anew_loses_something_and_nothing_is_told_twice(sightings: list[dict[str, Any]]) -> None:
    known: AlteredLink | None = None
    for each in sightings:
        before, known = known, judged(POD, sighting(POD, **each), known)
        lost_before, lost = (record.lost if record is not None else () for record in (before, known))
        assert lost[: len(lost_before)] == lost_before
        assert len(set(lost)) == len(lost)
        if before is None or before.link == each["index"]:
            assert lost == lost_before
        if known is not None:
            assert (known.mac, known.mtu, known.link) == (each["mac"], each["mtu"], each["index"])


@pytest.mark.parametrize(
    ("then", "now", "lost"),
    [
        ({"mac": MAC}, {}, (f"MAC {MAC}",)),
        ({"mac": MAC}, {"mac": MAC}, ()),
        ({"mtu": 1400}, {}, ("MTU 1400",)),
        ({"promiscuous": True}, {}, ("promiscuous mode",)),
        ({"sysctls": {"a": "1", "b": "2"}}, {"sysctls": {"a": "1"}}, ("sysctl b=2",)),
    ],
)
def test_what_is_named(then: dict[str, Any], now: dict[str, Any], lost: tuple[str, ...]) -> None:
    before = judged(POD, sighting(POD, **then), None)
    after = judged(POD, sighting(POD, index=3, **now), before)
    assert (after.lost if after is not None else ()) == lost
