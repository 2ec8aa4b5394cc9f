# SPDX-License-Identifier: Apache-2.0
"""ADD and DEL with every fault: a clear error (what, where, what to do), and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest

from contivpp_cni import shim

from .harness import NETWORK, Faulty, node
from .processes import run, until

pytestmark = [pytest.mark.netns, pytest.mark.tun]


# --- namespaces


async def test_a_namespace_that_does_not_exist(faulty: Faulty) -> None:
    path = str(faulty.rig.folder / "none")
    await faulty.refused("a", path, code=4, says=("CNI_NETNS", path, "No such file"))
    await faulty.clean()


async def test_a_file_that_is_no_namespace(faulty: Faulty) -> None:
    path = faulty.rig.folder / "file"
    path.touch()
    await faulty.refused("a", str(path), code=4, says=("CNI_NETNS", str(path), "namespace"))
    await faulty.clean()


async def test_a_namespace_that_goes_in_the_middle_of_add(faulty: Faulty) -> None:
    rig = faulty.rig
    outcomes = []
    for number, delay in enumerate((0.0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03)):
        path = rig.namespaces.make(f"goes{number}")
        adding = asyncio.ensure_future(rig.cni("ADD", f"goes{number}", path))
        await asyncio.sleep(delay)
        rig.namespaces.drop(path)
        code, answer = await adding
        outcomes.append(code)
        if code:
            assert answer["code"] in (4, 11, 999)
            assert path in answer["msg"], answer
        await rig.delete(f"goes{number}", path)
    print(f"exit codes of ADD by the moment: {outcomes}")
    assert 1 in outcomes
    await faulty.clean()


async def test_a_namespace_that_is_gone_before_delete_and_delete_twice(faulty: Faulty) -> None:
    rig = faulty.rig
    path = rig.namespaces.make("pod")
    await rig.add("pod", path)
    rig.namespaces.drop(path)
    await rig.delete("pod", path)
    await rig.delete("pod", path)
    await rig.delete("never seen".replace(" ", "-"))
    await faulty.clean()


# --- VPP


async def test_vpp_cannot_be_reached(faulty: Faulty) -> None:
    rig = faulty.rig
    path = rig.namespaces.make("pod")
    await rig.vpp.kill()
    begin = time.monotonic()
    await faulty.refused("pod", path, code=11, says=("vpp", "connect", "contivpp get status"))
    seconds = time.monotonic() - begin
    print(f"answered after {seconds:.2f} s, deadline 3 s")
    assert 2.5 < seconds < 4.5
    await rig.delete("pod", path)
    await rig.vpp.start()
    await until(rig.ready, 10, "the agent is ready again")
    await faulty.clean()


async def test_vpp_dies_in_the_middle_of_add(faulty: Faulty) -> None:
    rig = faulty.rig
    paths = [rig.namespaces.make(f"pod{number}") for number in range(24)]
    adding = [asyncio.ensure_future(rig.cni("ADD", Path(path).name, path)) for path in paths]
    await asyncio.sleep(0.01)
    await rig.vpp.kill()
    answers = await asyncio.gather(*adding)
    failed = [answer for code, answer in answers if code]
    assert failed, "VPP died too late"
    for answer in failed:
        assert answer["code"] == 11, answer
        assert "vpp" in answer["msg"].lower()
    await rig.vpp.start()
    await until(rig.ready, 10, "the agent is ready again")
    for (code, _), path in zip(answers, paths, strict=True):
        if code:
            await until(lambda path=path: not [x for x in rig.leftovers() if Path(path).name in x], 5, "nothing stays")
        await rig.delete(Path(path).name, path)
    await faulty.clean()


# --- requests that cross


async def test_delete_in_the_middle_of_add(faulty: Faulty) -> None:
    rig = faulty.rig
    broken_off = 0
    for number, delay in enumerate((0.0, 0.001, 0.003, 0.006, 0.01, 0.02)):
        path = rig.namespaces.make(f"pod{number}")
        adding = asyncio.ensure_future(rig.cni("ADD", f"pod{number}", path))
        await asyncio.sleep(delay)
        await rig.delete(f"pod{number}", path)
        code, answer = await adding
        if code:
            broken_off += 1
            assert answer["code"] == 11
            assert "broken off" in answer["msg"]
            assert "is being deleted" in answer["msg"]
        else:  # ADD was first, or came after DEL had its answer
            await rig.delete(f"pod{number}", path)
        rig.namespaces.drop(path)
    assert broken_off
    await faulty.clean()


async def test_a_runtime_that_hangs_up_gets_the_same_answer_later(faulty: Faulty) -> None:
    rig = faulty.rig
    path = rig.namespaces.make("pod")
    adding = asyncio.ensure_future(rig.cni("ADD", "pod", path))
    await asyncio.sleep(0.01)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    first = await rig.cni("ADD", "pod", path)
    assert first[0] == 0
    assert await rig.cni("ADD", "pod", path) == first
    await rig.delete("pod", path)
    for part in (b"", b"contivpp-cni/1 10", b"contivpp-cni/1 10 10\nCNI_COM"):
        hang_up(rig.cni_socket, part)
    await faulty.clean()


def hang_up(path: str, part: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(part)


async def test_a_late_delete_of_an_old_sandbox_and_a_container_id_in_another_namespace(faulty: Faulty) -> None:
    rig = faulty.rig
    old, new = rig.namespaces.make("old"), rig.namespaces.make("new")
    first = await rig.add("sandbox-1", old, name="web-0")
    second = await rig.add("sandbox-2", new, name="web-0")
    assert first != second
    await rig.delete("sandbox-1", old, name="web-0")
    assert await rig.cni("CHECK", "sandbox-2", new, name="web-0") == (0, None)
    third = await rig.add("sandbox-2", old, name="web-0")  # the ID again, in another namespace
    assert third != second
    assert await rig.linux_links(new) == ["lo"]
    assert await rig.linux_links(old) == ["eth0", "lo"]
    await rig.delete("sandbox-2", old, name="web-0")
    await faulty.clean()


async def test_a_hundred_adds_at_once_some_of_them_twice(faulty: Faulty) -> None:
    rig = faulty.rig
    paths = [rig.namespaces.make(f"pod{number}") for number in range(70)]
    calls = [*paths, *paths[:30]]
    begin = time.monotonic()
    answers = await asyncio.gather(*(rig.cni("ADD", Path(path).name, path) for path in calls))
    seconds = time.monotonic() - begin
    refused = [answer for code, answer in answers if code]
    assert not refused, json.dumps(refused[:3], indent=1)
    assert answers[70:] == answers[:30]
    assert len({answer["ips"][0]["address"] for _, answer in answers}) == 70
    print(f"100 ADDs, 70 pods: {seconds:.2f} s")
    records = rig.get("tables", "LocalPod")["records"]
    assert len(records) == 70
    begin = time.monotonic()
    await asyncio.gather(*(rig.delete(Path(path).name, path) for path in calls))
    print(f"100 DELs: {time.monotonic() - begin:.2f} s")
    await faulty.clean()


# --- addresses


async def test_a_used_up_subnet() -> None:
    settings = {"ipam": {"podSubnetOneNodePrefixLen": 29}, "contiv": {"addDeadlineSeconds": 3}}
    async with node("embedded", settings=settings) as rig:
        await rig.start_agent()
        await rig.settled()
        faulty = Faulty(rig, await rig.footprint())
        pods = await rig.pods(4)
        path = rig.namespaces.make("more")
        says = ("no free address in 10.1.0.8/29", "more/eth0", "all 4 are in use", "delete pods")
        await faulty.refused("more", path, code=11, says=says)
        assert not [entry for entry in rig.leftovers() if "more" in entry]
        first = next(iter(pods))
        await rig.delete(Path(first).name, first)
        assert await rig.add("more", path) == pods[first]
        for each in (*list(pods)[1:], path):
            await rig.delete(Path(each).name, each)
        await faulty.clean()


POD_SOURCE = '''
from contivpp_core.kubernetes import POD, Pod
from contivpp_core.plugin import Plugin
from contivpp_core.state import Put, Ready

WANTED = {"a": "10.1.1.77", "b": "10.1.1.77", "c": "10.9.9.9", "d": "10.1.1.1", "e": "nonsense"}


class PodSource(Plugin):
    """Stands for the Kubernetes State Reflector."""

    name = "podsource"
    sources = ("Pod",)

    async def start(self, agent):
        pods = [
            Pod(namespace="default", name=name, annotations=(("contivpp.io/ip", address),))
            for name, address in WANTED.items()
        ]
        await agent.controller.write("pods", [*(Put(POD.name, pod) for pod in pods), Ready(POD.name)])
'''


@pytest.fixture
def pod_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin that knows the pods."""
    (tmp_path / "podsource.py").write_text(POD_SOURCE)
    installed = tmp_path / "podsource-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: podsource\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[contivpp.plugins]\npodsource = podsource:PodSource\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("pod_source")
async def test_an_address_that_is_asked_for_by_annotation() -> None:
    settings = {"plugins": ["vpp", "linux", "ipam", "contiv", "podsource"], "contiv": {"addDeadlineSeconds": 3}}
    async with node("embedded", settings=settings) as rig:
        await rig.start_agent()
        await rig.settled()
        faulty = Faulty(rig, await rig.footprint())
        paths = {name: rig.namespaces.make(name) for name in "abcde"}
        assert await rig.add("a", paths["a"]) == "10.1.1.77"
        await faulty.refused("b", paths["b"], code=7, says=("pod default/b", "10.1.1.77", "in use by a/eth0"))
        await faulty.refused("c", paths["c"], code=7, says=("10.9.9.9", "outside this node's subnet 10.1.1.0/24"))
        await faulty.refused("d", paths["d"], code=7, says=("10.1.1.1", "reserved in 10.1.1.0/24 (gateway)"))
        await faulty.refused("e", paths["e"], code=7, says=("contivpp.io/ip", "'nonsense' is not an IP address"))
        await rig.delete("a", paths["a"])
        assert await rig.add("b", paths["b"]) == "10.1.1.77"
        await rig.delete("b", paths["b"])
        await faulty.clean()


# --- what is given from outside is wrong


@pytest.mark.parametrize(
    ("stdin", "code", "says"),
    [
        pytest.param(b"", 6, "is not JSON", id="nothing"),
        pytest.param(b"{", 6, "is not JSON", id="cut short"),
        pytest.param(b"\xff\xfe", 6, "is not JSON", id="no text"),
        pytest.param(b"[" * 100_000, 6, "is not JSON", id="deep"),
        pytest.param(b"[1]", 6, "is not an object", id="a list"),
        pytest.param(b'{"cniVersion": "9.9.9", "name": "k8s"}', 1, "use one of 0.3.1", id="version"),
        pytest.param(b'{"cniVersion": ["1.0.0"], "name": "k8s"}', 7, "is no version", id="version is a list"),
        pytest.param(b'{"cniVersion": "1.0.0"}', 7, "names no network", id="no name"),
    ],
)
async def test_malformed_stdin(faulty: Faulty, stdin: bytes, code: int, says: str) -> None:
    path = faulty.rig.namespaces.make("pod")
    try:
        await faulty.refused("pod", path, code=code, says=(says,), stdin=stdin)
        await faulty.clean()
    finally:
        faulty.rig.namespaces.drop(path)


@pytest.mark.parametrize(
    ("container", "interface", "says"),
    [
        pytest.param("../etc", "eth0", "CNI_CONTAINERID '../etc' must begin with a letter", id="container"),
        pytest.param("a", "e/0", "CNI_IFNAME 'e/0' must be a name of 1 to 15 bytes", id="interface"),
        pytest.param("a", "e" * 16, "must be a name of 1 to 15 bytes", id="long interface"),
    ],
)
async def test_malformed_environment(faulty: Faulty, container: str, interface: str, says: str) -> None:
    await faulty.refused(container, faulty.rig.netns, code=4, says=(says,), interface=interface)
    await faulty.clean()


async def test_the_executable_prints_what_the_agent_says_and_what_to_do_without_one(faulty: Faulty) -> None:
    rig = faulty.rig
    path = rig.namespaces.make("pod")
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "pod",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": path,
        "CONTIVPP_CNI_SOCKET": rig.cni_socket,
    }
    command = ("python3", "-IS", str(shim.__file__))
    stdin = json.dumps(NETWORK).encode()
    code, out, _ = await run(*command, stdin=stdin, env=environment)
    assert code == 0, out
    assert json.loads(out)["interfaces"][0]["sandbox"] == path
    code, out, _ = await run(*command, stdin=stdin, env={**environment, "CNI_NETNS": "/none"})
    assert (code, json.loads(out)["code"]) == (1, 4)
    assert await run(*command, stdin=stdin, env={**environment, "CNI_COMMAND": "DEL"}) == (0, "", "")
    await faulty.clean()
    await rig.kill_agent()
    code, out, _ = await run(*command, stdin=stdin, env=environment)
    answer = json.loads(out)
    assert (code, answer["code"]) == (1, 11)
    for says in (rig.cni_socket, "Connection refused", "Check that the agent runs"):
        assert says in answer["msg"]
