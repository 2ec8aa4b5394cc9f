# SPDX-License-Identifier: Apache-2.0
"""What is where in the cluster's store: the keys, and what their values mean.

- `/contivpp/ids/<ID>`: which node has claimed an ID; the value is JSON, `{"name": NODE}`. An ID that rests after its
  node is gone has `freed` (seconds since 1970), too; one that was taken in place of another names that in `replaces`.
- `/contivpp/nodes/<name>`: a node as it published itself, the JSON of a `ClusterNode`.
- `/contivpp/k8s/<Kind>/<namespace>/<name>`: a Kubernetes object as the API server has it, as JSON; `_` stands for the
  namespace of kinds without one.
"""

from __future__ import annotations

import re
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from contivpp_core.errors import ContivError
from contivpp_core.kvstore import KVStore
from contivpp_core.node import ClusterNode, NodeClaim

__all__ = [
    "IDS",
    "NODES",
    "OBJECTS",
    "HasStore",
    "MalformedValue",
    "claim_value",
    "decode_claim",
    "decode_node",
    "encode_node",
    "id_key",
    "is_node_id",
    "node_key",
    "object_key",
]

IDS = "/contivpp/ids/"
NODES = "/contivpp/nodes/"
OBJECTS = "/contivpp/k8s/"


_NODE_ID = re.compile(r"[1-9][0-9]{0,9}")

T = TypeVar("T")


class MalformedValue(ContivError):
    """A value of the store is not what its key promises; the message names the key."""


@runtime_checkable
class HasStore(Protocol):
    """A plugin that gives access to the cluster's store: the plugin named `datastore` does."""

    @property
    def store(self) -> KVStore:
        """The store, from the plugin's start on."""
        ...


class _Claim(msgspec.Struct, omit_defaults=True):
    name: str
    freed: float = 0.0
    replaces: int = 0


def id_key(node_id: int) -> str:
    """Return the key of a node ID."""
    return f"{IDS}{node_id}"


def is_node_id(text: str) -> bool:
    """Tell whether a text is a node ID: a decimal number from 1 on."""
    return _NODE_ID.fullmatch(text) is not None


def node_key(name: str) -> str:
    """Return the key of a node."""
    return f"{NODES}{name}"


def object_key(kind: str, namespace: str, name: str) -> str:
    """Return the key of a Kubernetes object; `namespace` is empty for kinds without one."""
    return f"{OBJECTS}{kind}/{namespace or '_'}/{name}"


def claim_value(name: str, *, freed: float = 0.0, replaces: int = 0) -> bytes:
    """Return the value by which a node claims an ID, or by which the ID rests (`NodeClaim` has the fields)."""
    return msgspec.json.encode(_Claim(name, freed, replaces))


def decode_claim(key: str, value: bytes) -> NodeClaim:
    """Return the claim that a key and its value tell; raise MalformedValue."""
    number = key.removeprefix(IDS)
    if not is_node_id(number):
        raise MalformedValue(f"{key[:200]}: {number[:100]!r} is not a node ID")
    found = _decoded(key, value, _Claim)
    if not found.name:
        raise MalformedValue(f"{key}: the node that has claimed the ID has no name")
    return NodeClaim(node_id=int(number), name=found.name, freed=found.freed, replaces=found.replaces)


def encode_node(node: ClusterNode) -> bytes:
    """Return the value of a node's key."""
    return msgspec.json.encode(node)


def decode_node(key: str, value: bytes) -> ClusterNode:
    """Return the node that a value tells; raise MalformedValue."""
    node = _decoded(key, value, ClusterNode)
    if key != node_key(node.name):
        raise MalformedValue(f"{key}: the value is about node {node.name}")
    return node


def _decoded(key: str, value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # whatever the store holds
        raise MalformedValue(f"{key}: {error}") from error
