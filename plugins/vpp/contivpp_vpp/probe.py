# SPDX-License-Identifier: Apache-2.0
"""Can this VPP make TAP interfaces? It needs /dev/vhost-net and /dev/net/tun; only an attempt tells.

The attempt makes a TAP under a name of ours and deletes it. Should the agent die in between, the tag makes it an
object of ours that nobody wants, which the next resync deletes. The answer holds as long as the same VPP runs, so
it is kept in the ledger: a restarted agent does not try again.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from contivpp_core.errors import NotReady
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_vpp.access import Client
from contivpp_vpp.descriptors.tap import explain_refusal, tap_message
from contivpp_vpp.errors import VppError
from contivpp_vpp.incarnation import Incarnation
from contivpp_vpp.items import Tap
from contivpp_vpp.messages import SwInterfaceDump, TapDeleteV2
from contivpp_vpp.values import tag_of

__all__ = ["PROBE", "TapSupport", "probe_tap", "recall", "remember"]

PROBE = Tap(name="tap-probe", host_name="contivpp-probe", instance=8000)
"""The TAP of the attempt: its name and instance number are used for nothing else."""

_INSTANCE_IN_USE = -71  # INVALID_INTERFACE
_LASTING = (-11, -12, -13)  # SYSCALL_ERROR_1 to _3: devices and rights, which a running VPP does not get
_SPACE, _KEY = "vpp/probe", "tap"


class TapSupport(NamedTuple):
    """Whether TAPs can be made, and if not, why and what to do."""

    usable: bool
    reason: str = ""


class _Record(msgspec.Struct, frozen=True):
    incarnation: Incarnation
    support: TapSupport


async def probe_tap(client: Client) -> TapSupport:
    """Make a TAP and delete it.

    Raises where nothing is known afterwards: the connection is lost, or VPP refuses it for now (NotReady).
    The answer decides how pods are wired as long as this VPP lives.
    """
    try:
        index = (await client.request(tap_message(PROBE))).sw_if_index
    except VppError as error:
        if error.retval in _LASTING:
            return TapSupport(False, str(explain_refusal(PROBE, error)))
        if error.retval != _INSTANCE_IN_USE:
            raise NotReady(f"it cannot be told now whether VPP can make TAPs: {error}") from error
        for each in await client.dump(SwInterfaceDump()):  # an attempt that was interrupted, or somebody's TAP
            if each.tag == tag_of(PROBE.name):
                await client.request(TapDeleteV2(sw_if_index=each.sw_if_index))
        return TapSupport(True)
    await client.request(TapDeleteV2(sw_if_index=index))
    return TapSupport(True)


def recall(ledger: Ledger, incarnation: Incarnation) -> TapSupport | None:
    """Return what an earlier attempt with the same VPP told."""
    stored = ledger.get(_SPACE, _KEY)
    if stored is None:
        return None
    try:
        record = msgspec.json.decode(stored, type=_Record)
    except msgspec.MsgspecError:  # written by another version of the agent: try again
        return None
    return record.support if record.incarnation.same(incarnation) else None


async def remember(ledger: Ledger, incarnation: Incarnation, support: TapSupport) -> None:
    """Store what an attempt told."""
    value = msgspec.json.encode(_Record(incarnation, support))
    await ledger.commit(LedgerWrite(_SPACE, _KEY, value))
