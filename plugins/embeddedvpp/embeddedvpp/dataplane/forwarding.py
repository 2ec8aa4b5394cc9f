# SPDX-License-Identifier: Apache-2.0
"""From a destination to what is done with the packet: the FIB's paths resolved to actions.

``Resolver.resolve`` walks paths, other tables, next hops and neighbours once and remembers the result for
the destination in its table; any change of the dataplane empties these caches. A packet then costs one
dictionary look-up.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .addresses import MASKS
from .fib import EntryFlag, FibEntry, FibTable, Path, PathType
from .interfaces import INVALID_INDEX, Interface
from .load_balance import Choice, shares

if TYPE_CHECKING:
    from .graph import Node, Packet
    from .model import Dataplane

CACHE_LIMIT = 65536  # destinations remembered for each table
DEPTH_LIMIT = 8  # recursive next hops and look-ups in other tables


@dataclass(slots=True, eq=False)
class Action:
    """The end of the look-up: the next node, and what it needs."""

    node: Node
    interface: Interface | None = None
    next_hop: int = 0
    rewrite: bytes = b""
    mtu: int = 0
    path: Path | None = None


@dataclass(slots=True, eq=False)
class LoadBalance:
    """The actions for a destination; more than one is chosen from by flow."""

    entry: FibEntry
    actions: tuple[Action, ...]
    choice: Choice

    def choose(self, packet: Packet) -> Action:
        """The action for the flow that a packet belongs to."""
        return self.choice.choose(packet.data)


class Resolver:
    """Resolves destinations, and finds the source address for what the dataplane sends itself."""

    def __init__(self, dataplane: Dataplane) -> None:
        self.dataplane = dataplane
        self._used: set[FibTable] = set()

    def clear(self) -> None:
        """Forget everything resolved."""
        for table in self._used:
            table.cache.clear()
        self._used.clear()

    def resolve(self, table: FibTable, destination: int) -> LoadBalance:
        """What to do with packets to a destination."""
        found = table.cache.get(destination)
        if found is None:
            entry = table.lookup(destination)
            choice = self._entry_choice(entry, destination, 0)
            found = LoadBalance(entry, tuple(choice.actions()), choice)
            if len(table.cache) >= CACHE_LIMIT:
                table.cache.clear()
            table.cache[destination] = found
            self._used.add(table)
        return found

    def usable_paths(self, entry: FibEntry) -> list[tuple[Path, list[Action]]]:
        """The paths of an entry that are in use, with what they lead to: the best preference that leads anywhere."""
        for preference in sorted({path.preference for path in entry.paths}):
            paths = [path for path in entry.paths if path.preference == preference]
            found = [(path, self._path_bucket(path, entry, entry.address, 0)) for path in paths]
            usable = [(path, bucket) for path, bucket in found if bucket is not None]
            if usable:
                return [
                    (path, bucket.actions() if isinstance(bucket, Choice) else [bucket])
                    for path, bucket in usable
                ]
        return []

    def is_drop(self, table: FibTable, address: int) -> bool:
        """True if nothing leads to an address: a packet that claims to be from there is refused."""
        return all(action.interface is None for action in self.resolve(table, address).actions)

    def is_local(self, table: FibTable, address: int) -> bool:
        """True if the address is one of the dataplane's own."""
        return self.resolve(table, address).actions[0].node.name == "ip4-receive"

    def source_address(self, interface: Interface, destination: int) -> int | None:
        """The address that the dataplane uses itself on an interface: the subnet's, else the most similar."""
        addresses = interface.source_addresses()
        for address, length in addresses:
            if length < 32 and not (address ^ destination) & MASKS[length]:
                return address
        subnets = [address for address, length in addresses if length < 32]
        candidates = subnets[:1] or [address for address, _ in addresses]
        return min(candidates, key=lambda address: (address ^ destination).bit_length(), default=None)

    # -- inside -------------------------------------------------------------------------------------

    def _entry_choice(self, entry: FibEntry, destination: int, depth: int) -> Choice:
        groups: dict[int, list[Path]] = {}
        for path in entry.paths:
            groups.setdefault(path.preference, []).append(path)
        for preference in sorted(groups):
            usable: list[tuple[int, Action | Choice]] = []
            for path in groups[preference]:
                bucket = self._path_bucket(path, entry, destination, depth)
                if bucket is not None:
                    usable.append((path.weight, bucket))
            if usable:
                parts = shares([weight for weight, _ in usable])
                return Choice(tuple(usable[place][1] for place, number in parts for _ in range(number)))
        return Choice((self._action("ip4-drop"),))

    def _path_bucket(self, path: Path, entry: FibEntry, destination: int, depth: int) -> Action | Choice | None:
        """What a path leads to; None if it is unresolved."""
        if path.type is PathType.LOCAL or entry.flags & EntryFlag.LOCAL:
            return self._action("ip4-receive", self.dataplane.interfaces.find(path.sw_if_index), path=path)
        if path.type is PathType.DROP:
            return self._action("ip4-drop", path=path)
        if path.type is not PathType.NORMAL:
            return self._action("ip4-null", path=path)
        if path.sw_if_index != INVALID_INDEX:
            return self._interface_action(path, entry, destination)
        if depth >= DEPTH_LIMIT:
            return None
        table = self.dataplane.fibs.find(path.table_id)
        if table is None:
            return None
        target = path.next_hop or destination
        choice = self._entry_choice(table.lookup(target), target, depth + 1)
        if len(choice.buckets) == 1:
            return choice.buckets[0]
        return choice if path.next_hop else Choice(choice.buckets, fresh=True)

    def _interface_action(self, path: Path, entry: FibEntry, destination: int) -> Action | None:
        interface = self.dataplane.interfaces.find(path.sw_if_index)
        if interface is None or not interface.is_up:
            return None
        next_hop = path.next_hop
        if not next_hop and entry.length == 32:
            next_hop = entry.address
        if not next_hop:
            return self._action("ip4-glean", interface, destination, path=path)
        neighbor = self.dataplane.neighbors.get(path.sw_if_index, next_hop)
        if neighbor is None:
            return self._action("ip4-arp", interface, next_hop, path=path)
        rewrite = neighbor.mac + interface.mac + b"\x08\x00"
        return Action(
            self._node("ip4-rewrite"), interface, next_hop, rewrite, interface.ip4_mtu or 65535, path
        )

    def _action(
        self, node: str, interface: Interface | None = None, next_hop: int = 0, path: Path | None = None
    ) -> Action:
        return Action(self._node(node), interface, next_hop, path=path)

    def _node(self, name: str) -> Node:
        return self.dataplane.graph.nodes[name]


class Throttle:
    """Once for each key in a period, as VPP's throttle does it for ARP requests and ICMP errors."""

    def __init__(self, period: float) -> None:
        self.period = period
        self._until = 0.0
        self._seen: set[tuple[int, int]] = set()

    def check(self, key: tuple[int, int], now: float) -> bool:
        """True if this one must be suppressed."""
        if now >= self._until:
            self._seen.clear()
            self._until = now + self.period
        if key in self._seen:
            return True
        self._seen.add(key)
        return False


def checksum(data: bytes | bytearray) -> int:
    """The Internet checksum of data whose checksum field is zero."""
    if len(data) % 2:
        data = bytes(data) + b"\0"
    # 2**16 is 1 modulo 65535, so the ones' complement sum is the remainder of the whole number.
    rest = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - rest if rest or not any(data) else 0


IP4_HEADER = struct.Struct("!BBHHHBBHII")


def ip4_packet(
    source: int, destination: int, protocol: int, payload: bytes, *, ttl: int, ident: int = 0
) -> bytearray:
    """An IPv4 packet without options."""
    header = bytearray(
        IP4_HEADER.pack(0x45, 0, 20 + len(payload), ident, 0, ttl, protocol, 0, source, destination)
    )
    header[10:12] = checksum(header).to_bytes(2, "big")
    return header + payload
