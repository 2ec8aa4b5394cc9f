# SPDX-License-Identifier: Apache-2.0
"""The test kit finds what breaks a law: a law that cannot be broken says nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from contivpp_core.items import AnyDescriptor
from contivpp_core.testing.dataplane import FakeDataplane, FakePort, FakeRoute
from contivpp_core.testing.laws import check_hash_seeds
from contivpp_core.testing.trial import check_descriptors


def by_chance() -> dict[str, Any]:
    return {"item": tuple({"a", "b", "c", "d", "e", "f"})}


def sorted_output() -> dict[str, Any]:
    return {name: tuple(sorted({"a", "b", "c", "d"})) for name in ("x", "y", "z")}


def test_an_output_that_has_the_order_of_a_set_is_found() -> None:
    with pytest.raises(AssertionError, match="hash seeds 1 and"):
        check_hash_seeds(__file__, "by_chance", seeds=range(1, 6))
    check_hash_seeds(__file__, "sorted_output")


def test_a_function_that_fails_in_another_interpreter_is_named() -> None:
    with pytest.raises(AssertionError, match="missing fails with hash seed 1"):
        check_hash_seeds(__file__, "missing")


WISHES = [[], [FakePort(name="p"), FakeRoute(prefix=1, port="p")], [FakePort(name="p", model="b")]]


class Careless(FakeDataplane):
    """Its routes' descriptor does as if a route were gone that VPP refused to delete."""

    def descriptors(self) -> list[AnyDescriptor]:
        found = super().descriptors()
        for descriptor in found:
            if descriptor.kind == FakeRoute.kind:
                vars(descriptor)["delete"] = self._forget
        return found

    async def _forget(self, *arguments: Any) -> None:
        """Nothing."""


class Blind(FakeDataplane):
    """Its ports' dump never shows what is there."""

    def dump(self) -> dict[str, Any]:
        return {key: item for key, item in super().dump().items() if not key.startswith("fake/port/")}


@pytest.mark.parametrize("world", [Careless, Blind])
def test_a_descriptor_that_is_wrong_is_found(world: type[FakeDataplane]) -> None:
    def wrong() -> Iterable[str]:
        for seed in range(4):
            made = world()
            try:
                check_descriptors(made.descriptors, WISHES, seed=seed, restart=lambda domain, made=made: made.restart())
            except AssertionError as error:
                yield str(error)

    errors = list(wrong())
    assert errors
    assert all(error.startswith("law: ") and "seed " in error for error in errors)
