# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: vpe.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/vpe.messages`: change that, not this.
"""

from contivpp_vpp.wire.base import Reply, Request

__all__ = [
    "CliInband",
    "CliInbandReply",
    "ShowVersion",
    "ShowVersionReply",
    "ShowVpeSystemTime",
    "ShowVpeSystemTimeReply",
]


class ShowVersionReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "show_version_reply"
    CRC = 0xc919bde1

    program: str = ""
    version: str = ""
    build_date: str = ""
    build_directory: str = ""


class ShowVersion(Request[ShowVersionReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "show_version"
    CRC = 0x51077d14
    REPLY = ShowVersionReply


class ShowVpeSystemTimeReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "show_vpe_system_time_reply"
    CRC = 0x7ffd8193

    vpe_system_time: float = 0.0


class ShowVpeSystemTime(Request[ShowVpeSystemTimeReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "show_vpe_system_time"
    CRC = 0x51077d14
    REPLY = ShowVpeSystemTimeReply


class CliInbandReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "cli_inband_reply"
    CRC = 0x05879051

    reply: str = ""


class CliInband(Request[CliInbandReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "cli_inband"
    CRC = 0xf8377302
    REPLY = CliInbandReply

    cmd: str = ""
