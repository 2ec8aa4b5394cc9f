# SPDX-License-Identifier: Apache-2.0
"""Who reaches whom: every pod probes every pod, by ICMP and on each TCP port that it declares."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.pod import SandboxPod

__all__ = ["matrix_table", "probe_matrix"]

Cell = dict[str, Any]
_AT_ONCE = 32


async def probe_matrix(directory: Directory, pods: Sequence[SandboxPod], *, attempts: int) -> list[Cell]:
    """Return a cell for each probe: from, to, protocol, port, verdict, ok, ms, why."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def cell(source: SandboxPod, target: SandboxPod, protocol: str, port: int) -> Cell:
        async with slots:
            result = await _probe(directory, source, target, protocol, port, attempts)
        ok = result["verdict"] == "allowed"
        ends = {"from": source.key, "to": target.key, "protocol": protocol, "port": port}
        return {**ends, "verdict": result["verdict"], "ok": ok, "ms": result.get("ms"), "why": result["why"]}

    return await asyncio.gather(
        *(
            cell(source, target, protocol, port)
            for source in pods
            for target in pods
            if source is not target
            for protocol, port in _probes(target)
        )
    )


async def _probe(  # noqa: PLR0917
    directory: Directory, source: SandboxPod, target: SandboxPod, protocol: str, port: int, attempts: int
) -> Cell:
    if not target.address:
        return {"verdict": "denied", "why": f"{target.key} has no address: {target.failure}"}
    asked: dict[str, Any] = {"protocol": protocol, "port": port, "address": target.address, "attempts": attempts}
    try:
        result: Cell = await source.station(directory).ask("probe", **asked)
    except SandboxError as error:
        return {"verdict": "denied", "why": str(error)}
    reached = result["answer"].partition(" from ")[0]
    if reached not in ("", f"{target.key}:{port}"):
        return {"verdict": "denied", "why": f"{reached} answered in its place"}
    return result


def _probes(target: SandboxPod) -> list[tuple[str, int]]:
    ports = {number for protocol, number, _ in target.ports if protocol == "TCP"}
    return [("ICMP", 0), *(("TCP", number) for number in sorted(ports))]


def matrix_table(pods: Sequence[SandboxPod], cells: Sequence[Cell]) -> str:
    """Return the matrix for people: o reached, x not."""
    columns = [(pod.key, protocol, port) for pod in pods for protocol, port in _probes(pod)]
    marks = {(each["from"], each["to"], each["protocol"], each["port"]): "o" if each["ok"] else "x" for each in cells}
    titles = [key if protocol == "ICMP" else f":{port}" for key, protocol, port in columns]
    rows = [[pod.key, *(marks.get((pod.key, *column), "-") for column in columns)] for pod in pods]
    head = ["from \\ to", *titles]
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    good = sum(each["ok"] for each in cells)
    lines.append(f"o reached, x not; a pod's name: ICMP, :N its TCP port N. {good} of {len(cells)} reached")
    for each in cells:
        if not each["ok"]:
            what = f"{each['protocol']} {each['port'] or ''}".strip()
            lines.append(f"x  {each['from']} to {each['to']} {what}: {each['why']}")
    return "\n".join(lines)
