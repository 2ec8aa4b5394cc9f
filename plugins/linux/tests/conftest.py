# SPDX-License-Identifier: Apache-2.0
"""Rigs: the kernel in memory, and the real one in fresh namespaces, with the same face for the tests."""

from __future__ import annotations

import ctypes
import itertools
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.netlink import NetlinkKernel
from contivpp_linux.kernel.protocol import Kernel

CLONE_NEWNET = 0x40000000
MS_BIND, MNT_DETACH = 4096, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    """Call a function of the C library, in the thread that runs this."""
    if getattr(LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def make_namespace(path: str) -> None:
    """Make a network namespace and bind it to a path; needs root."""
    errors: list[OSError] = []

    def work() -> None:
        try:
            call("unshare", CLONE_NEWNET)
            with open(path, "wb"):
                pass
            call("mount", b"/proc/thread-self/ns/net", path.encode(), b"none", MS_BIND, None)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def drop_namespace(path: str) -> None:
    """Unbind a namespace; it ends when nothing else holds it."""
    call("umount2", path.encode(), MNT_DETACH)
    os.unlink(path)


@contextmanager
def namespace_folder() -> Iterator[str]:
    """Yield a folder for namespaces; skip where they cannot be made."""
    with tempfile.TemporaryDirectory(prefix="contivpp-netns-") as folder:
        probe = f"{folder}/probe"
        try:
            make_namespace(probe)
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here (root is needed): {error}")
        drop_namespace(probe)
        yield folder


class Rig:
    """A kernel and a way to make namespaces for it."""

    def __init__(self, kernel: Kernel, folder: str) -> None:
        self.kernel = kernel
        self.folder = folder
        self.real = not isinstance(kernel, MemoryKernel)
        self._count = itertools.count()
        self._made: set[str] = set()

    def namespace(self, path: str = "") -> str:
        path = path or f"{self.folder}/n{next(self._count)}"
        if isinstance(self.kernel, MemoryKernel):
            self.kernel.create_namespace(path)
        else:
            make_namespace(path)
        self._made.add(path)
        return path

    def destroy(self, path: str) -> None:
        self._made.discard(path)
        if isinstance(self.kernel, MemoryKernel):
            self.kernel.destroy_namespace(path)
        else:
            drop_namespace(path)

    def clear(self) -> None:
        for path in sorted(self._made):
            self.destroy(path)


@pytest_asyncio.fixture(params=["memory", pytest.param("netlink", marks=pytest.mark.netns)])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The same tests, on both kernels."""
    if request.param == "memory":
        yield Rig(MemoryKernel(), "/memory")
        return
    with namespace_folder() as folder:
        rig = Rig(NetlinkKernel(), folder)
        try:
            yield rig
        finally:
            rig.clear()
            await rig.kernel.close()
