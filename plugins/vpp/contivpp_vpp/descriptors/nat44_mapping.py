# SPDX-License-Identifier: Apache-2.0
"""Mappings of services: `nat44_add_del_lb_static_mapping`, whose tag says that they are ours.

They are always "out to in only" (flag 4): others would need their address in the pool, and leave keys behind in VRFs
other than 0. VPP wants two backends at least, and refuses to delete one of the last two (-1). So each of our mappings
has one more that is never chosen, 0.0.0.0:1 with probability 0; it is no part of the item. With two workers or more
it could be all that a worker has to choose from: there, mappings are refused.

Backends change in place, as to make a mapping again would cut all its connections. A client with affinity would be led
to a deleted backend for ever: so then the mapping is made again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

from contivpp_core.items import Dependency, Found, Item, Known, Outcome
from contivpp_vpp.access import ForeignObject, Refused, VppAccess, together
from contivpp_vpp.descriptors.base import VppDescriptor
from contivpp_vpp.descriptors.nat44_base import ABSENT, EXISTS, IN_NAT44, HalfDone, all_of, outcome_in_nat44
from contivpp_vpp.descriptors.nat44_changes import changes, in_any_order
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import Nat44Mapping, NatBackend, VrfTable
from contivpp_vpp.messages import (
    Nat44AddDelLbStaticMapping,
    Nat44LbAddrPort,
    Nat44LbStaticMappingAddDelLocal,
    Nat44LbStaticMappingDetails,
    Nat44LbStaticMappingDump,
    Nat44StaticMappingDetails,
    Nat44StaticMappingDump,
    NatConfigFlags,
    NatWorkerDump,
)
from contivpp_vpp.nat_items import parts_of_tag
from contivpp_vpp.once import AskedOnce
from contivpp_vpp.values import TAG_PREFIX, ipv4_bytes

__all__ = ["Nat44MappingDescriptor", "Place", "addition", "place_of", "removal"]

_NEVER_CHOSEN = Nat44LbAddrPort(addr=bytes(4), port=1, probability=0)
_ONLY_NAT44 = (IN_NAT44,)
_IN_ONE_GO = 100
_TOO_FEW = -1  # UNSPECIFIED
_NO_LB = -7  # INVALID_VALUE: what has the address and port is no mapping of this sort
_NUMBERS: dict[str, int] = {"tcp": 6, "udp": 17}
_PROTOCOLS: dict[int, Literal["tcp", "udp"]] = {6: "tcp", 17: "udp"}

# Operations on flags are slow, those on numbers are not.
_OUT2IN_ONLY, _TWICE_NAT, _SELF_TWICE_NAT = (
    int(flag) for flag in (NatConfigFlags.OUT2IN_ONLY, NatConfigFlags.TWICE_NAT, NatConfigFlags.SELF_TWICE_NAT)
)
_FLAGS = {
    (False, False): NatConfigFlags.OUT2IN_ONLY,
    (True, False): NatConfigFlags.OUT2IN_ONLY | NatConfigFlags.TWICE_NAT,
    (False, True): NatConfigFlags.OUT2IN_ONLY | NatConfigFlags.SELF_TWICE_NAT,
}


class Place(NamedTuple):
    """What VPP knows a mapping by."""

    protocol: int
    address: bytes
    port: int


class Nat44MappingDescriptor(VppDescriptor[Nat44Mapping]):
    """Mappings with one backend or many."""

    kind: ClassVar[str] = Nat44Mapping.kind
    item: ClassVar[type[Item]] = Nat44Mapping

    def __init__(self, vpp: VppAccess) -> None:
        super().__init__(vpp)
        self._workers = AskedOnce(vpp, self._count_workers)

    def classify(self, error: Exception) -> Outcome:
        return outcome_in_nat44(error)

    def dependencies(self, item: Nat44Mapping) -> Iterable[Dependency]:
        vrfs = {backend.vrf for backend in item.backends}
        vrfs.discard(0)
        if not vrfs:
            return _ONLY_NAT44
        # VPP would make a table that is not there, without a name.
        return (IN_NAT44, *(Dependency.on(f"{VrfTable.kind}/{vrf}") for vrf in sorted(vrfs)))

    def recreates(self, old: Nat44Mapping, new: Nat44Mapping) -> bool:
        if (old.tag, _flags(old)) != (new.tag, _flags(new)):
            return True
        if new.affinity_seconds and not set(old.backends) <= set(new.backends):
            return True
        return changes(old.backends, new.backends) is None

    async def create(self, item: Nat44Mapping, handles: Mapping[str, Any]) -> Place:
        if (workers := await self._workers.get()) > 1:
            raise Refused(f"VPP has {workers} workers: over more than one, it may lead connections nowhere")
        try:
            await self.vpp.request(addition(item))
        except VppError as error:
            if error.retval == EXISTS:
                raise _foreign_in_place_of(item) from error
            raise
        return place_of(item)

    async def _count_workers(self) -> int:
        """How many workers NAT44 has; it does not change while VPP lives."""
        return len(await self.vpp.dump(NatWorkerDump()))

    def begin_create(
        self, item: Nat44Mapping, handles: Mapping[str, Any], ended: Callable[[Any, Exception | None], None]
    ) -> bool:
        if self._workers.known() not in (0, 1):
            return False
        message = addition(item)

        def answered(reply: object, error: Exception | None) -> None:
            if isinstance(error, VppError) and error.retval == EXISTS:
                error = _foreign_in_place_of(item)
            ended(Place(message.protocol, message.external_addr, message.external_port), error)

        return self.vpp.submit(message, answered)

    async def update(self, old: Nat44Mapping, new: Nat44Mapping, handle: Place, handles: Mapping[str, Any]) -> Place:
        steps = changes(old.backends, new.backends)
        if steps is None:
            raise HalfDone("there is no safe order of changes")
        work = [self._change(handle, step.backend, is_add=step.is_add) for step in steps]
        try:
            if in_any_order(old.backends, steps):
                await together(*work)
            else:
                await _one_by_one(work)
        except VppError as error:
            raise HalfDone(str(error)) from error
        return handle

    async def _change(self, place: Place, backend: NatBackend, *, is_add: bool) -> None:
        message = _local_message(place, _local(backend), is_add=is_add)
        try:
            await self.vpp.request(message)
        except VppError as error:
            if is_add or error.retval != _TOO_FEW:
                raise
            # Somebody took away the one that is never chosen.
            await self.vpp.ensure(_local_message(place, _NEVER_CHOSEN, is_add=True), EXISTS)
            await self.vpp.request(message)

    async def delete(self, item: Nat44Mapping | None, handle: Place, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(removal(handle), *ABSENT, _NO_LB)

    async def dump(self, known: Known) -> list[Found]:
        found = []
        for number, each in enumerate(await all_of(self.vpp, Nat44LbStaticMappingDump())):
            found.append(_found(each))
            if number % _IN_ONE_GO == 0:
                await asyncio.sleep(0)  # there can be ten thousand, and others wait for their turn
        found += [_foreign(each) for each in await all_of(self.vpp, Nat44StaticMappingDump())]
        return [each for each in found if each is not None]


async def _one_by_one(work: Iterable[Any]) -> None:
    pending = list(work)
    try:
        while pending:
            await pending.pop(0)
    finally:
        for each in pending:
            each.close()


def _foreign_in_place_of(item: Nat44Mapping) -> ForeignObject:
    """What VPP has at the place of a mapping: ours would have been found."""
    return ForeignObject(
        f"VPP has a mapping of {item.protocol} {item.address}:{item.port} that is not ours: delete it there"
    )


def addition(item: Nat44Mapping) -> Nat44AddDelLbStaticMapping:
    """Return the message that makes a mapping."""
    return Nat44AddDelLbStaticMapping(
        flags=_flags(item),
        external_addr=ipv4_bytes(item.address),
        external_port=item.port,
        protocol=_NUMBERS[item.protocol],
        affinity=item.affinity_seconds,
        tag=item.tag,
        locals=(*map(_local, item.backends), _NEVER_CHOSEN),
    )


def removal(place: Place) -> Nat44AddDelLbStaticMapping:
    """Return the message that takes a mapping away."""
    return Nat44AddDelLbStaticMapping(
        is_add=False,
        flags=NatConfigFlags.OUT2IN_ONLY,
        external_addr=place.address,
        external_port=place.port,
        protocol=place.protocol,
    )


def place_of(item: Nat44Mapping) -> Place:
    """Return what VPP knows a wanted mapping by."""
    return Place(_NUMBERS[item.protocol], ipv4_bytes(item.address), item.port)


def _flags(item: Nat44Mapping) -> NatConfigFlags:
    return _FLAGS[item.twice_nat, item.self_twice_nat]


@lru_cache(8192)  # a pod is the backend of several services, and of several mappings of each
def _local(backend: NatBackend) -> Nat44LbAddrPort:
    return Nat44LbAddrPort(
        addr=ipv4_bytes(backend.address),
        port=backend.port,
        probability=backend.probability,
        vrf_id=backend.vrf,
    )


def _local_message(place: Place, local: Nat44LbAddrPort, *, is_add: bool) -> Nat44LbStaticMappingAddDelLocal:
    return Nat44LbStaticMappingAddDelLocal(
        is_add=is_add,
        external_addr=place.address,
        external_port=place.port,
        protocol=place.protocol,
        local=local,
    )


def _found(mapping: Nat44LbStaticMappingDetails) -> Found | None:
    place = Place(mapping.protocol, mapping.external_addr, mapping.external_port)
    address, flags = socket.inet_ntoa(place.address), int(mapping.flags)
    ours = mapping.tag.startswith(TAG_PREFIX)
    try:
        affinity, label = parts_of_tag(mapping.tag) if ours else (0, "")
        item = Nat44Mapping(
            protocol=_PROTOCOLS[place.protocol],
            address=address,
            port=place.port,
            backends=tuple([_backend(each) for each in mapping.locals if each != _NEVER_CHOSEN]),
            twice_nat=bool(flags & _TWICE_NAT),
            self_twice_nat=bool(flags & _SELF_TWICE_NAT),
            affinity_seconds=affinity,
            label=label,
        )
    except (ValueError, KeyError):  # as no mapping of ours can be
        key = f"{Nat44Mapping.kind}/{_PROTOCOLS.get(place.protocol, place.protocol)}/{address}/{place.port}"
        return Found(key, None, place) if ours else None
    if ours and not flags & _OUT2IN_ONLY:
        return Found(item.key, None, place)
    return Found(item.key, item, place, ours)


def _backend(local: Nat44LbAddrPort) -> NatBackend:
    return NatBackend(
        address=socket.inet_ntoa(local.addr), port=local.port, probability=local.probability, vrf=local.vrf_id
    )


def _foreign(mapping: Nat44StaticMappingDetails) -> Found | None:
    """A mapping of the other sort has the place of a wanted one."""
    try:
        item = Nat44Mapping(
            protocol=_PROTOCOLS[mapping.protocol],
            address=socket.inet_ntoa(mapping.external_ip_address),
            port=mapping.external_port,
            backends=(NatBackend(address=socket.inet_ntoa(mapping.local_ip_address), port=mapping.local_port),),
        )
    except (ValueError, KeyError):
        return None
    return Found(item.key, item, None, ours=False)
