# SPDX-License-Identifier: Apache-2.0
"""The sandbox's plugin: commands of `contivpp`, and a source of Kubernetes objects for agents of a rig.

Enabled in an agent, it stands in for the API server: whoever may open the agent's local API tells it pods,
namespaces and nodes. The first request after a start tells everything that there is, later ones what changes. In a
real cluster it is installed, for its commands, but not enabled.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from contivpp_core.agent import Agent
from contivpp_core.api import ApiError, ApiRoute, Request
from contivpp_core.cli.command import Command
from contivpp_core.errors import ContivError
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.state import Write
from contivpp_sandbox.objects import TABLES, delete_write, full_list, put_write

__all__ = ["OBJECTS_PATH", "SandboxPlugin", "plugin"]

OBJECTS_PATH = "/v1/sandbox/objects"


class _Reference(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    name: str
    namespace: str = ""


class _Objects(msgspec.Struct, forbid_unknown_fields=True):
    apply: list[dict[str, Any]] = []
    delete: list[_Reference] = []


class SandboxPlugin(Plugin):
    """Commands, and in an agent the objects of the cluster."""

    name: ClassVar[str] = "sandbox"
    sources: ClassVar[tuple[str, ...]] = TABLES

    @hookimpl
    def commands(self) -> list[Command]:
        """Contribute the commands; what they need is imported when they run."""
        from contivpp_sandbox.commands.sandbox import SANDBOX  # noqa: PLC0415
        from contivpp_sandbox.commands.scenario import SCENARIO  # noqa: PLC0415

        return [SCENARIO, SANDBOX]

    @hookimpl
    def api_routes(self, agent: Agent) -> list[ApiRoute]:
        """Contribute the route by which objects come, and what rigs ask."""
        from contivpp_sandbox.agent_routes import sandbox_routes  # noqa: PLC0415


        async def objects(request: Request) -> Any:
            return {"revision": await write_objects(agent, request.body)}

        text = "Write and delete Kubernetes objects: {apply: [objects], delete: [{kind, namespace, name}]}."
        return [ApiRoute("POST", OBJECTS_PATH, objects, text), *sandbox_routes(agent)]


async def write_objects(agent: Agent, body: bytes) -> int:
    """Write what a request tells; all of it or, with an ApiError, nothing."""
    try:
        told = msgspec.json.decode(body, type=_Objects)
        writes: list[Write] = [delete_write(one.kind, one.namespace, one.name) for one in told.delete]
        writes += [put_write(one) for one in told.apply]
    except (msgspec.MsgspecError, UnicodeDecodeError, ContivError) as error:
        raise ApiError(f"objects: {error}") from error
    return await agent.controller.write("sandbox objects", full_list(writes))


def plugin() -> SandboxPlugin:
    """Return the plugin; its entry point calls this."""
    return SandboxPlugin()
