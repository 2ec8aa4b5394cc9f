# SPDX-License-Identifier: Apache-2.0
"""NAT44 itself: whether it is on, its time-outs, and what becomes of packets that it has nothing for.

VPP has one NAT44, without an owner: a dump tells of it only where it is wanted, or was turned on by us. Turning it off
takes all that is in it along, whosoever put it there.

VPP takes the memory of all sessions at once, and ends when it does not have it: so its memory is looked at before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from contivpp_core.items import Found, Item, Known, Outcome
from contivpp_vpp.access import Refused, together
from contivpp_vpp.descriptors.base import VppDescriptor
from contivpp_vpp.descriptors.nat44_base import HalfDone, outcome_in_nat44
from contivpp_vpp.errors import MissingMessages, VppError
from contivpp_vpp.items import Nat44
from contivpp_vpp.messages import (
    CliInband,
    Nat44EdPluginEnableDisable,
    Nat44ForwardingEnableDisable,
    Nat44ShowRunningConfig,
    NatSetTimeouts,
    NatWorkerDump,
)
from contivpp_vpp.wire.base import Reply, Request

__all__ = ["BYTES_OF_SESSION", "Nat44Descriptor", "free_memory"]

BYTES_OF_SESSION = 512
"""Measured are less than 400, with all keys."""

R = TypeVar("R", bound=Reply)

_OFF_ALREADY = -169  # FEATURE_ALREADY_DISABLED
_ON_ALREADY = -170  # FEATURE_ALREADY_ENABLED


class _Asked(Protocol):
    """What answers requests."""

    async def request(self, message: Request[R]) -> R: ...


async def free_memory(vpp: _Asked) -> float | None:
    """Return the bytes that are free in VPP's main heap; None where it does not tell."""
    reply = (await vpp.request(CliInband(cmd="show memory main-heap"))).reply
    match = re.search(r"\bfree: ([0-9.]+)([KMGT]?)", reply)
    return float(match[1]) * 1024 ** " KMGT".index(match[2] or " ") if match else None


class Nat44Descriptor(VppDescriptor[Nat44]):
    """`nat44_ed_plugin_enable_disable`; what can change later is in messages of its own."""

    kind: ClassVar[str] = Nat44.kind
    item: ClassVar[type[Item]] = Nat44
    unmarked: ClassVar[bool] = True

    def classify(self, error: Exception) -> Outcome:
        return outcome_in_nat44(error)

    def recreates(self, old: Nat44, new: Nat44) -> bool:
        return old.sessions != new.sessions

    async def create(self, item: Nat44, handles: Mapping[str, Any]) -> None:
        await self._check_memory(item.sessions)
        try:
            await self.vpp.request(Nat44EdPluginEnableDisable(sessions=item.sessions))
        except VppError as error:
            if error.retval == _ON_ALREADY:
                raise HalfDone(f"{error}: somebody turned it on") from error
            raise
        await self._set(item)

    async def _check_memory(self, sessions: int) -> None:
        try:
            workers = max(len(await self.vpp.dump(NatWorkerDump())), 1)
        except MissingMessages as error:
            raise Refused(f"there is no NAT44, which is in VPP's plugin nat: {error}") from error
        wanted, free = sessions * workers * BYTES_OF_SESSION, await free_memory(self.vpp)
        if free is not None and wanted > free:
            raise Refused(
                f"{sessions} sessions take up to {wanted >> 20} MB of memory, VPP's main heap has {int(free) >> 20}: "
                "want less, or configure a larger main-heap-size"
            )

    async def update(self, old: Nat44, new: Nat44, handle: None, handles: Mapping[str, Any]) -> None:
        await self._set(new)

    async def _set(self, item: Nat44) -> None:
        timeouts = NatSetTimeouts(
            udp=item.udp_seconds,
            tcp_established=item.tcp_established_seconds,
            tcp_transitory=item.tcp_transitory_seconds,
            icmp=item.icmp_seconds,
        )
        forwarding = Nat44ForwardingEnableDisable(enable=item.forwarding)
        try:
            await together(self.vpp.request(timeouts), self.vpp.request(forwarding))
        except VppError as error:
            raise HalfDone(str(error)) from error

    async def delete(self, item: Nat44, handle: None, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(Nat44EdPluginEnableDisable(enable=False), _OFF_ALREADY)

    async def dump(self, known: Known) -> list[Found]:
        if not known.items(self.kind):
            return []
        try:
            now = await self.vpp.request(Nat44ShowRunningConfig())
        except MissingMessages:
            return []
        if not now.sessions:
            return []
        item = Nat44(
            sessions=now.sessions,
            forwarding=now.forwarding_enabled,
            udp_seconds=max(now.timeouts.udp, 1),  # by hand, they can be set to 0
            tcp_established_seconds=max(now.timeouts.tcp_established, 1),
            tcp_transitory_seconds=max(now.timeouts.tcp_transitory, 1),
            icmp_seconds=max(now.timeouts.icmp, 1),
        )
        return [Found(item.key, item)]
