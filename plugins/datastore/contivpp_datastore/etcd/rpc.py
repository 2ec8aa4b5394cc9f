# SPDX-License-Identifier: Apache-2.0
"""etcd's calls: their full names, and the messages they take and give, made from the descriptor of `etcd.proto`."""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory

from contivpp_datastore.etcd.descriptor import DESCRIPTOR

__all__ = [
    "AUTHENTICATE",
    "AUTH_ENABLE",
    "COMPACT",
    "DELETE",
    "GRANT",
    "KEEP_ALIVE",
    "PUT",
    "RANGE",
    "REVOKE",
    "ROLE_ADD",
    "ROLE_GET",
    "ROLE_GRANT",
    "ROLE_REVOKE",
    "STATUS",
    "TXN",
    "USER_ADD",
    "USER_GRANT",
    "USER_PASSWORD",
    "WATCH",
    "Method",
    "message",
]

_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(DESCRIPTOR)


def message(name: str) -> Any:
    """Return the class of a message of `etcd.proto`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"contivpp.etcd.{name}"))


class Method(NamedTuple):
    """A call: its path, and the classes of its request and its response. `safe`: it may be sent twice."""

    path: str
    request: Any
    response: Any
    safe: bool = False


def _method(path: str, messages: str, response: str = "", *, safe: bool = False) -> Method:
    request = message(f"{messages}Request")
    return Method(f"/etcdserverpb.{path}", request, message(response or f"{messages}Response"), safe)


RANGE = _method("KV/Range", "Range", safe=True)
PUT = _method("KV/Put", "Put")
DELETE = _method("KV/DeleteRange", "DeleteRange")
TXN = _method("KV/Txn", "Txn")
COMPACT = _method("KV/Compact", "Compaction")
WATCH = _method("Watch/Watch", "Watch")
GRANT = _method("Lease/LeaseGrant", "LeaseGrant", safe=True)
REVOKE = _method("Lease/LeaseRevoke", "LeaseRevoke", safe=True)
KEEP_ALIVE = _method("Lease/LeaseKeepAlive", "LeaseKeepAlive", safe=True)
STATUS = _method("Maintenance/Status", "Status", safe=True)
AUTHENTICATE = _method("Auth/Authenticate", "Authenticate", safe=True)
AUTH_ENABLE = _method("Auth/AuthEnable", "AuthEnable", "AuthResponse")
USER_ADD = _method("Auth/UserAdd", "AuthUserAdd", "AuthResponse")
USER_PASSWORD = _method("Auth/UserChangePassword", "AuthUserChangePassword", "AuthResponse")
USER_GRANT = _method("Auth/UserGrantRole", "AuthUserGrantRole", "AuthResponse")
ROLE_ADD = _method("Auth/RoleAdd", "AuthRoleAdd", "AuthResponse")
ROLE_GRANT = _method("Auth/RoleGrantPermission", "AuthRoleGrantPermission", "AuthResponse")
ROLE_GET = _method("Auth/RoleGet", "AuthRoleGet", safe=True)
ROLE_REVOKE = _method("Auth/RoleRevokePermission", "AuthRoleRevokePermission", "AuthResponse")
