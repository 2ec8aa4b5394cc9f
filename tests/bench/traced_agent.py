# SPDX-License-Identifier: Apache-2.0
"""The agent with a clock at its seams: `python -m tests.bench.traced_agent --out FILE --config AGENT.YAML`.

When it ends it writes a list of [name, begin, end] in seconds of the monotonic clock, which all processes share, so
that who calls it can lay its own times beside. The clocks cost a few microseconds each; whole ADDs are measured
without them.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.agent import Agent
from contivpp_core.config import Source
from contivpp_core.controller import Controller
from contivpp_core.ledger import Ledger
from contivpp_core.scheduler.waiting import Waiters
from contivpp_linux.kernel.netlink import NetlinkKernel
from contivpp_vpp.access import VppAccess

Span = tuple[str, float, float]

SEAMS: tuple[tuple[type, str, str], ...] = (
    (Ledger, "commit", "ledger"),
    (Controller, "write", "render"),
    (Waiters, "until_applied", "apply"),
    (VppAccess, "request", "vpp"),
    (NetlinkKernel, "apply", "linux"),
)


def clocked(spans: list[Span], name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a coroutine method that notes when it began and ended."""

    @functools.wraps(method)
    async def wrapper(*arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return await method(*arguments, **named)
        finally:
            spans.append((name, begin, time.perf_counter()))

    return wrapper


def put_clocks(spans: list[Span]) -> None:
    """Put clocks around the seams, and around each CNI call."""
    for owner, method, name in SEAMS:
        setattr(owner, method, clocked(spans, name, getattr(owner, method)))
    serve = ContivPlugin.serve_cni

    async def serve_cni(self: ContivPlugin, environment: Any, stdin: bytes) -> tuple[int, bytes]:
        begin = time.perf_counter()
        answer = await serve(self, environment, stdin)
        spans.append((f"serve {environment.get('CNI_COMMAND')}", begin, time.perf_counter()))
        return answer

    setattr(ContivPlugin, "serve_cni", serve_cni)  # noqa: B010 (mypy refuses the plain assignment)


def main() -> None:
    """Run the agent until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    spans: list[Span] = []
    put_clocks(spans)
    asyncio.run(Agent(Source.read(options.config)).run())
    options.out.write_text(json.dumps(spans))


if __name__ == "__main__":
    main()
