# SPDX-License-Identifier: Apache-2.0
"""Decoding services and their endpoints."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.kubernetes import (
    ENDPOINT_SLICE,
    SERVICE,
    TABLES,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    MalformedObject,
    Service,
    ServicePort,
    decode,
)
from contivpp_core.selectors import LabelSelector
from contivpp_core.state import Put, State

META: dict[str, Any] = {"namespace": "x", "name": "a"}
SERVICE_OBJECT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": META | {
        "labels": {"b": "2", "a": "1"}, "annotations": {"contivpp.io/t": "1", "other": "1"}, "resourceVersion": "1",
    },
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.5",
        "clusterIPs": ["10.96.0.5", "fd00::5"],
        "externalIPs": ["192.0.2.7"],
        "loadBalancerSourceRanges": ["198.51.100.0/24"],
        "ports": [
            {"name": "web", "port": 80, "targetPort": "http", "nodePort": 30080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ],
        "selector": {"app": "a"},
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "healthCheckNodePort": 31000,
    },
    "status": {"loadBalancer": {"ingress": [
        {"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "VIP"}, {"ip": "203.0.113.3", "ipMode": "Proxy"},
        {"hostname": "lb.example.org"},
    ]}},
}  # fmt: skip
SLICE_OBJECT: dict[str, Any] = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": META | {"name": "a-1", "labels": {"kubernetes.io/service-name": "a", "other": "1"}},
    "addressType": "IPv4",
    "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}, {"port": None}],
    "endpoints": [
        {
            "addresses": ["10.1.1.2", "10.1.1.99"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "n1",
            "zone": "z1",
            "hints": {"forZones": [{"name": "z1"}, {"name": "z2"}], "forNodes": [{"name": "n1"}]},
            "targetRef": {"kind": "Pod", "name": "p"},
        },
        {"addresses": ["10.1.1.3"], "conditions": {"ready": False, "serving": True, "terminating": True}},
        {"addresses": ["10.1.1.4"]},
    ],
}
SLICE = EndpointSlice(
    namespace="x",
    name="a-1",
    service="a",
    address_type="IPv4",
    ports=(EndpointPort("web", 8080), EndpointPort("", 0)),
    endpoints=(
        Endpoint("10.1.1.2", "n1", True, True, False, "z1", ("z1", "z2"), ("n1",)),
        Endpoint("10.1.1.3", "", False, True, True),
        Endpoint("10.1.1.4"),
    ),
)


def test_a_service() -> None:
    record = Service(
        namespace="x",
        name="a",
        labels=(("a", "1"), ("b", "2")),
        annotations=(("contivpp.io/t", "1"),),
        type="LoadBalancer",
        cluster_ips=("10.96.0.5", "fd00::5"),
        external_ips=("192.0.2.7",),
        load_balancer_ips=("203.0.113.1", "203.0.113.2"),
        load_balancer_source_ranges=("198.51.100.0/24",),
        ports=(ServicePort("web", 80, "TCP", 30080), ServicePort("dns", 53, "UDP")),
        affinity_seconds=60,
        external_local=True,
        internal_local=True,
        health_check_node_port=31000,
    )
    assert decode(Service, SERVICE_OBJECT) == record
    assert decode(Service, json.dumps(SERVICE_OBJECT).encode()) == record
    assert hash(record) == hash(decode(Service, SERVICE_OBJECT))


def with_spec(**spec: Any) -> Service:
    return decode(Service, {"metadata": META, "spec": spec})


def test_what_a_service_leaves_out() -> None:
    minimal = Service(namespace="x", name="a")
    assert decode(Service, {"metadata": META}) == minimal
    assert decode(Service, {"metadata": META, "spec": None, "status": {"loadBalancer": {"ingress": None}}}) == minimal
    assert with_spec(ports=None, externalIPs=None, clusterIPs=None, sessionAffinity="None") == minimal
    assert with_spec(clusterIP="None", clusterIPs=["None"]).cluster_ips == ()  # headless
    assert with_spec(clusterIP="10.96.0.9").cluster_ips == ("10.96.0.9",)
    assert with_spec(type="ExternalName", externalName="example.org").cluster_ips == ()
    assert with_spec(sessionAffinity="ClientIP").affinity_seconds == 10800
    assert with_spec(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": None}).affinity_seconds == 10800
    assert not with_spec(externalTrafficPolicy="Cluster", internalTrafficPolicy="Cluster").external_local


def test_a_slice() -> None:
    assert decode(EndpointSlice, SLICE_OBJECT) == SLICE
    assert decode(EndpointSlice, json.dumps(SLICE_OBJECT).encode()) == SLICE
    assert hash(SLICE) == hash(decode(EndpointSlice, SLICE_OBJECT))


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        (None, (True, True, False)),
        ({}, (True, True, False)),
        ({"ready": None, "serving": None, "terminating": None}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
    ],
)
def test_conditions_that_are_not_told(conditions: Any, told: tuple[bool, ...]) -> None:
    found = SLICE_OBJECT | {"endpoints": [{"addresses": ["10.1.1.2"], "conditions": conditions}]}
    (endpoint,) = decode(EndpointSlice, found).endpoints
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == told


def test_a_slice_of_nobody_with_nothing() -> None:
    empty = EndpointSlice(namespace="x", name="a", address_type="IPv6")
    found = {"metadata": META, "addressType": "IPv6", "endpoints": None, "ports": None}
    assert decode(EndpointSlice, found) == empty
    assert decode(EndpointSlice, found | {"endpoints": [{"addresses": []}]}) == empty
    hints = [{"addresses": ["::2"], "hints": {"forZones": None}}]
    assert decode(EndpointSlice, found | {"endpoints": hints}).endpoints == (Endpoint("::2"),)
    assert list(ENDPOINT_SLICE.indexes["service"](empty)) == []


def test_tables_find_slices_by_service_and_services_by_label() -> None:
    state = State(TABLES)
    service = decode(Service, SERVICE_OBJECT)
    state.apply([Put("Service", service), Put("EndpointSlice", SLICE)])
    assert state.table("EndpointSlice").where("service", "x/a") == (SLICE,)
    assert state.table("EndpointSlice").where("service", "y/a") == ()
    assert state.table("Service").select(("x",), LabelSelector((("a", "1"),))) == [("x/a", service)]
    assert (SERVICE.key(service), ENDPOINT_SLICE.key(SLICE)) == ("x/a", "x/a-1")
    assert state.table("Service").where("namespace", "x") == (service,)


def test_the_garbage_collector_does_not_look_at_endpoints() -> None:
    piece = decode(EndpointSlice, SLICE_OBJECT)
    assert not any(gc.is_tracked(endpoint) for endpoint in piece.endpoints)


@pytest.mark.parametrize(
    ("kind", "found", "told"),
    [
        (Service, {"metadata": META, "spec": {"ports": [{"port": "80"}]}}, "Service x/a: .*port"),
        (Service, {"metadata": {"name": "a"}}, "Service a: .*namespace"),
        (EndpointSlice, {"metadata": META}, "EndpointSlice x/a: .*addressType"),
        (EndpointSlice, SLICE_OBJECT | {"metadata": {"name": "a"}}, "EndpointSlice a: .*namespace"),
        (EndpointSlice, SLICE_OBJECT | {"endpoints": [{}]}, "EndpointSlice x/a-1: .*addresses"),
    ],
)
def test_a_malformed_object_is_named(kind: type[Any], found: Any, told: str) -> None:
    with pytest.raises(MalformedObject, match=told):
        decode(kind, found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["metadata", "name", "namespace", "spec", "status", "labels", "ports", "port", "addressType",
                         "endpoints", "addresses", "conditions", "hints", "forZones", "loadBalancer", "ingress"]),
        inner, max_size=5),
)  # fmt: skip


@given(JSON.map(lambda value: json.dumps(value).encode()))
def test_no_input_crashes_the_reader(found: bytes) -> None:
    for kind in (Service, EndpointSlice):
        try:
            assert isinstance(decode(kind, found), kind)
        except MalformedObject:
            continue
