# SPDX-License-Identifier: Apache-2.0
"""Typed messages of VPP: memclnt.

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/memclnt.messages`: change that, not this.
"""

from contivpp_vpp.wire.base import Reply, Request, Structure

__all__ = [
    "ApiVersions",
    "ApiVersionsReply",
    "ControlPing",
    "ControlPingReply",
    "GetApiJson",
    "GetApiJsonReply",
    "MemclntKeepalive",
    "MemclntKeepaliveReply",
    "MessageTableEntry",
    "ModuleVersion",
    "SockclntCreate",
    "SockclntCreateReply",
    "SockclntDelete",
    "SockclntDeleteReply",
]


class ModuleVersion(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "module_version"

    major: int = 0
    minor: int = 0
    patch: int = 0
    name: str = ""


class MessageTableEntry(Structure, frozen=True, kw_only=True, gc=False):
    TYPE = "message_table_entry"

    index: int = 0
    name: str = ""


class SockclntCreateReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sockclnt_create_reply"
    CRC = 0x35166268

    index: int = 0
    message_table: tuple[MessageTableEntry, ...] = ()


class SockclntCreate(Request[SockclntCreateReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sockclnt_create"
    CRC = 0x455fb9c4
    REPLY = SockclntCreateReply

    name: str = ""


class SockclntDeleteReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "sockclnt_delete_reply"
    CRC = 0x8f38b1ee


class SockclntDelete(Request[SockclntDeleteReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "sockclnt_delete"
    CRC = 0x8ac76db6
    REPLY = SockclntDeleteReply

    index: int = 0


class ControlPingReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "control_ping_reply"
    CRC = 0xf6b0b8ca

    client_index: int = 0
    vpe_pid: int = 0


class ControlPing(Request[ControlPingReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "control_ping"
    CRC = 0x51077d14
    REPLY = ControlPingReply


class GetApiJsonReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "get_api_json_reply"
    CRC = 0xea715b59

    json: str = ""


class GetApiJson(Request[GetApiJsonReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "get_api_json"
    CRC = 0x51077d14
    REPLY = GetApiJsonReply


class ApiVersionsReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "api_versions_reply"
    CRC = 0x5f0d99d6

    api_versions: tuple[ModuleVersion, ...] = ()


class ApiVersions(Request[ApiVersionsReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "api_versions"
    CRC = 0x51077d14
    REPLY = ApiVersionsReply


class MemclntKeepaliveReply(Reply, frozen=True, kw_only=True, gc=False):
    MESSAGE = "memclnt_keepalive_reply"
    CRC = 0xe8d4e804


class MemclntKeepalive(Request[MemclntKeepaliveReply], frozen=True, kw_only=True, gc=False):
    MESSAGE = "memclnt_keepalive"
    CRC = 0x51077d14
    REPLY = MemclntKeepaliveReply
