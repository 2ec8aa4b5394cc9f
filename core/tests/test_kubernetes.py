# SPDX-License-Identifier: Apache-2.0
"""Decoding Kubernetes objects: what is kept, what is no change, what is malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.kubernetes import (
    NODE,
    POD,
    TABLES,
    ContainerPort,
    MalformedObject,
    Namespace,
    Node,
    NodeAddress,
    Pod,
    decode,
)
from contivpp_core.selectors import LabelSelector
from contivpp_core.state import Put, State

OBJECT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "namespace": "x",
        "name": "a",
        "uid": "u1",
        "resourceVersion": "17",
        "labels": {"b": "2", "a": "1"},
        "annotations": {"contivpp.io/ip": "10.1.1.9", "other": "1"},
        "managedFields": [{"manager": "kubelet"}],
    },
    "spec": {
        "nodeName": "node1",
        "containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}, {"ports": None}],
        "initContainers": [
            {"ports": [{"containerPort": 1}]},
            {"restartPolicy": "Always", "ports": [{"containerPort": 9090, "protocol": "UDP"}]},
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.1.1.2",
        "podIPs": [{"ip": "10.1.1.2"}, {"ip": "fd00::2"}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}],
    },
}
RECORD = Pod(
    namespace="x",
    name="a",
    uid="u1",
    labels=(("a", "1"), ("b", "2")),
    annotations=(("contivpp.io/ip", "10.1.1.9"),),
    node="node1",
    phase="Running",
    ready=True,
    addresses=("10.1.1.2", "fd00::2"),
    ports=(ContainerPort("http", 8080), ContainerPort("", 9090, "UDP")),
)


def test_a_pod_from_json_and_from_a_mapping() -> None:
    assert decode(Pod, OBJECT) == RECORD
    assert decode(Pod, json.dumps(OBJECT).encode()) == RECORD
    assert RECORD.annotation("ip") == "10.1.1.9"
    assert RECORD.annotation("none") == ""
    assert hash(RECORD) == hash(decode(Pod, OBJECT))


def test_a_minimal_pod_and_nulls() -> None:
    assert decode(Pod, {"metadata": {"namespace": "x", "name": "a"}}) == Pod(namespace="x", name="a")
    empty = {
        "metadata": {"namespace": "x", "name": "a", "labels": None},
        "spec": {"containers": None},
        "status": None,
    }
    assert decode(Pod, empty) == Pod(namespace="x", name="a")


def test_what_nobody_renders_is_no_change() -> None:
    later = json.loads(json.dumps(OBJECT))
    later["metadata"]["resourceVersion"] = "18"
    later["metadata"]["annotations"]["other"] = "2"
    later["status"]["conditions"][0]["lastTransitionTime"] = "2031-01-01T00:00:00Z"
    state = State(TABLES)
    state.apply([Put("Pod", decode(Pod, OBJECT))])
    assert state.apply([Put("Pod", decode(Pod, later))]) == ([], [])


def test_namespaces_and_nodes() -> None:
    assert decode(Namespace, b'{"metadata": {"name": "x", "labels": {"team": "t"}}}') == Namespace(
        name="x", labels=(("team", "t"),)
    )
    node = decode(
        Node,
        {
            "metadata": {"name": "n"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
        },
    )
    assert node == Node(name="n", addresses=(NodeAddress("InternalIP", "192.0.2.1"),))
    assert list(NODE.indexes["address"](node)) == ["192.0.2.1"]


def test_tables_find_pods_by_index_and_selector() -> None:
    state = State(TABLES)
    state.apply([Put("Pod", RECORD), Put("Pod", Pod(namespace="y", name="b"))])
    assert state.table("Pod").where("address", "fd00::2") == (RECORD,)
    assert state.table("Pod").where("node", "node1") == (RECORD,)
    assert state.table("Pod").select(("x",), LabelSelector((("a", "1"),))) == [("x/a", RECORD)]
    assert POD.key(RECORD) == "x/a"


META: dict[str, Any] = {"metadata": {"namespace": "x", "name": "a"}}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        pytest.param(META | {"spec": {"nodeName": 5}}, "Pod x/a: .*nodeName", id="type"),
        pytest.param({"metadata": {"namespace": "x"}}, "Pod x: .*name", id="no name"),
        pytest.param({"metadata": {"name": "a"}}, "Pod a: .*namespace", id="no namespace"),
        pytest.param({}, "Pod without a name: .*metadata", id="empty"),
        pytest.param(b"{", "Pod without a name", id="cut off"),
        pytest.param(b'"\xff"', "Pod without a name", id="not UTF-8"),
    ],
)  # fmt: skip
def test_a_malformed_object_is_named(found: Any, told: str) -> None:
    with pytest.raises(MalformedObject, match=told):
        decode(Pod, found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["metadata", "name", "namespace", "spec", "status", "labels", "containers",
                                       "ports", "containerPort", "podIPs", "ip", "conditions"]), inner, max_size=5),
)  # fmt: skip


@given(st.one_of(JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=30)))
def test_no_input_crashes_the_reader(found: bytes) -> None:
    for kind in (Pod, Namespace, Node):
        try:
            assert isinstance(decode(kind, found), kind)
        except MalformedObject:
            continue
