# SPDX-License-Identifier: Apache-2.0
"""etcd's errors as KVStore's errors: each names the endpoint, and what to do. Requests and tokens are never in them."""

from __future__ import annotations

import re

import grpc

from contivpp_core.kvstore import Compacted, KVStoreError, LeaseLost, StoreUnavailable

__all__ = ["Refused", "from_reason", "from_rpc", "is_stale_login"]

_CURES = (
    ("permission denied", "the user may not do this: grant it the role, or use another user"),
    ("authentication failed", "user or password is wrong: check datastore.user and passwordFile"),
    ("invalid auth token", "the login is not valid any more: check datastore.user and passwordFile"),
    ("user name is empty", "etcd wants a user: set datastore.user and passwordFile"),
    ("authentication is not enabled", "enable it in etcd first ('etcdctl auth enable')"),
    ("too many operations", "split the transaction, or raise etcd's --max-txn-ops"),
    ("request is too large", "store a smaller value, or raise etcd's --max-request-bytes"),
    ("larger than max", "store a smaller value, or raise etcd's --max-request-bytes"),
    ("duplicate key", "name each key once in a transaction"),
    (
        "space exceeded",
        "etcd's database is full: compact and defragment it, raise --quota-backend-bytes, disarm the alarm",
    ),
    ("too large lease ttl", "ask for a shorter lease"),
    ("corrupt", "etcd's data is damaged: restore it from a snapshot"),
)
_TLS = ("handshake", "ssl", "certificate", "tls")


class Refused(KVStoreError):
    """etcd has answered, and does not do what was asked: trying again does not help."""


def _cure(text: str, otherwise: str) -> str:
    found = [cure for words, cure in _CURES if words in text.lower()]
    return found[0] if found else otherwise


def from_rpc(endpoint: str, error: grpc.aio.AioRpcError) -> KVStoreError:
    """Return the error for a call that failed."""
    code, text = error.code(), _plain(error.details() or "")
    if code == grpc.StatusCode.NOT_FOUND and "lease" in text:
        return LeaseLost(f"{endpoint}: the lease is gone: grant another one")
    if code == grpc.StatusCode.OUT_OF_RANGE and "compacted" in text:
        return Compacted(0)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return StoreUnavailable(f"{endpoint}: etcd gives no answer in time: check that it runs and has a leader")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN):
        return StoreUnavailable(f"{endpoint}: etcd does not answer: {_why(text)}")
    if code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL):
        return StoreUnavailable(f"{endpoint}: what answers is no etcd v3 ({text}): check datastore.endpoints")
    return Refused(f"{endpoint}: {text}: {_cure(text, 'see the log of etcd')}")


def from_reason(endpoint: str, reason: str) -> KVStoreError:
    """Return the error for a watch that etcd has ended."""
    text = _plain(reason.rpartition("desc = ")[2] or reason)
    if any(words in text.lower() for words, _ in _CURES):
        return Refused(f"{endpoint}: {text}: {_cure(text, '')}")
    return StoreUnavailable(f"{endpoint}: etcd ended the watch: {text or 'without a reason'}")


def is_stale_login(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a call was refused because the token is not valid any more: nothing was done."""
    text = error.details() or ""
    old = "revision of auth store is old" in text or "user name is empty" in text  # the latter: no token at all
    return error.code() == grpc.StatusCode.UNAUTHENTICATED or old


def _plain(text: str) -> str:
    """Return what etcd says, on one line."""
    return re.sub(r"\s+", " ", text.removeprefix("etcdserver: ").removeprefix("mvcc: ")).strip()[:300]


def _why(text: str) -> str:
    if any(word in text.lower() for word in _TLS):
        return f"{text}: check scheme, host name, ca, certificate and key of the section datastore"
    return f"{text or 'the connection is lost'}: check that it runs and can be reached"
