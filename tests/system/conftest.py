# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of the whole system."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contivpp_vpp.testing import VARIABLE, executable

from .harness import Faulty, Node, node, tools

BOTH = ["embedded", pytest.param("real", marks=pytest.mark.realvpp)]


@pytest.fixture(autouse=True)
def able() -> None:
    """Skip where namespaces cannot be made."""
    if reason := tools():
        pytest.skip(reason)


@pytest.fixture(params=BOTH)
def dataplane(request: pytest.FixtureRequest) -> str:
    """Both VPPs, one after the other."""
    if request.param == "real" and executable() is None:
        pytest.skip(f"{VARIABLE} does not name a VPP executable")
    return str(request.param)


@pytest_asyncio.fixture
async def both(able: None, dataplane: str) -> AsyncIterator[Node]:
    """A node whose agent runs, with each VPP."""
    async with node(dataplane) as made:
        await made.start_agent()
        await made.settled()
        yield made


@pytest_asyncio.fixture
async def running(able: None) -> AsyncIterator[Node]:
    """A node whose agent runs, with the embedded VPP and a short deadline for ADD."""
    async with node("embedded", settings={"contiv": {"addDeadlineSeconds": 3}}) as made:
        await made.start_agent()
        await made.settled()
        yield made


@pytest_asyncio.fixture
async def faulty(running: Node) -> Faulty:
    """The same, with what is there before the fault."""
    return Faulty(running, await running.footprint())
