# SPDX-License-Identifier: Apache-2.0
"""Looking at a node of a rig in memory from outside: what its VPP and kernel hold, whose addresses are."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

from contivpp_sandbox.rigs.memory.node import MemoryNode

FIRST_CLIENT_SOURCE = 27
_POD = "address/"


class AddressAudit:
    """Watches that an address is given out only when nothing of its former owner is in VPP."""

    def __init__(self, node: Callable[[], MemoryNode | None]) -> None:
        self._node = node
        self._given: dict[str, bytes] = {}
        self.violations: list[str] = []

    def look(self) -> None:
        """Look at what was given out since the last time: VPP must not know these addresses yet."""
        node = self._node()
        if node is None or node.agent is None:
            return
        given = {key: value for key, value in node.agent.ledger.items("ipam").items() if key.startswith(_POD)}
        if given == self._given:
            return
        for key in given.keys() - self._given.keys():
            for what in self._holds(node, int(IPv4Address(given[key].decode()))):
                self.violations.append(f"{given[key].decode()} was given to {key} while there was {what}")
        self._given = given

    def _holds(self, node: MemoryNode, address: int) -> list[str]:
        if node.vpp is None:
            return []
        dataplane = node.vpp.dataplane
        found = ["a neighbour"] * bool(dataplane.neighbors.with_address(address))
        return found + ["a route"] * (dataplane.fibs.get(0).get(address, 32) is not None)


def footprint(node: MemoryNode) -> frozenset[str]:
    """Return what a node's VPP and the host's links hold, by names that stay the same after a restart."""
    assert node.vpp is not None
    dataplane = node.vpp.dataplane
    found = {f"interface {each.tag or each.name}" for each in dataplane.interfaces}
    routes = (each for each in dataplane.fibs.get(0) if each.source >= FIRST_CLIENT_SOURCE)
    found |= {f"route {IPv4Address(each.address)}/{each.length}" for each in routes}
    found |= {f"neighbour {IPv4Address(each.address)}" for each in dataplane.neighbors if each.static}
    found |= {f"link {name}" for name in node.host.namespace.links}
    return frozenset(found)
