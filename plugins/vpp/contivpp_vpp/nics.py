# SPDX-License-Identifier: Apache-2.0
"""The NICs of this VPP, as records: the interfaces that it has by itself, whoever gave them to it.

They are read whenever VPP is connected, and after events of interfaces that nobody here made. While VPP is away, the
last records stand; after a restart for `GRACE_SECONDS` more, because VPP carries out its start-up commands, which may
make its NICs, two seconds after its API answers.

A NIC is an Ethernet interface that has no tag of ours, and is none of VPP's helpers (loopbacks, tunnels, the ends of
TAPs and of shared memory). An AF_PACKET interface is one, unless it is on a Linux interface that an item stands for:
those have no tag for a moment.

`mtu` is the L3 MTU that the interface had when it was first seen in this life of VPP, which the ledger keeps: what is
set by items later does not count. VPP does not tell the MTU of the Linux interface below an AF_PACKET one: that shows
VPP's default of 9000, unless VPP's start-up configuration says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from contivpp_core.items import Unavailable
from contivpp_core.ledger import LedgerWrite
from contivpp_core.node import NETWORK_INTERFACE, NetworkInterface
from contivpp_core.state import Delete, Put, Ready
from contivpp_core.tasks import end
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors.base import SPACE
from contivpp_vpp.errors import VppConnectionError
from contivpp_vpp.incarnation import Incarnation
from contivpp_vpp.items import AfPacket, PhysicalInterface
from contivpp_vpp.messages import IfType, SwInterfaceDetails, SwInterfaceDump, SwInterfaceEvent
from contivpp_vpp.values import mac_text, name_of_tag

if TYPE_CHECKING:
    from contivpp_core.agent import Agent

__all__ = ["Nics", "is_nic"]

log = logging.getLogger(__name__)

COLLECT_SECONDS = 0.1
GRACE_SECONDS = 5.0
_ROUNDS = 20
"""How often it is put off to ask what a new interface is, while interfaces of ours are being made."""
_LEDGER = ("vpp/nics", "mtu")

_HELPERS = frozenset(
    {
        "BVI", "GENEVE", "GRE tunnel device", "GTPU", "L2TPv3", "L2_LISP_GPE", "Loopback", "Pipe", "VXLAN", "VXLAN_GPE",
        "Xcrw", "local", "memif", "pg", "tap", "tuntap", "vhost-user",
    }
)  # fmt: skip
"""Device types with Ethernet addresses that are no NICs."""


class _Seen(msgspec.Struct, frozen=True):
    """What a NIC's MTU was at first sight, by index and name."""

    incarnation: Incarnation
    mtus: dict[str, int]


def is_nic(each: SwInterfaceDetails) -> bool:
    """Tell whether an interface is one that VPP has by itself."""
    if each.type != IfType.HARDWARE or each.interface_dev_type in _HELPERS or not any(each.l2_address):
        return False
    if each.interface_dev_type == "virtio" and each.interface_name.startswith(("tap", "tun")):
        return False  # the driver's name for a TAP
    return name_of_tag(each.tag) is None


class Nics:
    """Keeps the table of NICs, and has items that wait for one tried again when it appears."""

    def __init__(self, agent: Agent, vpp: VppAccess) -> None:
        self._agent = agent
        self._vpp = vpp
        self._records: dict[str, NetworkInterface] | None = None
        self._incarnation: Incarnation | None = None
        self._mtus: dict[str, int] = {}
        self._seen: set[int] = set()  # NICs of the last reading: records may stand longer
        self._others: set[int] = set()  # interfaces that are neither NICs nor ours
        self._deleted: set[int] = set()
        self._changed: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()

    async def connected(self, incarnation: Incarnation) -> None:
        """Read them from a VPP that was just connected."""
        if self._incarnation is None or not self._incarnation.same(incarnation):
            self._incarnation, self._mtus = incarnation, self._recall(incarnation)
            self._end_grace()
            if self._records:
                self._grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._look_again)
        await self.read()

    def _end_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._grace = None

    def _look_again(self) -> None:
        """What has not come back by now has gone."""
        self._grace = None
        self._seen.update(record.index for record in (self._records or {}).values())
        self._begin(set(), set(self._seen))

    async def read(self) -> None:
        """Read all interfaces and write what is new. Raises what the dump raises."""
        async with self._lock:
            details = await self._vpp.dump(SwInterfaceDump())
            wanted = (node.desired for node in self._agent.scheduler.graph)
            made = {f"host-{item.host_name}" for item in wanted if isinstance(item, AfPacket)}
            nics = [each for each in details if is_nic(each) and each.interface_name not in made]
            self._seen = {each.sw_if_index for each in nics}
            self._others = {each.sw_if_index for each in details} - {each.sw_if_index for each in nics}
            await self._remember(nics)
            found = {record.name: record for record in map(self._record, nics)}
            await self._write({**(self._records or {}), **found} if self._grace is not None else found)
        self._encourage({each.interface_name for each in details})

    def note(self, event: SwInterfaceEvent) -> None:
        """Take an event of VPP."""
        index = {event.sw_if_index}
        self._begin(set() if event.deleted else index, index if event.deleted else set())

    def _begin(self, changed: set[int], deleted: set[int]) -> None:
        self._changed |= changed
        self._deleted |= deleted
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="vpp nics")

    async def stop(self) -> None:
        """End the work."""
        self._end_grace()
        await end(self._task)

    async def _work(self) -> None:
        rounds = 0
        while self._deleted or self._changed:
            await asyncio.sleep(COLLECT_SECONDS)
            rounds += 1
            if not self._deleted and rounds % _ROUNDS and self._making():
                continue
            deleted, self._deleted = self._deleted, set()
            changed, self._changed = self._changed, set()
            if not self._concerned(deleted, changed):
                continue
            try:
                await self.read()
            except Unavailable:
                return  # they will be read when VPP is back
            except VppConnectionError:
                log.exception("the interfaces of VPP could not be read")

    def _making(self) -> bool:
        """Tell whether interfaces of ours are being made: VPP tells of them before their index is known here."""
        graph = self._agent.scheduler.graph
        return any(node.running and node.descriptor.space == SPACE for node in graph)

    def _concerned(self, deleted: set[int], changed: set[int]) -> bool:
        """Tell whether there may be another NIC, or one less."""
        self._others -= deleted
        if self._seen & deleted:
            return True
        new = changed - self._seen - self._others
        return bool(new) and bool(new - _ours(self._agent.scheduler.graph))

    def _record(self, each: SwInterfaceDetails) -> NetworkInterface:
        return NetworkInterface(
            name=each.interface_name,
            kind=each.interface_dev_type,
            index=each.sw_if_index,
            mac=mac_text(each.l2_address),
            mtu=self._mtus.get(_sight(each), 0),
        )

    async def _write(self, records: dict[str, NetworkInterface]) -> None:
        before = self._records
        table = NETWORK_INTERFACE.name
        writes: list[Any] = [
            Put(table, record) for name, record in records.items() if (before or {}).get(name) != record
        ]
        writes += [Delete(table, name) for name in before or () if name not in records]
        if before is None:
            writes.append(Ready(table))
        if writes:
            await self._agent.controller.write("VPP's interfaces", writes)
        self._records = records

    def _encourage(self, names: set[str]) -> None:
        """Have interfaces that were refused because VPP did not have them tried again."""
        scheduler = self._agent.scheduler
        waiting = [
            node
            for node in scheduler.graph
            if node.refused and isinstance(node.desired, PhysicalInterface) and node.desired.device in names
        ]
        for node in waiting:
            scheduler.relent(node)
        scheduler.requeue(node.key for node in waiting)

    # --- MTUs at first sight

    def _recall(self, incarnation: Incarnation) -> dict[str, int]:
        stored = self._agent.ledger.get(*_LEDGER)
        try:
            seen = msgspec.json.decode(stored, type=_Seen) if stored else None
        except msgspec.MsgspecError:  # of another version of the agent
            seen = None
        return dict(seen.mtus) if seen and seen.incarnation.same(incarnation) else {}

    async def _remember(self, nics: Iterable[SwInterfaceDetails]) -> None:
        seen = {_sight(each): self._mtus.get(_sight(each), _mtu(each)) for each in nics}
        if seen != self._mtus and self._incarnation is not None:
            value = msgspec.json.encode(_Seen(self._incarnation, seen))
            await self._agent.ledger.commit(LedgerWrite(*_LEDGER, value))
        self._mtus = seen


def _sight(each: SwInterfaceDetails) -> str:
    return f"{each.sw_if_index} {each.interface_name}"


def _mtu(each: SwInterfaceDetails) -> int:
    return each.mtu[0] or each.link_mtu


def _ours(graph: Iterable[Any]) -> set[int]:
    """Return the indexes of the interfaces that items stand for."""
    return {node.actual.handle for node in graph if node.descriptor.space == SPACE and node.actual is not None}
