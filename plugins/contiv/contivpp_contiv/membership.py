# SPDX-License-Identifier: Apache-2.0
"""By what this node is one of a cluster: the plugin through which it claims its ID and tells of itself, if any."""

from __future__ import annotations

from contivpp_core.agent import Agent
from contivpp_core.cluster import HasStore
from contivpp_core.errors import ContivError
from contivpp_core.identity import HasIdentity, IdBook, Publisher, StoreIdBook, StorePublisher
from contivpp_core.plugin import Plugin

__all__ = ["id_book", "in_cluster", "publisher"]


def in_cluster(agent: Agent) -> bool:
    """Tell whether there is anybody else."""
    return _plugin(agent) is not None


def id_book(agent: Agent) -> IdBook:
    """Return the book of node IDs; raise ContivError while its plugin has not started."""
    plugin = _plugin(agent)
    if isinstance(plugin, HasIdentity):
        return plugin.id_book
    return StoreIdBook(_store(plugin).store)


def publisher(agent: Agent) -> Publisher:
    """Return where this node tells of itself; raise ContivError while its plugin has not started."""
    plugin = _plugin(agent)
    if isinstance(plugin, HasIdentity):
        return plugin.publisher
    return StorePublisher(_store(plugin).store)


def _plugin(agent: Agent) -> Plugin | None:
    # The class is looked at: an instance that has not started refuses to be asked for its properties.
    own = [entry.plugin for entry in agent.hooks.plugins if hasattr(type(entry.plugin), "id_book")]
    return next(iter(own or [entry.plugin for entry in agent.hooks.plugins if entry.name == "datastore"]), None)


def _store(plugin: Plugin | None) -> HasStore:
    if not isinstance(plugin, HasStore):
        raise ContivError("no enabled plugin has a store of the cluster: add datastore to 'plugins'")
    return plugin
