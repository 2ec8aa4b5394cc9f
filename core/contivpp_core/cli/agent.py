# SPDX-License-Identifier: Apache-2.0
"""`contivpp agent`: run the agent in the foreground, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os

from contivpp_core.cli.command import Command

__all__ = ["AGENT"]

DEFAULT_CONFIG = "/etc/contivpp/agent.yaml"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get("CONTIVPP_CONFIG") or DEFAULT_CONFIG,
        help=f"the configuration (default: CONTIVPP_CONFIG, or {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--check", action="store_true", help="check configuration and plugins, and start nothing"
    )


def _run(arguments: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415 (the agent's modules are not loaded for other commands)

    from contivpp_core import logs  # noqa: PLC0415
    from contivpp_core.agent import Agent  # noqa: PLC0415
    from contivpp_core.config import Source  # noqa: PLC0415
    from contivpp_core.errors import ConfigError, PluginError  # noqa: PLC0415

    try:
        agent = Agent(Source.read(arguments.config))
    except PluginError as error:  # which plugins there are is configuration, too
        raise ConfigError([f"{arguments.config}: plugins: {error}"]) from error
    if arguments.check:
        print(f"{arguments.config}: good")
        return 0
    settings = agent.config.settings
    logs.set_up(settings.log_level, settings.log_format)
    asyncio.run(agent.run())
    return 0


AGENT = Command(
    "agent",
    "run the agent of this node",
    _run,
    _configure,
    (
        ("contivpp agent --config agent.yaml", "run in the foreground, until SIGTERM or Ctrl-C"),
        ("contivpp agent --config agent.yaml --check", "only tell every fault of the configuration"),
    ),
)
