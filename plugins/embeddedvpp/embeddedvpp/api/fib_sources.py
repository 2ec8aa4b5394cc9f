# SPDX-License-Identifier: Apache-2.0
"""Sources of routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..wire.codec import types

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]


def fib_source_add(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """A new source; the same name again is another one."""
    return {"id": vpp.dataplane.fibs.sources.add(request.src.name, request.src.priority).id}


def fib_source_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """All sources."""
    make = types()["fib_source"]
    return (
        {"src": make(priority=found.priority, id=found.id, name=found.name)}
        for found in vpp.dataplane.fibs.sources
    )


HANDLERS = {"fib_source_add": fib_source_add, "fib_source_dump": fib_source_dump}
