# SPDX-License-Identifier: Apache-2.0
"""Errors of the VPP connection.

    VppConnectionError
    ├── VppError            VPP answered, and said no
    ├── ConnectionLost      the answer will not come; whether VPP did it is unknown
    │   └── ProtocolError   … because the peer sent what is not VPP's API
    ├── NotConnected        there is no connection now
    └── MissingMessages     this VPP does not have messages that plugins need

A message that must not be sent raises `contivpp_vpp.wire.errors.InvalidMessage`.
"""

from __future__ import annotations

from collections.abc import Sequence

from contivpp_vpp import retvals


class VppConnectionError(Exception):
    """Base of all errors of the connection."""


class VppError(VppConnectionError):
    """VPP refused a request."""

    def __init__(self, retval: int, message: str) -> None:
        self.retval = retval
        self.name = retvals.name_of(retval)
        self.message = message
        self.hint = retvals.hint_of(retval)
        super().__init__(f"VPP refused {message}: {self.name} ({retval})" + (f"; {self.hint}" if self.hint else ""))

    def __reduce__(self) -> tuple[type[VppError], tuple[int, str]]:
        return type(self), (self.retval, self.message)


class ConnectionLost(VppConnectionError):
    """The connection ended; what was asked and not answered may or may not have been done."""


class ProtocolError(ConnectionLost):
    """The peer sent what VPP does not send."""


class NotConnected(VppConnectionError):
    """There is no connection to VPP at the moment."""


class MissingMessages(VppConnectionError):
    """VPP lacks messages, or has them with another layout."""

    def __init__(self, version: str, missing: Sequence[str]) -> None:
        self.version = version
        self.missing = tuple(missing)
        names = ", ".join(missing)
        super().__init__(f"VPP {version} lacks {names}: use the VPP that this agent is made for, or load the plugin")
