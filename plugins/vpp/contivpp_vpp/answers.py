# SPDX-License-Identifier: Apache-2.0
"""What is done with answers: given to a callback or a future, or only counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

Answered = Callable[[Any, Exception | None], None]
"""Called once for a request: with the reply, or with the error."""


def call(callback: Callable[..., None], *arguments: Any) -> None:
    """A callback that raises is a bug of its owner, and no reason to lose the others' answers."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("a callback for an answer of VPP failed")


def settle(future: asyncio.Future[Any]) -> Answered:
    """A callback that gives the outcome to a future, unless nobody waits any more."""

    def settle(result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    return settle


def nothing(reply: Any, error: Exception | None) -> None:
    """The callback of nobody."""


class Batch:
    """Requests of which only failures are told: `refused(request, error)`. `ended` is called after the last answer."""

    __slots__ = ("complete", "ended", "left", "refused")

    def __init__(self, refused: Callable[[Any, Exception], None], ended: Answered) -> None:
        self.refused = refused
        self.ended = ended
        self.left = 0
        self.complete = False  # no more requests will come

    def told(self, request: Any, error: Exception | None) -> None:
        """A request failed, or the last answer is there."""
        if error is not None:
            call(self.refused, request, error)
        if self.complete and not self.left:
            self.ended(None, None)
