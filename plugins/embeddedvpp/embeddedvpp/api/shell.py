# SPDX-License-Identifier: Apache-2.0
"""Version, time, and CLI commands by message."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ..cli import Failure, execute

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]


def show_version(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """VPP's version with our own name as the place of the build."""
    return {"program": "vpe", "version": vpp.version, "build_date": "", "build_directory": "embeddedvpp"}


def show_vpe_system_time(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """The time of day."""
    return {"vpe_system_time": vpp.time()}


def cli_inband(vpp: Vpp, request: Any, session: ApiSession) -> Any:
    """A command line; unknown input is answered with -1 and a text."""
    line = request.cmd.rstrip("\0").strip()
    answer = execute(vpp, line) if line else Failure("unknown input `'\n")
    if inspect.isawaitable(answer):

        async def later() -> Fields:
            return _reply(await answer)

        return later()
    assert isinstance(answer, str)
    return _reply(answer)


def _reply(text: str) -> Fields:
    return {"retval": -1 if isinstance(text, Failure) else 0, "reply": text}


HANDLERS = {found.__name__: found for found in (show_version, show_vpe_system_time, cli_inband)}
