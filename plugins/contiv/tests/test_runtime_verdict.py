# SPDX-License-Identifier: Apache-2.0
"""Which attachments go by the runtime's answers: never one that may be alive, and every one that is certainly not."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_contiv.records import LocalPod
from contivpp_contiv.runtime.verdict import AGAIN_SECONDS, Evidence, Memory, Sandbox, answered, claims, vanished
from contivpp_core.kubernetes import Pod
from contivpp_core.namespaces import Namespace

GRACE = 600.0


def attachment(container: str, interface: str = "eth0", namespace: str = "default") -> LocalPod:
    return LocalPod(
        container_id=container, interface=interface, namespace=namespace, name=f"pod-{container}",
        netns=Namespace(f"/netns/{container}", 4, 1), address="10.1.1.2", gateway="10.1.1.1", wiring="tap", mtu=1450,
    )  # fmt: skip


TOOL = attachment("tool", namespace="")
PODS = [attachment("a"), attachment("a", "net1"), attachment("b"), TOOL, attachment("c")]
IDS = sorted({pod.container_id for pod in PODS})

evidences = st.builds(
    Evidence,
    busy=st.booleans(),
    netns=st.sampled_from(["there", "gone", "hidden"]),
    kubernetes=st.sampled_from(["yes", "no", "unknown", "none"]),
)
answers = st.dictionaries(st.sampled_from([*IDS, "stranger"]), st.booleans())  # whether each is ready
steps = st.tuples(st.floats(0, 2 * GRACE, width=32), st.none() | answers, st.integers(0, len(PODS)))


def listed(answer: dict[str, bool]) -> list[Sandbox]:
    return [Sandbox(id=each, ready=ready) for each, ready in answer.items()]


def unbroken(history: list[Any], container: str) -> float:
    """The time of the first of the last answers, all of them whole, that do not have a sandbox ready."""
    last = itertools.takewhile(lambda entry: entry[1] is not None, reversed(history))
    without = itertools.takewhile(lambda entry: not entry[1].get(container), last)
    return float(list(without)[-1][0])


@given(st.lists(steps, min_size=1, max_size=12), st.data())
def test_what_goes_is_certainly_gone(plan: list[Any], data: st.DataObject) -> None:
    """Checked against the whole history, which the verdict does not have."""
    memory, now, history, since = Memory(), 0.0, [], dict[str, float]()
    for wait, answer, count in plan:
        now += wait
        history.append((now, answer))
        if answer is None:
            memory = memory.interrupted()
            continue
        pods = PODS[:count]
        since = {pod.key: since.get(pod.key, now) for pod in pods}
        memory = answered(memory, pods, listed(answer), now)
        evidence = {pod.key: data.draw(evidences) for pod in pods}
        goes = vanished(memory, pods, listed(answer), evidence, now, grace=GRACE)
        for pod in pods:
            if pod.key not in goes:
                continue
            seen = evidence[pod.key]
            assert pod.namespace  # never one that no Kubernetes pod has
            assert not seen.busy
            assert now - unbroken(history, pod.container_id) >= AGAIN_SECONDS
            if seen.netns == "gone":
                continue
            assert pod.container_id not in answer
            assert seen.kubernetes in ("no", "none")
            if not any(pod.container_id in (each or ()) for _, each in history):
                assert now - since[pod.key] >= GRACE
                assert seen.kubernetes == "no"
                assert answer.keys() & {other.container_id for other in pods}


@given(answers, st.data())
def test_the_order_of_pods_and_sandboxes_does_not_matter(answer: dict[str, bool], data: st.DataObject) -> None:
    evidence = {pod.key: data.draw(evidences) for pod in PODS}

    def verdict(shuffle: random.Random) -> tuple[Memory, dict[str, str]]:
        pods, sandboxes = list(PODS), listed(answer)
        shuffle.shuffle(pods)
        shuffle.shuffle(sandboxes)
        memory = Memory(listed=frozenset("ab"))
        for now in (0.0, GRACE):
            memory = answered(memory, pods, sandboxes, now)
        return memory, vanished(memory, pods, sandboxes, evidence, GRACE, grace=GRACE)

    assert verdict(random.Random(1)) == verdict(random.Random(2))


@pytest.mark.parametrize(
    ("evidence", "before", "goes"),
    [
        pytest.param(Evidence(kubernetes="no"), "b", True, id="listed before, and Kubernetes does not know it"),
        pytest.param(Evidence(kubernetes="none"), "b", True, id="listed before, without Kubernetes"),
        pytest.param(Evidence(netns="hidden"), "b", True, id="listed before, its namespace cannot be looked for"),
        pytest.param(Evidence(kubernetes="yes"), "b", False, id="Kubernetes says that the pod has its address"),
        pytest.param(Evidence(kubernetes="unknown"), "b", False, id="the pods are not known for certain"),
        pytest.param(Evidence(busy=True), "b", False, id="a CNI call is under way"),
        pytest.param(Evidence(kubernetes="no"), "", False, id="never listed, and young"),
        pytest.param(Evidence(netns="gone", kubernetes="yes"), "", True, id="its namespace is gone"),
    ],
)
def test_an_attachment_without_a_sandbox(evidence: Evidence, before: str, goes: bool) -> None:
    memory, pods = Memory(listed=frozenset(before)), PODS[:3]
    answer = listed({"a": True})
    for now in (0.0, AGAIN_SECONDS - 1):
        memory = answered(memory, pods, answer, now)
        assert vanished(memory, pods, answer, {"b/eth0": evidence}, now, grace=GRACE) == {}
    memory = answered(memory, pods, answer, AGAIN_SECONDS)
    assert set(vanished(memory, pods, answer, {"b/eth0": evidence}, AGAIN_SECONDS, grace=GRACE)) == (
        {"b/eth0"} if goes else set()
    )


def test_one_that_no_kubernetes_pod_has_stays_whatever_the_runtime_lists() -> None:
    memory = Memory(listed=frozenset({"tool"}))
    for now in (0.0, GRACE):
        memory = answered(memory, PODS, listed({"a": True}), now)
    for netns in ("there", "gone"):
        evidence = {TOOL.key: Evidence(netns=netns, kubernetes="no")}  # type: ignore[arg-type]
        assert vanished(memory, PODS, listed({"a": True}), evidence, GRACE, grace=GRACE) == {}


@pytest.mark.parametrize("kubernetes", ["yes", "no", "unknown", "none"])
@pytest.mark.parametrize("others", [True, False])
def test_one_that_was_never_listed_goes_late_by_kubernetes_word_and_by_the_runtime_of_our_pods(
    kubernetes: Any, others: bool
) -> None:
    memory, pods = Memory(), PODS[:3]
    answer = listed({"a": True} if others else {"stranger": True})
    for now in (0.0, GRACE):
        memory = answered(memory, pods, answer, now)
    evidence = {"b/eth0": Evidence(kubernetes=kubernetes)}
    assert bool(vanished(memory, pods, answer, evidence, GRACE, grace=GRACE)) == (kubernetes == "no" and others)


def test_one_that_has_ended_goes_only_with_its_namespace() -> None:
    memory, answer = Memory(), listed({"b": False})
    for now in (0.0, GRACE):
        memory = answered(memory, PODS, answer, now)
    for netns, goes in (("there", False), ("hidden", False), ("gone", True)):
        evidence = {"b/eth0": Evidence(netns=netns, kubernetes="no")}  # type: ignore[arg-type]
        assert bool(vanished(memory, PODS, answer, evidence, GRACE, grace=GRACE)) == goes


def test_an_interruption_begins_the_count_anew() -> None:
    memory = Memory(listed=frozenset("b"))
    memory = answered(memory, PODS, [], 0.0).interrupted()
    memory = answered(memory, PODS, [], 100.0)
    evidence = {"b/eth0": Evidence(kubernetes="no")}
    assert vanished(memory, PODS, [], evidence, 100.0, grace=GRACE) == {}
    memory = answered(memory, PODS, [], 100.0 + AGAIN_SECONDS)
    assert set(vanished(memory, PODS, [], evidence, 100.0 + AGAIN_SECONDS, grace=GRACE)) == {"b/eth0"}


def test_ready_sandboxes_that_nobody_attached_are_strange_after_a_while() -> None:
    memory, answer = Memory(), listed({"a": True, "new": True, "ended": False, "going": True})
    for now, due in ((0.0, []), (AGAIN_SECONDS, ["new"])):
        memory = answered(memory, PODS, answer, now, buried={"going"})
        assert memory.due_strangers(now) == due


@pytest.mark.parametrize(
    ("record", "may_be"),
    [
        (None, False),
        (Pod(namespace="default", name="pod-b", node="n1"), True),  # its kubelet has told no address yet
        (Pod(namespace="default", name="pod-b", node="n1", addresses=("10.1.1.2",)), True),
        (Pod(namespace="default", name="pod-b", node="n1", addresses=("fd00::2", "10.1.1.2")), True),
        (Pod(namespace="default", name="pod-b", node="n1", addresses=("10.1.1.3",)), False),  # a later sandbox
        (Pod(namespace="default", name="pod-b", node="n2"), False),
        (Pod(namespace="default", name="pod-b"), False),  # a successor that has no node yet
        (Pod(namespace="default", name="pod-b", node="n1", phase="Failed", addresses=("10.1.1.2",)), False),
        (Pod(namespace="default", name="pod-b", node="n1", host_network=True), False),
    ],
)
def test_whether_a_pod_of_kubernetes_may_have_an_attachment(record: Pod | None, may_be: bool) -> None:
    assert claims(record, attachment("b"), "n1") == may_be
