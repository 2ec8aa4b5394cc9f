# SPDX-License-Identifier: Apache-2.0
"""The CNI executable and the agent against the specification's text: the table in `cni/`, check by check."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from contivpp_vpp.testing import VARIABLE, executable

from .cni_case import Case
from .cni_table import Check, load
from .cni_world import World, world
from .executables import KINDS
from .harness import tools

pytestmark = [pytest.mark.netns, pytest.mark.tun, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """One node for all checks with one VPP."""
    if reason := tools():
        pytest.skip(reason)
    if request.param == "real" and executable() is None:
        pytest.skip(f"{VARIABLE} does not name a VPP executable")
    async with world(request.param) as made:
        yield made


def cases() -> Iterator[Any]:
    """Each check with each of its versions and each kind of executable; with a real VPP, those marked so."""
    for dataplane in ("embedded", "real"):
        for check in load():
            for version in check.expanded():
                for kind in KINDS:
                    if dataplane == "embedded" or check.real:
                        marks = [pytest.mark.realvpp] if dataplane == "real" else []
                        name = f"{dataplane}-{kind}-{check.id}-{version}"
                        yield pytest.param(dataplane, check, version, kind, id=name, marks=marks)


@pytest.mark.parametrize(("place", "check", "version", "kind"), list(cases()), indirect=["place"])
async def test_check(place: World, check: Check, version: str, kind: str) -> None:
    await Case(place, check, version, place.executable(kind)).run()
