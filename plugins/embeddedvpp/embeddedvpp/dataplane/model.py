# SPDX-License-Identifier: Apache-2.0
"""The dataplane as its control side sees it: interfaces, addresses, routes, neighbours.

One object, ``Dataplane``, holds all state and is the only one that changes it, so that what follows from a
change (the routes of an address, the neighbours of an interface that goes down, events, caches of the
packet path) follows at once and in one place. Every refusal is a ``DataplaneError`` with VPP's number. All
methods are synchronous, take no time and belong to the thread of the event loop; ``ports`` and ``devices``
have what touches the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from threading import Thread
from time import monotonic

from .addresses import MASKS, random_mac
from .bridge import Bridges
from .connected import LOCAL_FLAGS, AdjacencyRoutes, Route, interface_routes
from .errors import DataplaneError, Retval
from .events import Events
from .fib import API, EntryFlag, FibEntry, FibTable, Path, PathType
from .fib import INTERFACE as INTERFACE_SOURCE
from .graph import Graph
from .interfaces import FloodClass, Interface, InterfaceEvent, InterfacePool
from .neighbors import Neighbor, NeighborEvent, NeighborTable
from .ports import LoopbackPort
from .sub_interfaces import SubInterface
from .tables import FibTables

LOOPBACK = "Loopback"
VIRTUAL = frozenset((LOOPBACK, "VXLAN"))  # their link follows their admin state
LOOPBACK_LIMIT = 16 * 1024


class Dataplane(Events):
    """State and operations; ``graph`` moves the packets."""

    def __init__(self, time: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self.time = time
        self.interfaces = InterfacePool()
        self.bridges = Bridges(self.interfaces)
        self.fibs = FibTables()
        self.neighbors = NeighborTable()
        self._adjacencies = AdjacencyRoutes(self.interfaces, self.neighbors)
        self.generation = 0  # changes with anything that forwarding depends on
        self.closing: set[Thread] = set()  # threads that close devices
        self.reserved_taps: set[int] = set()  # ids of TAPs that are being made
        self._routes: dict[Interface, dict[tuple[int, int], Route]] = {}  # installed for addresses
        self.graph = Graph(self)
        self.add_interface("local0", device_class="local", instance=0, mac=bytes(6), mtu=0)

    # -- interfaces ---------------------------------------------------------------------------------

    def add_interface(
        self,
        name: str,
        *,
        device_class: str,
        instance: int,
        mac: bytes | None = None,
        mtu: int = 9000,
        sub: SubInterface | None = None,
    ) -> Interface:
        """An interface of any class, down; it gets the index that VPP's pool would give it."""
        interface = Interface(
            self.interfaces.next_index(),
            name,
            device_class,
            instance,
            mac if mac is not None else random_mac(),
            self.fibs.get(0),
            self.fibs.get(0, 6),
            hardware_mtu=mtu,
            mtu=[mtu, 0, 0, 0],
            sub=sub,
        )
        self.interfaces.add(interface)
        self._routes[interface] = {}
        self._set_features(interface)
        self._changed()
        self._tell(InterfaceEvent.CREATED, interface)
        return interface

    def create_loopback(self, *, mac: bytes | None = None, instance: int | None = None) -> Interface:
        """loopN with the given instance, or the first free one; the default MAC is de:ad:00:00:00:NN."""
        used = {found.instance for found in self.interfaces if found.device_class == LOOPBACK}
        if instance is None:
            instance = self.interfaces.free_instance(LOOPBACK)
        if instance in used or not 0 <= instance < LOOPBACK_LIMIT:
            raise DataplaneError(Retval.INVALID_REGISTRATION, f"loopback {instance} is in use or too large")
        mac = mac if mac and any(mac) else bytes((0xDE, 0xAD, 0, 0, 0, instance & 0xFF))
        interface = self.add_interface(f"loop{instance}", device_class=LOOPBACK, instance=instance, mac=mac)
        interface.port = LoopbackPort(self, interface)
        interface.flood_class = FloodClass.NONE
        return interface

    def delete_interface(self, sw_if_index: int) -> None:
        """Remove an interface with its port, addresses and neighbours; routes over it stay, as in VPP."""
        interface = self.interfaces.get(sw_if_index)
        if sw_if_index == 0:
            raise DataplaneError(Retval.INVALID_SW_IF_INDEX, "local0 cannot be deleted")
        for found in list(interface.subs.values()):
            self.delete_interface(found.sw_if_index)
        self.set_admin_state(sw_if_index, up=False)
        self.flush_neighbors(sw_if_index=sw_if_index, also_static=True)
        interface.addresses.clear()
        interface.unnumbered_to = None
        for other in self.interfaces:
            if other.unnumbered_to is interface:
                other.unnumbered_to = None
        for table in (interface.fib4, interface.fib6):
            if table.table_id:
                self.fibs.unlock(table)
        if interface.port is not None:
            interface.port.close()
            interface.port = None
        self.bridges.leave(interface)
        if interface.sub is not None:
            del interface.sub.parent.subs[interface.sub.id]
        self.interfaces.remove(interface)
        del self._routes[interface]
        self._changed()
        self._tell(InterfaceEvent.DELETED, interface)

    def set_admin_state(self, sw_if_index: int, *, up: bool) -> None:
        """Set an interface up or down; its routes and neighbours follow."""
        interface = self.interfaces.get(sw_if_index)
        if interface.admin_up == up:
            return
        if up and interface.sub is not None and not interface.sub.parent.admin_up:
            raise DataplaneError(Retval.UNSPECIFIED, f"{interface.sub.parent.name} must be up")
        interface.admin_up = up
        if interface.device_class in VIRTUAL:
            interface.link_up = up
        if not up:
            self.flush_neighbors(sw_if_index=sw_if_index)
        self._refresh_routes(interface)
        self._tell(InterfaceEvent.STATE, interface)

    def set_link_state(self, sw_if_index: int, *, up: bool) -> None:
        """What the port found out about its link."""
        interface = self.interfaces.get(sw_if_index)
        if interface.link_up != up:
            interface.link_up = up
            self._changed()
            self._tell(InterfaceEvent.STATE, interface)

    def set_mtu(self, sw_if_index: int, mtu: Iterable[int]) -> None:
        """The four software MTUs: L3, IPv4, IPv6, MPLS (0: as L3)."""
        values = list(mtu)
        if len(values) != 4 or any(not 0 <= value <= 0xFFFFFFFF for value in values):
            raise DataplaneError(Retval.INVALID_VALUE, f"an MTU is four numbers of 32 bits, not {values}")
        self.interfaces.get(sw_if_index).mtu = values
        self._changed()

    def set_hardware_mtu(self, sw_if_index: int, mtu: int) -> None:
        """The MTU of the hardware interface; the L3 MTU follows it."""
        interface = self.interfaces.get(sw_if_index)
        interface.hardware_mtu = mtu
        self.set_mtu(sw_if_index, [mtu, *interface.mtu[1:]])

    def set_mac(self, sw_if_index: int, mac: bytes) -> None:
        """Change the MAC address, also of sub-interfaces; frames are sent from it at once."""
        interface = self.interfaces.get(sw_if_index)
        self.bridges.mac_changes(interface, bytes(mac))
        for found in (interface, *interface.subs.values()):
            found.mac = bytes(mac)
        self._changed()

    def set_promiscuous(self, sw_if_index: int, *, on: bool) -> None:
        """Accept frames for other MAC addresses."""
        self.interfaces.get(sw_if_index).promiscuous = on

    def set_tag(self, sw_if_index: int, tag: str) -> None:
        """The free text that clients know their interfaces by."""
        self.interfaces.get(sw_if_index).tag = tag

    # -- addresses, tables --------------------------------------------------------------------------

    def add_address(self, sw_if_index: int, address: int, length: int) -> None:
        """Add an IPv4 address; overlaps with any other in the table are refused, as VPP does."""
        interface = self.interfaces.get(sw_if_index)
        for other in self.interfaces:
            if other.fib4 is not interface.fib4:
                continue
            for its_address, its_length in other.addresses:
                # To VPP a length that does not exist overlaps with everything.
                if length <= 32 and (address ^ its_address) & MASKS[min(length, its_length)]:
                    continue
                if other is interface and its_length == length and its_address != address:
                    continue
                raise DataplaneError(Retval.ADDRESS_IN_USE, f"the address overlaps with one of {other.name}")
        if not 0 < length <= 32:
            raise DataplaneError(Retval.ADDRESS_LENGTH_MISMATCH, f"prefix length {length} is not in 1…32")
        interface.addresses.append((address, length))
        self._refresh_routes(interface)

    def del_address(self, sw_if_index: int, address: int, length: int) -> None:
        """Remove an IPv4 address."""
        interface = self.interfaces.get(sw_if_index)
        if (address, length) not in interface.addresses:
            raise DataplaneError(
                Retval.ADDRESS_NOT_FOUND_FOR_INTERFACE, f"{interface.name} does not have the address"
            )
        interface.addresses.remove((address, length))
        self._refresh_routes(interface)

    def del_all_addresses(self, sw_if_index: int) -> None:
        """Remove every IPv4 address."""
        interface = self.interfaces.get(sw_if_index)
        interface.addresses.clear()
        self._refresh_routes(interface)

    def set_table(self, sw_if_index: int, table_id: int, *, version: int = 4) -> None:
        """Move an interface to a table; refused while it has (or borrows) an IPv4 address."""
        interface = self.interfaces.get(sw_if_index)
        table = self.fibs.get(table_id, version)
        old = interface.fib4 if version == 4 else interface.fib6
        if version == 4 and interface.source_addresses():
            raise DataplaneError(Retval.ADDRESS_FOUND_FOR_INTERFACE, f"{interface.name} has an address")
        if table is old:
            return
        for neighbor in self.neighbors.on_interface(sw_if_index) if version == 4 else ():
            self._adjacencies.remove(neighbor)
        if table.table_id:
            self.fibs.bind(table)
        if version == 4:
            interface.fib4 = table
        else:
            interface.fib6 = table
        if old.table_id:
            self.fibs.unlock(old)
        self.refresh_adjacencies(table)

    def set_unnumbered(self, sw_if_index: int, to: int) -> None:
        """Let an interface borrow the addresses of another in the same tables."""
        interface, lender = self.interfaces.get(sw_if_index), self.interfaces.find(to)
        if lender is None:
            raise DataplaneError(Retval.INVALID_SW_IF_INDEX_2, f"no interface has sw_if_index {to}")
        if interface.fib4 is not lender.fib4 or interface.fib6 is not lender.fib6:
            raise DataplaneError(Retval.UNEXPECTED_INTF_STATE, "the interfaces are in different tables")
        interface.unnumbered_to = lender
        self._set_features(interface)
        self.refresh_adjacencies(interface.fib4)

    def clear_unnumbered(self, sw_if_index: int) -> None:
        """Stop borrowing addresses."""
        interface = self.interfaces.get(sw_if_index)
        interface.unnumbered_to = None
        self._set_features(interface)
        self.refresh_adjacencies(interface.fib4)

    # -- routes -------------------------------------------------------------------------------------

    def route_update(
        self,
        address: int,
        length: int,
        paths: Iterable[Path],
        *,
        table_id: int = 0,
        source: int = API,
        multipath: bool = False,
        version: int = 4,
    ) -> FibEntry:
        """Set the source's paths for a prefix, or add to them with ``multipath``."""
        table = self.fibs.get(table_id, version)
        paths = tuple(paths)
        if source not in self.fibs.sources.by_id:
            raise DataplaneError(Retval.INVALID_VALUE, f"there is no FIB source {source}")
        flags = EntryFlag.NONE
        if any(
            path.type is PathType.NORMAL and path.sw_if_index != 0xFFFFFFFF and not path.next_hop
            for path in paths
        ):
            flags = EntryFlag.ATTACHED
        if any(path.type is PathType.LOCAL for path in paths):
            flags = LOCAL_FLAGS
        change = table.path_add if multipath else table.update
        entry = change(address, length, source, paths, flags)
        self._route_changed(table, address, length)
        return entry

    def route_delete(
        self,
        address: int,
        length: int,
        paths: Iterable[Path] = (),
        *,
        table_id: int = 0,
        source: int = API,
        multipath: bool = False,
        version: int = 4,
    ) -> None:
        """Remove the source's contribution, or only these paths with ``multipath``; absent is no error."""
        table = self.fibs.get(table_id, version)
        if multipath:
            table.path_remove(address, length, source, paths)
        else:
            table.delete(address, length, source)
        self._route_changed(table, address, length)

    def delete_table(self, table_id: int, *, version: int = 4) -> None:
        """Give the API's lock on a table back, with the API's routes in it."""
        self.fibs.delete(table_id, version=version)
        self._changed()

    def _route_changed(self, table: FibTable, address: int, length: int) -> None:
        if table.version == 4 and length < 32:
            self.refresh_adjacencies(table, address, length)
        else:
            self._changed()

    # -- neighbours ---------------------------------------------------------------------------------

    def add_neighbor(
        self, sw_if_index: int, address: int, mac: bytes, *, static: bool = True, no_adj_fib: bool = False
    ) -> None:
        """Add or update a neighbour; a learnt MAC never replaces a static one."""
        interface = self.interfaces.get(sw_if_index)
        neighbor = self.neighbors.get(sw_if_index, address)
        now = self.time()
        if neighbor is None:
            for oldest in self.neighbors.in_the_way():
                self.del_neighbor(oldest.sw_if_index, oldest.address)
            neighbor = Neighbor(sw_if_index, address, bytes(mac), static, no_adj_fib, now)
            self.neighbors.put(neighbor)
            self._adjacencies.check(neighbor, interface)
            self._changed()
        else:
            if neighbor.static and not static and neighbor.mac != mac:
                return
            neighbor.static = neighbor.static or static
            neighbor.updated = now
            if neighbor.mac != mac:
                neighbor.mac = bytes(mac)
                self._changed()
        self._tell_of(NeighborEvent.ADDED, neighbor)

    def del_neighbor(self, sw_if_index: int, address: int) -> None:
        """Remove a neighbour."""
        neighbor = self.neighbors.get(sw_if_index, address)
        if neighbor is None:
            raise DataplaneError(Retval.NO_SUCH_ENTRY, f"no such neighbour on sw_if_index {sw_if_index}")
        self._adjacencies.remove(neighbor)
        self.neighbors.pop(neighbor)
        self._changed()
        self._tell_of(NeighborEvent.REMOVED, neighbor)

    def flush_neighbors(self, *, sw_if_index: int | None = None, also_static: bool = False) -> None:
        """Remove learnt neighbours of one or all interfaces, static ones only on demand."""
        for neighbor in self.neighbors.on_interface(sw_if_index):
            if also_static or not neighbor.static:
                self.del_neighbor(neighbor.sw_if_index, neighbor.address)

    def refresh_adjacencies(self, table: FibTable, address: int = 0, length: int = 0) -> None:
        """Decide anew which neighbours in a prefix contribute a /32 to a table."""
        mask = MASKS[length]
        for neighbor in self.neighbors:
            if not (neighbor.address ^ address) & mask:
                interface = self.interfaces.get(neighbor.sw_if_index)
                if interface.fib4 is table:
                    self._adjacencies.check(neighbor, interface)
        self._changed()

    async def close(self) -> None:
        """Close all ports, persistent TAPs stay in the kernel; the object is of no use afterwards."""
        for interface in self.interfaces:
            if interface.port is not None:
                interface.port.close(keep=True)
                interface.port = None
        for thread in list(self.closing):
            await asyncio.to_thread(thread.join)

    # -- inside -------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self.generation += 1
        self.graph.invalidate()

    def _set_features(self, interface: Interface) -> None:
        off = not interface.ip4_enabled
        self.graph.enable_feature("ip4-unicast", "ip4-not-enabled", interface, on=off)
        self.graph.enable_feature("arp", "arp-disabled", interface, on=off)

    def _refresh_routes(self, interface: Interface) -> None:
        """Make the routes of an interface's addresses what they should be now."""
        wanted = interface_routes(interface) if interface.admin_up else {}
        installed = self._routes[interface]
        for address, length in installed.keys() - wanted.keys():
            interface.fib4.delete(address, length, INTERFACE_SOURCE)
        for prefix in wanted:
            if installed.get(prefix) != wanted[prefix]:
                interface.fib4.update(*prefix, INTERFACE_SOURCE, *wanted[prefix])
        self._routes[interface] = wanted
        self._set_features(interface)
        self.refresh_adjacencies(interface.fib4)
