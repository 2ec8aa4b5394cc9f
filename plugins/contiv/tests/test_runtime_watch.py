# SPDX-License-Identifier: Apache-2.0
"""The comparison with the runtime's sandboxes over minutes and restarts, in simulated time."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contivpp_contiv.runtime.errors import NoCri, RuntimeFault
from contivpp_contiv.runtime.verdict import AGAIN_SECONDS, Sandbox
from contivpp_contiv.runtime.watch import CONDITION, LISTED
from contivpp_core.clock import run_simulated
from contivpp_core.kubernetes import POD, Pod
from contivpp_core.state import Delete, Put, Ready

from .nodes import Node, address

MINUTE = 60.0


class Runtime:
    """A runtime and its client. `known` has sandboxes by ID, and whether each is ready; every call raises `fault`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.known: dict[str, bool] = {}
        self.networks: dict[str, list[str]] = {}
        self.fault: Exception | None = None
        self.calls = 0

    async def connect(self, path: str) -> Any:
        assert path == self.path
        return self._connected()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Runtime]:
        yield self

    async def version(self) -> str:
        self.calls += 1
        await asyncio.sleep(0.01)
        if self.fault:
            raise self.fault
        return "crisp 1.0"

    async def sandboxes(self) -> list[Sandbox]:
        await asyncio.sleep(0.01)
        return [Sandbox(id=each, namespace="default", name=each, ready=ready) for each, ready in self.known.items()]

    async def addresses(self, sandbox: str) -> list[str]:
        return self.networks.get(sandbox, [])


Scene = Callable[[Node, Runtime], Awaitable[None]]


@pytest.fixture
def play() -> Iterator[Callable[[Scene], None]]:
    """Play a scene with a node and its runtime."""
    with tempfile.TemporaryDirectory(prefix="cri-") as folder, socket.socket(socket.AF_UNIX) as listening:
        path = str(Path(folder) / "s")
        listening.bind(path)

        def run(scene: Scene) -> None:
            async def main() -> None:
                runtime = Runtime(path)
                node = Node(runtime=runtime.connect, runtimeSocket=path)
                await node.start()
                await scene(node, runtime)
                await node.kill()

            run_simulated(main())

        yield run


def attached(node: Node) -> list[str]:
    return [pod.container_id for pod in node.agent.state.table("LocalPod").records()]


def told(node: Node) -> str:
    condition = node.agent.conditions[CONDITION]
    assert condition.ok  # the agent is ready whatever the runtime does
    return condition.reason


def faults(node: Node) -> dict[str, str]:
    return {fault.subject: fault.reason for fault in node.agent.state.table("Fault").records()}


async def connect(node: Node, runtime: Runtime, *numbers: int) -> None:
    """ADD pods, and have the runtime list them afterwards."""
    for number in numbers:
        assert address(await node.cni("ADD", number))
        runtime.known[f"c{number}"] = True


def test_a_sandbox_that_is_removed_without_a_delete(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1, 2)
        await asyncio.sleep(MINUTE)
        assert sorted(node.ledger.items(LISTED)) == ["c1", "c2"]
        assert told(node) == f"crisp 1.0 at {runtime.path}"
        del runtime.known["c1"]
        await asyncio.sleep(10 * MINUTE)
        assert attached(node) == ["c2"]
        assert set(node.ledger.items("contiv.pod")) == {"c2/eth0"}
        assert node.ledger.items("contiv.tombstone") == {}
        assert set(node.ledger.items("ipam")) == {"address/c2/eth0", "last"}
        assert list(node.ledger.items(LISTED)) == ["c2"]
        causes = [entry.cause for entry in node.agent.journal.entries(20)]
        assert "default/p1: the runtime has removed its sandbox" in causes
        assert await node.cni("DEL", 1) == {}  # late, and of no harm
        del runtime.known["c2"]
        assert await node.cni("DEL", 2) == {}
        await asyncio.sleep(10 * MINUTE)
        node.assert_nothing_left()
        assert node.ledger.items(LISTED) == {}

    play(scene)


def test_a_sandbox_that_is_removed_while_the_agent_is_down(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1, 2)
        await asyncio.sleep(MINUTE)
        await node.kill()
        del runtime.known["c1"]
        await node.start()
        await asyncio.sleep(AGAIN_SECONDS / 2)
        assert attached(node) == ["c1", "c2"]
        await asyncio.sleep(2 * AGAIN_SECONDS)
        assert attached(node) == ["c2"]

    play(scene)


def test_while_kubernetes_lists_the_pod_with_its_address_it_stays(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1, 2)
        running = Pod(namespace="default", name="p1", node="node1", phase="Running", addresses=("10.1.1.2",))
        await node.agent.controller.write("test", [Put(POD.name, running)])
        await asyncio.sleep(MINUTE)
        del runtime.known["c1"]
        await asyncio.sleep(30 * MINUTE)
        assert attached(node) == ["c1", "c2"]
        calls = runtime.calls
        await node.agent.controller.write("test", [Delete(POD.name, "default/p1")])
        await asyncio.sleep(1.5 * MINUTE)
        assert attached(node) == ["c2"]
        assert runtime.calls - calls <= 3

    play(scene)


def test_while_the_pods_of_kubernetes_are_not_known_for_certain_it_stays(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1, 2)
        await asyncio.sleep(MINUTE)
        await node.agent.controller.write("test", [Ready(POD.name, stale=True)])
        del runtime.known["c1"]
        await asyncio.sleep(30 * MINUTE)
        assert attached(node) == ["c1", "c2"]
        await node.agent.controller.write("test", [Ready(POD.name)])
        await asyncio.sleep(MINUTE)
        assert attached(node) == ["c2"]

    play(scene)


def test_what_the_runtime_has_never_listed(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 2)
        await node.cni("ADD", 1)  # its runtime died before it listed the sandbox
        await asyncio.sleep(9 * MINUTE)
        assert attached(node) == ["c1", "c2"]
        await asyncio.sleep(3 * MINUTE)
        assert attached(node) == ["c2"]

    play(scene)


def test_a_runtime_that_knows_none_of_our_pods_tells_nothing(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await node.cni("ADD", 1)
        runtime.known["another"] = True
        await asyncio.sleep(60 * MINUTE)
        assert attached(node) == ["c1"]

    play(scene)


def test_an_attachment_outside_kubernetes_is_not_compared(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 2)
        environment = {
            "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "tool", "CNI_IFNAME": "eth0", "CNI_NETNS": "/netns/9",
            "CNI_ARGS": "K8S_POD_NAME=tool",  # as podman has it
        }  # fmt: skip
        code, _ = await node.contiv.serve_cni(environment, b'{"cniVersion": "1.1.0", "name": "n", "type": "contivpp"}')
        assert code == 0
        del node.world.namespaces["/netns/9"]
        await asyncio.sleep(60 * MINUTE)
        assert attached(node) == ["c2", "tool"]

    play(scene)


def test_a_sandbox_that_has_ended_waits_for_its_delete(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1, 2)
        runtime.known["c1"] = False
        await asyncio.sleep(60 * MINUTE)
        assert attached(node) == ["c1", "c2"]
        del node.world.namespaces["/netns/1"]
        await asyncio.sleep(10 * MINUTE)
        assert attached(node) == ["c2"]

    play(scene)


@pytest.mark.parametrize("fault", [RuntimeFault("no answer"), OSError("broken"), NoCri("no CRI")])
def test_without_answers_nothing_goes_and_it_is_told(play: Any, fault: Exception) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1)
        await asyncio.sleep(MINUTE)
        runtime.known.clear()
        runtime.fault = fault
        await asyncio.sleep(10 * MINUTE)
        assert attached(node) == ["c1"]
        assert told(node).startswith("its sandboxes are not known")
        assert str(fault) in faults(node)[f"container runtime {runtime.path}"]
        calls = runtime.calls
        await asyncio.sleep(60 * MINUTE)
        assert 60 <= runtime.calls - calls <= 130  # with growing pauses, up to a minute
        runtime.fault, runtime.known["c1"] = None, True
        await asyncio.sleep(2 * MINUTE)
        assert told(node).startswith("crisp")
        assert faults(node) == {}
        assert attached(node) == ["c1"]

    play(scene)


def test_a_server_without_the_cri_at_a_usual_place_is_no_fault(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await node.kill()
        monkeypatch.setattr("contivpp_contiv.runtime.watch.find_socket", lambda configured: (runtime.path, ""))
        node.settings["runtimeSocket"] = "auto"
        runtime.fault = NoCri("no CRI")
        await node.start()
        await asyncio.sleep(10 * MINUTE)
        assert told(node) == "not offered: no CRI"
        assert faults(node) == {}

    play(scene)


def test_a_quiet_node_asks_every_few_minutes(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, *range(1, 20))
        await asyncio.sleep(10 * MINUTE)
        calls = runtime.calls
        await asyncio.sleep(600 * MINUTE)
        assert 90 <= runtime.calls - calls <= 160

    play(scene)


def test_an_add_in_hand_is_left_alone(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 2)
        node.world.block = "vpp/mtu"
        adding = asyncio.create_task(node.cni("ADD", 1))
        await asyncio.sleep(1)
        del node.world.namespaces["/netns/1"]
        await asyncio.sleep(18)
        assert not adding.done()
        assert "c1" in attached(node)
        node.world.block = ""
        await adding

    play(scene)


def test_sandboxes_with_our_addresses_and_without_an_attachment_are_named(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1)
        runtime.known |= {"lost": True, "host": True, "other": True, "ended": False}
        runtime.networks = {"lost": ["10.1.1.9", "fd00::1"], "other": ["192.168.5.5", "nonsense"]}
        runtime.networks["ended"] = ["10.1.1.8"]
        await asyncio.sleep(10 * MINUTE)
        named = faults(node)
        assert list(named) == ["pod default/lost sandbox lost"]
        assert "10.1.1.9" in named["pod default/lost sandbox lost"]
        del runtime.known["lost"]
        await asyncio.sleep(10 * MINUTE)
        assert faults(node) == {}

    play(scene)


def test_the_socket_goes_and_comes(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1)
        await asyncio.sleep(MINUTE)
        place = Path(runtime.path)
        place.rename(place.with_name("aside"))
        await asyncio.sleep(10 * MINUTE)
        assert "is not there, or no socket" in told(node)
        place.with_name("aside").rename(place)
        await asyncio.sleep(2 * MINUTE)
        assert told(node).startswith("crisp")

    play(scene)


def test_what_another_runtime_has_listed_does_not_count(play: Any) -> None:
    async def scene(node: Node, runtime: Runtime) -> None:
        await connect(node, runtime, 1, 2)
        await asyncio.sleep(MINUTE)
        await node.kill()
        runtime.path = node.settings["runtimeSocket"] = str(Path(runtime.path).rename(f"{runtime.path}2"))
        del runtime.known["c1"]
        await node.start()
        await asyncio.sleep(5 * MINUTE)
        assert attached(node) == ["c1", "c2"]  # which goes as one that was never listed: by its age
        assert node.ledger.items(LISTED)["c2"] == runtime.path.encode()
        await asyncio.sleep(10 * MINUTE)
        assert attached(node) == ["c2"]

    play(scene)
