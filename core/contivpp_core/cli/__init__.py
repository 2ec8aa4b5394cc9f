# SPDX-License-Identifier: Apache-2.0
"""The `contivpp` command.

The core's own commands load nothing that they do not need, and no plugin. Plugins are asked for commands only when
the command line names none of the core's, or asks for help; one that cannot be loaded is a warning.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from contivpp_core.cli.agent import AGENT
from contivpp_core.cli.command import Command
from contivpp_core.cli.get import GET, HISTORY
from contivpp_core.cli.plan import PLAN
from contivpp_core.errors import ConfigError, ContivError

__all__ = ["main"]

_CORE = (AGENT, GET, HISTORY, PLAN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 not done, 2 command line or configuration wrong."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    commands = list(_CORE)
    if not words or words[0] not in {command.name for command in _CORE}:
        commands += _from_plugins()
    parsed = _parser(commands).parse_args(words)
    try:
        return int(parsed.run(parsed))
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 2
    except ContivError as error:
        print(f"contivpp: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(commands: Sequence[Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="contivpp",
        description="Contiv-VPP: a Kubernetes network on FD.io VPP.",
        epilog="'contivpp COMMAND --help' has the details and examples of a command.",
    )
    below = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in sorted(commands, key=lambda command: command.name):
        one = below.add_parser(
            command.name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(one)
        one.set_defaults(run=command.run)
    return parser


def _from_plugins() -> list[Command]:
    """Return the commands of every installed plugin; what is broken is told and left out."""
    from contivpp_core.hooks import Hooks  # noqa: PLC0415 (these cost more than most commands)
    from contivpp_core.loading import load_available  # noqa: PLC0415

    def warn(name: str, error: Exception) -> None:
        print(f"contivpp: warning: no commands of plugin {name}: {error}", file=sys.stderr)

    taken = {command.name for command in _CORE}
    commands: list[Command] = []
    for entry in load_available(warn):
        try:
            for _, some in Hooks([entry]).contributions("commands"):
                for command in some:
                    if command.name in taken:
                        raise ContivError(f"the command {command.name} exists already")
                    taken.add(command.name)
                    commands.append(command)
        except ContivError as error:
            warn(entry.name, error)
    return commands
