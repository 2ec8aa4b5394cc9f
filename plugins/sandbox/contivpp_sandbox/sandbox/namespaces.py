# SPDX-License-Identifier: Apache-2.0
"""Namespaces: made and entered by the process that calls, for the rest of its life.

Root makes network and mount namespaces. An ordinary user first makes a user namespace, in which it is root: there it
may do the same. Where a machine forbids that, the error says which setting does, and how to change it.

Python 3.11 has neither os.unshare nor os.setns, hence ctypes. A process with several threads cannot enter a user
namespace, so callers do this first.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from contivpp_sandbox.sandbox.errors import NamespacesRefused, SandboxError

__all__ = [
    "POD",
    "die_with_parent",
    "enter",
    "enter_network",
    "inode",
    "make_cluster_namespaces",
    "make_node_namespaces",
    "make_pod_namespaces",
    "mount_tmpfs",
]

NEWNS, NEWUTS, NEWUSER, NEWNET = 0x00020000, 0x04000000, 0x10000000, 0x40000000
POD = {"user": NEWUSER, "mnt": NEWNS, "net": NEWNET, "uts": NEWUTS}

_MS_NOSUID_NODEV_NOEXEC, _MS_REC, _MS_SLAVE = 2 | 4 | 8, 0x4000, 1 << 19
_PR_SET_PDEATHSIG = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_LIBC = ctypes.CDLL(None, use_errno=True)

_SETTINGS = (
    ("user/max_user_namespaces", "0", "user namespaces are switched off: sysctl -w user.max_user_namespaces=15000"),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "user namespaces are for root only: sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor takes the rights in user namespaces away: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
"""Settings below /proc/sys that forbid user namespaces, with the value that does, and what to do."""


def _call(function: str, *arguments: object) -> None:
    if getattr(_LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def make_cluster_namespaces() -> None:
    """Move this process into namespaces of its own for network and mounts; without privileges, by a user namespace.

    Those of nodes, pods and outside hosts are made from inside.
    """
    privileged = os.geteuid() == 0
    try:
        if not privileged:
            _become_root()
        _call("unshare", NEWNET | NEWNS)
        _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
    except OSError as error:
        raise NamespacesRefused(_explanation(error, privileged=privileged)) from error
    _mount_if_possible(b"tmpfs", b"/dev/shm", b"mode=1777,size=256m")
    _mount_if_possible(b"sysfs", b"/sys", None)
    _loopback_up()


def make_pod_namespaces(hostname: str) -> None:
    """Move this process into the namespaces of a pod or an outside host; it must already be in the cluster's."""
    _call("unshare", NEWNET | NEWNS | NEWUTS)
    socket.sethostname(hostname)
    _mount_if_possible(b"sysfs", b"/sys", None)
    _loopback_up()


def make_node_namespaces(hostname: str) -> None:
    """Move this process into the namespaces of a node; it must already be in the cluster's."""
    make_pod_namespaces(hostname)
    # A real VPP's shared memory is the node's own, as its names are.
    _mount_if_possible(b"tmpfs", b"/dev/shm", b"mode=1777,size=256m")


def enter_network(descriptor: int) -> None:
    """Move this thread into an open network namespace."""
    _call("setns", descriptor, NEWNET)


def mount_tmpfs(folder: str) -> None:
    """Hide a folder under an empty one, in this process's mount namespace; where that is refused, it stays."""
    _mount_if_possible(b"tmpfs", os.fsencode(folder), b"mode=755")


def enter(pid: int, kinds: dict[str, int]) -> None:
    """Move this process into the namespaces of another process, as far as it is not there already."""
    opened: list[tuple[int, int]] = []
    try:
        for name, kind in kinds.items():
            if inode(pid, name) != inode("self", name):
                opened.append((os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind))
        folder = os.getcwd()
        for descriptor, kind in opened:
            _call("setns", descriptor, kind)
        with contextlib.suppress(OSError):
            os.chdir(folder)  # a change of the mount namespace leads to its root
    except ProcessLookupError as error:
        raise SandboxError(f"process {pid} is gone, and its namespaces with it") from error
    except FileNotFoundError as error:
        raise SandboxError(f"process {pid} is gone, and its namespaces with it") from error
    except PermissionError as error:
        raise SandboxError(
            f"the namespaces of process {pid} are not open to you: be the user who made the sandbox"
        ) from error
    except OSError as error:
        raise SandboxError(f"the namespaces of process {pid} cannot be entered: {error}") from error
    finally:
        for descriptor, _ in opened:
            os.close(descriptor)


def inode(pid: int | str, kind: str = "net") -> int:
    """Return the inode of a process's namespace; raise OSError where there is no such process."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent is gone."""
    _call("prctl", _PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it went in between


def _become_root() -> None:
    """Enter a user namespace in which the calling user is root, and nobody else exists."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", "ascii")  # asked for by the kernel before gid_map
    Path("/proc/self/uid_map").write_text(f"0 {user} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1", "ascii")


def _explanation(error: OSError, *, privileged: bool, settings: Path = Path("/proc/sys")) -> str:
    reason = error.strerror or str(error)
    if privileged:
        return (
            f"root may not make network namespaces here ({reason}): in a container, start it with --privileged "
            "(CAP_SYS_ADMIN and CAP_NET_ADMIN, and a seccomp profile that allows unshare and mount)"
        )
    for name, forbidding, advice in _SETTINGS:
        try:
            value = Path(settings, name).read_text("ascii").strip()
        except OSError:
            continue
        if value == forbidding:
            return f"an ordinary user gets no network namespace here ({reason}): {advice}, or run this, as root"
    hint = (
        "too many namespaces are nested or in use"
        if error.errno in (errno.ENOSPC, errno.EUSERS)
        else "a container's seccomp profile, or a security module, forbids user namespaces"
    )
    return f"an ordinary user gets no network namespace here ({reason}): {hint}; run this as root"


def _mount_if_possible(kind: bytes, where: bytes, options: bytes | None) -> None:
    """Mount over a folder; where it is refused (a masked /sys), what is there stays, which costs little."""
    with contextlib.suppress(OSError):
        _call("mount", kind, where, kind, _MS_NOSUID_NODEV_NOEXEC, options)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack_from("H", answer, 16)[0] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))
