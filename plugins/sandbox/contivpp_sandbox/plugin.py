# SPDX-License-Identifier: Apache-2.0
"""The sandbox's plugin: commands of `contivpp`, and in an agent of a rig what the rig asks it.

In a real cluster it is installed, for its commands, but not enabled.
"""

from __future__ import annotations

from typing import ClassVar

from contivpp_core.agent import Agent
from contivpp_core.api import ApiRoute
from contivpp_core.cli.command import Command
from contivpp_core.plugin import Plugin, hookimpl

__all__ = ["SandboxPlugin", "plugin"]


class SandboxPlugin(Plugin):
    """Commands, and routes of an agent in a rig."""

    name: ClassVar[str] = "sandbox"

    @hookimpl
    def commands(self) -> list[Command]:
        """Contribute the commands; what they need is imported when they run."""
        from contivpp_sandbox.commands.sandbox import SANDBOX  # noqa: PLC0415
        from contivpp_sandbox.commands.scenario import SCENARIO  # noqa: PLC0415

        return [SCENARIO, SANDBOX]

    @hookimpl
    def api_routes(self, agent: Agent) -> list[ApiRoute]:
        """Contribute what rigs ask."""
        from contivpp_sandbox.agent_routes import sandbox_routes  # noqa: PLC0415

        return sandbox_routes(agent)


def plugin() -> SandboxPlugin:
    """Return the plugin; its entry point calls this."""
    return SandboxPlugin()
