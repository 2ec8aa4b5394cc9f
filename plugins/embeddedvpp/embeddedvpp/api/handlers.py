# SPDX-License-Identifier: Apache-2.0
"""All handlers by message name, collected from the modules of this package.

A handler gets the VPP, the request and the session. It returns the fields of the reply (None: all zero), a generator of
the fields of details for a dump, or an awaitable of the reply's fields; it refuses by raising.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import (
    addresses,
    af_packet,
    fib_sources,
    interfaces,
    l2,
    loopbacks,
    memclnt,
    neighbors,
    routes,
    shell,
    sub_interfaces,
    tables,
    taps,
    vxlan,
)

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Handler = Callable[["Vpp", Any, "ApiSession"], Any]
_MODULES = (
    addresses, af_packet, fib_sources, interfaces, l2, loopbacks, memclnt, neighbors, routes, shell,
    sub_interfaces, tables, taps, vxlan,
)  # fmt: skip
HANDLERS: dict[str, Handler] = {name: found for module in _MODULES for name, found in module.HANDLERS.items()}
