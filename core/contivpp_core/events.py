# SPDX-License-Identifier: Apache-2.0
"""Every event and request that crosses a plugin's border: frozen values whose docstrings are their reference."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contivpp_core.ledger import LedgerWrite

__all__ = [
    "AddressReply",
    "AddressRequest",
    "AgentStarted",
    "AgentStopping",
    "ItemFailed",
    "ItemRecovered",
    "NodeChanged",
    "NodeJoined",
    "NodeLeft",
    "PodUnwired",
    "PodWired",
    "ResyncDone",
    "StatisticsSampled",
    "VppConnected",
    "VppLost",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of events."""


class AgentStarted(Event, frozen=True):
    """The agent of `node` has started all plugins."""

    node: str


class AgentStopping(Event, frozen=True):
    """The agent of `node` stops."""

    node: str


class VppConnected(Event, frozen=True):
    """VPP `version` is connected; `incarnation` is equal as long as the same VPP process runs."""

    version: str
    incarnation: str


class VppLost(Event, frozen=True):
    """The connection to VPP is lost, for `reason`."""

    reason: str


class NodeJoined(Event, frozen=True):
    """Node `name` with `node_id` joined."""

    name: str
    node_id: int


class NodeChanged(Event, frozen=True):
    """Node `name` changed its addresses."""

    name: str
    node_id: int


class NodeLeft(Event, frozen=True):
    """Node `name` left."""

    name: str
    node_id: int


class PodWired(Event, frozen=True):
    """Interface `interface` of pod `namespace`/`name` (sandbox `container_id`) has `address` and is connected."""

    namespace: str
    name: str
    container_id: str
    interface: str
    address: str


class PodUnwired(Event, frozen=True):
    """Interface `interface` of pod `namespace`/`name` (sandbox `container_id`) is gone, `address` is free again."""

    namespace: str
    name: str
    container_id: str
    interface: str
    address: str


class ItemFailed(Event, frozen=True):
    """The item `key` could not be applied: `error`, tried `attempts` times."""

    key: str
    error: str
    attempts: int


class ItemRecovered(Event, frozen=True):
    """The item `key` is as wanted again."""

    key: str


class ResyncDone(Event, frozen=True):
    """A resync of `domain` for `reason` took `seconds`; `repaired` maps a kind to the number of repairs."""

    domain: str
    reason: str
    seconds: float
    repaired: Mapping[str, int]


class StatisticsSampled(Event, frozen=True):
    """Counters of VPP's interfaces: interface name -> counter name -> value."""

    interfaces: Mapping[str, Mapping[str, int]]


class AddressRequest(Event, frozen=True):
    """An address is wanted for `owner` (container ID and interface) of a pod; `wanted` asks for a certain one."""

    owner: str
    namespace: str
    pod: str
    wanted: str = ""


class AddressReply(Event, frozen=True):
    """The `address` (without prefix length), its `gateway`, and the ledger `writes` that make the choice durable."""

    address: str
    gateway: str
    writes: tuple[LedgerWrite, ...] = ()
