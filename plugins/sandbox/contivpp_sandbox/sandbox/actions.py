# SPDX-License-Identifier: Apache-2.0
"""What the commands do. Each holds the sandbox's lock as long as it runs; `exec` and `demo` have their own modules."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from contivpp_core.errors import ConfigError
from contivpp_sandbox.rigs.base import ObjectReference
from contivpp_sandbox.sandbox.cluster import Cluster, reference_of
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory
from contivpp_sandbox.sandbox.manifests import Scheduler, read_manifests
from contivpp_sandbox.sandbox.matrix import matrix_table, probe_matrix
from contivpp_sandbox.sandbox.node import SandboxNode
from contivpp_sandbox.sandbox.pod import SandboxPod
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.report import report, report_text
from contivpp_sandbox.sandbox.teardown import remains, take_down
from contivpp_sandbox.sandbox.vpp import Dataplane
from contivpp_sandbox.servers.layout import Datastore

__all__ = [
    "apply",
    "break_off",
    "delete",
    "down",
    "fresh",
    "matrix",
    "node_names",
    "opened",
    "pod_named",
    "restart",
    "run_until_done",
    "status",
    "up",
]

_SETTLE_SECONDS = 30.0


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def run_until_done(work: Coroutine[Any, Any, int]) -> int:
    """Run a command; SIGTERM and the end of the terminal break it off as Ctrl-C does, so that it can clean up."""

    async def main() -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def taken_down(directory: Directory) -> list[str]:
    """Take a sandbox down, and let nobody break that off."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        return await take_down(directory)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@asynccontextmanager
async def fresh(directory: Directory, inventory: Inventory, *, progress: Progress) -> AsyncIterator[Cluster]:
    """Yield a cluster to be brought up, in a folder without remains; if the block fails, everything is taken down."""
    if directory.exists:
        with directory.locked():
            if remains(directory).alive and Inventory.is_up(directory):
                raise SandboxError(
                    f"{directory}: this sandbox is up already: use it, take it down, or give another --name"
                )
            with progress.step("what a former sandbox has left is removed"):
                await taken_down(directory)
    directory.make()
    with directory.locked():
        cluster = Cluster(directory, inventory, progress=progress)
        try:
            yield cluster
        except BaseException:
            await taken_down(directory)
            raise
        finally:
            await cluster.close()


def node_names(number: int) -> list[str]:
    """Return the names of so many nodes."""
    return [f"node{position}" for position in range(1, number + 1)]


async def up(
    directory: Directory,
    *,
    nodes: int,
    dataplane: Dataplane,
    config: str | None,
    mtu: int,
    datastore: Datastore = "embedded",
) -> int:
    """Bring a sandbox up."""
    inventory = Inventory(dataplane, mtu, _settings(config) if config else {}, datastore=datastore)
    async with fresh(directory, inventory, progress=Progress(say)) as cluster:
        await cluster.up(node_names(nodes))
        first = next(iter(cluster.nodes.values()))
    where = "" if directory.name == "default" else f" --name {directory.name}"
    say(f"The sandbox is up in {directory}. Next: contivpp sandbox apply{where} -f FILE")
    say(f"The agent's socket of {first.name}, for contivpp get: export CONTIVPP_SOCKET={first.folder.agent_socket}")
    return 0


def _settings(config: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(Path(config).read_text("utf-8")) or {}
    except OSError as error:
        raise ConfigError([f"{config}: {error.strerror}: name a file of agent settings"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{config}: is no YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(found, dict):
        raise ConfigError([f"{config}: must hold settings (`name: value`)"])
    return found


@asynccontextmanager
async def opened(directory: Directory, *, progress: Progress | None = None) -> AsyncIterator[Cluster]:
    """Yield the cluster of a sandbox that is up."""
    if not directory.exists:
        raise SandboxError(f"{directory}: there is no such sandbox: 'contivpp sandbox up' makes one")
    with directory.locked():
        cluster = Cluster.load(directory, progress=progress)
        if not cluster.inventory.up:
            raise SandboxError(f"{directory}: this sandbox did not come up: 'contivpp sandbox up' makes a new one")
        try:
            yield cluster
        finally:
            await cluster.close()


def _scheduler(cluster: Cluster, leaving: Collection[str]) -> Scheduler:
    """Return who places pods, on the nodes that stay."""
    nodes = [name for name in cluster.nodes if name not in leaving]
    return Scheduler(nodes, {key: pod.record.node for key, pod in cluster.pods.items() if pod.record.node in nodes})


async def apply(directory: Directory, *, file: str) -> int:
    """Create or change the objects of a file; what an earlier version of the same file had, and this has not, goes."""
    async with opened(directory, progress=Progress(say)) as cluster:
        kinds = cluster.store.kinds
        if file == "-":
            objects = read_manifests(file, _scheduler(cluster, ()), kinds)
        else:
            source = os.path.realpath(file)  # noqa: ASYNC240
            kept = [reference_of(each) for each in read_manifests(file, None, kinds)]
            gone = [each for each in cluster.sources.get(source, ()) if each not in kept and _exists(cluster, each)]
            leaving = {each.name for each in gone if each.kind == "Node"}
            objects = read_manifests(file, _scheduler(cluster, leaving), kinds)
            await _delete(cluster, gone)
            cluster.sources[source] = kept
        references = [reference_of(each) for each in objects]
        await cluster.apply(objects)
        await cluster.kubelet.retry()
        others = len(objects) - sum(each.kind == "Pod" for each in references)
        if others:
            say(f"{others} other {'object is' if others == 1 else 'objects are'} in the cluster")
        failures = [f"{pod.key}: {pod.failure}" for pod in cluster.pods.values() if pod.failure]
    if failures:
        raise SandboxError("\n".join(("pods that are not connected:", *failures)))
    return 0


async def delete(directory: Directory, *, file: str | None, pods: Sequence[str]) -> int:
    """Delete the objects of a file, or pods by name; what is not there is no error."""
    async with opened(directory) as cluster:
        wanted = [ObjectReference("Pod", *_split(name)) for name in pods]
        if file is not None:
            wanted += [reference_of(each) for each in read_manifests(file, None, cluster.store.kinds)]
        there = [each for each in wanted if _exists(cluster, each)]
        for each in wanted:
            if each not in there:
                say(f"{each} is not there")
        await _delete(cluster, there)
    return 0


async def _delete(cluster: Cluster, references: Sequence[ObjectReference]) -> None:
    if references:
        await cluster.delete(references)
        for each in references:
            say(f"{each} is deleted")


def _exists(cluster: Cluster, reference: ObjectReference) -> bool:
    if reference.kind == "Pod":
        return f"{reference.namespace}/{reference.name}" in cluster.pods
    return reference in cluster.objects


def _split(name: str) -> tuple[str, str]:
    namespace, slash, pod = name.rpartition("/")
    return (namespace, pod) if slash else ("default", name)


def pod_named(pods: Mapping[str, SandboxPod], name: str) -> SandboxPod:
    """Return the pod that a person means: `namespace/pod`, or `pod` in the namespace default."""
    pod = pods.get("/".join(_split(name)))
    if pod is None:
        known = ", ".join(sorted(pods)) or "none"
        raise SandboxError(f"there is no pod {name}: pods are {known}")
    return pod


async def restart(
    directory: Directory, *, what: str, node: str | None, kill: bool, wipe: bool = False
) -> int:
    """Restart the agent or VPP, on one node or on all, or a server of the cluster; also one that has died."""
    progress = Progress(say)
    async with opened(directory, progress=progress) as cluster:
        if node is not None:
            cluster.inventory.member(node)
        if what not in ("agent", "vpp"):
            if node is not None:
                raise SandboxError(f"--node {node}: there is one {what} for all nodes: leave it out")
            with progress.step(f"{what} is {'wiped' if wipe else 'killed' if kill else 'ended'}, and started"):
                await cluster.store.restart(what, kill=kill, wipe=wipe)
        elif wipe:
            raise SandboxError("--wipe is for datastore and etcd")
        for each in _restarted(cluster, what, node):
            with progress.step(f"{what} of {each.name} is {'killed' if kill else 'ended'}"):
                await each.stop(what, kill=kill)
            with progress.step(f"{what} of {each.name} is started"):
                await (each.start_vpp() if what == "vpp" else each.start_agent())
        with progress.step("settled") as step:
            settled, lines = await cluster.settled(_SETTLE_SECONDS)
            step.detail = "; ".join(lines)
    return 0 if settled else 1


def _restarted(cluster: Cluster, what: str, node: str | None) -> list[SandboxNode]:
    """Return the nodes on which something is to be restarted."""
    if what not in ("agent", "vpp"):
        return []
    return [cluster.nodes[node]] if node is not None else [*cluster.nodes.values()]


async def break_off(directory: Directory, *, nodes: Sequence[str], loss: float, heal: bool) -> int:
    """Cut nodes off the underlay, have them lose packets, or heal that; to heal, no names mean all."""
    async with opened(directory) as cluster:
        inventory = cluster.inventory
        places = [inventory.member(name) for name in nodes] or (inventory.members if heal else [])
        await cluster.underlay.heal(places)
        for place in places:
            inventory.broken.pop(place.name, None)
        cluster.save()
        if not heal:
            await (cluster.underlay.cut(places) if loss >= 100 else cluster.underlay.lose(places, loss))
            inventory.broken.update({place.name: loss for place in places})
        cluster.save()
    told = "has its link again" if heal else "is cut off" if loss >= 100 else f"loses {loss:g} % of its packets"
    for place in places:
        say(f"{place.name} {told}")
    return 0


async def matrix(directory: Directory, *, output: str, attempts: int) -> int:
    """Probe every pod from every pod."""
    async with opened(directory) as cluster:
        pods = sorted((pod for pod in cluster.pods.values() if pod.pid), key=lambda pod: pod.key)
        if len(pods) < 2:
            raise SandboxError(f"a matrix needs two pods, there are {len(pods)}: 'contivpp sandbox apply' adds pods")
        cells = await probe_matrix(directory, pods, attempts=attempts)
    say(json.dumps(cells, indent=1) if output == "json" else matrix_table(pods, cells))
    return 0


async def status(directory: Directory, *, output: str) -> int:
    """Tell how everything stands; 1 if an agent is not ready."""
    async with opened(directory) as cluster:
        found = await report(cluster)
    say(json.dumps(found, indent=1) if output == "json" else report_text(found))
    return 0 if all(node["agent"]["ready"] for node in found["nodes"]) else 1


async def down(directory: Directory) -> int:
    """Take everything down; nothing to take down is fine."""
    if not directory.exists:
        say(f"{directory}: there is nothing to take down")
        return 0
    progress = Progress(say)
    with directory.locked(), progress.step(f"{directory} is down"):
        lines = await taken_down(directory)
    for line in lines:
        print(f"contivpp: warning: {line}", file=sys.stderr)
    return 0
