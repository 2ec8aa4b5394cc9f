# SPDX-License-Identifier: Apache-2.0
"""What is stored of an object is the object again, as far as anything reads it; and what policies mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.kubernetes import (
    KINDS,
    ContainerPort,
    InterfaceSettings,
    MalformedObject,
    Namespace,
    NetworkPolicy,
    Node,
    NodeAddress,
    NodeSettings,
    Pod,
    decode,
    shape_of,
)
from contivpp_core.kubernetes_encode import encode
from contivpp_core.kubernetes_policies import AddressBlock, PolicyPeer, PolicyPort, PolicyRule
from contivpp_core.kubernetes_services import Endpoint, EndpointPort, EndpointSlice, Service, ServicePort
from contivpp_core.kubernetes_shapes import ANNOTATION_PREFIX, pairs
from contivpp_core.records import Record
from contivpp_core.selectors import EVERYTHING, LabelSelector, Requirement

TEXT = st.text(max_size=6)
NAME = st.text(min_size=1, max_size=6)
NUMBER = st.integers(0, 65535)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3).map(pairs)
ANNOTATIONS = st.dictionaries(TEXT.map(ANNOTATION_PREFIX.__add__), TEXT, max_size=3).map(pairs)
NETWORK = st.ip_addresses().map(lambda address: f"{address}/{address.max_prefixlen}")


def tuples(element: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(element, max_size=3).map(tuple)


UNIQUE = st.lists(NAME, max_size=3, unique=True).map(tuple)
VALUES = st.sets(NAME, min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
REQUIREMENT = st.builds(Requirement, NAME, st.sampled_from(["In", "NotIn"]), VALUES) | st.builds(
    Requirement, NAME, st.sampled_from(["Exists", "DoesNotExist"])
)
SELECTOR = st.builds(LabelSelector, LABELS, tuples(REQUIREMENT))
PEER = st.builds(PolicyPeer, st.none() | SELECTOR, st.none() | SELECTOR, st.none()) | st.builds(
    PolicyPeer, block=st.builds(AddressBlock, NETWORK, tuples(NETWORK))
)
POLICY_PORT = st.builds(PolicyPort, NAME, NUMBER, NUMBER) | st.builds(PolicyPort, NAME, name=NAME)
RULES = tuples(st.builds(PolicyRule, tuples(PEER), tuples(POLICY_PORT)))
DIRECTIONS = st.sampled_from([(True, False), (False, True), (True, True)])
NAMED: dict[str, st.SearchStrategy[Any]] = {"name": NAME, "namespace": NAME}
INTERFACE = st.builds(InterfaceSettings, TEXT, st.just("") | NETWORK)
ENDPOINT = st.builds(
    Endpoint, NAME, TEXT, st.booleans(), st.booleans(), st.booleans(), TEXT, tuples(NAME), tuples(NAME)
)
RECORDS: dict[str, st.SearchStrategy[Record]] = {
    "Pod": st.builds(
        Pod,
        **NAMED,
        uid=TEXT,
        labels=LABELS,
        annotations=ANNOTATIONS,
        node=TEXT,
        host_network=st.booleans(),
        phase=TEXT,
        ready=st.booleans(),
        deleting=st.booleans(),
        addresses=UNIQUE,
        ports=tuples(st.builds(ContainerPort, TEXT, NUMBER, NAME)),
    ),
    "Namespace": st.builds(Namespace, name=NAME, labels=LABELS),
    "Node": st.builds(
        Node,
        name=NAME,
        labels=LABELS,
        node_id=st.integers(0, 2**31),
        published=TEXT,
        addresses=st.lists(st.builds(NodeAddress, TEXT, TEXT), max_size=3, unique=True).map(tuple),
    ),
    "NodeConfig": st.builds(
        NodeSettings,
        name=NAME,
        main_interface=INTERFACE,
        other_interfaces=tuples(INTERFACE),
        gateway=st.just("") | st.ip_addresses().map(str),
    ),
    "Service": st.builds(
        Service,
        **NAMED,
        labels=LABELS,
        annotations=ANNOTATIONS,
        type=NAME,
        cluster_ips=tuples(NAME.filter("None".__ne__)),
        external_ips=tuples(TEXT),
        load_balancer_ips=tuples(NAME),
        load_balancer_source_ranges=tuples(TEXT),
        ports=tuples(st.builds(ServicePort, TEXT, NUMBER, NAME, NUMBER)),
        affinity_seconds=NUMBER,
        external_local=st.booleans(),
        internal_local=st.booleans(),
        health_check_node_port=NUMBER,
    ),
    "EndpointSlice": st.builds(
        EndpointSlice,
        **NAMED,
        service=TEXT,
        address_type=TEXT,
        ports=tuples(st.builds(EndpointPort, TEXT, NUMBER, NAME)),
        endpoints=tuples(ENDPOINT),
    ),
    "NetworkPolicy": st.builds(
        lambda directions, **fields: NetworkPolicy(
            isolates_ingress=directions[0], isolates_egress=directions[1], **fields
        ),
        DIRECTIONS,
        **NAMED,
        pods=SELECTOR,
        ingress=RULES,
        egress=RULES,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_what_is_encoded_is_decoded_again(kind: str, data: st.DataObject) -> None:
    record = data.draw(RECORDS[kind])
    assert decode(KINDS[kind].record, encode(record)) == record
    assert hash(record) == hash(decode(KINDS[kind].record, encode(record)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_shape_tells_its_name_and_version(kind: str) -> None:
    shape, _ = shape_of(KINDS[kind].record)
    assert {"name", "resource_version"} <= set(_metadata(shape).__struct_fields__)


def _metadata(shape: Any) -> Any:
    import typing

    return typing.get_type_hints(shape)["metadata"]


def policy(**spec: Any) -> NetworkPolicy:
    found: Mapping[str, Any] = {"metadata": {"namespace": "x", "name": "p"}, "spec": spec}
    return decode(NetworkPolicy, json.dumps(found).encode())


@pytest.mark.parametrize(
    ("spec", "isolates"),
    [
        pytest.param({}, (True, False), id="ingress is the default"),
        pytest.param({"egress": [{}]}, (True, True), id="egress with rules of egress"),
        pytest.param({"egress": []}, (True, False), id="no rules of egress"),
        pytest.param({"policyTypes": ["Egress"]}, (False, True), id="egress alone"),
    ],
)
def test_directions_of_a_policy(spec: Any, isolates: tuple[bool, bool]) -> None:
    found = policy(**spec)
    assert (found.isolates_ingress, found.isolates_egress) == isolates


def test_an_empty_selector_is_not_a_missing_one() -> None:
    rule = {"from": [{"podSelector": {}}, {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.1/8"}}]}
    assert policy(ingress=[rule]).ingress[0].peers == (
        PolicyPeer(pods=EVERYTHING),
        PolicyPeer(namespaces=EVERYTHING),
        PolicyPeer(block=AddressBlock("10.0.0.0/8")),
    )


def test_ports_by_number_by_range_and_by_name() -> None:
    ports = [{"port": 80}, {"port": 80, "endPort": 90, "protocol": "UDP"}, {"port": "http"}, {}]
    assert policy(ingress=[{"ports": ports}]).ingress[0].ports == (
        PolicyPort("TCP", 80),
        PolicyPort("UDP", 80, 90),
        PolicyPort("TCP", name="http"),
        PolicyPort("TCP"),
    )


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({"policyTypes": ["Both"]}, "policy type 'Both'", id="type"),
        pytest.param({"ingress": [{"from": [{"ipBlock": {"cidr": "10/8/8"}}]}]}, "ipBlock", id="network"),
        pytest.param(
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}, "label 'a'", id="operator"
        ),
        pytest.param(
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "label 'a'", id="no values"
        ),
    ],
)
def test_what_the_api_would_refuse_is_malformed(spec: Any, reason: str) -> None:
    with pytest.raises(MalformedObject, match=reason):
        policy(**spec)
