# SPDX-License-Identifier: Apache-2.0
"""The laws of descriptors, for every kind of this plugin: under random wishes and faults, messages' too.

CONTIVPP_LAWS multiplies the number of runs, CONTIVPP_LAWS_SEED is the first seed.
"""

from __future__ import annotations

import pytest

from contivpp_core.testing.laws import seeds
from contivpp_core.testing.trial import check_descriptors
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors import all_descriptors

from .wishes import wishes
from .worlds import EmbeddedWorld


@pytest.mark.parametrize("seed", seeds(4))
def test_descriptors_keep_the_laws_over_an_embedded_vpp(seed: int) -> None:
    world = EmbeddedWorld()
    faults = check_descriptors(world.descriptors, wishes(seed, real=False), seed=seed, restart=world.restart, world=world)
    assert faults.struck


def test_wishes_are_of_every_kind_that_the_embedded_vpp_has() -> None:
    wished = {item.kind for seed in seeds(4) for wish in wishes(seed, real=False) for item in wish}
    kinds = {each.kind for each in all_descriptors(VppAccess())}
    assert kinds - wished == {kind for kind in kinds if kind.startswith("vpp/nat44")}
