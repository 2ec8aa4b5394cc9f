# SPDX-License-Identifier: Apache-2.0
"""Which rigs there are, by name; each is imported when it is wanted."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from contivpp_core.clock import run_simulated
from contivpp_sandbox.rigs.base import Rig, RigError

__all__ = ["RIGS", "make_rig", "run_for"]

T = TypeVar("T")


class _Entry(NamedTuple):
    module: str
    factory: str
    simulated: bool = False


RIGS = {
    "memory": _Entry("contivpp_sandbox.rigs.memory.rig", "MemoryRig", simulated=True),
    "sandbox": _Entry("contivpp_sandbox.rigs.netns", "sandbox_rig"),
    "vpp": _Entry("contivpp_sandbox.rigs.netns", "vpp_rig"),
}


def make_rig(name: str) -> Rig:
    """Return a new rig; nothing runs yet."""
    entry = RIGS[name]
    try:
        factory: Callable[[], Rig] = getattr(importlib.import_module(entry.module), entry.factory)
    except ImportError as error:
        raise RigError(f"the rig {name} is not in this installation ({error}): reinstall contivpp-sandbox") from error
    return factory()


def run_for(name: str, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the kind of loop that a rig needs."""
    return run_simulated(main) if RIGS[name].simulated else asyncio.run(main)
