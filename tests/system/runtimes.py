# SPDX-License-Identifier: Apache-2.0
"""What every container runtime needs of a node, and what none of them may leave behind."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path

from contivpp_cni import install
from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.transports import unix_socket

from .harness import Node
from .processes import until

Traces = dict[str, list[str]]


def install_cni(rig: Node, *arguments: str) -> tuple[Path, Path]:
    """Install as on a real node; return the runtime's folders of executables and of configurations."""
    bin_folder, conf_folder = rig.folder / "cni-bin", rig.folder / "cni-conf"
    options: argparse.Namespace = install.parser().parse_args(
        ["--bin-dir", str(bin_folder), "--conf-dir", str(conf_folder), "--socket", rig.cni_socket, *arguments]
    )
    list(install.install(options))
    return bin_folder, conf_folder


async def nothing() -> Traces:
    """What a runtime without a daemon keeps."""
    return {}


class Baseline:
    """What was there of node and runtime before there was any pod."""

    def __init__(self, rig: Node, runtime: Callable[[], Awaitable[Traces]] = nothing) -> None:
        self._rig, self._runtime = rig, runtime
        self._was: Traces = {}

    async def take(self) -> None:
        """Note what is there, when the node is complete: its link to the host is chosen last."""
        await until(lambda: self._rig.get("tables", "HostLink")["records"], 20, "the link to the host is chosen")
        await self._rig.settled()
        self._was = await self._traces()

    async def is_back(self, *, seconds: float = 20.0) -> None:
        """Assert that no pod has left anything behind, on any side; what is taken down later has some seconds."""
        await self._rig.settled()
        end = time.monotonic() + seconds
        while (now := await self._traces()) != self._was:
            if time.monotonic() > end:
                raise AssertionError("\n".join(self._differences(now)))
            await asyncio.sleep(0.2)

    def _differences(self, now: Traces) -> list[str]:
        lines = []
        for kind, was in self._was.items():
            lines += [f"{kind}: more: {each}" for each in now[kind] if each not in was]
            lines += [f"{kind}: less: {each}" for each in was if each not in now[kind]]
        return lines or [f"the same things, more or less often: {now}"]

    async def _traces(self) -> Traces:
        rig, inside = self._rig, self._rig.machine
        cache = inside.root / "var/lib/cni"
        return {
            **await self._runtime(),
            **vars(await rig.footprint()),
            "neighbours of VPP": await neighbours(rig),
            "ledger": rig.leftovers(),
            "pods of the agent": [pod["key"] for pod in rig.get("tables", "LocalPod")["records"]],
            "files": sorted(os.listdir(rig.folder)),
            "network namespaces": sorted(path.name for path in inside.root.glob("run/netns/*")),
            "cached results": sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()),
            "mounts": inside.mounts(),
            "control groups": inside.groups(),
            "processes": sorted(inside.processes().values()),
        }


async def neighbours(rig: Node) -> list[str]:
    """Every neighbour that VPP knows."""
    connection = await Connection.open(unix_socket(rig.vpp.api_socket), name="test")
    try:
        found = await connection.dump(m.IpNeighborDump(af=0))
        return sorted(f"{each.neighbor.sw_if_index}: {IPv4Address(each.neighbor.ip_address)}" for each in found)
    finally:
        connection.close()
