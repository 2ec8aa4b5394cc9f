# SPDX-License-Identifier: Apache-2.0
"""Which rigs there are, by name; each is imported when it is wanted."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from contivpp_core.clock import run_simulated
from contivpp_sandbox.rigs.base import Rig, RigUnavailable

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


def make_rig(name: str, datastore: str = "embedded") -> Rig:
    """Return a new rig; nothing runs yet. Raises RigUnavailable where it is not installed.

    `datastore` is what the cluster's state is kept in; the rig in memory has a store of its own.
    """
    entry = RIGS[name]
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name != entry.module:
            raise  # the rig is there, but something that it needs is not
        module = None
    factory: Callable[..., Rig] | None = getattr(module, entry.factory, None)
    if factory is None:
        raise RigUnavailable(f"the rig {name} is not in this installation: {entry.module} has no {entry.factory}")
    return factory() if entry.simulated else factory(datastore)


def run_for(name: str, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the kind of loop that a rig needs."""
    return run_simulated(main) if RIGS[name].simulated else asyncio.run(main)
