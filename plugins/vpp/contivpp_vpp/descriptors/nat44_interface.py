# SPDX-License-Identifier: Apache-2.0
"""What NAT44 does on interfaces. VPP takes inside and outside only in two messages: in one, it hears the first alone.

With the one at output, VPP also translates at input; it refuses both kinds on one interface (-81).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from contivpp_core.items import Dependency, Found, Item, Known, Outcome
from contivpp_vpp.access import together
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of, known_name
from contivpp_vpp.descriptors.nat44_base import ABSENT, IN_NAT44, HalfDone, all_of, outcome_in_nat44
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import Nat44Interface, interface_key
from contivpp_vpp.messages import (
    Nat44EdAddDelOutputInterface,
    Nat44EdOutputInterfaceGet,
    Nat44InterfaceAddDelFeature,
    Nat44InterfaceDump,
    NatConfigFlags,
)
from contivpp_vpp.wire.base import Request

__all__ = ["Nat44InterfaceDescriptor"]

_Feature = Literal["inside+outside", "inside", "outside", "output"]
_INPUT: dict[_Feature, frozenset[NatConfigFlags]] = {
    "inside+outside": frozenset({NatConfigFlags.INSIDE, NatConfigFlags.OUTSIDE}),
    "inside": frozenset({NatConfigFlags.INSIDE}),
    "outside": frozenset({NatConfigFlags.OUTSIDE}),
    "output": frozenset(),
}
_FEATURES: dict[int, _Feature] = {sum(flags): feature for feature, flags in _INPUT.items() if flags}


class Nat44InterfaceDescriptor(FacetDescriptor[Nat44Interface]):
    """`nat44_interface_add_del_feature` and `nat44_ed_add_del_output_interface`."""

    kind: ClassVar[str] = Nat44Interface.kind
    item: ClassVar[type[Item]] = Nat44Interface

    def classify(self, error: Exception) -> Outcome:
        return outcome_in_nat44(error)

    def dependencies(self, item: Nat44Interface) -> Iterable[Dependency]:
        return (Dependency.inside(interface_key(item.interface)), IN_NAT44)

    def recreates(self, old: Nat44Interface, new: Nat44Interface) -> bool:
        return "output" in (old.feature, new.feature)

    async def create(self, item: Nat44Interface, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        await self._send([self.vpp.request(message) for message in _messages(item.feature, index, is_add=True)])
        return index

    async def update(self, old: Nat44Interface, new: Nat44Interface, handle: int, handles: Mapping[str, Any]) -> int:
        """Put on what is missing, then take off the rest: the interface is never without."""
        before, after = _INPUT[old.feature], _INPUT[new.feature]
        await self._send(
            [
                *(self.vpp.request(_input(flag, handle, is_add=True)) for flag in sorted(after - before)),
                *(self.vpp.ensure(_input(flag, handle, is_add=False), *ABSENT) for flag in sorted(before - after)),
            ]
        )
        return handle

    async def _send(self, messages: list[Any]) -> None:
        try:
            await together(*messages)
        except VppError as error:
            if len(messages) == 1:
                raise
            raise HalfDone(str(error)) from error

    async def delete(self, item: Nat44Interface, handle: int, handles: Mapping[str, Any]) -> None:
        messages = _messages(item.feature, handle, is_add=False)
        await together(*(self.vpp.ensure(message, *ABSENT, *NO_INTERFACE) for message in messages))

    async def dump(self, known: Known) -> list[Found]:
        features: dict[int, _Feature] = {}
        for each in await all_of(self.vpp, Nat44InterfaceDump()):
            if feature := _FEATURES.get(int(each.flags)):
                features[each.sw_if_index] = feature
        for output in await all_of(self.vpp, Nat44EdOutputInterfaceGet()):
            features[output.sw_if_index] = "output"
        found = []
        for index, feature in sorted(features.items()):
            if name := known_name(known, index):
                item = Nat44Interface(interface=name, feature=feature)
                found.append(Found(item.key, item, index, self.ours(name, item, known)))
        return found


def _messages(feature: _Feature, index: int, *, is_add: bool) -> Iterator[Request[Any]]:
    if feature == "output":
        yield Nat44EdAddDelOutputInterface(is_add=is_add, sw_if_index=index)
    for flag in sorted(_INPUT[feature]):
        yield _input(flag, index, is_add=is_add)


def _input(flag: NatConfigFlags, index: int, *, is_add: bool) -> Nat44InterfaceAddDelFeature:
    return Nat44InterfaceAddDelFeature(is_add=is_add, flags=flag, sw_if_index=index)
