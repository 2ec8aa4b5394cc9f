# SPDX-License-Identifier: Apache-2.0
"""The ``embeddedvpp`` command: run one in the foreground until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from .api import Vpp
from .api.vpp import TraceEntry
from .dataplane import DataplaneError
from .server import Server

EXAMPLES = """examples:
  embeddedvpp --api-socket /tmp/api.sock
  embeddedvpp --api-socket /run/vpp/api.sock --cli-socket /run/vpp/cli.sock --api-trace requests.log
  embeddedvpp --api-socket /run/vpp/api.sock --host-interface eth1 --host-interface eth2
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        "embeddedvpp", description="An FD.io VPP in Python.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    result.add_argument("--api-socket", required=True, metavar="PATH", help="socket of the binary API")
    result.add_argument("--cli-socket", metavar="PATH", help="socket for vppctl -s PATH")
    result.add_argument("--stats-socket", metavar="PATH", help="socket of the statistics segment")
    result.add_argument(
        "--host-interface", action="append", default=[], metavar="NAME",
        help="create host-NAME on this Linux interface at the start, down, as VPP's own start-up can (repeatable)",
    )  # fmt: skip
    result.add_argument(
        "--api-trace", metavar="FILE", help="append the time and name of every request to a file"
    )
    return result


async def run(options: argparse.Namespace, trace: TextIO | None = None) -> None:
    """Serve until a signal comes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def write(entry: TraceEntry) -> None:
        assert trace is not None
        trace.write(f"{entry.time:.6f} {entry.client} {entry.name}\n")

    vpp = Vpp(on_trace=write if trace else None)
    try:
        vpp.create_host_interfaces(options.host_interface)
    except DataplaneError as error:
        await vpp.dataplane.close()
        raise OSError(str(error)) from error
    async with Server(
        vpp, api_socket=options.api_socket, cli_socket=options.cli_socket, stats_socket=options.stats_socket
    ):
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 1 when it cannot start."""
    options = parser().parse_args(arguments)
    try:
        if options.api_trace:
            with open(options.api_trace, "a", encoding="utf-8", buffering=1) as trace:
                asyncio.run(run(options, trace))
        else:
            asyncio.run(run(options))
    except OSError as error:
        print(f"embeddedvpp: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
