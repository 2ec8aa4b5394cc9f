# SPDX-License-Identifier: Apache-2.0
"""What a node asks for itself."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.records import HOST_LINK, REMEMBERED, HostLink
from contivpp_core.kubernetes import NODE, NODE_SETTINGS, InterfaceSettings, Node, NodeAddress, NodeSettings
from contivpp_core.node import (
    HOST_ADDRESS,
    HOST_ROUTE,
    NETWORK_INTERFACE,
    HostAddress,
    HostRoute,
    NetworkInterface,
)
from contivpp_core.state import Put, Ready
from contivpp_vpp.items import Path, Route

from .clusters import OWN, Outcome, own

DROP = (Path(kind="drop"),)


def nic(name: str, index: int) -> Put:
    return Put(NETWORK_INTERFACE.name, NetworkInterface(name=name, kind="dpdk", index=index, mtu=9000))


def settings(**fields: object) -> Put:
    return Put(NODE_SETTINGS.name, NodeSettings(name=OWN, **fields))  # type: ignore[arg-type]


def link(kind: str) -> Put:
    return Put(HOST_LINK.name, HostLink(name=OWN, kind=kind))  # type: ignore[arg-type]


def test_what_no_node_has_is_dropped_and_pods_have_their_gateway() -> None:
    found = Outcome([own(3)])
    assert found.items["vpp/route/0/10.1.0.0/16"] == Route(prefix="10.1.0.0/16", paths=DROP)
    assert found.items["vpp/route/0/172.30.0.0/16"] == Route(prefix="172.30.0.0/16", paths=DROP)
    assert {"podGwLoop/10.1.3.1/24", "loopbackNIC/192.168.16.3/24"} <= found.keys("vpp/address")
    assert not found.keys("vpp/vrf")


def test_two_vrfs_point_at_each_other() -> None:
    found = Outcome([own(3)], podVRFID=7)
    assert found.keys("vpp/vrf") == {"7"}
    ways = {key: found.items[f"vpp/route/{key}"].paths[0] for key in found.keys("vpp/route")}
    assert ways["7/0.0.0.0/0"] == ways["7/172.30.3.0/24"] == Path(kind="lookup", via_vrf=0)
    assert ways["0/10.1.0.0/16"] == ways["0/172.30.0.0/16"] == Path(kind="lookup", via_vrf=7)
    assert ways["7/10.1.0.0/16"] == ways["7/172.30.0.0/16"] == Path(kind="drop")
    assert {"podGwLoop", "vxlanBVI"} == found.keys("vpp/interface-vrf")


def test_two_vrfs_without_the_overlay_leave_other_nodes_to_the_main_one() -> None:
    found = Outcome([own(3)], podVRFID=7, nodeToNodeTransport="nooverlay")
    ways = {key: found.items[f"vpp/route/{key}"].paths[0] for key in found.keys("vpp/route")}
    assert ways["0/10.1.0.0/16"] == ways["0/172.30.0.0/16"] == Path(kind="drop")
    assert not {"7/10.1.0.0/16", "7/172.30.0.0/16"} & ways.keys()
    assert ways["0/10.1.3.0/24"] == Path(kind="lookup", via_vrf=7)


@pytest.mark.parametrize(
    ("kind", "address", "macs"),
    [
        ("dpdk", "", set()),
        ("af-packet", "", {"uplink 12:2d:c0:a8:10:03"}),
        ("af-packet", "10.20.30.40/24", {"uplink 12:2d:c0:a8:10:03"}),  # another address: nobody need learn anew
    ],
)
def test_an_uplink_without_a_mac_of_its_own_gets_one_that_goes_with_its_node(
    kind: str, address: str, macs: set[str]
) -> None:
    record = NetworkInterface(name="host-eth1", kind=kind, index=1)
    operator = settings(main_interface=InterfaceSettings(address=address))
    found = Outcome([own(3), Put(NETWORK_INTERFACE.name, record), operator])
    items = [item for key, item in found.items.items() if key.startswith("vpp/mac/")]
    assert {f"{item.interface} {item.mac}" for item in items} == macs


@pytest.mark.parametrize(
    ("writes", "config", "device"),
    [
        ((), {}, ""),
        ((nic("Gig0", 1), nic("Gig1", 2)), {}, "Gig0"),
        ((nic("Gig0", 1), nic("Gig1", 2)), {"mainInterface": "Gig1"}, "Gig1"),
        ((nic("Gig0", 1), nic("Gig1", 2), settings(other_interfaces=(InterfaceSettings("Gig0"),))), {}, "Gig1"),
        ((nic("Gig0", 1), settings(main_interface=InterfaceSettings("Gig9"))), {"mainInterface": "Gig0"}, "Gig9"),
    ],
)
def test_the_main_interface_is_chosen(writes: tuple[Put, ...], config: dict[str, str], device: str) -> None:
    found = Outcome([own(), *writes], **config)
    (uplink,) = found.derived["Uplink"]
    assert (uplink.device, uplink.interface) == (device, "uplink" if device else "loopbackNIC")
    assert f"{uplink.interface}/192.168.16.1/24" in found.keys("vpp/address")


def test_a_main_interface_that_vpp_has_not_is_named() -> None:
    found = Outcome([own(), nic("Gig0", 1)], mainInterface="Gig7")
    assert found.faults() == {"interface Gig7": "VPP has no interface of this name"}
    assert "uplink" in found.keys("vpp/physical")  # it is used as soon as it is there


def test_the_address_of_the_operator_counts_before_the_computed_one() -> None:
    given = InterfaceSettings("Gig0", "192.168.16.77/24")
    found = Outcome([own(), nic("Gig0", 1), settings(main_interface=given, gateway="192.168.16.254")])
    assert found.derived["OwnNode"][0].vpp_addresses == ("192.168.16.77/24",)
    assert found.items["vpp/route/0/0.0.0.0/0"].paths == (Path(interface="uplink", next_hop="192.168.16.254"),)


def test_a_gateway_elsewhere_is_named_and_not_used() -> None:
    found = Outcome([own(), settings(gateway="10.9.9.9")])
    assert "gateway" in found.faults()
    assert "vpp/route/0/0.0.0.0/0" not in found.items


def test_no_address_for_the_node_is_said() -> None:
    found = Outcome([own()], {"nodeInterconnectDHCP": True})
    assert "mainVPPInterface.ip" in found.faults()["uplink"]
    assert not found.derived["OwnNode"]


def test_what_is_published_has_the_addresses_of_the_node_object() -> None:
    given = (("InternalIP", "10.200.0.1"), ("Hostname", "n1"), ("InternalIP", "::1"))
    addresses = tuple(NodeAddress(kind, address) for kind, address in given)
    found = Outcome([own(), Put(NODE.name, Node(name=OWN, addresses=addresses))])
    (record,) = found.derived["OwnNode"]
    assert (record.node_id, record.management_addresses) == (1, ("10.200.0.1",))


def test_the_host_is_linked_by_a_tap_or_a_veth() -> None:
    for kind, item in (("tap", "vpp/tap/tap-vpp2"), ("veth", "vpp/afpacket/tap-vpp2")):
        found = Outcome([own(), link(kind)])
        assert item in found.items
        assert found.keys("linux/address") == {"host/vpp1/172.30.1.2/24"} or found.keys("linux/address")
        routes = {found.items[f"linux/route/{key}"].destination for key in found.keys("linux/route")}
        assert routes == {"10.1.0.0/16", "172.30.0.0/16"}
    found = Outcome([own(), link("tap")], routeServiceCIDRToVPP=True)
    assert "10.96.0.0/12" in {found.items[f"linux/route/{key}"].destination for key in found.keys("linux/route")}


def test_the_hosts_addresses_are_reached_over_its_link() -> None:
    writes = [own(), link("tap"), Put(HOST_ADDRESS.name, HostAddress(link="mgmt0", address="10.200.0.1/24"))]
    found = Outcome(writes)
    assert found.items["vpp/route/0/10.200.0.1/32"].paths == (Path(interface="tap-vpp2", next_hop="172.30.1.2"),)


@pytest.mark.parametrize("address", ["10.1.4.4/24", "192.168.16.1/24", "172.30.9.1/24"])
def test_an_address_of_the_host_that_the_cluster_uses_is_named(address: str) -> None:
    found = Outcome([own(), link("tap"), Put(HOST_ADDRESS.name, HostAddress(link="eth0", address=address))])
    assert list(found.faults()) == [f"address {address} of link eth0"]
    assert f"vpp/route/0/{address.partition('/')[0]}/32" not in found.items


def test_a_route_of_the_host_inside_the_pods_network_is_named() -> None:
    routes = [HostRoute(destination=each, link="br0") for each in ("10.1.7.0/24", "10.0.0.0/8", "0.0.0.0/0")]
    found = Outcome([own(), *(Put(HOST_ROUTE.name, route) for route in routes)])
    (reason,) = found.faults().values()
    assert "br0" in reason
    assert "podSubnetCIDR 10.1.0.0/16" in reason


def test_pods_get_what_the_underlay_carries_less_the_encapsulation() -> None:
    assert ContivConfig().pod_mtu == 1450
    assert ContivConfig.model_validate({"underlayMTU": 9000}).pod_mtu == 8950
    assert ContivConfig.model_validate({"underlayMTU": 9000, "nodeToNodeTransport": "nooverlay"}).pod_mtu == 9000
    assert ContivConfig.model_validate({"mtu": 1300}).pod_mtu == 1300
    with pytest.raises(ValidationError, match="mtu 1460 is more than the 1450 bytes"):
        ContivConfig.model_validate({"mtu": 1460})


@pytest.mark.parametrize("address", ["fd00::5/64", "0.0.0.0/24", "224.0.0.9/24"])
def test_an_address_that_is_no_ipv4_hosts_is_named_and_not_used(address: str) -> None:
    found = Outcome([own(), nic("Gig0", 1), settings(main_interface=InterfaceSettings("Gig0", address))])
    assert address in found.faults()["mainVPPInterface"]
    assert found.derived["OwnNode"][0].vpp_addresses == ("192.168.16.1/24",)


def test_the_settings_that_were_known_last_count_until_the_store_tells_others() -> None:
    old, new = (NodeSettings(name=OWN, main_interface=InterfaceSettings("", f"192.168.16.{n}/24")) for n in (77, 78))
    remembered, away = Put(REMEMBERED.name, old), Ready(NODE_SETTINGS.name, False)
    found = Outcome([own(), remembered, away])
    assert found.derived["Uplink"][0].address == "192.168.16.77/24"
    found = Outcome([own(), Put(NODE_SETTINGS.name, new), remembered])
    assert found.derived["Uplink"][0].address == "192.168.16.78/24"
    found = Outcome([own(), remembered])  # the operator took them back
    assert found.derived["Uplink"][0].address == "192.168.16.1/24"


def test_before_the_operators_settings_are_known_nothing_is_guessed() -> None:
    for table in (NODE_SETTINGS, NETWORK_INTERFACE):
        found = Outcome([own(), Ready(table.name, False)])
        assert not found.derived["Uplink"]
        assert not any("192.168.16" in key for key in found.items)
    named = Outcome([own(), Ready(NETWORK_INTERFACE.name, False)], mainInterface="Gig0")
    assert named.derived["Uplink"]
