# SPDX-License-Identifier: Apache-2.0
"""Results begin with what earlier plugins said, and follow the version that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contivpp_contiv.cni.garbage import valid_attachments
from contivpp_contiv.cni.request import CniRequest
from contivpp_contiv.cni.result import add_result, previous_result
from contivpp_contiv.records import Dns, LocalPod, PodRoute
from contivpp_core.errors import RequestError
from contivpp_core.namespaces import Namespace

POD: dict[str, Any] = {
    "container_id": "c1",
    "interface": "eth0",
    "namespace": "default",
    "name": "web",
    "netns": Namespace("/run/netns/x", 4, 7),
    "address": "10.1.1.2",
    "gateway": "10.1.1.1",
    "wiring": "tap",
    "mtu": 1450,
}
PREVIOUS = {
    "cniVersion": "0.3.1",
    "interfaces": [{"name": "lo", "sandbox": "/run/netns/x", "extra": {"kept": True}}],
    "ips": [{"version": "4", "address": "127.0.0.1/8", "interface": 0}, {"address": "::1/128", "interface": 0}],
    "routes": [{"dst": "10.0.0.0/8", "gw": "10.1.1.9", "advmss": 1}],
    "dns": {"nameservers": ["1.1.1.1"], "search": ["kept"]},
}


def request(version: str = "1.0.0", **config: Any) -> CniRequest:
    return CniRequest(
        command="ADD", version=version, network="net", arguments={}, netns="/run/netns/x", config=config
    )


def result(version: str, previous: Any = None, **pod: Any) -> dict[str, Any]:
    asked = request(version, prevResult=previous)
    answer: dict[str, Any] = json.loads(add_result(LocalPod(**POD | pod), previous_result(asked), asked))
    assert answer.pop("cniVersion") == version
    return answer


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_each_version_has_its_fields(version: str) -> None:
    answer = result(version)
    assert ("version" in answer["ips"][0]) == version.startswith("0.")
    assert answer["interfaces"][0].get("mtu") == (1450 if version == "1.1.0" else None)
    assert answer["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.1.1"}]


def test_a_veth_pod_names_its_end_on_the_host_first() -> None:
    answer = result("1.0.0", wiring="afpacket")
    assert [("sandbox" in each) for each in answer["interfaces"]] == [False, True]
    assert answer["ips"][0]["interface"] == 1


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_what_was_there_before_stays_as_it_was(version: str) -> None:
    answer = result(version, PREVIOUS, dns=Dns(nameservers=("10.96.0.10",)))
    assert answer["interfaces"][0] == PREVIOUS["interfaces"][0]
    assert [each["address"] for each in answer["ips"]] == ["127.0.0.1/8", "::1/128", "10.1.1.2/32"]
    assert [each.get("version") for each in answer["ips"]] == (["4", "6", "4"] if version == "0.4.0" else [None] * 3)
    assert [each.get("interface") for each in answer["ips"]] == [0, 0, 1]
    assert answer["routes"][0] == PREVIOUS["routes"][0]
    assert answer["dns"] == {"nameservers": ["10.96.0.10"], "search": ["kept"]}


def test_routes_of_a_further_interface_have_their_metric() -> None:
    routes = (PodRoute(destination="10.9.0.0/16"), PodRoute(destination="10.1.1.1/32"))
    answer = result("1.1.0", metric=100, routes=routes, default_route=False)
    assert answer["routes"] == [{"dst": "10.9.0.0/16", "gw": "10.1.1.1", "priority": 100}]


@pytest.mark.parametrize(
    ("previous", "path"),
    [
        ([], "prevResult"),
        ({"interfaces": [{}]}, "prevResult.interfaces[0]"),
        ({"interfaces": [{"name": 7}]}, "prevResult.interfaces[0].name"),
        ({"ips": {}}, "prevResult.ips"),
        ({"ips": [{"address": "1.1.1.1/8", "interface": "x"}]}, "prevResult.ips[0].interface"),
        ({"interfaces": [{"name": "a"}], "ips": [{"address": "1.1.1.1/8", "interface": 1}]}, "prevResult.ips[0].inter"),
        ({"ips": [{"address": "1.1.1.1/8", "interface": -1}]}, "prevResult.ips[0].interface"),
        ({"ips": [{"address": "nonsense"}]}, "prevResult.ips[0].address"),
        ({"routes": [{"dst": "nowhere"}]}, "prevResult.routes[0].dst"),
        ({"routes": [None]}, "prevResult.routes[0]"),
        ({"dns": []}, "prevResult.dns"),
    ],
)  # fmt: skip
def test_a_malformed_previous_result_is_refused_by_its_path(previous: Any, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        previous_result(request(prevResult=previous))
    assert caught.value.code == 7
    assert str(caught.value).startswith(path)


def test_an_empty_previous_result_is_none_or_empty() -> None:
    assert previous_result(request(prevResult=None)) is None
    assert result("1.0.0", {}) == result("1.0.0") == result("1.0.0", {"interfaces": None, "ips": None})


VALID = "cni.dev/valid-attachments"


def test_valid_attachments() -> None:
    listed = [{"containerID": "a", "ifname": "eth0", "more": 1}]
    assert valid_attachments(request(**{VALID: listed})) == {"a/eth0"}
    assert valid_attachments(request(**{"cni.dev/attachments": listed})) == {"a/eth0"}
    assert valid_attachments(request(**{VALID: None})) == valid_attachments(request(**{VALID: []})) == set()


@pytest.mark.parametrize("listed", [{}, [7], [{"containerID": "a"}], [{"containerID": 1, "ifname": "b"}], "all"])
def test_a_malformed_list_removes_nothing(listed: Any) -> None:
    with pytest.raises(RequestError, match=r"^cni.dev/valid-attachments: "):
        valid_attachments(request(**{VALID: listed}))


def test_without_a_list_nothing_is_concluded() -> None:
    with pytest.raises(RequestError, match="missing: without it nothing is removed"):
        valid_attachments(request())
