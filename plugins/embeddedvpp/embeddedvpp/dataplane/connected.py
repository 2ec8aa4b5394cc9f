# SPDX-License-Identifier: Apache-2.0
"""Routes that nobody asks for: those of an interface's addresses, and the /32 of each neighbour.

A neighbour's /32 forwards only while the prefix that covers it is attached to the same interface (or to the
one that it borrows its address from): otherwise anybody could draw traffic by announcing an address on the
wrong link. Until then it is in dumps, but has no statistics index and forwards nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .addresses import MASKS
from .fib import ADJACENCY, DROP_PATHS, EntryFlag, Path, PathType

if TYPE_CHECKING:
    from .interfaces import Interface, InterfacePool
    from .neighbors import Neighbor, NeighborTable

LOCAL_FLAGS = EntryFlag.CONNECTED | EntryFlag.LOCAL
_CONNECTED_FLAGS = EntryFlag.CONNECTED | EntryFlag.ATTACHED
_DROP_FLAGS = EntryFlag.DROP | EntryFlag.LOOSE_URPF_EXEMPT
Route = tuple[tuple[Path, ...], EntryFlag]


class AdjacencyRoutes:
    """Keeps the /32 of each neighbour."""

    def __init__(self, interfaces: InterfacePool, neighbors: NeighborTable) -> None:
        self._interfaces = interfaces
        self._neighbors = neighbors

    def check(self, neighbor: Neighbor, interface: Interface) -> None:
        """Write or change a neighbour's /32 as the prefix that covers it demands."""
        if neighbor.no_adj_fib:
            return
        cover = interface.fib4.lookup(neighbor.address, 31)
        covering = {path.sw_if_index for path in cover.paths}
        lender = interface.unnumbered_to
        same = neighbor.sw_if_index in covering or (lender is not None and lender.sw_if_index in covering)
        active = bool(cover.flags & EntryFlag.ATTACHED and same)
        if neighbor.adj_fib_active != active:
            neighbor.adj_fib_active = active
            self._put(neighbor)

    def _put(self, gone_or_changed: Neighbor) -> None:
        """Write the /32 of an address: one path for each neighbour that has it, active ones if there are any."""
        table = self._interfaces.get(gone_or_changed.sw_if_index).fib4
        address = gone_or_changed.address
        same = [found for found in self._neighbors.with_address(address) if found.adj_fib_active is not None]
        same = [found for found in same if self._interfaces.get(found.sw_if_index).fib4 is table]
        chosen = [found for found in same if found.adj_fib_active] or same
        if not chosen:
            table.delete(address, 32, ADJACENCY)
            return
        paths = [Path(next_hop=address, sw_if_index=found.sw_if_index) for found in chosen]
        table.set_adjacency(address, paths, active=bool(chosen[0].adj_fib_active))

    def remove(self, neighbor: Neighbor) -> None:
        """Take a neighbour's /32 away."""
        if neighbor.adj_fib_active is not None:
            neighbor.adj_fib_active = None
            self._put(neighbor)


def interface_routes(interface: Interface) -> dict[tuple[int, int], Route]:
    """What VPP adds for addresses: the subnet, the address itself, and drops for base and broadcast."""
    routes: dict[tuple[int, int], Route] = {}
    index = interface.sw_if_index
    for address, length in interface.addresses:
        mask = MASKS[length]
        if length == 31:
            other = address ^ 1
            routes.setdefault((other, 32), ((Path(next_hop=other, sw_if_index=index),), EntryFlag.ATTACHED))
        if length < 31:
            for edge in (address & mask, address | (~mask & 0xFFFFFFFF)):
                routes.setdefault((edge, 32), (DROP_PATHS, _DROP_FLAGS))
        if length < 32:
            routes.setdefault((address & mask, length), ((Path(sw_if_index=index),), _CONNECTED_FLAGS))
    for address, _ in interface.addresses:
        local = Path(type=PathType.LOCAL, next_hop=address, sw_if_index=index)
        routes[(address, 32)] = ((local,), LOCAL_FLAGS)
    return routes
