# SPDX-License-Identifier: Apache-2.0
"""What a plugin is: a named object with hook implementations, found by its entry point.

A distribution names its plugin object in the entry-point group `contivpp.plugins`; the configuration's
`plugins:` list enables it. `requires` orders plugins; the core refuses unknown, missing and cyclic names. The
hooks are in `contivpp_core.hookspecs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pluggy

if TYPE_CHECKING:
    from contivpp_core.agent import Agent

__all__ = ["API_VERSION", "ENTRY_POINT_GROUP", "PROJECT", "Plugin", "hookimpl", "hookspec"]

API_VERSION = (0, 1)
"""The version of the contract between core and plugins: the first number must be equal, the second not newer."""

ENTRY_POINT_GROUP = "contivpp.plugins"
PROJECT = "contivpp"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Plugin:
    """Base of plugins; an entry point names a subclass, or a function that returns an instance."""

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    api_version: ClassVar[tuple[int, int]] = API_VERSION
    sources: ClassVar[tuple[str, ...]] = ()
    """Tables that the plugin fills with what it observes; requests may wait for their records."""

    async def start(self, agent: Agent) -> None:
        """Begin work: read the ledger, fill tables, open sockets. Called in the order of `requires`."""

    async def stop(self) -> None:
        """End work; called in reverse order. Nothing in the dataplane is taken down: pods go on talking."""
