# SPDX-License-Identifier: Apache-2.0
"""Interfaces and the pool that numbers them.

VPP's pool hands the index that was freed last out first and at once; routes that still name it then point
to the new interface. Clients must survive that, so the pool here does exactly the same. What an interface
*does* with packets is in the graph, where its frames come from is its port, and what a change of it means
to routes is in ``model``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from .errors import DataplaneError, Retval

if TYPE_CHECKING:
    from .bridge import L2Port
    from .fib import FibTable
    from .graph import Node
    from .ports import Port
    from .sub_interfaces import SubInterface

INVALID_INDEX = 0xFFFFFFFF
DEFAULT_MTU = 9000


class FloodClass(IntEnum):
    """Whether a bridge domain floods to an interface; the order is VPP's of members."""

    BVI = 0
    NORMAL = 1
    TUNNEL = 2
    NONE = 3


class InterfaceEvent(Enum):
    """What subscribers hear about an interface."""

    CREATED = "created"
    DELETED = "deleted"
    STATE = "state"  # admin or link state changed


@dataclass(slots=True, eq=False)
class Counters:
    """The counters of one interface, named as in VPP's ``/if`` statistics."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    drops: int = 0
    punt: int = 0
    ip4: int = 0
    ip6: int = 0
    rx_error: int = 0
    tx_error: int = 0
    rx_miss: int = 0
    rx_no_buf: int = 0

    def clear(self) -> None:
        """Set all to zero (``clear interfaces``)."""
        for name in self.__slots__:
            setattr(self, name, 0)


@dataclass(slots=True, eq=False)
class Interface:
    """One software interface; the dataplane changes it, others read it."""

    sw_if_index: int
    name: str
    device_class: str
    instance: int
    mac: bytes
    fib4: FibTable
    fib6: FibTable
    tag: str = ""
    admin_up: bool = False
    link_up: bool = False
    promiscuous: bool = False
    hardware_mtu: int = DEFAULT_MTU
    mtu: list[int] = field(default_factory=lambda: [DEFAULT_MTU, 0, 0, 0])  # L3, IPv4, IPv6, MPLS
    addresses: list[tuple[int, int]] = field(default_factory=list)  # IPv4: address, prefix length
    unnumbered_to: Interface | None = None
    counters: Counters = field(default_factory=Counters)
    port: Port | None = None
    host_if_name: str = ""  # the Linux interface of af-packet and tap
    arcs: dict[str, tuple[Node, ...]] = field(default_factory=dict)  # enabled features by arc
    l2: L2Port | None = None  # in a bridge domain, not in layer 3
    flood_class: FloodClass = FloodClass.NORMAL
    output_node: Node | None = None  # where l2-output sends frames, if not to the port
    sub: SubInterface | None = None  # what it is on its parent
    subs: dict[int, Interface] = field(default_factory=dict)  # by VPP's id of a sub-interface
    details: object = None  # whatever the creator wants to keep with it (the parameters of a TAP)

    @property
    def flags(self) -> int:
        """VPP's IF_STATUS flags: admin up 1, link up 2."""
        link_up = self.link_up if self.sub is None else self.sub.parent.link_up
        return (1 if self.admin_up else 0) | (2 if link_up else 0)

    @property
    def is_up(self) -> bool:
        """True if routes over it forward: VPP asks for the admin state alone."""
        return self.admin_up

    @property
    def ip4_mtu(self) -> int:
        """The MTU for IPv4: its own, or the L3 one when that is 0; a sub-interface has its parent's."""
        return self.mtu[1] or self.mtu[0] or (self.sub.parent.ip4_mtu if self.sub is not None else 0)

    @property
    def ip4_enabled(self) -> bool:
        """IPv4 is enabled by an address or by being unnumbered."""
        return bool(self.addresses) or self.unnumbered_to is not None

    def source_addresses(self) -> list[tuple[int, int]]:
        """Its addresses, or those of the interface it borrows from."""
        return self.unnumbered_to.addresses if self.unnumbered_to is not None else self.addresses


InterfaceSubscriber = Callable[[InterfaceEvent, Interface], None]


class InterfacePool:
    """sw_if_index to interface, with VPP's order of re-use."""

    def __init__(self) -> None:
        self._slots: list[Interface | None] = []
        self._free: list[int] = []
        self.by_name: dict[str, Interface] = {}

    def next_index(self) -> int:
        """The index that the next interface gets."""
        return self._free[-1] if self._free else len(self._slots)

    def add(self, interface: Interface) -> None:
        """Put an interface at ``next_index()``."""
        if interface.name in self.by_name:
            raise DataplaneError(Retval.IF_ALREADY_EXISTS, f"interface {interface.name} exists already")
        if self._free:
            self._slots[self._free.pop()] = interface
        else:
            self._slots.append(interface)
        self.by_name[interface.name] = interface

    def remove(self, interface: Interface) -> None:
        """Free its index; the next interface gets it."""
        self._slots[interface.sw_if_index] = None
        self._free.append(interface.sw_if_index)
        del self.by_name[interface.name]

    def get(self, sw_if_index: int) -> Interface:
        """The interface, or DataplaneError -2."""
        found = self.find(sw_if_index)
        if found is None:
            raise DataplaneError(Retval.INVALID_SW_IF_INDEX, f"no interface has sw_if_index {sw_if_index}")
        return found

    def find(self, sw_if_index: int) -> Interface | None:
        """The interface, or None."""
        return self._slots[sw_if_index] if 0 <= sw_if_index < len(self._slots) else None

    def __iter__(self) -> Iterator[Interface]:
        return iter([interface for interface in self._slots if interface is not None])

    def __len__(self) -> int:
        return len(self._slots) - len(self._free)

    @property
    def capacity(self) -> int:
        """Slots ever used: the length of the counter vectors in the statistics segment."""
        return len(self._slots)

    def free_instance(self, device_class: str) -> int:
        """The smallest instance number that no interface of this class has."""
        used = {interface.instance for interface in self if interface.device_class == device_class}
        return next(number for number in range(len(used) + 1) if number not in used)
