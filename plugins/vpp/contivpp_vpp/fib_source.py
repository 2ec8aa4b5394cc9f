# SPDX-License-Identifier: Apache-2.0
"""Our FIB source: by it VPP remembers which routes are ours.

VPP gives a new number for each registration, even of the same name, and has at most 255: so the source is looked up
by name first, and registered only when the first route is made. The number holds for one connection; the next one
looks again.
"""

from __future__ import annotations

import asyncio

from contivpp_vpp.access import Client, VppAccess
from contivpp_vpp.messages import FibSource, FibSourceAdd, FibSourceDump

__all__ = ["FIB_SOURCE_NAME", "FIB_SOURCE_PRIORITY", "FibSourceNumber"]

FIB_SOURCE_NAME = "contivpp"

FIB_SOURCE_PRIORITY = 0x82
"""Weaker than interfaces, and than what people set by API (0x80) or command line (0x81): these win."""


class FibSourceNumber:
    """The number of our FIB source in the VPP that is connected."""

    def __init__(self, vpp: VppAccess) -> None:
        self._vpp = vpp
        self._client: Client | None = None
        self._number: int | None = None
        self._lock = asyncio.Lock()

    async def find(self) -> int | None:
        """Return the number, or None where it is not registered. Only reads."""
        if self._client is not self._vpp.client or self._number is None:
            client = self._vpp.client
            found = [each.src.id for each in await self._vpp.dump(FibSourceDump()) if each.src.name == FIB_SOURCE_NAME]
            self._client, self._number = client, min(found, default=None)
        return self._number

    async def get(self) -> int:
        """Return the number; register the source where it is missing."""
        if self._number is not None and self._client is self._vpp.client:  # as thousands of routes find it
            return self._number
        async with self._lock:
            number = await self.find()
            if number is None:
                source = FibSource(name=FIB_SOURCE_NAME, priority=FIB_SOURCE_PRIORITY)
                number = (await self._vpp.request(FibSourceAdd(src=source))).id
                self._number = number
            return number
