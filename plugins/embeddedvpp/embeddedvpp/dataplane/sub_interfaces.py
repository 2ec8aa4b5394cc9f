# SPDX-License-Identifier: Apache-2.0
"""Sub-interfaces: the frames of one 802.1Q tag on their parent, as an interface ``PARENT.ID`` of its own.

Only those that match exactly one 802.1Q tag are here. In layer 3 the tag is taken off and put on; a bridged
sub-interface passes frames with their tag, as in VPP without tag rewriting.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

from .errors import DataplaneError, Retval

if TYPE_CHECKING:
    from .interfaces import Interface
    from .model import Dataplane

LARGEST_VLAN = 4095
TAG = b"\x81\x00"


class SubFlag(IntFlag):
    """VPP's flags of a sub-interface."""

    NO_TAGS = 1
    ONE_TAG = 2
    TWO_TAGS = 4
    DOT1AD = 8
    EXACT_MATCH = 16
    DEFAULT = 32
    OUTER_ANY = 64
    INNER_ANY = 128


EXACT = SubFlag.ONE_TAG | SubFlag.EXACT_MATCH


class VlanInUse(DataplaneError):
    """Another sub-interface has the tag; VPP finds that out when it has made the new one, and unmakes it."""


@dataclass(frozen=True, slots=True, eq=False)
class SubInterface:
    """What a sub-interface is on its parent."""

    parent: Interface
    id: int
    vlan: int
    flags: SubFlag = EXACT


class SubInterfacePort:
    """The port of a sub-interface: frames get their tag and leave by the parent."""

    input_node = "ethernet-input"

    def __init__(self, dataplane: Dataplane, interface: Interface, sub: SubInterface) -> None:
        self.dataplane = dataplane
        self.interface = interface
        self.sub = sub
        self._tag = TAG + sub.vlan.to_bytes(2, "big")

    def send(self, frames: list[bytes]) -> int:
        """To the parent, which must be up."""
        parent = self.sub.parent
        if not parent.admin_up:
            return 0
        if self.interface.l2 is None:
            frames = [frame[:12] + self._tag + frame[12:] for frame in frames]
        self.dataplane.graph.output.setdefault(parent, []).extend(frames)
        return len(frames)

    def close(self, *, keep: bool = False) -> None:
        """Nothing to release."""


def create_vlan(dataplane: Dataplane, parent: Interface, vlan: int) -> Interface:
    """A sub-interface of an interface (or beside another sub-interface) whose id is its VLAN."""
    parent = parent.sub.parent if parent.sub is not None else parent
    if not 0 < vlan <= LARGEST_VLAN:
        raise DataplaneError(Retval.INVALID_VLAN, f"VLAN {vlan} is not in 1…{LARGEST_VLAN}")
    if vlan in parent.subs:
        raise DataplaneError(Retval.VLAN_ALREADY_EXISTS, f"{parent.name}.{vlan} exists already")
    if sub_with_vlan(parent, vlan) is not None:
        raise VlanInUse(Retval.INVALID_REGISTRATION, f"VLAN {vlan} is in use on {parent.name}")
    return _create(dataplane, SubInterface(parent, vlan, vlan))


def create_sub(dataplane: Dataplane, parent: Interface, number: int, vlan: int, flags: int) -> Interface:
    """A sub-interface with an id of its own; only exact matches of one 802.1Q tag are supported."""
    if number in parent.subs:
        raise DataplaneError(Retval.VLAN_ALREADY_EXISTS, f"{parent.name}.{number} exists already")
    if flags != EXACT or parent.sub is not None:
        raise DataplaneError(Retval.UNIMPLEMENTED, "only exact matches of one 802.1Q tag are supported")
    if sub_with_vlan(parent, vlan) is not None:
        raise VlanInUse(Retval.UNSPECIFIED, f"VLAN {vlan} is in use on {parent.name}")
    return _create(dataplane, SubInterface(parent, number, vlan))


def delete_sub(dataplane: Dataplane, interface: Interface) -> None:
    """Remove a sub-interface."""
    if interface.sub is None:
        raise DataplaneError(Retval.INVALID_SUB_SW_IF_INDEX, f"{interface.name} is no sub-interface")
    dataplane.delete_interface(interface.sw_if_index)


def sub_with_vlan(parent: Interface, vlan: int) -> Interface | None:
    """The sub-interface that takes a VLAN."""
    for found in parent.subs.values():
        if found.sub is not None and found.sub.vlan == vlan:
            return found
    return None


def sub_interface(parent: Interface, frame: bytes) -> Interface | None:
    """The sub-interface for a tagged frame; one with a second tag matches none."""
    if frame[12:14] != TAG or frame[16:18] == TAG or len(frame) < 18:
        return None
    return sub_with_vlan(parent, int.from_bytes(frame[14:16], "big") & 0xFFF)


def is_priority_tagged(frame: bytes) -> bool:
    """True if the tag has no VLAN: it counts as none."""
    return frame[12:14] == TAG and len(frame) >= 18 and not int.from_bytes(frame[14:16], "big") & 0xFFF


def _create(dataplane: Dataplane, sub: SubInterface) -> Interface:
    parent = sub.parent
    interface = dataplane.add_interface(
        f"{parent.name}.{sub.id}", device_class=parent.device_class, instance=parent.instance, mac=parent.mac,
        mtu=0, sub=sub,
    )  # fmt: skip
    interface.hardware_mtu = parent.hardware_mtu
    interface.port = SubInterfacePort(dataplane, interface, sub)
    parent.subs[sub.id] = interface
    return interface
