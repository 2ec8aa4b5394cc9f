# SPDX-License-Identifier: Apache-2.0
"""Up and down: whatever happens to a sandbox, nothing of it stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

import pytest

from .sandboxes import USER, Sandboxes, as_user

pytestmark = pytest.mark.netns


def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


def links() -> set[str]:
    """Links of the machine's own network that a pod could have left."""
    return {name for name in os.listdir("/sys/class/net") if name.startswith(("cvpp", "tap", "contivpp"))}


def test_up_apply_matrix_down_leaves_nothing(box: Sandboxes) -> None:
    before = links()
    out, _ = box.run("up")
    steps = ("namespaces and underlay", "the cluster's store", "VPP of node1: vpp v", "agent of node1")
    assert all(step in out for step in steps)
    assert os.stat("/proc/self/ns/net").st_ino not in box.networks()
    out, _ = box.run("apply", "-f", str(box.manifest))
    assert "pod default/a: 10.1." in out
    inside = box.inside()
    assert len(box.networks()) == 4  # the underlay, the node, two pods
    assert len(inside) == 7  # keeper and store; the node's host, VPP and agent; two pods
    out, _ = box.run("matrix", "-o", "json")
    cells = json.loads(out)
    assert {(c["from"], c["to"], c["protocol"], c["port"]) for c in cells} == {
        ("default/a", "x/b", "ICMP", 0), ("x/b", "default/a", "ICMP", 0), ("x/b", "default/a", "TCP", 8080),
    }  # fmt: skip
    assert all(cell["ok"] and 0 < cell["ms"] < 4000 for cell in cells), cells
    out, _ = box.run("status", "-o", "json")
    status = json.loads(out)
    (node,) = status["nodes"]
    assert node["agent"]["ready"]
    assert status["dataplane"] == "embedded"
    assert "embeddedvpp" in node["vpp"]
    assert node["interfaces"]["podInterface"] in ("tap", "afpacket")
    assert [(pod["pod"], pod["running"]) for pod in status["pods"]] == [("default/a", True), ("x/b", True)]
    box.run("down")
    assert box.leftovers(inside) == []
    assert links() == before
    out, _ = box.run("down")
    assert "nothing to take down" in out


@pytest.mark.parametrize("parts", [("agent",), ("vpp", "pod")], ids=["agent", "VPP and a pod"])
def test_parts_that_were_killed(any_box: Sandboxes, parts: tuple[str, ...]) -> None:
    any_box.run("up")
    any_box.run("apply", "-f", str(any_box.manifest))
    inside = any_box.inside()
    for part in parts:
        pid = next(pid for name, pid in any_box.processes().items() if name.startswith(part))
        os.kill(pid, signal.SIGKILL)
    if "agent" in parts:
        out, _ = any_box.run("status", code=1)
        assert "agent:node1 ended with code -9" in out
    any_box.run("down")
    assert any_box.leftovers(inside) == []


def test_with_the_keeper_everything_goes_at_once(box: Sandboxes) -> None:
    box.run("up")
    box.run("apply", "-f", str(box.manifest))
    inside = box.inside()
    os.kill(box.processes()["keeper"], signal.SIGKILL)

    def none_runs() -> bool:
        return not [line for line in box.leftovers(inside) if line.startswith("process ")]

    until(none_runs, "every process of the sandbox is gone", 5)
    _, errors = box.run("apply", "-f", str(box.manifest), code=1)
    assert "take the sandbox down, and up again" in errors or "does not answer" in errors
    box.run("up")  # removes what is left by itself
    box.run("down")
    assert box.leftovers(inside) == []


def test_up_that_was_killed_half_way(any_box: Sandboxes) -> None:
    process = any_box.start("up")
    until((any_box.folder() / "n1" / "vpp-api.sock").exists, "VPP is started")
    process.kill()
    process.communicate()
    inside = any_box.inside()
    assert any_box.leftovers(inside) != []
    out, _ = any_box.run("up")
    assert "what a former sandbox has left is removed" in out
    second = any_box.inside()
    any_box.run("down")
    assert any_box.leftovers([*inside, *second]) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_that_is_broken_off_takes_itself_down(any_box: Sandboxes, number: int) -> None:
    process = any_box.start("up")
    until((any_box.folder() / "n1" / "vpp-api.sock").exists, "VPP is started")
    process.send_signal(signal.SIGSTOP)  # to look takes long enough for it to be done
    inside = any_box.inside()
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert any_box.leftovers(inside) == []


def test_two_at_once(box: Sandboxes) -> None:
    box.run("up", name="one")
    box.run("up", name="two")
    inside = {name: box.inside(name) for name in ("one", "two")}
    assert not box.networks("one") & box.networks("two")
    for name in ("one", "two"):
        box.run("apply", "-f", str(box.manifest), name=name)
    box.run("down", name="one")
    assert box.leftovers(inside["one"], name="one") == []
    out, _ = box.run("matrix", "-o", "json", name="two")
    assert all(cell["ok"] for cell in json.loads(out))
    _, errors = box.run("up", name="two", code=1)
    assert "is up already" in errors
    box.run("down", name="two")
    assert box.leftovers(inside["two"], name="two") == []


def test_the_demo(box: Sandboxes) -> None:
    out, _ = box.run("demo", "--pods", "3", name="demo")
    assert "4 of 4 came back" in out
    assert "HTTP/1.1 200 OK" in out
    assert "loop16000" in out
    assert out.rstrip().endswith("All of it worked.")
    assert box.leftovers(name="demo") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_broken_off(any_box: Sandboxes, number: int) -> None:
    process = any_box.start("demo", name="demo")
    until((any_box.folder("demo") / "n2" / "run" / "agent.sock").exists, "the agent is started")
    inside = any_box.inside("demo")
    process.send_signal(number)
    process.communicate(timeout=20)
    if number == signal.SIGINT:
        assert any_box.leftovers(inside, name="demo") == []
    else:
        folder = str(any_box.folder("demo"))
        until(lambda: set(any_box.leftovers(inside, name="demo")) <= {folder}, "only files are left", 5)
        any_box.run("demo", name="demo")


WITHOUT_USER_NAMESPACES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
ready, go = os.pipe(), os.pipe()
child = os.fork()
if not child:
    if libc.unshare(0x10000000):
        os._exit(77)
    os.write(ready[1], b"1")
    os.read(go[0], 1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    with open("/proc/sys/user/max_user_namespaces", "w") as setting:
        setting.write("0")
    os.execv(sys.argv[1], sys.argv[1:])
os.read(ready[0], 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{name}", "w") as file:
        file.write("0 0 65536")
os.write(go[1], b"1")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""A user namespace in which everybody is as outside, but no further one can be made."""


def test_a_machine_without_user_namespaces() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to switch user namespaces off in one of its own")
    prefix, why = as_user()
    if why:
        pytest.skip(f"an ordinary user gets no network namespace here: {why}")
    program = shutil.which(prefix[0])
    assert program is not None
    box = Sandboxes((sys.executable, "-c", WITHOUT_USER_NAMESPACES, program, *prefix[1:]), USER)
    try:
        _, errors = box.run("up", code=1)
        assert "user namespaces are switched off: sysctl -w user.max_user_namespaces=" in errors
        assert box.leftovers() == []
    finally:
        box.clear()
