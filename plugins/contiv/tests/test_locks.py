# SPDX-License-Identifier: Apache-2.0
"""Locks by key: one holder at a time, in order, and nothing is kept."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from contivpp_contiv.locks import KeyedLocks
from contivpp_core.clock import run_simulated

users = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.none() | st.integers(0, 5)), max_size=8)


@given(users)
def test_one_holder_at_a_time_also_when_waiters_give_up(plan: list[tuple[str, int, int | None]]) -> None:
    async def main() -> None:
        locks = KeyedLocks()
        holders = {"a": 0, "b": 0}

        async def use(key: str, seconds: int) -> None:
            async with locks.hold(key):
                holders[key] += 1
                assert holders[key] == 1
                try:
                    await asyncio.sleep(seconds)
                finally:
                    holders[key] -= 1

        async def limited(key: str, seconds: int, patience: int | None) -> None:
            try:
                async with asyncio.timeout(patience):
                    await use(key, seconds)
            except TimeoutError:
                pass

        await asyncio.gather(*(limited(*each) for each in plan))
        assert len(locks) == 0

    run_simulated(main())
