# SPDX-License-Identifier: Apache-2.0
"""What one does with a sandbox that is up; one is enough for all of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from .sandboxes import PODS, Sandboxes, sandboxes

pytestmark = pytest.mark.netns

THIRD = """
---
kind: Pod
metadata: {name: c}
spec: {containers: [{ports: [{containerPort: 81}]}]}
"""


@pytest.fixture(scope="module", params=["root", "user"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandboxes]:
    made = sandboxes(request.param)
    try:
        made.run("up")
        made.run("apply", "-f", str(made.manifest))
        yield made
    finally:
        made.clear()


def test_a_command_in_a_pod(box: Sandboxes) -> None:
    out, _ = box.run("exec", "a", "--", "cat", "/proc/sys/kernel/hostname", "/proc/net/dev")
    assert out.startswith("a\n")
    assert "eth0:" in out
    assert "cvpp" not in out
    box.run("exec", "x/b", "--", "sh", "-c", "exit 7", code=7)
    out, _ = box.run("exec", "--node", "node1", "--", "cat", "/proc/net/dev")
    assert "eth0:" not in out
    _, errors = box.run("exec", "nobody", "--", "true", code=1)
    assert "there is no pod nobody: pods are default/a, x/b" in errors
    _, errors = box.run("exec", "a", "--", "no-such-program", code=1)
    assert "no-such-program: No such file or directory" in errors
    _, errors = box.run("exec", "a", code=2)
    assert "give a pod and a command" in errors


def test_pods_that_a_file_holds_no_longer_are_removed(box: Sandboxes) -> None:
    file = box.base / "more.yaml"
    file.write_text(PODS + THIRD)
    file.chmod(0o644)
    out, _ = box.run("apply", "-f", str(file))
    assert "pod default/c: 10.1." in out
    assert "pod default/a" not in out  # it runs already
    pid = next(pod["pid"] for pod in box.stored("pods.json")["pods"] if pod["name"] == "c")
    file.write_text(PODS)
    out, _ = box.run("apply", "-f", str(file))
    assert "Pod default/c is deleted" in out
    assert not os.path.exists(f"/proc/{pid}")
    assert {pod["name"] for pod in box.stored("pods.json")["pods"]} == {"a", "b"}


def test_what_has_died_comes_back(box: Sandboxes) -> None:
    before = box.processes()
    box.run("restart", "vpp", "--kill")
    os.kill(before["agent:node1"], signal.SIGKILL)
    out, _ = box.run("status", code=1)
    assert "agent:node1 ended with code -9" in out
    _, errors = box.run("apply", "-f", "-", stdin=THIRD, code=1)
    assert "default/c: CNI ADD failed" in errors
    out, _ = box.run("restart", "agent", "--node", "node1")
    assert "agent of node1 is started" in out
    box.run("delete", "c")
    pod = next(pod for pod in box.stored("pods.json")["pods"] if pod["name"] == "b")
    os.kill(pod["pid"], signal.SIGKILL)
    out, _ = box.run("status")
    assert "its process is gone" in out
    out, _ = box.run("apply", "-f", str(box.manifest))
    assert "pod x/b: 10.1." in out
    assert "pod default/a" not in out
    after = box.processes()
    assert all(before[name] != after[name] for name in ("vpp:node1", "agent:node1"))
    assert before["keeper"] == after["keeper"]
    out, _ = box.run("matrix", "-o", "json")
    assert [cell["ok"] for cell in json.loads(out)] == [True] * 3


def test_stdin_and_delete(box: Sandboxes) -> None:
    box.run("apply", "-f", "-", stdin=THIRD)
    out, _ = box.run("delete", "c", "never-there")
    assert "Pod default/never-there is not there" in out
    assert "Pod default/c is deleted" in out
    out, _ = box.run("delete", "-f", "-", stdin=THIRD)
    assert "Pod default/c is not there" in out


def test_files_that_are_wrong_change_nothing(box: Sandboxes) -> None:
    text = "kind: Service\nmetadata: {name: s}\n---\nkind: Pod\nmetadata: {name: d}\nspec: {nodeName: other}\n--- 7"
    _, errors = box.run("apply", "-f", "-", stdin=text, code=2)
    known = "known are Pod, Namespace, Node, NodeConfig"
    assert f"-: document 1: objects of kind Service are not served yet: {known}" in errors
    assert "-: document 2: spec.nodeName: there is no node other: nodes are node1" in errors
    assert "-: document 3: is no object, but int" in errors
    _, errors = box.run("apply", "-f", "nowhere.yaml", code=2)
    assert "nowhere.yaml: No such file or directory" in errors
    assert {pod["name"] for pod in box.stored("pods.json")["pods"]} == {"a", "b"}


def test_nodes_that_there_are_not(box: Sandboxes) -> None:
    for action, *words in (("restart", "vpp", "--node", "n7"), ("break", "n7"), ("exec", "--node", "n7", "--", "true")):
        _, errors = box.run(action, *words, code=1)
        assert "there is no node n7: nodes are node1" in errors
    _, errors = box.run("break", code=2)
    assert "name nodes" in errors


def test_there_is_no_such_sandbox(box: Sandboxes) -> None:
    for action, arguments in (("status", ()), ("matrix", ()), ("apply", ("-f", "-")), ("exec", ("a", "--", "true"))):
        _, errors = box.run(action, *arguments, name="other", code=1)
        assert "'contivpp sandbox up' makes one" in errors


def test_the_table_of_the_matrix(box: Sandboxes) -> None:
    out, _ = box.run("matrix")
    lines = out.splitlines()
    assert lines[0].split() == ["from", "\\", "to", "default/a", ":8080", "x/b"]
    assert lines[1].split() == ["default/a", "-", "-", "o"]
    assert lines[2].split() == ["x/b", "o", "o", "-"]


def test_down_ends_what_exec_started(any_box: Sandboxes) -> None:
    any_box.run("up")
    any_box.run("apply", "-f", str(any_box.manifest))
    process: subprocess.Popen[str] = any_box.start("exec", "a", "--", "sh", "-c", "echo in; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    inside = any_box.inside()
    any_box.run("down")
    process.communicate(timeout=10)
    assert process.returncode == -15
    assert any_box.leftovers(inside) == []
