# SPDX-License-Identifier: Apache-2.0
"""What the descriptors of VPP have in common: their domain, error classes, and how interfaces are found by name.

An interface of ours carries its name in its tag, and its descriptor makes the name known to the dumps that follow,
under `vpp/interface`. What is set on an interface is ours because the interface is; on a physical interface, which
is not ours, only what is wanted, or was applied before, counts: the ledger knows what an earlier agent applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from contivpp_core.clock import gently
from contivpp_core.items import Dependency, Descriptor, Item, Known, Outcome
from contivpp_vpp.access import VppAccess, outcome_of
from contivpp_vpp.items import InterfaceVrf, PhysicalInterface, interface_key
from contivpp_vpp.messages import SwInterfaceDetails, SwInterfaceDump
from contivpp_vpp.values import name_of_tag

__all__ = [
    "NO_INTERFACE",
    "SPACE",
    "FacetDescriptor",
    "Interface",
    "InterfaceDescriptor",
    "VppDescriptor",
    "index_of",
    "known_name",
    "vrf_value",
]

SPACE = "vpp/interface"

NO_INTERFACE = (-2, -10, -71)
"""INVALID_SW_IF_INDEX (and #2), INVALID_INTERFACE: for a deletion, what there was is gone with its interface."""

I = TypeVar("I", bound=Item)  # noqa: E741 (the contract's letter for an item type)


class VppDescriptor(Descriptor[I]):
    """Base of all descriptors of VPP."""

    domain: ClassVar[str] = "vpp"

    def __init__(self, vpp: VppAccess) -> None:
        self.vpp = vpp

    def classify(self, error: Exception) -> Outcome:
        return outcome_of(error)


class InterfaceDescriptor(VppDescriptor[I]):
    """Base of those that make interfaces; the handle is VPP's index."""

    space: ClassVar[str | None] = SPACE

    async def details(self) -> dict[int, SwInterfaceDetails]:
        """Return every interface of VPP by its index."""
        return {each.sw_if_index: each for each in await self.vpp.dump(SwInterfaceDump())}

    async def ours(self) -> dict[int, tuple[str, SwInterfaceDetails]]:
        """Return name and details of the interfaces that carry our tag."""
        named = {index: (name_of_tag(each.tag), each) for index, each in (await self.details()).items()}
        return {index: (name, each) for index, (name, each) in named.items() if name is not None}


class Interface(NamedTuple):
    """An interface that has a name here."""

    handle: int
    name: str
    details: SwInterfaceDetails


class FacetDescriptor(VppDescriptor[I]):
    """Base of those that set something on an interface."""

    unmarked: ClassVar[bool] = True
    dumps_after: ClassVar[tuple[str, ...]] = (SPACE,)

    async def interfaces(self, known: Known) -> list[Interface]:
        """Return the interfaces that have a name here, in the order of their indexes."""
        found = []
        async for each in gently(await self.vpp.dump(SwInterfaceDump())):
            if name := known_name(known, each.sw_if_index):
                found.append(Interface(each.sw_if_index, name, each))
        return sorted(found, key=lambda interface: interface.handle)

    def ours(self, interface: str, item: Item, known: Known) -> bool:
        """Tell whether what was found on an interface is ours."""
        if all(physical.name != interface for physical in known.items(PhysicalInterface.kind)):
            return True
        return any(item.key == each.key for each in known.items(self.kind))


def known_name(known: Known, index: int) -> str | None:
    """Return the name of the interface with an index."""
    key = known.key(SPACE, index)
    return None if key is None else key.removeprefix(interface_key(""))


def index_of(handles: Mapping[str, Any], name: str) -> int:
    """Return the index of an interface that an operation depends on."""
    index: int = handles[interface_key(name)]
    return index


def vrf_value(interface: str, vrf: int) -> Iterable[Dependency]:
    """Return what an item in an interface's VRF depends on: the interface is in it. In VRF 0 it is from the start.

    What VPP is given while the interface is still in another VRF counts there, and keeps the interface from leaving.
    """
    item = InterfaceVrf(interface=interface, vrf=vrf or 1)
    yield Dependency((item.key,), item) if vrf else Dependency.absent(item.key)
