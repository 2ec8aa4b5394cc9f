# SPDX-License-Identifier: Apache-2.0
"""`contivpp scenario`: run scenario files on a rig, and tell what every probe found."""

from __future__ import annotations

import argparse

from contivpp_core.cli.command import Command
from contivpp_sandbox.commands.sandbox import datastore_argument

__all__ = ["SCENARIO"]

RIGS = ("memory", "sandbox", "vpp")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="scenario files, YAML or JSON")
    parser.add_argument(
        "--on",
        choices=RIGS,
        default="memory",
        help="memory: everything in this process, in simulated time (the default); sandbox: embedded VPP in network "
        "namespaces; vpp: a real VPP in network namespaces",
    )
    datastore_argument(parser)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="the form of the records")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")


def _run(arguments: argparse.Namespace) -> int:
    from contivpp_core.errors import ConfigError  # noqa: PLC0415
    from contivpp_sandbox.scenario.command import run  # noqa: PLC0415 (much that other commands do not need)

    if arguments.on == "memory" and arguments.datastore != "embedded":
        raise ConfigError([f"--datastore {arguments.datastore}: real servers need --on sandbox, or --on vpp"])
    return run(
        arguments.files,
        rig=arguments.on,
        output=arguments.output,
        quiet=arguments.quiet,
        datastore=arguments.datastore,
    )


SCENARIO = Command(
    "scenario",
    "run scenario files: objects, restarts and probes, and what the probes should find",
    _run,
    _configure,
    (
        ("contivpp scenario pods.yaml", "run in memory; exit code 0 if every probe found what was expected, else 1"),
        ("contivpp scenario *.yaml -o json", "one JSON object a line for each probe, then the summary"),
        ("contivpp scenario pods.yaml --on vpp", "the same on a real VPP (needs privileges)"),
        ("contivpp scenario pods.yaml --on sandbox --datastore etcd", "with kube-apiserver, ksr and etcd"),
    ),
)
