# SPDX-License-Identifier: Apache-2.0
"""What each VPP is asked once, although thousands want to know at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from contivpp_vpp.access import Client, VppAccess

__all__ = ["AskedOnce"]

T = TypeVar("T")


class AskedOnce(Generic[T]):
    """The answer of the VPP that is connected. Who comes while it is asked for waits; all go on in the same turn."""

    def __init__(self, vpp: VppAccess, ask: Callable[[], Awaitable[T]]) -> None:
        self._vpp = vpp
        self._ask = ask
        self._client: Client | None = None
        self._answer: T | None = None
        self._asking: asyncio.Event | None = None

    def known(self) -> T | None:
        """Return the answer, if this VPP gave it already."""
        return self._answer if self._client is not None and self._client is self._vpp.client else None

    async def get(self) -> T:
        """Return the answer; after a failure, the next who waits asks again."""
        while (answer := self.known()) is None:
            if self._asking is not None:
                await self._asking.wait()
            else:
                await self._ask_now()
        return answer

    async def _ask_now(self) -> None:
        client, asking = self._vpp.client, asyncio.Event()
        self._asking = asking
        try:
            self._answer = await self._ask()
            self._client = client
        finally:
            self._asking = None
            asking.set()
