# SPDX-License-Identifier: Apache-2.0
"""Fixtures of this package's tests."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from contivpp_vpp.testing import VARIABLE, executable


class _NoWaiting(selectors.DefaultSelector):
    """Instead of waiting, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("nothing will ever happen: the test hangs")
        if not ready and timeout:
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next thing to do."""

    def __init__(self) -> None:
        self._waiter = _NoWaiting()
        super().__init__(self._waiter)

    def time(self) -> float:
        return self._waiter.now


@pytest.fixture
def simulated() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine under a simulated clock."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            return runner.run(coroutine)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a real VPP need to know where it is."""
    if executable() is None:
        for item in items:
            if item.get_closest_marker("realvpp"):
                item.add_marker(pytest.mark.skip(reason=f"{VARIABLE} does not name a VPP executable"))
