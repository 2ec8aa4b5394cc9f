# SPDX-License-Identifier: Apache-2.0
"""Tasks that run for as long as somebody wants them to."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["end"]


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task, and wait until it has ended; how it ends is no matter any more. None is no task."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
