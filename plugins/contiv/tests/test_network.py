# SPDX-License-Identifier: Apache-2.0
"""What a network configuration may ask for: checked by key, unknown keys ignored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_contiv.cni.network import PodOptions, parse_options
from contivpp_contiv.records import Dns, PodRoute
from contivpp_core.errors import RequestError

FULL: dict[str, Any] = {
    "mtu": 1400,
    "sysctl": {"net.ipv4.conf.IFNAME.forwarding": "1", "net/core/somaxconn": "500"},
    "routes": [{"dst": "10.9.1.7/16"}, {"dst": "10.8.0.0/16", "gw": "10.1.1.9", "priority": 7}],
    "defaultRoute": False,
    "dns": {"nameservers": ["10.96.0.10"], "domain": "a", "search": ["b"], "options": ["ndots:5"]},
    "runtimeConfig": {"mac": "02-AA-00-00-00-01", "ips": ["10.1.1.7/24"], "portMappings": [{"hostPort": 1}]},
    "ipam": {},
    "somethingElse": [{}],
}


def parse(config: dict[str, Any], **arguments: str) -> PodOptions:
    return parse_options(config, arguments, "net1")


def test_everything_that_can_be_asked_for() -> None:
    assert parse(FULL) == PodOptions(
        address="10.1.1.7",
        mac="02:aa:00:00:00:01",
        mtu=1400,
        sysctls=(("net/core/somaxconn", "500"), ("net/ipv4/conf/net1/forwarding", "1")),
        routes=(
            PodRoute(destination="10.9.0.0/16"),
            PodRoute(destination="10.8.0.0/16", gateway="10.1.1.9", metric=7),
        ),
        default_route=False,
        dns=Dns(nameservers=("10.96.0.10",), domain="a", search=("b",), options=("ndots:5",)),
    )


def test_nothing_asked_for() -> None:
    nulls = dict.fromkeys((*FULL, "args"))
    assert parse({}) == parse(nulls) == parse({"runtimeConfig": {}, "args": {"cni": {}}, "dns": {}}) == PodOptions()


def test_capabilities_come_before_args_and_these_before_cni_args() -> None:
    args = {"cni": {"ips": ["10.1.1.2"], "mac": "02:00:00:00:00:02"}}
    config = {"runtimeConfig": {"ips": ["10.1.1.1"]}, "args": args}
    options = parse(config, IP="10.1.1.3", MAC="02:00:00:00:00:03")
    assert (options.address, options.mac) == ("10.1.1.1", "02:00:00:00:00:02")
    options = parse({}, IP="10.1.1.3/24", MAC="02:00:00:00:00:03")
    assert (options.address, options.mac) == ("10.1.1.3", "02:00:00:00:00:03")


def test_the_runtimes_name_servers_take_the_place_of_the_networks() -> None:
    runtime = {"dns": {"servers": ["10.0.0.1"], "searches": [], "options": None}}
    dns = parse({"dns": FULL["dns"], "runtimeConfig": runtime}).dns
    assert (dns.nameservers, dns.search, dns.options) == (("10.0.0.1",), ("b",), ("ndots:5",))


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({"mtu": "1400"}, 7, "mtu"),
        ({"mtu": 100}, 7, "mtu"),
        ({"mtu": True}, 7, "mtu"),
        ({"defaultRoute": "no"}, 7, "defaultRoute"),
        ({"sysctl": {"kernel.hostname": "x"}}, 7, "sysctl.'kernel.hostname'"),
        ({"sysctl": {"net.ipv4/../../kernel.x": "x"}}, 7, "sysctl.'net.ipv4/../../kernel.x'"),
        ({"sysctl": {"net.core.somaxconn": 500}}, 7, "sysctl[...]"),
        ({"sysctl": {"net.core.somaxconn": "5\n"}}, 7, "sysctl.net.core.somaxconn"),
        ({"sysctl": {"net.core.somaxconn": "5", "net/core/somaxconn": "6"}}, 7, "sysctl.net/core/somaxconn"),
        ({"routes": [{}]}, 7, "routes[0]"),
        ({"routes": [{"dst": "10.0.0.0/8"}, {"dst": "nowhere"}]}, 7, "routes[1].dst"),
        ({"routes": [{"dst": "10.0.0.0/8", "gw": "x"}]}, 7, "routes[0].gw"),
        ({"routes": [{"dst": "10.0.0.0/8"}, {"dst": "10.1.0.0/8"}]}, 7, "routes[1]"),
        ({"routes": [{"dst": "10.0.0.0/8", "priority": -1}]}, 7, "routes[0].priority"),
        ({"routes": [{"dst": "::/0"}]}, 2, "routes[0].dst"),
        ({"routes": [{"dst": "10.0.0.0/8", "table": 7}]}, 2, "routes[0].table"),
        ({"dns": {"nameservers": "10.0.0.1"}}, 7, "dns.nameservers"),
        ({"ipam": {"type": "host-local"}}, 2, "ipam.type"),
        ({"runtimeConfig": {"mac": "nonsense"}}, 7, "runtimeConfig.mac"),
        ({"runtimeConfig": {"mac": "01:00:5e:00:00:01"}}, 7, "runtimeConfig.mac"),
        ({"runtimeConfig": {"mac": "00:00:00:00:00:00"}}, 7, "runtimeConfig.mac"),
        ({"runtimeConfig": {"ips": "10.1.1.1"}}, 7, "runtimeConfig.ips"),
        ({"runtimeConfig": {"ips": ["10.1.1"]}}, 7, "runtimeConfig.ips"),
        ({"runtimeConfig": {"ips": ["10.1.1.1/99"]}}, 7, "runtimeConfig.ips"),
        ({"runtimeConfig": {"ips": ["10.1.1.1", "10.1.1.2"]}}, 2, "runtimeConfig.ips"),
        ({"args": {"cni": {"ips": ["fd00::1"]}}}, 2, "args.cni.ips"),
        ({"args": []}, 7, "args"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_path(config: dict[str, Any], code: int, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(config)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{path}: ")


def test_wrong_cni_args_are_named() -> None:
    with pytest.raises(RequestError, match=r"^CNI_ARGS MAC: 'x' is no MAC address"):
        parse({}, MAC="x")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted((*FULL, "args"))), values), st.dictionaries(st.just("IP"), st.text()))
def test_anything_is_understood_or_refused(config: dict[str, Any], arguments: dict[str, str]) -> None:
    code = 7
    try:
        parse_options(config, arguments, "eth0")
    except RequestError as error:
        code = error.code
    assert code in (2, 7)
