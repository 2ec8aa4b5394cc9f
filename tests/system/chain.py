# SPDX-License-Identifier: Apache-2.0
"""A chain of CNI plugins, called as libcni calls it: results passed along, everything in reverse order at DEL.

Our own plugin is asked over the agent's socket; others are programs, run in the node's network namespace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .harness import Node
from .processes import run

OURS: dict[str, Any] = {"type": "contivpp"}


class ChainError(AssertionError):
    """A plugin of the chain failed."""

    def __init__(self, plugin: str, command: str, answer: Any) -> None:
        super().__init__(f"{plugin} {command}: {answer}")
        self.plugin, self.answer = plugin, answer


class Chain:
    """Plugins in order; `runtime` is what the runtime gives to those that have the capability."""

    def __init__(self, node: Node, folder: Path, *plugins: Mapping[str, Any], version: str = "1.0.0",
                 runtime: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        self.node, self.folder, self.version = node, folder, version
        self.plugins = [dict(each) for each in plugins]
        self.runtime = runtime or {}
        self.results: dict[str, Any] = {}

    async def add(self, container: str, netns: str) -> Any:
        """ADD each; return the last result."""
        result = None
        for plugin in self.plugins:
            result = await self._call(plugin, "ADD", container, netns, result)
        self.results[container] = result
        return result

    async def check(self, container: str, netns: str) -> None:
        """CHECK each, with the result of the ADD."""
        for plugin in self.plugins:
            await self._call(plugin, "CHECK", container, netns, self.results[container])

    async def delete(self, container: str, netns: str) -> None:
        """DEL each, the last first."""
        result = self.results.pop(container, None)
        for plugin in reversed(self.plugins):
            await self._call(plugin, "DEL", container, netns, result)

    async def _call(self, plugin: dict[str, Any], command: str, container: str, netns: str, previous: Any) -> Any:
        config = {**plugin, "cniVersion": self.version, "name": "chain"}
        capabilities = config.pop("capabilities", {})
        if given := {key: value for key, value in self.runtime.items() if capabilities.get(key)}:
            config["runtimeConfig"] = given
        if previous is not None:
            config["prevResult"] = previous
        stdin = json.dumps(config).encode()
        if plugin["type"] == OURS["type"]:
            code, answer = await self.node.cni(command, container, netns, stdin=stdin)
        else:
            code, answer = await self._execute(plugin["type"], command, container, netns, stdin)
        if code != 0:
            raise ChainError(plugin["type"], command, answer)
        return answer

    async def _execute(self, name: str, command: str, container: str, netns: str, stdin: bytes) -> tuple[int, Any]:
        environment = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": netns,
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}",
            "CNI_PATH": str(self.folder),
        }  # fmt: skip
        code, out, error = await run(str(self.folder / name), netns=self.node.netns, stdin=stdin, env=environment)
        if not out.strip():
            return code, error or None
        return code, json.loads(out)
