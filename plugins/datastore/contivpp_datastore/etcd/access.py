# SPDX-License-Identifier: Apache-2.0
"""Users of etcd with least rights, made by root.

An agent reads everything of ours, and writes its own node's key and the range of IDs (a node that has no ID yet cannot
know which key its claim will have). The reflector writes everything of ours. Calling again is no error: passwords and
rights are then set anew. The README has the same as commands of `etcdctl`.
"""

from __future__ import annotations

from typing import NamedTuple

from contivpp_core.cluster import IDS, node_key
from contivpp_core.kvstore import KVStoreError
from contivpp_datastore.etcd import rpc
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.etcd.watch import key_range
from contivpp_datastore.objects import ROOT

__all__ = ["Right", "agent_rights", "enable", "grant", "reflector_rights"]

READ, WRITE, READWRITE = 0, 1, 2
_Permission = rpc.message("Permission")


class Right(NamedTuple):
    """What a role may do with a key, or with all keys that begin with it (`prefix`)."""

    key: str
    kind: int
    prefix: bool = False


def agent_rights(node: str) -> tuple[Right, ...]:
    """Return the rights of a node's agent."""
    return (
        Right(ROOT, READ, prefix=True),
        Right(node_key(node), READWRITE),
        Right(IDS, READWRITE, prefix=True),
    )


def reflector_rights() -> tuple[Right, ...]:
    """Return the rights of the reflector."""
    return (Right(ROOT, READWRITE, prefix=True),)


async def grant(root: EtcdStore, user: str, password: str, rights: tuple[Right, ...]) -> None:
    """Make a user, or change its password, and give it a role of the same name with these rights."""
    call = root.connection.call
    await _unless_there(root, rpc.ROLE_ADD, rpc.ROLE_ADD.request(name=user))
    for right in rights:
        begin, end = key_range(right.key) if right.prefix else (right.key.encode(), b"")
        permission = _Permission(permType=right.kind, key=begin, range_end=end)
        await call(rpc.ROLE_GRANT, rpc.ROLE_GRANT.request(name=user, perm=permission))
    if not await _unless_there(root, rpc.USER_ADD, rpc.USER_ADD.request(name=user, password=password)):
        await call(rpc.USER_PASSWORD, rpc.USER_PASSWORD.request(name=user, password=password))
    await call(rpc.USER_GRANT, rpc.USER_GRANT.request(user=user, role=user))


async def enable(store: EtcdStore, root_password: str) -> None:
    """Make the user root and have etcd ask everybody who they are, from now on; `store` is used without a user."""
    await _unless_there(store, rpc.USER_ADD, rpc.USER_ADD.request(name="root", password=root_password))
    await _unless_there(store, rpc.ROLE_ADD, rpc.ROLE_ADD.request(name="root"))
    await store.connection.call(rpc.USER_GRANT, rpc.USER_GRANT.request(user="root", role="root"))
    await store.connection.call(rpc.AUTH_ENABLE, rpc.AUTH_ENABLE.request())


async def _unless_there(store: EtcdStore, method: rpc.Method, request: object) -> bool:
    """Carry out a call; return False where what it makes exists already."""
    try:
        await store.connection.call(method, request)
    except KVStoreError as error:
        if "already exists" not in str(error):
            raise
        return False
    return True
