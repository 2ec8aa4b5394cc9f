# SPDX-License-Identifier: Apache-2.0
"""Simulated time: jumps, order, deadlocks, real file descriptors."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.clock import SIMULATION_START, Clock, Deadlock, run_simulated


def test_three_hours_cost_nothing_and_move_both_clocks() -> None:
    async def main() -> tuple[float, float, float]:
        clock = Clock()
        assert clock.time() == 0
        await clock.sleep(3 * 3600)
        return clock.time(), clock.now(), clock.date().timestamp()

    before = time.perf_counter()
    elapsed, now, date = run_simulated(main())
    assert time.perf_counter() - before < 1
    assert elapsed == pytest.approx(3 * 3600)
    assert now == date == pytest.approx(SIMULATION_START.timestamp() + 3 * 3600)


def test_time_stands_still_while_a_thread_works() -> None:
    async def main() -> tuple[str, float]:
        async with asyncio.timeout(1):
            said = await asyncio.to_thread(lambda: (time.sleep(0.01), "done")[1])
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return said, Clock().time()

    assert run_simulated(main()) == ("done", 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_timers_fire_in_order_and_never_early(delays: list[float]) -> None:
    fired: list[float] = []

    async def one(delay: float) -> None:
        clock = Clock()
        await clock.sleep(delay)
        assert clock.time() >= delay - 1e-6
        fired.append(delay)

    async def main() -> None:
        await asyncio.gather(*(one(delay) for delay in delays))

    run_simulated(main())
    assert fired == sorted(fired)
    assert len(fired) == len(delays)


def test_a_deadlock_is_an_error_that_names_the_waiting_task() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"1 tasks wait: .*main line"):
        run_simulated(main())


def test_a_timeout_in_simulated_time() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()

    run_simulated(main())


def test_a_real_file_descriptor_is_served_but_not_waited_for() -> None:
    reader, writer = os.pipe()

    async def main() -> list[str]:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def readable() -> None:
            os.read(reader, 1)
            order.append("descriptor")
            done.set()

        loop.add_reader(reader, readable)
        await asyncio.sleep(100)
        order.append("timer")
        os.write(writer, b"x")
        await done.wait()
        loop.remove_reader(reader)
        return order

    try:
        assert run_simulated(main()) == ["timer", "descriptor"]
    finally:
        os.close(reader)
        os.close(writer)


async def test_on_a_normal_loop_the_clock_is_the_systems() -> None:
    clock = Clock()
    assert abs(clock.now() - time.time()) < 5
    assert clock.time() == pytest.approx(asyncio.get_running_loop().time(), abs=5)
