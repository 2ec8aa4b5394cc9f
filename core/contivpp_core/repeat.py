# SPDX-License-Identifier: Apache-2.0
"""Work that follows events, and is tried again until it succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from contivpp_core.backoff import Backoff
from contivpp_core.errors import ContivError

__all__ = ["whenever"]


async def whenever(
    event: asyncio.Event, work: Callable[[], Awaitable[None]], tell: Callable[[str], None], backoff: Backoff
) -> None:
    """Do some work after each event, again and again until it succeeds; for ever.

    `tell` gets the reason of each failure, and "" after each success.
    """
    while True:
        await event.wait()
        event.clear()
        try:
            await work()
        except Exception as error:  # whatever it is, it may pass; and it is no reason to do nothing any more
            known = isinstance(error, ContivError) and str(error)
            tell(str(error) if known else f"{type(error).__name__}: {error}".removesuffix(": "))
            await backoff.pause()
            event.set()
        else:
            tell("")
            backoff.reset()
