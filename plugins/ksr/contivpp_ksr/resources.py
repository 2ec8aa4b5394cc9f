# SPDX-License-Identifier: Apache-2.0
"""What is reflected: the kinds, where the API has them, and which table's records they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contivpp_core.kubernetes import ENDPOINT_SLICE, NAMESPACE, NETWORK_POLICY, NODE, NODE_SETTINGS, POD, SERVICE
from contivpp_core.records import AnyTable
from contivpp_ksr.reading import Reader

__all__ = ["RESOURCES", "Resource"]


@dataclass(frozen=True)
class Resource:
    """A kind of objects: `path` is that of its list, `parameters` select some of them.

    An `optional` kind is one of ours: a server where nobody has defined it has no such objects.
    """

    kind: str
    path: str
    reader: Reader[Any]
    parameters: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False

    @property
    def table(self) -> AnyTable:
        """The table that holds its records."""
        return self.reader.table


_PATHS: Mapping[str, tuple[str, AnyTable]] = {
    "Namespace": ("/api/v1/namespaces", NAMESPACE),
    "Node": ("/api/v1/nodes", NODE),
    "Pod": ("/api/v1/pods", POD),
    "Service": ("/api/v1/services", SERVICE),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1/endpointslices", ENDPOINT_SLICE),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1/networkpolicies", NETWORK_POLICY),
    "NodeConfig": ("/apis/nodeconfig.contiv.vpp/v1/nodeconfigs", NODE_SETTINGS),
}
_OPTIONAL = ("NodeConfig",)
RESOURCES: Mapping[str, Resource] = {
    kind: Resource(kind, path, Reader(table), optional=kind in _OPTIONAL) for kind, (path, table) in _PATHS.items()
}
"""What is reflected, by kind."""
