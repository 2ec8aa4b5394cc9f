# SPDX-License-Identifier: Apache-2.0
"""The CNI executable and the agent against the specification's text: the table in `cni/`, check by check.

CONTIVPP_CNI_EVERY=1 runs every version with every kind of executable.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from contivpp_vpp.testing import VARIABLE, executable

from .cni_case import Case
from .cni_table import Check, load
from .cni_world import World, world
from .executables import KINDS, Outcome
from .harness import tools

pytestmark = [pytest.mark.netns, pytest.mark.tun, pytest.mark.asyncio(loop_scope="module")]


EVERY = os.environ.get("CONTIVPP_CNI_EVERY") == "1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded() -> AsyncIterator[World]:
    """One node for all checks."""
    if reason := tools():
        pytest.skip(reason)
    async with world("embedded") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real() -> AsyncIterator[World]:
    """The same with a real VPP."""
    if reason := tools():
        pytest.skip(reason)
    if executable() is None:
        pytest.skip(f"{VARIABLE} does not name a VPP executable")
    async with world("real") as made:
        yield made


def marks(check: Check) -> list[pytest.MarkDecorator]:
    """A check of a known defect must fail until that is repaired."""
    return [pytest.mark.xfail(reason=check.defect, strict=True)] if check.defect else []


def cases(checks: Iterable[Check]) -> list[Any]:
    """Each check with each of its versions; with further kinds of executables in its newest, unless all are wanted."""
    return [
        pytest.param(check, version, kind, id=f"{kind}-{check.id}-{version}", marks=marks(check))
        for kind in KINDS
        for check in checks
        for version in (check.expanded() if EVERY or kind == KINDS[0] else check.expanded()[-1:])
    ]


@pytest.mark.parametrize(("check", "version", "kind"), cases(load()))
async def test_check(embedded: World, check: Check, version: str, kind: str) -> None:
    await Case(embedded, check, version, embedded.executable(kind)).run()


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_at_once(embedded: World, kind: str) -> None:
    """ "Plugins must handle being executed concurrently across different containers" (3, Lifecycle & Ordering)."""
    program, namespaces = embedded.executable(kind), embedded.rig.namespaces
    config = b'{"cniVersion": "1.1.0", "name": "spec-net"}'
    sandboxes = {f"once{number}": namespaces.make(f"once{number}") for number in range(8)}

    async def every(command: str) -> list[Outcome]:
        environments = [
            {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": "eth0"}
            for container, netns in sandboxes.items()
        ]
        raw = [{os.fsencode(key): os.fsencode(value) for key, value in each.items()} for each in environments]
        return await asyncio.gather(*(asyncio.to_thread(program.call, each, config) for each in raw))

    added = await every("ADD")
    assert [each.status for each in added] == [0] * 8, added
    assert len({json.loads(each.stdout)["ips"][0]["address"] for each in added}) == 8
    assert len(embedded.attachments()) == 8
    assert await every("DEL") == [Outcome(0, b"", b"")] * 8
    assert embedded.attachments() == {}
    for path in sandboxes.values():
        namespaces.drop(path)


@pytest.mark.realvpp
@pytest.mark.parametrize(("check", "version", "kind"), cases([check for check in load() if check.real]))
async def test_check_on_real_vpp(real: World, check: Check, version: str, kind: str) -> None:
    await Case(real, check, version, real.executable(kind)).run()
