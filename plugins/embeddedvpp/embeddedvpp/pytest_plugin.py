# SPDX-License-Identifier: Apache-2.0
"""Fixtures that run an embedded VPP inside a test.

It has a thread with an event loop of its own, so that synchronous clients (``vpp_papi.VPPApiClient``) can talk to it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class EmbeddedVpp:
    """Where it listens."""

    api_socket: str
    cli_socket: str
    stats_socket: str


@pytest.fixture
def embedded_vpp(tmp_path: Path) -> Iterator[EmbeddedVpp]:
    """A running embedded VPP; its sockets are in the test's temporary directory."""
    from .api import Vpp  # noqa: PLC0415 - a plugin that nobody uses should not cost start-up time
    from .server import Server  # noqa: PLC0415

    paths = EmbeddedVpp(*(str(tmp_path / name) for name in ("api.sock", "cli.sock", "stats.sock")))
    started, failures = threading.Event(), list[BaseException]()
    control: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with Server(
            Vpp(), api_socket=paths.api_socket, cli_socket=paths.cli_socket, stats_socket=paths.stats_socket
        ):
            control.append((asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="embedded-vpp")
    thread.start()
    started.wait(10)
    if failures:
        raise failures[0]
    yield paths
    loop, stop = control[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    if failures:
        raise failures[0]
