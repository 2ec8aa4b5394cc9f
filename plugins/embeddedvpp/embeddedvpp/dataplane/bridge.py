# SPDX-License-Identifier: Apache-2.0
"""Bridge domains and their members; ``l2_nodes`` moves the frames.

As in VPP a domain has an id that clients choose and an index that is re-used, member and domain both have a
bitmap of features and what both have is done, and an interface that joined a domain by ``set_bridge`` leaves
layer 3. The member with the domain's addresses is its BVI (bridged virtual interface), mostly a loopback: what
routes send out of it enters the bridge, and frames for its MAC address leave the bridge to layer 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from .errors import DataplaneError, Retval
from .interfaces import FloodClass
from .l2_fib import L2Fib, L2FibEntry

if TYPE_CHECKING:
    from .interfaces import Interface, InterfacePool

LARGEST_ID = (1 << 24) - 1
DEFAULT_LEARN_LIMIT = 16 << 20


class Feature(IntFlag):
    """Features in VPP's order of bits; a frame goes to the highest bit that is set."""

    DROP = 1 << 0
    XCONNECT = 1 << 1
    FLOOD = 1 << 2
    ARP_UFWD = 1 << 3
    ARP_TERM = 1 << 4
    UU_FLOOD = 1 << 5
    UU_FWD = 1 << 6
    FWD = 1 << 7
    LEARN = 1 << 9


DOMAIN_DEFAULT = 0xFFFFFFFF & ~int(Feature.ARP_TERM | Feature.UU_FWD | Feature.ARP_UFWD)
MEMBER_DEFAULT = (
    Feature.DROP | Feature.FLOOD | Feature.ARP_UFWD | Feature.ARP_TERM | Feature.UU_FLOOD | Feature.UU_FWD
    | Feature.FWD | Feature.LEARN
)  # fmt: skip


class PortType(IntEnum):
    """What an interface is to a bridge domain."""

    NORMAL = 0
    BVI = 1
    UU_FWD = 2  # gets the unicast frames that nobody is known for


@dataclass(slots=True, eq=False)
class L2Port:
    """An interface in layer 2; ``is_member`` is false when the domain already had a BVI."""

    domain: BridgeDomain
    bvi: bool = False
    shg: int = 0
    features: int = MEMBER_DEFAULT
    is_member: bool = True


@dataclass(slots=True, eq=False)
class BridgeDomain:
    """One bridge domain."""

    index: int
    bd_id: int
    features: int = DOMAIN_DEFAULT
    members: list[Interface] = field(default_factory=list)  # BVI, normal ones, tunnels, those not flooded to
    bvi: Interface | None = None
    uu_fwd: Interface | None = None
    mac_age: int = 0  # minutes, 0: never
    tag: str = ""
    learn_limit: int = DEFAULT_LEARN_LIMIT

    @property
    def flooded(self) -> list[Interface]:
        """The members that frames are flooded to, in order of the list."""
        return [found for found in self.members if found.flood_class is not FloodClass.NONE]


class Bridges:
    """All bridge domains and the layer 2 FIB."""

    def __init__(self, interfaces: InterfacePool) -> None:
        self.fib = L2Fib()
        self.by_id = {0: BridgeDomain(0, 0, features=Feature.DROP)}  # where nothing is forwarded
        self.domain_sequence: dict[int, int] = {}  # index of the domain → times that it was flushed
        self.port_sequence: dict[int, int] = {}  # sw_if_index → times that it joined or was flushed
        self._interfaces = interfaces
        self._seed = 0

    def get(self, bd_id: int) -> BridgeDomain:
        """The domain, or DataplaneError -6."""
        domain = self.by_id.get(bd_id)
        if domain is None:
            raise DataplaneError(Retval.NO_SUCH_ENTRY, f"there is no bridge domain {bd_id}")
        return domain

    def id_of(self, index: int) -> int:
        """The id of the domain that has an index now, or VPP's ~0."""
        return next((found.bd_id for found in self.by_id.values() if found.index == index), 0xFFFFFFFF)

    # -- domains ------------------------------------------------------------------------------------

    def add(self, bd_id: int, *, features: int, mac_age: int = 0, tag: str = "") -> BridgeDomain:
        """Create a domain; ``features`` are those of the switchable ones that are on."""
        if bd_id in self.by_id:
            raise DataplaneError(Retval.BD_ALREADY_EXISTS, f"bridge domain {bd_id} exists already")
        if bd_id > LARGEST_ID:
            raise DataplaneError(Retval.BD_ID_EXCEED_MAX, f"bridge domain {bd_id} is above {LARGEST_ID}")
        switchable = Feature.LEARN | Feature.FWD | Feature.FLOOD | Feature.UU_FLOOD
        domain = self._create(bd_id)
        domain.features = (DOMAIN_DEFAULT & ~int(switchable)) | features
        domain.mac_age, domain.tag = mac_age, tag
        return domain

    def unused_id(self) -> int:
        """An id that no domain has."""
        while True:
            self._seed = (1664525 * self._seed + 1013904223) & 0xFFFFFFFF  # VPP's random numbers
            bd_id = self._seed & LARGEST_ID
            if bd_id not in self.by_id:
                return bd_id

    def delete(self, bd_id: int) -> None:
        """Remove a domain without members; what clients put into its FIB stays there."""
        if bd_id == 0:
            raise DataplaneError(Retval.BD_NOT_MODIFIABLE, "bridge domain 0 cannot be deleted")
        domain = self.get(bd_id)
        if domain.members:
            raise DataplaneError(Retval.BD_IN_USE, f"bridge domain {bd_id} has members")
        self.fib.flush(domain=domain.index)
        self._count(self.domain_sequence, domain.index)
        del self.by_id[bd_id]

    def set_features(self, bd_id: int, features: int, *, on: bool) -> int:
        """Switch features of a domain; returns all that are on."""
        if bd_id == 0:
            raise DataplaneError(Retval.BD_NOT_MODIFIABLE, "bridge domain 0 cannot be changed")
        domain = self.get(bd_id)
        domain.features = domain.features | features if on else domain.features & ~features
        return domain.features

    # -- members ------------------------------------------------------------------------------------

    def join(self, interface: Interface, bd_id: int, kind: PortType = PortType.NORMAL, shg: int = 0) -> None:
        """Put an interface into a domain, which is made if need be with everything on; it leaves its old one."""
        if bd_id > LARGEST_ID:
            raise DataplaneError(Retval.BD_ID_EXCEED_MAX, f"bridge domain {bd_id} is above {LARGEST_ID}")
        domain = self.by_id.get(bd_id) or self._create(bd_id)
        self.leave(interface)
        port = interface.l2 = L2Port(domain)
        self._count(self.port_sequence, interface.sw_if_index)
        if kind is PortType.BVI:
            if domain.bvi is not None:
                port.is_member = False
                raise DataplaneError(Retval.BD_ALREADY_HAS_BVI, f"the BVI of {bd_id} is {domain.bvi.name}")
            domain.bvi = interface
            port.bvi = True
            port.features &= ~int(Feature.LEARN)
            interface.flood_class = FloodClass.BVI
            self._add_bvi_entry(interface, domain, interface.mac)
        port.shg = shg
        if kind is PortType.UU_FWD:
            port.is_member = False
            domain.uu_fwd = interface
            domain.features |= Feature.UU_FWD
            return
        rank = interface.flood_class
        at = sum(other.flood_class <= rank for other in domain.members) if rank is not FloodClass.BVI else 0
        domain.members.insert(at, interface)

    def leave(self, interface: Interface) -> None:
        """Take an interface back to layer 3; no error if it is there."""
        port = interface.l2
        if port is None:
            return
        domain = port.domain
        if interface in domain.members:
            domain.members.remove(interface)
        if domain.bvi is interface:
            domain.bvi = None
            self.fib.delete(domain.index, interface.mac, interface.sw_if_index)
            interface.flood_class = FloodClass.NONE
        if domain.uu_fwd is interface:
            domain.uu_fwd = None
            domain.features &= ~int(Feature.UU_FWD)
        if (port.features | domain.features) & Feature.LEARN:
            self._count(self.port_sequence, interface.sw_if_index)
            self.fib.flush(sw_if_index=interface.sw_if_index)
        interface.l2 = None

    def mac_changes(self, interface: Interface, new: bytes) -> None:
        """The entry of a BVI follows its MAC address."""
        if interface.l2 is not None and interface.l2.bvi:
            self.fib.delete(interface.l2.domain.index, interface.mac, interface.sw_if_index)
            self._add_bvi_entry(interface, interface.l2.domain, new)

    # -- FIB ----------------------------------------------------------------------------------------

    def add_entry(self, entry: L2FibEntry) -> None:
        """Add an entry for an interface that is in any bridge domain, or DataplaneError -2."""
        if self._interfaces.get(entry.sw_if_index).l2 is None:
            raise DataplaneError(Retval.INVALID_SW_IF_INDEX, "the interface is in no bridge domain")
        self.fib.add(entry)

    def delete_entry(self, index: int, mac: bytes, sw_if_index: int = 0) -> None:
        """Remove an entry; see ``L2Fib.delete``."""
        if not self.fib.delete(index, mac, sw_if_index):
            raise DataplaneError(Retval.NO_SUCH_ENTRY, "no such entry in the layer 2 FIB")

    def sequence(self, port: L2Port, sw_if_index: int) -> tuple[int, int]:
        """What an entry that is learnt now is marked with."""
        return self.domain_sequence.get(port.domain.index, 0), self.port_sequence.get(sw_if_index, 0)

    def __iter__(self) -> Iterator[BridgeDomain]:
        """All domains but 0, by index."""
        return iter(sorted(self.by_id.values(), key=lambda found: found.index)[1:])

    # -- inside -------------------------------------------------------------------------------------

    def _create(self, bd_id: int) -> BridgeDomain:
        used = {found.index for found in self.by_id.values()}
        index = next(number for number in range(len(used) + 1) if number not in used)
        domain = self.by_id[bd_id] = BridgeDomain(index, bd_id)
        return domain

    def _add_bvi_entry(self, interface: Interface, domain: BridgeDomain, mac: bytes) -> None:
        self.fib.add(L2FibEntry(domain.index, mac, interface.sw_if_index, static=True, bvi=True))

    @staticmethod
    def _count(sequence: dict[int, int], index: int) -> None:
        sequence[index] = (sequence.get(index, 0) + 1) & 0xFF
