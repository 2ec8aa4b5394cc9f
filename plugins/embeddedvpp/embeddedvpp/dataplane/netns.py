# SPDX-License-Identifier: Apache-2.0
"""Network namespaces as VPP names them, and how a thread enters one.

A namespace is ``pid:NNN``, an absolute path, or a name under /var/run/netns. Only threads made for it enter
one (see ``devices.in_thread``), because setns changes the calling thread alone and a pool's thread would
keep it.
"""

from __future__ import annotations

import ctypes
import os

from .errors import DataplaneError, Retval

_CLONE_NEWNET = 0x40000000


def namespace_path(name: str) -> str:
    """Where the namespace's file is; a ``pid:`` that is no number is pid 0, as for VPP."""
    if name.startswith("pid:"):
        digits = name[4:].strip()
        return f"/proc/{int(digits) if digits.isdecimal() else 0}/ns/net"
    return name if name.startswith("/") else f"/var/run/netns/{name}"


def enter_namespace(name: str) -> None:
    """Move the calling thread into a network namespace, for the rest of its life."""
    path = namespace_path(name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DataplaneError(Retval.SYSCALL_ERROR_2, f"network namespace {path}: {error}") from error
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            text = os.strerror(ctypes.get_errno())
            raise DataplaneError(Retval.SYSCALL_ERROR_3, f"entering network namespace {path}: {text}")
    finally:
        os.close(descriptor)
