# SPDX-License-Identifier: Apache-2.0
"""Our FIB source: by it VPP remembers which routes are ours.

VPP gives a new number for each registration, even of the same name, and has at most 255: so the source is looked up
by name first, and registered only when the first route is made. The number holds for one connection; the next one
looks again.
"""

from __future__ import annotations

from contivpp_vpp.access import VppAccess
from contivpp_vpp.messages import FibSource, FibSourceAdd, FibSourceDump
from contivpp_vpp.once import AskedOnce

__all__ = ["FIB_SOURCE_NAME", "FIB_SOURCE_PRIORITY", "FibSourceNumber"]

FIB_SOURCE_NAME = "contivpp"

FIB_SOURCE_PRIORITY = 0x82
"""Weaker than interfaces, and than what people set by API (0x80) or command line (0x81): these win."""


class FibSourceNumber:
    """The number of our FIB source in the VPP that is connected."""

    def __init__(self, vpp: VppAccess) -> None:
        self._vpp = vpp
        self._number = AskedOnce(vpp, self._find_or_register)

    def known(self) -> int | None:
        """Return the number, if this VPP told it already."""
        return self._number.known()

    async def find(self) -> int | None:
        """Return the number, or None where it is not registered. Only reads."""
        if (number := self.known()) is not None:
            return number
        found = [each.src.id for each in await self._vpp.dump(FibSourceDump()) if each.src.name == FIB_SOURCE_NAME]
        return min(found, default=None)

    async def get(self) -> int:
        """Return the number; register the source where it is missing."""
        return await self._number.get()

    async def _find_or_register(self) -> int:
        number = await self.find()
        if number is None:
            source = FibSource(name=FIB_SOURCE_NAME, priority=FIB_SOURCE_PRIORITY)
            number = (await self._vpp.request(FibSourceAdd(src=source))).id
        return number
