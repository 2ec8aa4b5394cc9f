# SPDX-License-Identifier: Apache-2.0
"""Sandboxes for tests: each test gets a folder of its own, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .sandboxes import Sandboxes, sandboxes


@pytest.fixture(params=["root", "user"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandboxes]:
    """Sandboxes of root, then of an ordinary user."""
    made = sandboxes(request.param)
    yield made
    made.clear()


@pytest.fixture
def any_box() -> Iterator[Sandboxes]:
    """Sandboxes of whoever can make them."""
    try:
        made = sandboxes("root")
    except pytest.skip.Exception:
        made = sandboxes("user")
    yield made
    made.clear()
