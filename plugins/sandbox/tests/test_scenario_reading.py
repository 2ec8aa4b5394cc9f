# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 (tables of whole messages)
"""Reading scenario files: what is right, and every fault of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contivpp_sandbox.scenario.model import ProbeItem, duration
from contivpp_sandbox.scenario.reading import parse, read

GOOD = """
nodes: [node1]
config: {ipam: {podSubnetCIDR: 10.7.0.0/16}}
steps:
- apply:
  - {apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {team: x}}}
  - {apiVersion: v1, kind: Node, metadata: {name: node1}}
  - kind: Pod
    metadata: {namespace: x, name: a}
    spec: {nodeName: node1, containers: [{name: web, ports: [{containerPort: 8080}]}]}
- wait: 3h
- restart: vpp
- restart: [agent, {what: vpp, node: node1, kill: true}]
- probe:
  - {from: x/a, to: x/a, port: 8080, expect: allowed, reaches: ["x/a:8080"], source: x/a, within: 500ms}
  - {from: x/a, to: 10.7.1.1, protocol: ICMP, expect: denied, size: 100, df: true, oneWay: true}
- delete: {kind: Pod, namespace: x, name: a}
"""


def steps(text: str, *, pods: str = "a b") -> str:
    """A file with some pods, and the steps of a test."""
    objects = "".join(
        f"\n  - {{kind: Pod, metadata: {{namespace: x, name: {name}}}, spec: {{nodeName: node1}}}}"
        for name in pods.split()
    )
    return f"nodes: [node1]\nsteps:\n- apply:{objects}\n{text}"


def faults_of(text: str) -> list[str]:
    scenario, faults = parse("f.yaml", text)
    assert (scenario is None) == bool(faults)
    return [fault.removeprefix("f.yaml: ") for fault in faults]


def test_a_good_file_is_read_whole():
    scenario, faults = parse("f.yaml", GOOD)
    assert faults == []
    assert scenario is not None
    assert [step.kind for step in scenario.steps] == ["apply", "wait", "restart", "restart", "probe", "delete"]
    assert scenario.steps[1].wait == 10800
    assert [(item.what, item.kill) for item in scenario.steps[3].restart or ()] == [("agent", False), ("vpp", True)]
    first, second = scenario.steps[4].probe or ()
    assert (first.port, first.within, first.reaches, first.source) == (8080, 0.5, ("x/a:8080",), "x/a")
    assert second.request().one_way
    assert second.request().do_not_fragment


def test_json_is_yaml():
    scenario, _ = parse("f.json", json.dumps(yaml.safe_load(GOOD)))
    assert scenario == parse("f.yaml", GOOD)[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("", "the file must be a mapping with 'nodes' and 'steps', not nothing", id="empty file"),
        pytest.param("- 1", "the file must be a mapping with 'nodes' and 'steps', not a list", id="list"),
        pytest.param("nodes: [a", "line 1: not YAML: expected ',' or ']', but got '<stream end>'", id="no YAML"),
        pytest.param("nodes: [a]\n---\nb", "line 2: not YAML: but found another document", id="two documents"),
        pytest.param("nodes: [n]\nsteps: []", "steps: List should have at least 1 item after validation, not 0", id="0"),
        pytest.param("nodes: [n]\nnodes: [m]\nsteps: []", "nodes: stands twice, in lines 1 and 2", id="key twice"),
        pytest.param(
            "nodes: [n]\nsteps:\n- probe:\n  - {from: a/b, from: c/d}",
            "steps.0.probe.0.from: stands twice, in lines 4 and 4",
            id="key twice, deep",
        ),
        pytest.param("nodes: &n [*n]\nsteps: []", "nodes.0: line 1: nested without end, or deeper than 64 levels", id="self"),
        pytest.param("[" * 5000, "nested deeper than 64 levels", id="deep"),
        pytest.param("? [a]\n: b", "line 1: a key must be text", id="key that is a list"),
        pytest.param("nodes: [n, m, n]\nsteps: [{wait: 1}]", "nodes.2: n is named twice", id="node twice"),
        pytest.param(
            "nodes: [n, A_b]\nsteps: [{wait: 1}]",
            "nodes.1: 'A_b' is no name for a node: lower-case letters, digits, '-' and '.' may be in it",
            id="node's name",
        ),
        pytest.param(
            "nodes: [n]\nunderlay: {mtu: 100}\nsteps: [{wait: 1}]",
            "underlay.mtu: Input should be greater than or equal to 576, got 100",
            id="underlay",
        ),
        pytest.param(
            "nodes: [n]\nunderlay: {los: 1}\nsteps: [{wait: 1}]", "underlay.los: unknown field", id="underlay field"
        ),
        pytest.param(
            "nodes: [n]\nconfig: {datastore: {}, contiv: {nodeID: 1}}\nsteps: [{wait: 1}]",
            ["config.datastore: is set by the rig: leave it out", "config.contiv.nodeID: is set by the rig: leave it out"],
            id="sections of the rig",
        ),
        pytest.param(
            "nodes: [n]\nsteps: [{wait: 1, restart: vpp}]",
            "steps.0: a step must have one of apply, delete, wait, restart, probe: this one has wait and restart",
            id="two in one step",
        ),
        pytest.param("nodes: [n]\nsteps: [{waitt: 1}]", "steps.0.waitt: unknown field", id="unknown step"),
        pytest.param(
            "nodes: [n]\nsteps: [{restart: datastore}]",
            "steps.0.restart.0: restarts of the datastore are not served yet",
            id="datastore",
        ),
        pytest.param(
            "nodes: [n]\nconfig: {ipam: {podSubnetCDR: 1}}\nsteps: [{wait: 1}]",
            "config.ipam.podSubnetCDR: unknown setting",
            id="setting",
        ),
        pytest.param(
            "nodes: [n]\nconfig: {nodeName: x}\nsteps: [{wait: 1}]",
            "config.nodeName: is set by the rig: leave it out",
            id="setting of the rig",
        ),
        pytest.param(
            steps("- apply: [{kind: Service, metadata: {name: s}}]"),
            "steps.1.apply.0: objects of kind Service are not served yet: known are Pod, Namespace, Node, NodeConfig",
            id="kind",
        ),
        pytest.param(
            steps("- apply: [{kind: Pod, metadata: {name: s}}]"),
            "steps.1.apply.0: Pod s: Object missing required field `namespace` - at `$.metadata`",
            id="malformed object",
        ),
        pytest.param(
            steps("- delete: [{kind: Pod, namespace: x, name: q}]"),
            "steps.1.delete.0: there is no Pod x/q at this step",
            id="delete what is not there",
        ),
    ],
)
def test_faults_of_files(text, fault):
    assert faults_of(text) == (fault if isinstance(fault, list) else [fault])


@pytest.mark.parametrize(
    ("probe", "fault"),
    [
        ("from: x/a, to: x/b, port: 1, expect: allow", "expect: Input should be 'allowed', 'denied' or 'refused', got 'allow'"),
        ("from: x/a, to: x/b, port: 0, expect: denied", "port: Input should be greater than or equal to 1, got 0"),
        ("from: x/a, to: x/b, port: '1', expect: denied", "port: Input should be a valid integer, got '1'"),
        ("from: x/a, to: x/b, expect: denied", ": port: is missing, a TCP probe needs one"),
        ("from: x/a, to: x/b, port: 1, protocol: ICMP, expect: denied", ": port: ICMP has no ports"),
        ("from: x/a, to: x/b, port: 1", "expect: is missing"),
        ("from: x/a, to: x/b, port: 1, expect: denied, reaches: [x/b]", ": reaches: nothing answers where denied is expected"),
        ("from: x/a, to: x/b, port: 1, expect: denied, source: x/a", ": source: no server sees anything where denied is expected"),
        ("from: x/a, to: x/b, port: 1, expect: denied, within: 3x", "within: '3x' is not a time: give one such as 500ms, 30s, 3h or 1h30m"),
        ("from: x, to: x/b, port: 1, expect: denied", "from: 'x' is none of namespace/pod, node:NAME, vpp:NAME and an IP address"),
        ("from: x/a, to: x/b, port: 1, protocol: SCTP, expect: denied", "protocol: SCTP probes are not served yet"),
        ("from: x/q, to: x/b, port: 1, expect: denied", "from: there is no pod x/q at this step"),
        ("from: x/a, to: x/q, port: 1, expect: denied", "to: there is no pod x/q at this step, and there was none before"),
        ("from: 'node:node9', to: x/b, port: 1, expect: denied", "from: there is no node node9: nodes are node1"),
        ("from: x/a, to: 'node:node9', port: 1, expect: denied", "to: there is no node node9: nodes are node1"),
        ("from: x/a, to: 'vpp:node9', protocol: ICMP, expect: denied", "to: there is no node node9: nodes are node1"),
        ("from: 'vpp:node1', to: x/b, port: 1, expect: denied", "from: VPP sends no probes (vpp:node1): give namespace/pod, node:NAME or an address"),
        ("from: x/a, to: x/b, via: node1, port: 1, expect: denied", ": via: only an outside host chooses where its packets enter: give an address in from"),
        ("from: 'node:node1', to: x/b, via: node1, port: 1, expect: denied", ": via: only an outside host chooses where its packets enter: give an address in from"),
        ("from: 192.0.2.1, via: node9, to: x/b, port: 1, expect: denied", "via: there is no node node9: nodes are node1"),
        ("from: 10.96.0.1, to: x/b, port: 1, expect: denied", "from: services are not served yet (10.96.0.1 is in 10.96.0.0/12)"),
        ("from: x/a, to: 10.96.0.1, port: 1, expect: denied", "to: services are not served yet (10.96.0.1 is in 10.96.0.0/12)"),
        ("from: x/a, to: 'fe80::1', port: 1, expect: denied", "to: IPv6 is not served yet (fe80::1)"),
        ("from: x/a, to: 224.0.0.1, port: 1, expect: denied", "to: 224.0.0.1 is no address that a host can have"),
    ],
)  # fmt: skip
def test_faults_of_probes(probe, fault):
    found = faults_of(steps(f"- probe: [{{{probe}}}]"))
    assert found == [f"steps.1.probe.0{fault if fault.startswith(':') else '.' + fault}"]


def test_all_faults_of_shape_and_of_sense_are_told_at_once():
    found = faults_of("nodes: [n, n]\nsteps:\n- {restart: [nothing]}\n- probe: [{from: x/a, to: x/b, port: 1, expect: denied}]")
    assert [fault.partition(": ")[0] for fault in found] == [
        "steps.0.restart.0.what", "nodes.1", "steps.1.probe.0.from", "steps.1.probe.0.to",
    ]  # fmt: skip


def test_a_wrong_object_brings_no_faults_of_what_names_it():
    text = "- apply: [{kind: Pod, metadata: {namespace: x, name: c}, spec: []}]\n"
    text += "- probe: [{from: x/c, to: x/c, port: 1, expect: denied}]\n- delete: {kind: Pod, namespace: x, name: c}"
    (fault,) = faults_of(steps(text))
    assert fault.startswith("steps.1.apply.0: Pod x/c: ")


def test_a_pod_that_was_deleted_may_be_asked_but_not_ask():
    text = "- delete: {kind: Pod, namespace: x, name: b}\n"
    text += "- probe: [{from: x/a, to: x/b, port: 1, expect: denied}, {from: x/b, to: x/a, port: 1, expect: denied}]"
    assert faults_of(steps(text)) == ["steps.2.probe.1.from: there is no pod x/b at this step"]


def cluster(*text: str) -> str:
    """A file with two nodes, a pod on each, and the steps of a test."""
    pods = "".join(
        f"\n  - {{kind: Pod, metadata: {{namespace: x, name: {name}}}, spec: {{nodeName: {node}}}}}"
        for name, node in (("a", "n1"), ("b", "n2"))
    )
    return f"nodes: [n1, n2]\nsteps:\n- apply:{pods}\n" + "\n".join(text)


LEAVES = "- delete: {kind: Node, name: n2}"
JOINS = "- apply: {kind: Node, metadata: {name: n2}}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- apply: {kind: Node, metadata: {name: n3}}", "steps.1.apply.0.metadata.name: there is no node n3: nodes are n1, n2"),
        ("- apply: {kind: NodeConfig, metadata: {name: n3}}", "steps.1.apply.0.metadata.name: there is no node n3: nodes are n1, n2"),
        ("- apply: {kind: NodeConfig, metadata: {name: n1}, spec: {mainVPPInterface: {ip: 1.2.3.4}}}", "steps.1.apply.0: NodeSettings n1: 1.2.3.4 has no prefix length - at `$.spec.mainVPPInterface.ip`"),
        ("- delete: {kind: Node, name: n3}", "steps.1.delete.0: there is no Node n3 at this step"),
        (f"{LEAVES}\n{LEAVES}", "steps.2.delete.0: there is no Node n2 at this step"),
        (f"{LEAVES}\n- delete: {{kind: Pod, namespace: x, name: b}}", "steps.2.delete.0: there is no Pod x/b at this step"),
        (f"{LEAVES}\n- restart: {{what: vpp, node: n2}}", "steps.2.restart.0.node: node n2 has left before this step"),
        (f"{LEAVES}\n- probe: {{from: x/b, to: x/a, port: 1, expect: denied}}", "steps.2.probe.0.from: there is no pod x/b at this step"),
        (f"{LEAVES}\n- probe: {{from: 'node:n2', to: x/a, port: 1, expect: denied}}", "steps.2.probe.0.from: node n2 has left before this step"),
        (f"{LEAVES}\n- probe: {{from: 192.0.2.1, via: n2, to: x/a, port: 1, expect: denied}}", "steps.2.probe.0.via: node n2 has left before this step"),
        (f"{LEAVES}\n- apply: {{kind: Pod, metadata: {{namespace: x, name: c}}, spec: {{nodeName: n2}}}}", "steps.2.apply.0.spec.nodeName: node n2 has left before this step"),
        ("- apply: {kind: Pod, metadata: {namespace: x, name: c}, spec: {nodeName: n9}}", "steps.1.apply.0.spec.nodeName: there is no node n9: nodes are n1, n2"),
        ("- apply: {kind: Pod, metadata: {namespace: x, name: a}, spec: {nodeName: n2}}", "steps.1.apply.0.spec.nodeName: x/a runs on n1: a pod does not move, delete it first"),
    ],
)  # fmt: skip
def test_faults_of_clusters(text, fault):
    assert faults_of(cluster(text)) == [fault]


def test_a_cluster_that_is_right():
    text = cluster(
        LEAVES,
        "- probe: [{from: x/a, to: x/b, port: 1, expect: denied}, {from: x/a, to: 'node:n2', port: 1, expect: denied}]",
        JOINS,
        "- apply: {kind: Pod, metadata: {namespace: x, name: b}, spec: {nodeName: n2}}",
        "- probe:",
        "  - {from: 'node:n2', to: x/b, port: 1, expect: allowed}",
        "  - {from: 192.0.2.1, via: n2, to: x/b, port: 1, expect: allowed, source: 192.0.2.1}",
        "  - {from: x/b, to: 'vpp:n1', protocol: ICMP, expect: allowed, reaches: ['vpp:n1']}",
    )
    scenario, faults = parse("f", "underlay: {mtu: 9000, loss: 0.01}\n" + text)
    assert faults == []
    assert scenario is not None
    assert scenario.underlay.request() == (9000, 0.01)
    assert [probe.request().via for probe in scenario.steps[5].probe or ()] == ["", "n2", ""]


def test_files_that_cannot_be_read_are_faults(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert read(tmp_path / "binary")[1] == [f"{tmp_path}/binary: byte 0: the file must be UTF-8 text"]
    (fault,) = read(tmp_path / "none")[1]
    assert fault.startswith(f"{tmp_path}/none: No such file or directory")
    (fault,) = read(tmp_path)[1]
    assert "Is a directory" in fault


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1h30m", 5400), ("2d", 172800), (3, 3), (0.25, 0.25), ("1.5s", 1.5)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("value", ["", "3", "s", "-3s", "3 s", -1, True, None, "400d", float("nan")])
def test_wrong_durations(value):
    with pytest.raises(ValueError, match="time"):
        duration(value)


WORDS = ["nodes", "config", "steps", "apply", "delete", "wait", "restart", "probe", "from", "to", "kind", "metadata", "name", "namespace", "x"]
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=24,
)


@given(DATA)
def test_no_data_at_all_breaks_reading(data):
    scenario, faults = parse("f", json.dumps(data))
    assert (scenario is None) == bool(faults)
    assert all(fault.startswith("f: ") for fault in faults)


@given(st.text())
def test_no_text_at_all_breaks_reading(text):
    assert parse("f", text)[1]


def test_probe_items_cannot_be_changed():
    probe = ProbeItem.model_validate({"from": "x/a", "to": "x/b", "port": 1, "expect": "denied"})
    with pytest.raises(ValidationError):
        probe.port = 2  # type: ignore[misc]
