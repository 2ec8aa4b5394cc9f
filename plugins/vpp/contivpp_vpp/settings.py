# SPDX-License-Identifier: Apache-2.0
"""The section `vpp:` of the configuration."""

from __future__ import annotations

from pydantic import Field

from contivpp_core.config import Section

__all__ = ["VppSettings"]


class VppSettings(Section):
    """Where VPP is, and how it is used. VPP's start-up configuration names the same sockets."""

    api_socket: str = "/run/vpp/api.sock"
    stats_socket: str = "/run/vpp/stats.sock"
    cli_socket: str = "/run/vpp/cli.sock"
    request_timeout: float = Field(default=15.0, gt=0, le=600)
    """Seconds without any answer, while one is owed, after which VPP counts as lost."""
    persistent_taps: bool = False
    """Whether the kernel keeps the Linux ends of TAPs while VPP is away (and after a TAP is deleted)."""
