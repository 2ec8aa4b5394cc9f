# SPDX-License-Identifier: Apache-2.0
"""The laws of descriptors, for every kind of this plugin: under random wishes and faults, of the kernel too.

CONTIVPP_LAWS multiplies the number of runs, CONTIVPP_LAWS_SEED is the first seed.
"""

from __future__ import annotations

import pytest

from contivpp_core.testing.laws import seeds
from contivpp_core.testing.trial import check_descriptors
from contivpp_linux.descriptors import all_descriptors
from contivpp_linux.edge import Edge

from .wishes import wishes
from .worlds import LinuxWorld


@pytest.mark.parametrize("seed", seeds(6))
def test_descriptors_keep_the_laws_over_a_kernel_in_memory(seed: int) -> None:
    world = LinuxWorld()
    wanted = wishes(seed, world.pods)
    faults = check_descriptors(world.descriptors, wanted, seed=seed, restart=world.restart, world=world)
    assert faults.struck


def test_wishes_are_of_every_kind() -> None:
    wished = {item.kind for seed in seeds(6) for wish in wishes(seed, LinuxWorld().pods) for item in wish}
    assert {each.kind for each in all_descriptors(Edge())} <= wished
