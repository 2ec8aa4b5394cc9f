# SPDX-License-Identifier: Apache-2.0
"""The `ipamConfig` section: the original's field names and defaults, checked as a whole.

All that is impossible is reported at once, with the names as they stand in the file. Problems between fields are
looked for once every field by itself is readable. The arithmetic is in ``subnets.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import combinations
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contivpp_ipam.subnets import Address, ClusterSubnets, Network


def _cidr(value: Any) -> Any:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError(f"give a network as address/prefix length, not {value!r}")
    network = ip_network(value, strict=False)
    if str(network.network_address) != str(ip_address(value.split("/")[0])):
        raise ValueError(f"{value} has bits set behind the prefix; the network is {network}")
    return network


def _optional_cidr(value: Any) -> Any:
    return None if value in (None, "") else _cidr(value)


def _optional_address(value: Any) -> Any:
    return None if value in (None, "") else ip_address(value)


Cidr = Annotated[Network, BeforeValidator(_cidr)]
OptionalCidr = Annotated[Network | None, BeforeValidator(_optional_cidr)]


class IpamConfig(BaseModel):
    """Networks of the cluster. `subnets()` gives those in force."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pod_subnet_cidr: Cidr = Field(ip_network("10.1.0.0/16"), alias="podSubnetCIDR")
    pod_subnet_one_node_prefix_len: int = Field(24, alias="podSubnetOneNodePrefixLen")
    vpp_host_subnet_cidr: Cidr = Field(ip_network("172.30.0.0/16"), alias="vppHostSubnetCIDR")
    vpp_host_subnet_one_node_prefix_len: int = Field(24, alias="vppHostSubnetOneNodePrefixLen")
    node_interconnect_cidr: OptionalCidr = Field(ip_network("192.168.16.0/24"), alias="nodeInterconnectCIDR")
    node_interconnect_dhcp: bool = Field(False, alias="nodeInterconnectDHCP")
    vxlan_cidr: Cidr = Field(ip_network("192.168.30.0/24"), alias="vxlanCIDR")
    service_cidr: Cidr = Field(ip_network("10.96.0.0/12"), alias="serviceCIDR")
    contiv_cidr: OptionalCidr = Field(None, alias="contivCIDR")
    default_gateway: Annotated[Address | None, BeforeValidator(_optional_address)] = Field(
        None, alias="defaultGateway"
    )

    def subnets(self) -> ClusterSubnets:
        """The networks in force: with contivCIDR, most are parts of it."""
        interconnect = None if self.node_interconnect_dhcp else self.node_interconnect_cidr
        common: dict[str, Any] = {"service": self.service_cidr, "default_gateway": self.default_gateway}
        contiv = self.contiv_cidr
        if contiv is None:
            return ClusterSubnets(
                pods=self.pod_subnet_cidr,
                pods_node_prefix=self.pod_subnet_one_node_prefix_len,
                vpp_host=self.vpp_host_subnet_cidr,
                vpp_host_node_prefix=self.vpp_host_subnet_one_node_prefix_len,
                vxlan=self.vxlan_cidr,
                node_interconnect=interconnect,
                **common,
            )
        bits, base = contiv.max_prefixlen, contiv.network_address
        if not self.node_interconnect_dhcp and "node_interconnect_cidr" not in self.model_fields_set:
            interconnect = ip_network((base + (256 << 9), bits - 9))
        return ClusterSubnets(
            pods=ip_network((base, bits - 16)),
            pods_node_prefix=bits - 7,
            vpp_host=ip_network((base + (1 << 16), bits - 16)),
            vpp_host_node_prefix=bits - 7,
            vxlan=ip_network((base + (257 << 9), bits - 9)),
            node_interconnect=interconnect,
            **common,
        )

    @model_validator(mode="after")
    def _check(self) -> IpamConfig:
        problems = list(self._contiv_problems()) or [*_size_problems(self.subnets()), *_relations(self.subnets())]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _contiv_problems(self) -> Iterator[str]:
        contiv = self.contiv_cidr
        if contiv is None:
            return
        if contiv.max_prefixlen - contiv.prefixlen < 18:
            yield f"contivCIDR {contiv} is too small: /{contiv.max_prefixlen - 18} or shorter is needed"
        replaced = {"pod_subnet_cidr", "pod_subnet_one_node_prefix_len", "vpp_host_subnet_cidr"}
        replaced |= {"vpp_host_subnet_one_node_prefix_len", "vxlan_cidr"}
        for name in sorted(replaced & self.model_fields_set):
            yield f"{type(self).model_fields[name].alias} and contivCIDR are both given: remove one"


def _size_problems(subnets: ClusterSubnets) -> Iterator[str]:
    for field, length_field, network, prefix, spare in (
        ("podSubnetCIDR", "podSubnetOneNodePrefixLen", subnets.pods, subnets.pods_node_prefix, 3),
        ("vppHostSubnetCIDR", "vppHostSubnetOneNodePrefixLen", subnets.vpp_host, subnets.vpp_host_node_prefix, 2),
    ):
        longest = network.max_prefixlen - spare
        if not network.prefixlen < prefix <= longest:
            yield f"{length_field} {prefix}: must be longer than {field} {network}, and at most {longest}"


def _relations(subnets: ClusterSubnets) -> Iterator[str]:
    fields: dict[str, Network | None] = {
        "podSubnetCIDR": subnets.pods,
        "vppHostSubnetCIDR": subnets.vpp_host,
        "nodeInterconnectCIDR": subnets.node_interconnect,
        "vxlanCIDR": subnets.vxlan,
        "serviceCIDR": subnets.service,
    }
    present = {name: network for name, network in fields.items() if network is not None}
    if len({network.version for network in present.values()}) > 1:
        yield "IPv4 and IPv6 are mixed: " + ", ".join(f"{name} {network}" for name, network in present.items())
    for (name, network), (other_name, other) in combinations(present.items(), 2):
        if network.version == other.version and network.overlaps(other):
            yield f"{name} {network} overlaps {other_name} {other}"
    nodes, gateway = subnets.node_interconnect, subnets.default_gateway
    if nodes is not None and gateway is not None:
        ends = (nodes.network_address, nodes.broadcast_address)
        if gateway not in nodes or gateway in ends:
            yield f"defaultGateway {gateway}: is no host of nodeInterconnectCIDR {nodes}"
