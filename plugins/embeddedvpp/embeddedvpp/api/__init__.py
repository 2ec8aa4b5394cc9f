# SPDX-License-Identifier: Apache-2.0
"""The binary API without sockets: a session that is fed bytes, and one module of handlers for each noun."""

from .session import ApiSession
from .vpp import Vpp

__all__ = ["ApiSession", "Vpp"]
