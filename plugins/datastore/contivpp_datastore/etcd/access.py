# SPDX-License-Identifier: Apache-2.0
"""Users of etcd with least rights, made by root.

An agent reads everything of ours, and writes its own node's key and the range of IDs (a node that has no ID yet cannot
know which key its claim will have). The reflector reads everything of ours, and writes the objects, its lock and the
leader's key, and what nodes published: it removes that of nodes that are gone. Calling again is no error: passwords are
set anew, and a role has these rights afterwards and no others. The README has the same as commands of `etcdctl`.
"""

from __future__ import annotations

from typing import NamedTuple

from contivpp_core.cluster import IDS, NODES, OBJECTS, node_key
from contivpp_core.kvstore import KVStoreError
from contivpp_core.kvstore_lock import LOCK_PREFIX
from contivpp_datastore.etcd import rpc
from contivpp_datastore.etcd.client import EtcdStore
from contivpp_datastore.etcd.watch import key_range
from contivpp_datastore.objects import ROOT

__all__ = ["Right", "agent_rights", "enable", "grant", "reflector_rights"]

READ, WRITE, READWRITE = 0, 1, 2
REFLECTOR = f"{ROOT}ksr/"
"""Where the reflector says who leads."""
_OTHERS = ("root", "ksr")
_Permission = rpc.message("Permission")


class Right(NamedTuple):
    """What a role may do with a key, or with all keys that begin with it (`prefix`)."""

    key: str
    kind: int
    prefix: bool = False


def agent_rights(node: str) -> tuple[Right, ...]:
    """Return the rights of a node's agent; raise KVStoreError if it is called as those are who may more."""
    if not node or node in _OTHERS:
        raise KVStoreError(f"{node!r} is no name for an agent's user: {' and '.join(_OTHERS)} may more than an agent")
    return (
        Right(ROOT, READ, prefix=True),
        Right(node_key(node), READWRITE),
        Right(IDS, READWRITE, prefix=True),
    )


def reflector_rights() -> tuple[Right, ...]:
    """Return the rights of the reflector: it claims no ID."""
    written = (NODES, OBJECTS, LOCK_PREFIX, REFLECTOR)
    return (Right(ROOT, READ, prefix=True), *(Right(prefix, READWRITE, prefix=True) for prefix in written))


async def grant(root: EtcdStore, user: str, password: str | None, rights: tuple[Right, ...]) -> None:
    """Make a user and a role of the same name, or change both; the role has these rights and no others.

    Without a password etcd knows the user by the common name of its certificate only; one that is there stays.
    """
    call = root.connection.call
    await _unless_there(root, rpc.ROLE_ADD, rpc.ROLE_ADD.request(name=user))
    wanted = {(*_range(right), right.kind) for right in rights}
    found = (await call(rpc.ROLE_GET, rpc.ROLE_GET.request(role=user))).perm
    there = {(each.key, each.range_end, each.permType) for each in found}
    for key, end, _ in sorted(there - wanted):
        await call(rpc.ROLE_REVOKE, rpc.ROLE_REVOKE.request(role=user, key=key, range_end=end))
    for key, end, kind in sorted(wanted - there):
        permission = _Permission(permType=kind, key=key, range_end=end)
        await call(rpc.ROLE_GRANT, rpc.ROLE_GRANT.request(name=user, perm=permission))
    if not await _add_user(root, user, password) and password is not None:
        await call(rpc.USER_PASSWORD, rpc.USER_PASSWORD.request(name=user, password=password))
    await call(rpc.USER_GRANT, rpc.USER_GRANT.request(user=user, role=user))


async def enable(store: EtcdStore, root_password: str | None = None) -> None:
    """Make the user root and have etcd ask everybody who they are, from now on; `store` is used without a user."""
    await _add_user(store, "root", root_password)
    await _unless_there(store, rpc.ROLE_ADD, rpc.ROLE_ADD.request(name="root"))
    await store.connection.call(rpc.USER_GRANT, rpc.USER_GRANT.request(user="root", role="root"))
    await store.connection.call(rpc.AUTH_ENABLE, rpc.AUTH_ENABLE.request())


def _range(right: Right) -> tuple[bytes, bytes]:
    return key_range(right.key) if right.prefix else (right.key.encode(), b"")


async def _add_user(store: EtcdStore, name: str, password: str | None) -> bool:
    request = rpc.USER_ADD.request(name=name, password=password or "", options={"no_password": password is None})
    return await _unless_there(store, rpc.USER_ADD, request)


async def _unless_there(store: EtcdStore, method: rpc.Method, request: object) -> bool:
    """Carry out a call; return False where what it makes exists already."""
    try:
        await store.connection.call(method, request)
    except KVStoreError as error:
        if "already exists" not in str(error):
            raise
        return False
    return True
