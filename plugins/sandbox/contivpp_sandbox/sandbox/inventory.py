# SPDX-License-Identifier: Apache-2.0
"""What a sandbox is made of: which nodes, over which underlay, with which settings.

A node has a position, from 1, which stays its own when it leaves and comes back: its folder and its management address
follow from it. Its ID is claimed anew with every start of its life, and is the smallest that is free; with real servers
it is the one that it had before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from contivpp_ipam.config import IpamConfig
from contivpp_ipam.subnets import ClusterSubnets, NodeIdError, NodeSubnets
from contivpp_sandbox.rigs.base import DEFAULT_UNDERLAY
from contivpp_sandbox.rigs.layout import MOST_NODES, free_id, management_address
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.vpp import Dataplane
from contivpp_sandbox.servers.layout import Datastore

__all__ = ["Inventory", "NodePlace"]

_FILE = "cluster.json"


@dataclass
class NodePlace:
    """A node; `node_id` is 0 while it is no part of the cluster, `last_id` is the one that it had last."""

    name: str
    position: int
    node_id: int = 0
    last_id: int = 0

    @property
    def management(self) -> str:
        """The host's management address."""
        return management_address(self.position)


@dataclass
class Inventory:
    """The whole; `config` are settings for every agent, `mtu` is that of the underlay in bytes."""

    dataplane: Dataplane
    mtu: int = DEFAULT_UNDERLAY.mtu
    config: Mapping[str, Any] = field(default_factory=dict)
    nodes: dict[str, NodePlace] = field(default_factory=dict)
    broken: dict[str, float] = field(default_factory=dict)
    """Nodes that lose packets, in percent; with 100 they are cut off."""
    up: bool = False
    datastore: Datastore = "embedded"

    @classmethod
    def load(cls, directory: Directory) -> Inventory:
        """Return what `up` has stored; raise SandboxError where there is nothing."""
        found = directory.read(_FILE)
        if not isinstance(found, dict):
            raise SandboxError(f"{directory}: there is no sandbox that is up: 'contivpp sandbox up' makes one")
        nodes = {each["name"]: NodePlace(**each) for each in found["nodes"]}
        return cls(**{**found, "nodes": nodes})

    @staticmethod
    def is_up(directory: Directory) -> bool:
        """Tell whether a sandbox came up once."""
        return bool((directory.read(_FILE) or {}).get("up"))

    def save(self, directory: Directory) -> None:
        """Store this."""
        directory.write(_FILE, {**asdict(self), "nodes": [asdict(each) for each in self.nodes.values()]})

    # --- nodes

    @property
    def members(self) -> list[NodePlace]:
        """The nodes that are part of the cluster, by position."""
        return sorted((each for each in self.nodes.values() if each.node_id), key=lambda each: each.position)

    def join(self, name: str) -> NodePlace:
        """Give a node its place, and the smallest ID that is free."""
        place = self.nodes.get(name)
        if place is None:
            if len(self.nodes) >= MOST_NODES:
                raise SandboxError(f"node {name}: a sandbox has {MOST_NODES} nodes at most")
            place = self.nodes[name] = NodePlace(name, len(self.nodes) + 1)
        if self.datastore == "embedded":
            place.node_id = place.node_id or free_id({each.node_id for each in self.members})
        else:  # there an ID rests after its node has left
            place.node_id = place.node_id or place.last_id or free_id({each.last_id for each in self.nodes.values()})
        place.last_id = place.node_id
        return place

    def member(self, name: str) -> NodePlace:
        """Return a node that is part of the cluster."""
        place = self.nodes.get(name)
        if place is None or not place.node_id:
            raise SandboxError(f"there is no node {name}: nodes are {', '.join(each.name for each in self.members)}")
        return place

    # --- addresses

    def subnets(self) -> ClusterSubnets:
        """The cluster's networks; the default ones where the settings are wrong, which agents tell."""
        try:
            return IpamConfig.model_validate(self.config.get("ipam") or {}).subnets()
        except ValidationError:
            return IpamConfig.model_validate({}).subnets()

    def node_subnets(self, place: NodePlace) -> NodeSubnets | None:
        """A node's own; None where its ID does not fit the networks, or while it has none."""
        try:
            return self.subnets().for_node(place.node_id)
        except NodeIdError:
            return None

    def host_addresses(self) -> dict[str, str]:
        """Return whose each address of the hosts is, as `node:NAME`."""
        found = {}
        for place in self.members:
            found[place.management] = f"node:{place.name}"
            if subnets := self.node_subnets(place):
                found[str(subnets.vpp_host_linux.ip)] = f"node:{place.name}"
        return found
