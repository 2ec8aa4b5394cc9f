# SPDX-License-Identifier: Apache-2.0
"""What tests of every distribution share: why some of them cannot run on a machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from pathlib import Path

import pytest


def _tun_closed() -> str:
    """Say why no TAP can be made here, or ""."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}: no TAP can be made here"
    return ""


def _not_real_root(why: str) -> str:
    """Say why something that needs more than the root of a user namespace cannot be tested, or ""."""
    try:
        mapping = Path("/proc/self/uid_map").read_text("ascii").split()
    except OSError:  # a kernel without user namespaces
        mapping = ["0", "0", "4294967295"]
    if os.geteuid() == 0 and mapping == ["0", "0", "4294967295"]:
        return ""
    return why


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `tun` where no TAP can be made; `realvpp` and `runtime` where these are short of rights."""
    reasons = {
        "tun": _tun_closed(),
        "realvpp": _not_real_root("a real VPP is tested as root: its AF_PACKET interfaces lock memory"),
        "runtime": _not_real_root("container runtimes are tested as root: they make control groups"),
    }
    for marker, reason in reasons.items():
        for item in items:
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Undo what a command that a test has called has set up for logs: their stream is the test's own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return (yield)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
