# SPDX-License-Identifier: Apache-2.0
"""Tasks that run for as long as somebody wants them to."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["end"]


async def end(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel tasks, and wait until they have ended; how they end is no matter any more. None is no task."""
    there = [task for task in tasks if task is not None]
    for task in there:
        task.cancel()
    await asyncio.gather(*there, return_exceptions=True)
