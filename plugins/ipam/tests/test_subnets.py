# SPDX-License-Identifier: Apache-2.0
"""The subnet table of the original, its corrected edges, and configurations that are refused."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contivpp_ipam.config import IpamConfig
from contivpp_ipam.subnets import NodeIdError

WIDE = {"vxlanCIDR": "192.168.32.0/20", "nodeInterconnectCIDR": "192.168.64.0/20"}


def node(node_id: int, **fields: Any) -> Any:
    return IpamConfig.model_validate(fields).subnets().for_node(node_id)


def test_the_first_node_with_defaults() -> None:
    first = node(1)
    assert str(first.pod_subnet) == "10.1.1.0/24"
    assert (str(first.pod_gateway), str(first.nat_loopback)) == ("10.1.1.1", "10.1.1.254")
    assert (str(first.vpp_host_vpp), str(first.vpp_host_linux)) == ("172.30.1.1/24", "172.30.1.2/24")
    assert (str(first.node_address), str(first.vxlan_address)) == ("192.168.16.1/24", "192.168.30.1/24")


def test_nodes_255_and_256_and_none_after() -> None:
    assert str(node(255, **WIDE).pod_subnet) == "10.1.255.0/24"
    assert str(node(256, **WIDE).pod_subnet) == "10.1.0.0/24"
    with pytest.raises(NodeIdError, match="podSubnetOneNodePrefixLen allows at most 256"):
        node(257, **WIDE)
    with pytest.raises(NodeIdError, match=r"vxlanCIDR allows at most 254, nodeInterconnectCIDR"):
        node(255)


@pytest.mark.parametrize(("node_id", "address"), [(1, "192.168.16.2/24"), (2, "192.168.16.3/24")])
def test_the_gateway_is_left_out(node_id: int, address: str) -> None:
    assert str(node(node_id, defaultGateway="192.168.16.1").node_address) == address


def test_nodes_stay_in_their_subnet_behind_the_gateway() -> None:
    assert str(node(253, defaultGateway="192.168.16.254").node_address) == "192.168.16.253/24"
    with pytest.raises(NodeIdError, match="nodeInterconnectCIDR allows at most 253"):
        node(254, defaultGateway="192.168.16.254")


def test_contiv_cidr_is_divided() -> None:
    subnets = IpamConfig.model_validate({"contivCIDR": "10.128.0.0/14"}).subnets()
    networks = [subnets.pods, subnets.vpp_host, subnets.node_interconnect, subnets.vxlan]
    assert [str(network) for network in networks] == [
        "10.128.0.0/16", "10.129.0.0/16", "10.130.0.0/23", "10.130.2.0/23",
    ]  # fmt: skip
    assert (subnets.pods_node_prefix, subnets.largest_node_id) == (25, 510)


def test_ipv6() -> None:
    second = node(
        2, podSubnetCIDR="2001::/48", podSubnetOneNodePrefixLen=64, vppHostSubnetCIDR="2002::/64",
        vppHostSubnetOneNodePrefixLen=112, nodeInterconnectCIDR="fe10:f00d::/90", vxlanCIDR="2005::/112",
        serviceCIDR="2096::/110",
    )  # fmt: skip
    assert (str(second.pod_subnet), str(second.vxlan_address)) == ("2001:0:0:2::/64", "2005::2/112")


@given(st.integers(1, 256), st.integers(0, 255))
def test_a_pod_address_leads_back_to_its_node(node_id: int, number: int) -> None:
    subnets = IpamConfig.model_validate(WIDE).subnets()
    pods = subnets.for_node(node_id).pod_subnet
    assert pods.subnet_of(ipaddress.ip_network("10.1.0.0/16"))  # type: ignore[type-var]
    assert subnets.node_id_of_pod(pods[number]) == node_id


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"podSubnetCIDR": "10.1.2.0/16"}, "the network is 10.1.0.0/16", id="host bits"),
        pytest.param({"podSubnetCIDR": "10.1.0.0"}, "address/prefix length", id="no prefix"),
        pytest.param({"podSubnetCIDR": "10.1.0.0/33"}, "podSubnetCIDR", id="bad prefix"),
        pytest.param({"podSubnetOneNodePrefixLen": 16}, "must be longer than podSubnetCIDR", id="n = S"),
        pytest.param({"podSubnetOneNodePrefixLen": 31}, "at most 29", id="no room for pods"),
        pytest.param({"podSubnetCIDR": "2001::/48"}, "mixed", id="families"),
        pytest.param({"vxlanCIDR": "10.1.9.0/24"}, r"podSubnetCIDR 10.1.0.0/16 overlaps vxlanCIDR", id="overlap"),
        pytest.param({"defaultGateway": "10.0.0.1"}, "defaultGateway 10.0.0.1", id="gateway outside"),
        pytest.param({"contivCIDR": "10.128.0.0/15"}, "/14 or shorter", id="contivCIDR too small"),
        pytest.param({"contivCIDR": "10.128.0.0/14", "vxlanCIDR": "10.9.0.0/24"}, "remove one", id="both"),
        pytest.param({"podSubnetCidr": "10.1.0.0/16"}, "podSubnetCidr", id="misspelt"),
    ],
)
def test_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        IpamConfig.model_validate(fields)


def test_several_problems_are_told_at_once() -> None:
    with pytest.raises(ValidationError, match=r"(?s)podSubnetOneNodePrefixLen.*overlaps.*defaultGateway"):
        IpamConfig.model_validate(
            {"podSubnetOneNodePrefixLen": 8, "vxlanCIDR": "10.1.9.0/24", "defaultGateway": "1.1.1.1"}
        )
