# SPDX-License-Identifier: Apache-2.0
"""Every hook of the agent, on one page: the contract between core and plugins.

Three kinds of hooks:

- *contributions* are called once, when plugins are loaded, and return what the plugin adds;
- *requests* are awaited, with a deadline; the first plugin that answers other than None serves the request;
- *events* are told after the fact, through a queue for each plugin, so that no plugin can hold up the loop.

A hook may be a plain function or return an awaitable (requests and events). A hook that raises is reported with
its plugin's name and never stops the others. An implementation may take any subset of the arguments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from contivpp_core.plugin import hookspec

if TYPE_CHECKING:
    from contivpp_core.agent import Agent
    from contivpp_core.api import ApiRoute
    from contivpp_core.cli.command import Command
    from contivpp_core.config import Config, ConfigSection
    from contivpp_core.events import (
        AddressRequest,
        AgentStarted,
        AgentStopping,
        ItemFailed,
        ItemRecovered,
        NodeChanged,
        NodeJoined,
        NodeLeft,
        PodUnwired,
        PodWired,
        ResyncDone,
        StatisticsSampled,
        VppConnected,
        VppLost,
    )
    from contivpp_core.items import AnyDescriptor
    from contivpp_core.kvstore import KVStore
    from contivpp_core.metrics import Metric
    from contivpp_core.records import AnyTable
    from contivpp_core.renderers import Renderer
    from contivpp_core.state import State, Write

# --- contributions


@hookspec
def config_section() -> ConfigSection:
    """Return the plugin's section of the configuration file: its name and its pydantic model.

    Called before anything else, once for each start; the validated section is `agent.config.section(name)`.
    """
    raise NotImplementedError


@hookspec
def tables() -> Iterable[AnyTable]:
    """Return the tables, observed or derived, that the plugin declares. Names must be unique in the agent."""
    raise NotImplementedError


@hookspec
def renderers(agent: Agent) -> Iterable[Renderer]:
    """Return the plugin's renderers. Called once, when the configuration is known and before any `start`."""
    raise NotImplementedError


@hookspec
def descriptors(agent: Agent) -> Iterable[AnyDescriptor]:
    """Return the descriptors of the item kinds that the plugin can apply. Called once, before any `start`."""
    raise NotImplementedError


@hookspec
def planned_start(agent: Agent, state: State) -> Iterable[Write]:
    """Return how a start would change observed tables because of the configuration; for `contivpp plan`.

    For a plugin whose `start` writes records that follow from its configuration. `agent` has the planned configuration
    and is never started, `state` the records of the running one. It must be pure; it is called in a thread.
    """
    raise NotImplementedError


@hookspec
def metrics(agent: Agent) -> Iterable[Metric]:
    """Return metrics; each is read when somebody scrapes `/metrics`, and must not block."""
    raise NotImplementedError


@hookspec
def commands() -> Iterable[Command]:
    """Return commands of `contivpp`. Called in the command's own process: there is no agent."""
    raise NotImplementedError


@hookspec
def cluster_store(config: Config) -> AbstractAsyncContextManager[KVStore] | None:
    """Return the cluster's store that the configuration describes, for a process that is no agent (`contivpp ksr`).

    It is opened on entry and closed on exit; one that does not answer yet is no error.
    """
    raise NotImplementedError


@hookspec
def api_routes(agent: Agent) -> Iterable[ApiRoute]:
    """Return routes of the local API (HTTP on a unix socket that only the agent's user can open)."""
    raise NotImplementedError


# --- requests


@hookspec(firstresult=True)
def allocate_address(agent: Agent, request: AddressRequest) -> Any | Awaitable[Any]:
    """Choose an address for a pod's interface; answer an `AddressReply`.

    The plugin reserves the address in memory and answers the ledger writes that make it durable; the caller stores them
    in one transaction with its own record, or calls `release_address` when that fails. The same owner gets the same
    address again. Raises `RequestError` (`AddressExhausted` when the subnet is full).
    """


@hookspec(firstresult=True)
def address_shortage(agent: Agent) -> Any | Awaitable[Any]:
    """Say why no address can be given out now (text), or None; asked by CNI STATUS."""


@hookspec(firstresult=True)
def release_address(agent: Agent, owner: str) -> Any | Awaitable[Any]:
    """Give an owner's address back; answer the ledger writes that make it durable (a tuple, maybe empty).

    Called when every item of the former owner is known to be gone.
    """


# --- events


@hookspec
def agent_started(event: AgentStarted) -> Awaitable[None] | None:
    """Every plugin has started."""


@hookspec
def agent_stopping(event: AgentStopping) -> Awaitable[None] | None:
    """The agent is about to stop its plugins."""


@hookspec
def vpp_connected(event: VppConnected) -> Awaitable[None] | None:
    """The connection to VPP stands; `event.incarnation` tells a restarted VPP from the same one."""


@hookspec
def vpp_lost(event: VppLost) -> Awaitable[None] | None:
    """The connection to VPP is lost."""


@hookspec
def node_joined(event: NodeJoined) -> Awaitable[None] | None:
    """A node became part of the cluster.

    The plugin `datastore` tells it, or `ksr` where that is not enabled; also of every node that is there when the agent
    starts, this one too.
    """


@hookspec
def node_changed(event: NodeChanged) -> Awaitable[None] | None:
    """A node's addresses, or its ID, changed.

    The plugin `datastore` tells it, or `ksr` where that is not enabled.
    """


@hookspec
def node_left(event: NodeLeft) -> Awaitable[None] | None:
    """A node left the cluster for good.

    The plugin `datastore` tells it, or `ksr` where that is not enabled.
    """


@hookspec
def pod_wired(event: PodWired) -> Awaitable[None] | None:
    """A pod's interface is connected: every item of it is applied."""


@hookspec
def pod_unwired(event: PodUnwired) -> Awaitable[None] | None:
    """A pod's interface is gone: every item of it is confirmed absent."""


@hookspec
def item_failed(event: ItemFailed) -> Awaitable[None] | None:
    """An item could not be applied; told once for each failure that lasts."""


@hookspec
def item_recovered(event: ItemRecovered) -> Awaitable[None] | None:
    """An item that had failed is applied, or no longer wanted."""


@hookspec
def resync_done(event: ResyncDone) -> Awaitable[None] | None:
    """A domain (or one kind) was read back and compared with what is wanted."""


@hookspec
def statistics_sampled(event: StatisticsSampled) -> Awaitable[None] | None:
    """A sample of VPP's interface counters was taken.

    No plugin of this release tells it.
    """
