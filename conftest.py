# SPDX-License-Identifier: Apache-2.0
"""What tests of every distribution share: why some of them cannot run on a machine."""

from __future__ import annotations

import os

import pytest


def _tun_closed() -> str:
    """Say why no TAP can be made here, or ""."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}: no TAP can be made here"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `tun` where no TAP can be made."""
    if reason := _tun_closed():
        for item in items:
            if item.get_closest_marker("tun"):
                item.add_marker(pytest.mark.skip(reason=reason))
