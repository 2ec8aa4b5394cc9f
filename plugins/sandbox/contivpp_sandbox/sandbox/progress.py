# SPDX-License-Identifier: Apache-2.0
"""Tells people what is going on: one line for each step, with the time it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Progress", "Step"]


class Step:
    """A step that is going on; `detail` is told when it is done."""

    def __init__(self) -> None:
        self.detail = ""


class Progress:
    """Steps, told by `tell` when they are done; without it they are silent."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell or (lambda line: None)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time a step, and tell it."""
        step = Step()
        begin = time.perf_counter()
        try:
            yield step
        except BaseException:
            self._line(title, begin, "failed")
            raise
        self._line(title, begin, step.detail)

    def _line(self, title: str, begin: float, detail: str) -> None:
        self._tell(f"{time.perf_counter() - begin:7.2f} s  {title}{': ' if detail else ''}{detail}")
