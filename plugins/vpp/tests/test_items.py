# SPDX-License-Identifier: Apache-2.0
"""Items and the pure parts of descriptors: canonical values, keys, dependencies, what errors mean."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.errors import ContivError, NotReady
from contivpp_core.items import Dependency, Item, Outcome, Owner
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_core.namespaces import Namespace
from contivpp_vpp.access import ForeignObject, Refused, VppAccess, VppUnavailable
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.descriptors.interfaces import mac_of
from contivpp_vpp.descriptors.route import _mentions
from contivpp_vpp.descriptors.tap import explain_refusal, tap_message
from contivpp_vpp.errors import ConnectionLost, NotConnected, VppError
from contivpp_vpp.incarnation import Incarnation, StartSource
from contivpp_vpp.items import (
    Address,
    AfPacket,
    BridgeDomain,
    BridgeMember,
    InterfaceVrf,
    L2FibEntry,
    LinkUp,
    Loopback,
    Mac,
    Mtu,
    Neighbour,
    NeighbourSettings,
    Path,
    PhysicalInterface,
    Route,
    SubInterface,
    Tag,
    Tap,
    Unnumbered,
    VrfTable,
    VxlanTunnel,
)
from contivpp_vpp.messages import ControlPing, SwInterfaceDetails, TapCreateV3, TapFlags
from contivpp_vpp.probe import PROBE, TapSupport, probe_tap, recall, remember
from contivpp_vpp.values import LONGEST_NAME, canonical_mac, name_of_tag, prefix_parts, tag_of
from contivpp_vpp.wire.errors import InvalidMessage

DESCRIPTORS = {each.kind: each for each in all_descriptors(VppAccess())}
NAMESPACE = Namespace("/var/run/netns/pod", 4, 4026532000)
POD = Tap(name="pod", host_name="eth0", namespace=NAMESPACE, mac="02:FE:00:00:00:01")
TUNNEL = VxlanTunnel(source="10.0.0.1", destination="10.0.0.2", vni=10, encap_vrf=3)


@pytest.mark.parametrize(
    ("item", "key"),
    [
        (POD, "vpp/tap/pod"),
        (AfPacket(name="p", host_name="v"), "vpp/afpacket/p"),
        (Loopback(name="l", instance=1), "vpp/loopback/l"),
        (PhysicalInterface(name="n", device="eth0"), "vpp/physical/n"),
        (Tag(interface="n", tag="x"), "vpp/tag/n"),
        (LinkUp(interface="n"), "vpp/link-up/n"),
        (VrfTable(vrf=3), "vpp/vrf/3"),
        (InterfaceVrf(interface="n", vrf=3), "vpp/interface-vrf/n"),
        (Address(interface="n", address="2001:DB8::1/64"), "vpp/address/n/2001:db8::1/64"),
        (Unnumbered(interface="n", donor="l"), "vpp/unnumbered/n"),
        (Mac(interface="n", mac="02:00:00:00:00:0A"), "vpp/mac/n"),
        (Mtu(interface="n", mtu=1500), "vpp/mtu/n"),
        (Route(vrf=1, prefix="10.1.1.5/24", paths=(Path(kind="drop"),)), "vpp/route/1/10.1.1.0/24"),
        (Neighbour(interface="n", address="10.1.1.2", mac="02:00:00:00:00:0A"), "vpp/neighbour/n/10.1.1.2"),
        (TUNNEL, "vpp/vxlan/3/10.0.0.1/10.0.0.2/10"),
        (BridgeDomain(bd_id=1), "vpp/bridge-domain/1"),
        (BridgeMember(bridge_domain=1, interface="n"), "vpp/bridge-member/n"),
        (L2FibEntry(bridge_domain=1, mac="02:00:00:00:00:0A", interface="n"), "vpp/l2fib/1/02:00:00:00:00:0a"),
        (SubInterface(name="s", parent="n", vlan=100), "vpp/sub-interface/s"),
        (NeighbourSettings(family="ip6"), "vpp/neighbour-settings/ip6"),
    ],
)
def test_keys(item: Item, key: str) -> None:
    assert item.key == key
    assert type(item) is DESCRIPTORS[item.kind].item
    assert {item} == {item}, "items are hashable"


def test_every_kind_is_named_after_its_class_variable() -> None:
    assert all(each.item.kind == kind and each.domain == "vpp" for kind, each in DESCRIPTORS.items())


@given(st.binary(min_size=6, max_size=6), st.booleans())
def test_a_mac_has_one_spelling(raw: bytes, upper: bool) -> None:
    text = raw.hex("-").upper() if upper else raw.hex(":")
    assert canonical_mac(text) == raw.hex(":")


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_prefix_has_no_host_bits(address: int, length: int) -> None:
    route = Route(prefix=f"{ipaddress.IPv4Address(address)}/{length}", paths=(Path(kind="drop"),))
    packed, found = prefix_parts(route.prefix)
    assert found == length
    assert int.from_bytes(packed, "big") == address >> (32 - length) << (32 - length)


@given(st.permutations([Path(interface=name, next_hop=hop) for name in "ab" for hop in ("", "10.0.0.1", "10.0.0.2")]))
def test_the_order_of_paths_has_no_meaning(paths: list[Path]) -> None:
    assert Route(prefix="10.0.0.0/8", paths=tuple(paths)) == Route(prefix="10.0.0.0/8", paths=tuple(reversed(paths)))


def test_the_own_table_goes_without_saying() -> None:
    explicit = Route(vrf=1, prefix="10.0.0.0/8", paths=(Path(next_hop="10.9.9.9", via_vrf=1),))
    assert explicit == Route(vrf=1, prefix="10.0.0.0/8", paths=(Path(next_hop="10.9.9.9"),))


@given(st.text(min_size=1).filter(lambda name: len(name.encode()) <= LONGEST_NAME and "\0" not in name))
def test_a_tag_gives_the_name_back(name: str) -> None:
    assert len(tag_of(name).encode()) <= 63
    assert name_of_tag(tag_of(name)) == name


@pytest.mark.parametrize("tag", ["", "contivpp/2/x", "contivpp/1/", "somebody"])
def test_foreign_tags_have_no_name(tag: str) -> None:
    assert name_of_tag(tag) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tap(name="x" * 53, host_name="eth0"),
        lambda: Loopback(name="", instance=1),
        lambda: Mac(interface="a", mac=""),
        lambda: Mac(interface="a", mac="02:00:00:00:00"),
        lambda: InterfaceVrf(interface="a", vrf=0),
        lambda: VrfTable(vrf=0),
        lambda: Mtu(interface="a", mtu=10),
        lambda: Route(prefix="10.0.0.0/8", paths=()),
        Path,
        lambda: Path(kind="lookup"),
        lambda: Path(kind="drop", interface="a"),
        lambda: Path(interface="a", weight=0),
        lambda: Address(interface="a", address="10.0.0.300/8"),
    ],
)
def test_values_that_vpp_cannot_hold_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"."):
        make()


def test_a_tap_provides_both_of_its_ends() -> None:
    assert set(DESCRIPTORS["vpp/tap"].provides(POD)) == {"vpp/interface/pod", "linux/link/4:4026532000/eth0"}


def test_the_tag_and_the_namespace_are_in_the_message_that_creates_a_tap() -> None:
    message = tap_message(POD)
    assert (message.tag, message.host_namespace, message.host_if_name) == (tag_of("pod"), NAMESPACE.path, "eth0")
    assert not message.use_random_mac
    assert message.tap_flags == 0
    assert tap_message(POD, persistent=True).tap_flags == TapFlags.PERSIST | TapFlags.ATTACH


def test_what_vpp_chose_is_as_wanted() -> None:
    found = Tap(name="pod", host_name="eth0", mac="02:00:00:00:00:01", host_mac="02:00:00:00:00:02", instance=3)
    descriptor = DESCRIPTORS["vpp/tap"]
    assert descriptor.equal(Tap(name="pod", host_name="eth0"), found)
    assert not descriptor.equal(Tap(name="pod", host_name="eth0", mac="02:00:00:00:00:09"), found)
    assert not descriptor.equal(Tap(name="pod", host_name="eth0", namespace=NAMESPACE), found)


def test_an_address_stands_on_the_value_of_its_interfaces_vrf() -> None:
    inside = Dependency.inside("vpp/interface/a")
    vrf = InterfaceVrf(interface="a", vrf=2)
    dependencies = DESCRIPTORS["vpp/address"].dependencies
    assert list(dependencies(Address(interface="a", address="10.0.0.1/8"))) == [inside, Dependency.absent(vrf.key)]
    assert list(dependencies(Address(interface="a", address="10.0.0.1/8", vrf=2))) == [
        inside,
        Dependency((vrf.key,), vrf),
    ]


def test_a_route_stands_on_interfaces_and_tables_but_does_not_vanish_with_them() -> None:
    route = Route(vrf=1, prefix="10.0.0.0/8", paths=(Path(interface="a"), Path(kind="lookup", via_vrf=2)))
    found = list(DESCRIPTORS["vpp/route"].dependencies(route))
    assert found == [Dependency.on("vpp/vrf/1"), Dependency.on("vpp/vrf/2"), Dependency.on("vpp/interface/a")]


def test_requirements_of_a_link_are_united() -> None:
    descriptor = DESCRIPTORS["vpp/link-up"]
    parts = [
        (Owner("a", "x"), LinkUp(interface="p", requires=("k2", "k1"))),
        (Owner("b", "x"), LinkUp(interface="p", requires=("k3", "k1"))),
    ]
    assert descriptor.merge(parts) == LinkUp(interface="p", requires=("k1", "k2", "k3"))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (VppError(-7, "ip_route_add_del_v2"), Outcome.CHANGE),
        (VppError(-114, "sw_interface_set_table"), Outcome.RETRY),
        (VppError(-1, "sw_interface_set_flags"), Outcome.RETRY),
        (VppError(-127, "sw_interface_add_del_address"), Outcome.CONFLICT),
        (InvalidMessage("no"), Outcome.CHANGE),
        (Refused("no"), Outcome.CHANGE),
        (ForeignObject("theirs"), Outcome.CONFLICT),
        (VppUnavailable("lost"), Outcome.UNKNOWN),
        (ContivError("else"), Outcome.RETRY),
    ],
)
def test_what_errors_mean(error: Exception, outcome: Outcome) -> None:
    assert {each.classify(error) for each in DESCRIPTORS.values()} == {outcome}


@pytest.mark.parametrize("retval", [-11, -13])
def test_a_host_without_vhost_net_is_told_what_to_do(retval: int) -> None:
    error = explain_refusal(POD, VppError(retval, "tap_create_v3"))
    assert isinstance(error, Refused)
    assert "use AF_PACKET" in str(error)
    assert NAMESPACE.path in str(error)


def test_an_unknown_refusal_of_a_tap_stays_what_it_is() -> None:
    error = VppError(-1, "tap_create_v3")
    assert explain_refusal(POD, error) is error


@pytest.mark.parametrize("lost", [ConnectionLost("cut"), NotConnected("none"), OSError("broken pipe")])
async def test_a_lost_answer_is_unavailable(lost: Exception) -> None:
    class Broken:
        async def request(self, message: object) -> object:
            raise lost

    access = VppAccess()
    with pytest.raises(VppUnavailable, match="not connected"):
        await access.request(ControlPing())
    access.client = Broken()  # type: ignore[assignment]
    with pytest.raises(VppUnavailable):
        await access.request(ControlPing())


def test_macs_by_name_are_local_and_differ() -> None:
    macs = {mac_of(name, "") for name in ("a", "b", "c")}
    assert len(macs) == 3
    assert all(mac[0] & 3 == 2 for mac in macs), "locally administered, unicast"
    assert mac_of("a", "02:00:00:00:00:0a").hex(":") == "02:00:00:00:00:0a"


def test_the_probe_carries_our_tag() -> None:
    assert name_of_tag(tap_message(PROBE).tag) == PROBE.name


class TapMaker:
    """A client whose VPP makes TAPs; `refuses` is the error number for the first one."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.sent: list[str] = []

    async def request(self, message: Any) -> Any:
        self.sent.append(message.MESSAGE)
        if isinstance(message, TapCreateV3) and self.refuses:
            raise VppError(self.refuses, message.MESSAGE)
        return message.REPLY(sw_if_index=5) if isinstance(message, TapCreateV3) else message.REPLY()

    async def dump(self, message: Any) -> Any:
        return [SwInterfaceDetails(sw_if_index=3), SwInterfaceDetails(sw_if_index=4, tag=tag_of(PROBE.name))]


@pytest.mark.parametrize(
    ("refuses", "sent", "usable"),
    [
        pytest.param(0, ["tap_create_v3", "tap_delete_v2"], True, id="it is made and deleted"),
        pytest.param(-71, ["tap_create_v3", "tap_delete_v2"], True, id="that of an interrupted attempt is deleted"),
        pytest.param(-11, ["tap_create_v3"], False, id="no vhost-net"),
    ],
)
async def test_the_probe_leaves_nothing(refuses: int, sent: list[str], usable: bool) -> None:
    client = TapMaker(refuses)
    support = await probe_tap(client)
    assert client.sent == sent
    assert support.usable is usable
    assert bool(support.reason) is not usable


async def test_a_refusal_that_may_pass_decides_nothing() -> None:
    client = TapMaker(-4)
    with pytest.raises(NotReady, match="cannot be told now"):
        await probe_tap(client)
    client.refuses = 0
    assert await probe_tap(client) == TapSupport(True)


async def test_the_answer_of_the_probe_holds_for_one_vpp() -> None:
    ledger = Ledger.open(None)
    this = Incarnation(7, 100.0, StartSource.PROCESS)
    assert recall(ledger, this) is None
    await remember(ledger, this, TapSupport(False, "why"))
    assert recall(ledger, this) == TapSupport(False, "why")
    assert recall(ledger, Incarnation(7, 101.0, StartSource.PROCESS)) is None
    await ledger.commit(LedgerWrite("vpp/probe", "tap", b"not what is written today"))
    assert recall(ledger, this) is None


FIB = """\
ipv4-VRF:0, fib_index:0, flow hash:[src dst ] epoch:0 flags:none locks:[contivpp:1, ]
10.9.0.1/32 fib:0 index:7 locks:3
  interface refs:1 entry-flags:connected,local, src-flags:added,contributing,active, cover:8
    path-list:[14] locks:2 flags:local, uPRF-list:8 len:0 itfs:[]

  {source} refs:1 src-flags:added,
    path-list:[18] locks:3 flags:shared, uPRF-list:14 len:0 itfs:[]

 forwarding:   unicast-ip4-chain
"""


def test_only_our_source_at_this_very_prefix_counts() -> None:
    assert _mentions(FIB.format(source="contivpp"), "10.9.0.1/32")
    assert not _mentions(FIB.format(source="API"), "10.9.0.1/32")
    assert not _mentions(FIB.format(source="contivpp"), "10.9.0.0/24")
    assert not _mentions("", "10.9.0.1/32")
