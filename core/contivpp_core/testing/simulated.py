# SPDX-License-Identifier: Apache-2.0
"""Tests in simulated time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from contivpp_core.clock import run_simulated

__all__ = ["simulated"]


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Have a test run in simulated time; its fixtures and parameters are those of the test."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        run_simulated(test(**arguments))

    return run
