# SPDX-License-Identifier: Apache-2.0
"""The laws of descriptors, for every kind of this plugin: under random wishes and faults, messages' too.

CONTIVPP_LAWS multiplies the number of runs, CONTIVPP_LAWS_SEED is the first seed.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from contivpp_core.testing.hurried import run_hurried
from contivpp_core.testing.laws import seeds
from contivpp_core.testing.trial import check_descriptors
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.testing import real_vpp

from .wishes import wishes
from .worlds import EmbeddedWorld, RealWorld


@pytest.mark.parametrize("seed", seeds(4))
def test_descriptors_keep_the_laws_over_an_embedded_vpp(seed: int) -> None:
    world = EmbeddedWorld()
    wanted = wishes(seed, real=False)
    faults = check_descriptors(world.descriptors, wanted, seed=seed, restart=world.restart, world=world)
    assert faults.struck


@pytest.mark.realvpp
async def test_descriptors_keep_the_laws_over_a_real_vpp() -> None:
    async with real_vpp() as vpp:
        for seed in seeds(3):
            world = RealWorld(vpp.api_socket)
            check = partial(check_descriptors, world.descriptors, wishes(seed, real=True), seed=seed, world=world)
            assert (await asyncio.to_thread(check, run=run_hurried)).struck


def test_wishes_are_of_every_kind() -> None:
    kinds = {each.kind for each in all_descriptors(VppAccess())}
    nat44 = {kind for kind in kinds if kind.startswith("vpp/nat44")}  # which the embedded VPP does not have
    assert kinds - wished(real=False) == nat44
    assert nat44 <= wished(real=True)


def wished(*, real: bool) -> set[str]:
    return {item.kind for seed in range(6) for wish in wishes(seed, real=real) for item in wish}
