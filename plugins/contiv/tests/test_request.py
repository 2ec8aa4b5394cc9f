# SPDX-License-Identifier: Apache-2.0
"""Requests are checked before anything is done with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_contiv.cni.request import SUPPORTED_VERSIONS, parse_request, version_of
from contivpp_core.errors import RequestError

CONFIG: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net", "type": "contivpp"}
ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/proc/1/ns/net",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0",
}


def parse(environment: dict[str, str] | None = None, config: object = None) -> Any:
    stdin = json.dumps(CONFIG if config is None else config).encode()
    return parse_request({**ENVIRONMENT, **(environment or {})}, stdin)


def test_a_request_is_understood() -> None:
    request = parse()
    assert (request.pod_namespace, request.pod_name) == ("default", "web-0")
    assert (request.container_id, request.interface, request.netns) == ("abc", "eth0", "/proc/1/ns/net")
    assert request.version == "1.0.0"


def test_outside_kubernetes_the_container_is_the_pods_name() -> None:
    request = parse({"CNI_ARGS": ""})
    assert (request.pod_namespace, request.pod_name) == ("", "abc")


@pytest.mark.parametrize(
    ("environment", "config", "code"),
    [
        pytest.param({"CNI_COMMAND": "FROB"}, None, 4, id="unknown command"),
        pytest.param({"CNI_CONTAINERID": ""}, None, 4, id="no container ID"),
        pytest.param({"CNI_CONTAINERID": "../etc"}, None, 4, id="path in container ID"),
        pytest.param({"CNI_CONTAINERID": "a" * 256}, None, 4, id="long container ID"),
        pytest.param({"CNI_IFNAME": "a/b"}, None, 4, id="path in interface name"),
        pytest.param({"CNI_IFNAME": "eth%d"}, None, 4, id="format as interface name"),
        pytest.param({"CNI_IFNAME": ".."}, None, 4, id="dots as interface name"),
        pytest.param({"CNI_IFNAME": "a" * 16}, None, 4, id="long interface name"),
        pytest.param({"CNI_IFNAME": "ä" * 8}, None, 4, id="interface name of 16 bytes"),
        pytest.param({"CNI_NETNS": "relative"}, None, 4, id="relative path"),
        pytest.param({"CNI_NETNS": ""}, None, 4, id="ADD without namespace"),
        pytest.param({"CNI_NETNS": "/a\0b"}, None, 4, id="NUL in path"),
        pytest.param({"CNI_ARGS": "broken"}, None, 4, id="arguments without ="),
        pytest.param({"CNI_ARGS": "K8S_POD_NAME=a\nb"}, None, 4, id="control byte in an argument"),
        pytest.param({}, [], 6, id="a list as configuration"),
        pytest.param({}, {**CONFIG, "cniVersion": "0.2.0"}, 1, id="old version"),
        pytest.param({}, {**CONFIG, "cniVersion": 1}, 7, id="number as version"),
        pytest.param({}, {**CONFIG, "cniVersion": ["1.0.0"]}, 7, id="list as version"),
        pytest.param({}, {"cniVersion": "1.0.0"}, 7, id="no network name"),
        pytest.param({}, {**CONFIG, "name": "../etc"}, 7, id="path in network name"),
        pytest.param({"CNI_COMMAND": "GC"}, None, 1, id="GC before 1.1.0"),
        pytest.param({"CNI_COMMAND": "STATUS"}, None, 1, id="STATUS before 1.1.0"),
        pytest.param({"CNI_COMMAND": "CHECK"}, {**CONFIG, "cniVersion": "0.3.1"}, 1, id="CHECK before 0.4.0"),
        pytest.param({"CNI_IFNAME": "eth\udcff"}, None, 4, id="interface name that is not UTF-8"),
    ],
)
def test_wrong_requests_are_refused(environment: dict[str, str], config: object, code: int) -> None:
    with pytest.raises(RequestError) as caught:
        parse(environment, config)
    assert caught.value.code == code


def test_delete_needs_no_namespace() -> None:
    assert parse({"CNI_COMMAND": "DEL", "CNI_NETNS": ""}).netns == ""


@given(st.binary(max_size=200))
def test_any_bytes_on_stdin_give_an_error_or_a_request(stdin: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(ENVIRONMENT, stdin)
    assert caught.value.code in (1, 6, 7)
    assert version_of(stdin) in SUPPORTED_VERSIONS


@given(st.dictionaries(st.sampled_from(sorted(ENVIRONMENT)), st.text(max_size=300)))
def test_any_environment_gives_an_error_or_a_request(environment: dict[str, str]) -> None:
    try:
        request = parse(environment)
    except RequestError as error:
        code = error.code
    else:
        code = 4
        assert "/" not in request.container_id + request.interface
        assert "\0" not in request.netns
    assert code == 4
