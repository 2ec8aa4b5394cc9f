# SPDX-License-Identifier: Apache-2.0
"""What the descriptors of NAT44 have in common: a VPP may lack it.

NAT44 is in a plugin of VPP, and none of its messages is required. On a VPP without it nothing of it is found, and an
item of these kinds fails, naming the message; everything else works.

What is in NAT44 vanishes when it is turned off. VPP refuses to put something into it while it is off (-126).
"""

from __future__ import annotations

from typing import TypeVar

from contivpp_core.errors import ContivError
from contivpp_core.items import Dependency, Outcome
from contivpp_vpp.access import VppAccess, outcome_of
from contivpp_vpp.errors import MissingMessages, VppError
from contivpp_vpp.items import Nat44
from contivpp_vpp.wire.base import Details, Dump

__all__ = ["ABSENT", "EXISTS", "IN_NAT44", "HalfDone", "all_of", "outcome_in_nat44"]

EXISTS = -81  # VALUE_EXIST
_OFF = -126  # UNSUPPORTED
ABSENT = (-6, _OFF)  # NO_SUCH_ENTRY, or nothing is there

D = TypeVar("D", bound=Details)

IN_NAT44 = Dependency.inside(Nat44().key)


class HalfDone(ContivError):
    """Of several messages, some were refused: what is there must be read."""


async def all_of(vpp: VppAccess, dump: Dump[D]) -> list[D]:
    """Return all details of a dump; none where VPP does not know it."""
    try:
        return await vpp.dump(dump)
    except MissingMessages:
        return []


def outcome_in_nat44(error: Exception) -> Outcome:
    """Tell what an error means for the next try."""
    if isinstance(error, HalfDone):
        return Outcome.UNKNOWN
    if isinstance(error, VppError) and error.retval == _OFF:
        return Outcome.RETRY  # somebody turned it off; it will be turned on again
    return outcome_of(error)
