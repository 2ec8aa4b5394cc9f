# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: order, isolation, deadlines, overflow."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from contivpp_core.clock import run_simulated
from contivpp_core.errors import AddressExhausted, NotReady, PluginError
from contivpp_core.events import AddressRequest, PodWired
from contivpp_core.hooks import Hooks
from contivpp_core.loading import order
from contivpp_core.plugin import Plugin, hookimpl

WIRED = PodWired(namespace="x", name="a", container_id="c", interface="eth0", address="10.1.1.2")
REQUEST = AddressRequest(owner="c/eth0", namespace="x", pod="a")


def plugin(name: str, requires: tuple[str, ...] = (), **methods: Any) -> Plugin:
    hooks = {hook: hookimpl(function) for hook, function in methods.items()}
    return type("P", (Plugin,), {"name": name, "requires": requires, **hooks})()  # type: ignore[no-any-return]


def hooks(*plugins: Plugin, queue_length: int = 100) -> Hooks:
    return Hooks(order(plugins), queue_length=queue_length)


def test_contributions_come_in_order_and_none_is_skipped() -> None:
    called = hooks(
        plugin("b", ("a",), metrics=lambda self, agent: [agent]),
        plugin("c", metrics=lambda self: None),
        plugin("a", metrics=lambda self: [1]),
    )
    assert list(called.contributions("metrics", agent="agent")) == [("a", [1]), ("b", ["agent"])]


def test_a_contribution_that_raises_names_its_plugin() -> None:
    def tables(self: Plugin) -> None:
        raise KeyError("x")

    with pytest.raises(PluginError, match=r"plugin a \(in-process\) failed in tables: KeyError"):
        list(hooks(plugin("a", tables=tables)).contributions("tables"))


async def test_the_first_answer_serves_a_request_awaitable_or_not() -> None:
    async def later(self: Plugin, request: AddressRequest) -> str:
        await asyncio.sleep(0)
        return f"for {request.owner}"

    called = hooks(
        plugin("a", allocate_address=lambda self: None),
        plugin("b", allocate_address=later),
        plugin("c", allocate_address=lambda self: pytest.fail("must not be asked")),
    )
    assert await called.request("allocate_address", 1, agent=None, request=REQUEST) == "for c/eth0"
    assert await hooks(plugin("a")).request("release_address", 1, agent=None, owner="c/eth0") is None


async def test_an_exception_of_a_request_is_the_callers() -> None:
    async def full(self: Plugin) -> None:
        raise AddressExhausted("no address is left in 10.1.1.0/24")

    with pytest.raises(AddressExhausted):
        await hooks(plugin("a", allocate_address=full)).request(
            "allocate_address", 1, agent=None, request=REQUEST
        )


def test_a_request_without_an_answer_in_time_is_not_ready() -> None:
    async def hangs(self: Plugin) -> None:
        await asyncio.sleep(3600)

    async def own_timeout(self: Plugin) -> None:
        raise TimeoutError("mine")

    async def main() -> None:
        with pytest.raises(NotReady, match=r"a did not answer allocate_address within 5 s"):
            await hooks(plugin("a", allocate_address=hangs)).request(
                "allocate_address", 5, agent=None, request=REQUEST
            )
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        with pytest.raises(TimeoutError, match="mine"):
            await hooks(plugin("a", allocate_address=own_timeout)).request(
                "allocate_address", 5, agent=None, request=REQUEST
            )

    run_simulated(main())


async def test_a_slow_and_a_broken_plugin_delay_nobody(caplog: pytest.LogCaptureFixture) -> None:
    gate, seen = asyncio.Event(), []

    async def slow(self: Plugin, event: PodWired) -> None:
        await gate.wait()
        seen.append(("slow", event))

    def broken(self: Plugin, event: PodWired) -> None:
        raise RuntimeError("broken on purpose")

    called = hooks(
        plugin("slow", pod_wired=slow),
        plugin("broken", pod_wired=broken),
        plugin("quick", pod_wired=lambda self, event: seen.append(("quick", event))),
        plugin("blind", pod_wired=lambda self: seen.append(("blind", None))),
    )
    with caplog.at_level(logging.ERROR):
        called.emit("pod_wired", WIRED)
        assert seen == []  # nothing runs inside emit
        await asyncio.sleep(0.01)
    assert sorted(name for name, _ in seen) == ["blind", "quick"]
    assert "plugin broken failed to handle pod_wired" in caplog.text
    gate.set()
    await called.drain()
    assert ("slow", WIRED) in seen
    await called.stop()


async def test_overflow_drops_the_newest_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    seen = []
    called = hooks(plugin("a", pod_wired=lambda self, event: seen.append(event)), queue_length=3)
    with caplog.at_level(logging.ERROR):
        for _ in range(10):
            called.emit("pod_wired", WIRED)
    assert called.dropped() == {"a": 7}
    assert "plugin a does not keep up" in caplog.text
    assert len(caplog.records) == 3  # at 1, 2 and 4
    await called.drain()
    assert len(seen) == 3
    await called.stop()


def test_stop_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def hangs(self: Plugin) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        called = hooks(plugin("a", pod_wired=hangs))
        called.emit("pod_wired", WIRED)
        await called.stop(deadline=5)
        assert asyncio.get_running_loop().time() == pytest.approx(5)

    run_simulated(main())
    assert "did not handle all events" in caplog.text


async def test_an_unknown_hook_is_an_error() -> None:
    with pytest.raises(ValueError, match="no hook pod_wried"):
        hooks().emit("pod_wried", WIRED)


async def test_a_hook_that_waits_for_something_cancelled_goes_on_with_the_next_event() -> None:
    seen: list[PodWired] = []

    async def unlucky(self: Plugin, event: PodWired) -> None:
        seen.append(event)
        if len(seen) == 1:
            other = asyncio.create_task(asyncio.sleep(60))
            asyncio.get_running_loop().call_soon(other.cancel)
            await other

    called = hooks(plugin("unlucky", pod_wired=unlucky))
    called.emit("pod_wired", WIRED)
    called.emit("pod_wired", WIRED)
    async with asyncio.timeout(5):
        await called.drain()
    assert seen == [WIRED, WIRED]
    await called.stop()
