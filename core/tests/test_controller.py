# SPDX-License-Identifier: Apache-2.0
"""The controller's batches: made at their turn, told to followers, and stale tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.kubernetes import NAMESPACE, Namespace
from contivpp_core.state import Change, Put, Ready, Write

TABLE = NAMESPACE.name


def test_a_batch_may_be_made_when_its_turn_comes() -> None:
    async def scenario() -> None:
        agent = Agent({}, [], ledger_path=None, serve=False)
        await agent.start()
        seen: list[list[str]] = []

        def adding(name: str) -> Callable[[], list[Write]]:
            def made() -> list[Write]:
                seen.append(sorted(agent.state.table(TABLE)))
                return [Put(TABLE, Namespace(name=name))]

            return made

        write = agent.controller.write
        await asyncio.gather(
            write("1", adding("a")), write("2", [Put(TABLE, Namespace(name="b"))]), write("3", adding("c"))
        )
        assert seen == [[], ["a", "b"]]

        def failing() -> list[Write]:
            raise ValueError("its writer's problem")

        results = await asyncio.gather(write("4", failing), write("5", adding("d")), return_exceptions=True)
        assert isinstance(results[0], ValueError)
        assert sorted(agent.state.table(TABLE)) == ["a", "b", "c", "d"]
        many = [Put(TABLE, Namespace(name=f"n{number}")) for number in range(1000)]
        await write("6", lambda: iter(many))
        assert len(agent.state.table(TABLE)) == 1004
        await agent.stop()

    run_simulated(scenario())


def test_followers_hear_each_change_and_each_mark() -> None:
    async def scenario() -> None:
        agent = Agent({}, [], ledger_path=None, serve=False)
        await agent.start()
        heard: list[tuple[list[Change], list[str]]] = []
        unfollow = agent.controller.follow(lambda changes, flips: heard.append((changes, flips)))
        write = agent.controller.write
        record = Namespace(name="a")
        await write("remembered", [Put(TABLE, record), Ready(TABLE, stale=True)])
        assert agent.state.ready(TABLE)
        assert agent.state.stale() == [TABLE]
        await write("delivered", [Put(TABLE, Namespace(name="a")), Ready(TABLE)])
        assert agent.state.stale() == []
        await write("again", [Put(TABLE, Namespace(name="a")), Ready(TABLE)])
        unfollow()
        await write("late", [Put(TABLE, Namespace(name="b"))])
        assert heard == [([Change(TABLE, "a", None, record)], [TABLE]), ([], [TABLE])]
        await agent.stop()

    run_simulated(scenario())
