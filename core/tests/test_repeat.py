# SPDX-License-Identifier: Apache-2.0
"""Work after events is tried again until it succeeds."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from contivpp_core.backoff import Backoff
from contivpp_core.clock import run_simulated
from contivpp_core.errors import ContivError
from contivpp_core.repeat import whenever


def test_work_is_done_after_each_event_and_tried_again_until_it_succeeds() -> None:
    async def scenario() -> None:
        event, told = asyncio.Event(), []
        failures: list[Exception] = [ContivError("first"), ValueError("second"), TimeoutError()]
        times: list[float] = []
        clock = asyncio.get_running_loop().time

        async def work() -> None:
            times.append(clock())
            if failures:
                raise failures.pop(0)

        task = asyncio.create_task(whenever(event, work, told.append, Backoff("x", first=1.0, longest=2.0)))
        await asyncio.sleep(5)
        assert not times  # nothing has happened yet
        event.set()
        await asyncio.sleep(20)
        assert told == ["first", "ValueError: second", "TimeoutError", ""]
        assert all(0.5 <= after - before <= 2.0 for before, after in pairwise(times))
        event.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(times) == 5
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_simulated(scenario())
