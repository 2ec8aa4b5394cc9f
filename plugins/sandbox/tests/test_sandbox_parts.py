# SPDX-License-Identifier: Apache-2.0
"""Parts of the sandbox that need no namespaces: folder, identity of processes, VPP's CLI, manifests, limits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from contivpp_core.cli import main
from contivpp_core.errors import ConfigError
from contivpp_sandbox.rigs.base import RigError
from contivpp_sandbox.rigs.netns import vpp_rig
from contivpp_sandbox.sandbox import namespaces, vpp
from contivpp_sandbox.sandbox.directory import Directory, default_base
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory
from contivpp_sandbox.sandbox.manifests import Scheduler, read_manifests
from contivpp_sandbox.sandbox.processes import Process, end_all, identify
from contivpp_sandbox.sandbox.teardown import remains, take_down


@pytest.fixture
def directory() -> Iterator[Directory]:
    with tempfile.TemporaryDirectory(prefix="sb-") as base:
        yield Directory(Path(base) / "s", "t")


# --- the folder


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "A", "-a"])
def test_names_that_are_refused(name: str):
    with pytest.raises(SandboxError, match="--name"):
        Directory(Path("/tmp"), name)


def test_a_path_too_long_for_sockets_is_told_at_once():
    with pytest.raises(SandboxError, match=r"too long for sockets .*give a shorter one"):
        Directory(Path("/tmp") / ("x" * 90), "t")


def test_the_folder_is_its_owners(directory: Directory):
    directory.make()
    assert directory.path.stat().st_mode & 0o777 == 0o700
    directory.write("pods.json", {"a": 1})
    assert directory.read("pods.json") == {"a": 1}
    assert directory.read("never.json") is None
    directory.remove()
    assert not directory.base.exists()
    directory.remove()


def test_a_link_in_the_folders_place_is_refused(directory: Directory, tmp_path: Path):
    directory.base.symlink_to(tmp_path)
    with pytest.raises(SandboxError, match="belongs to somebody else"):
        directory.make()


def test_one_command_at_a_time(directory: Directory):
    directory.make()
    in_use = pytest.raises(SandboxError, match="in use by another command")
    with directory.locked(), in_use, directory.locked(seconds=0.1):
        pass
    with directory.locked(seconds=0.1):
        directory.remove()
    with pytest.raises(SandboxError, match="there is no sandbox"), directory.locked():
        pass


def test_where_an_ordinary_user_has_sandboxes(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_base() == tmp_path / "contivpp-sandbox"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    assert default_base().name == "contivpp-sandbox-1234"


# --- processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_process_with_another_start_time_is_a_stranger(sleeper):
    own = identify(sleeper.pid)
    stranger = Process(own.pid, own.start + 1)
    assert own.alive
    assert not stranger.alive
    assert end_all([stranger, Process(0, 0)]) == []
    assert sleeper.poll() is None
    assert end_all([own]) == []
    assert sleeper.wait(5) == -15
    assert not own.alive


def test_one_that_ended_but_was_not_asked_how_is_not_alive(sleeper):
    own = identify(sleeper.pid)
    sleeper.kill()
    assert end_all([own]) == []


async def test_strangers_with_the_numbers_of_a_former_sandbox_live_on(directory: Directory, sleeper):
    directory.make()
    start = identify(sleeper.pid).start
    directory.write("keeper.json", {
        "keeper": [sleeper.pid, start - 5], "networks": {"keeper": 1}, "processes": {"vpp": [sleeper.pid, start + 5]}
    })  # fmt: skip
    directory.write("exec/77.json", [sleeper.pid, 1])
    assert not remains(directory).alive
    assert await take_down(directory) == []
    assert sleeper.poll() is None
    assert not directory.exists


# --- VPP's CLI


@pytest.mark.parametrize(
    ("conversation", "text"),
    [
        ([b"vpp# ", b"one\r\ntwo\r\nvpp# "], "one\ntwo"),
        ([b"\xff\xfd\x18\xff\xfb\x01", b"one\r\n", b"\0"], "one"),
        ([b"\xff\xfb\x00", b"\xff\xfa\x18\x01\xff\xf0one\n\0"], "one"),
        ([b"vpp# ", b"vpp# "], ""),
        ([b"cut o"], "cut o"),
    ],
    ids=["embedded", "real", "real, option 0", "no output", "hung up"],
)
async def test_the_answer_of_a_cli(conversation: list[bytes], text: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).endswith(b"show version\n")
        for part in conversation:
            writer.write(part)
            await asyncio.sleep(0.01)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_unix_server(serve, "cli"):
        assert await vpp.cli("cli", "show version") == text
        await ended.wait()


async def test_a_cli_that_is_not_there(tmp_path: Path):
    with pytest.raises(SandboxError, match="does not answer: No such file or directory"):
        await vpp.cli(str(tmp_path / "cli"), "show version")


# --- what a machine lacks


async def test_no_real_vpp(monkeypatch):
    monkeypatch.delenv("CONTIVPP_VPP", raising=False)
    with pytest.raises(SandboxError, match="name its executable by CONTIVPP_VPP"):
        vpp.command("vpp", Directory(Path("/tmp/none"), "t").node(1), link="eth1")
    rig = vpp_rig()
    try:
        with pytest.raises(RigError, match=r"the rig vpp (does not start|cannot run here)"):
            await rig.start(["n"], {})
    finally:
        await rig.stop()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value, _ in namespaces._SETTINGS])
def test_the_setting_that_forbids_namespaces_is_named(name: str, value: str, tmp_path: Path):
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(f"{value}\n")
    told = namespaces._explanation(OSError(errno.EPERM, "not permitted"), privileged=False, settings=tmp_path)
    assert f"sysctl -w {name.replace('/', '.')}=" in told


def test_root_without_rights_is_told_what_a_container_needs():
    assert "--privileged" in namespaces._explanation(OSError(errno.EPERM, "not permitted"), privileged=True)


# --- manifests


def test_what_an_api_server_would_fill_in(monkeypatch):
    text = "kind: List\nitems:\n- {kind: Pod, metadata: {name: a}}\n- {kind: Namespace, metadata: {name: x}}\n---\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    pod, namespace = read_manifests("-", Scheduler(["n1"], {}))
    assert pod == {"kind": "Pod", "metadata": {"name": "a", "namespace": "default"}, "spec": {"nodeName": "n1"}}
    assert namespace == {"kind": "Namespace", "metadata": {"name": "x"}}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kind: Pod", "document 1: Pod default: Object missing"),
        ("metadata: {name: a}", "must say its kind"),
        ("kind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: true}", "spec.hostNetwork"),
        ("kind: Pod\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: a}", "Pod default a is there twice"),
        ("kind: Pod\nmetadata: [}", "is no YAML"),
        ("kind: Pod\nmetadata: {name: a}\nspec: 7", "spec"),
        ("kind: List\nitems: 7", "items"),
        ("kind: Pod\nmetadata: {name: a}\nspec: {nodeName: n7}", "there is no node n7: nodes are n1"),
        ("kind: NodeConfig\nmetadata: {name: n7}", "metadata.name: there is no node n7"),
    ],
)
def test_faults_of_manifests(text: str, fault: str, tmp_path: Path):
    file = tmp_path / "f.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_manifests(str(file), Scheduler(["n1"], {}))
    assert fault in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


def pod_lines(*names: str) -> str:
    return "".join(f"kind: Pod\nmetadata: {{name: {name}}}\n---\n" for name in names)


def test_pods_go_where_the_fewest_are(tmp_path: Path):
    file = tmp_path / "f.yaml"
    file.write_text(pod_lines("a", "b", "c") + "kind: Node\nmetadata: {name: n3}\n---\n" + pod_lines("d"))
    objects = read_manifests(str(file), Scheduler(["n1", "n2"], {"default/b": "n2", "x/y": "n1"}))
    places = {each["metadata"]["name"]: each["spec"]["nodeName"] for each in objects if each["kind"] == "Pod"}
    assert places == {"b": "n2", "a": "n3", "c": "n1", "d": "n2"}


def test_pods_do_not_move(tmp_path: Path):
    file = tmp_path / "f.yaml"
    file.write_text("kind: Pod\nmetadata: {name: a}\nspec: {nodeName: n2}")
    with pytest.raises(ConfigError, match="the pod runs on n1, and pods do not move"):
        read_manifests(str(file), Scheduler(["n1", "n2"], {"default/a": "n1"}))


# --- nodes


def test_a_node_that_comes_back_has_its_place_and_the_smallest_free_id(directory: Directory):
    inventory = Inventory("embedded")
    for name in ("a", "b", "c"):
        inventory.join(name)
    assert [(each.name, each.position, each.node_id) for each in inventory.members] == [
        ("a", 1, 1), ("b", 2, 2), ("c", 3, 3),
    ]  # fmt: skip
    inventory.nodes["a"].node_id = inventory.nodes["b"].node_id = 0
    with pytest.raises(SandboxError, match="there is no node a: nodes are c"):
        inventory.member("a")
    back = inventory.join("b")
    assert (back.position, back.node_id, back.management) == (2, 1, "10.200.0.2")
    assert inventory.host_addresses() == {
        "10.200.0.2": "node:b", "172.30.1.2": "node:b", "10.200.0.3": "node:c", "172.30.3.2": "node:c",
    }  # fmt: skip
    directory.make()
    inventory.save(directory)
    assert Inventory.load(directory) == inventory


# --- help


ACTIONS = ("up", "apply", "delete", "exec", "restart", "break", "matrix", "status", "down", "demo")


@pytest.mark.parametrize("action", ACTIONS)
def test_help_has_examples(action: str, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["sandbox", action, "--help"])
    assert caught.value.code == 0
    assert "examples:" in (text := capsys.readouterr().out)
    assert f"contivpp sandbox {action}" in text.partition("examples:")[2]


def test_objects_that_are_only_named_need_no_node(tmp_path):
    file = tmp_path / "pods.yaml"
    file.write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: gone}}\n---\n"
        "{apiVersion: nodeconfig.contiv.vpp/v1, kind: NodeConfig, metadata: {name: gone}}\n"
    )
    assert [each["kind"] for each in read_manifests(str(file), None)] == ["Pod", "NodeConfig"]
    with pytest.raises(ConfigError, match="there is no node gone"):
        read_manifests(str(file), Scheduler(["node1"], {}))
    with pytest.raises(ConfigError, match="there is no node left for the pod: apply a Node first"):
        read_manifests(str(file), Scheduler([], {}))
