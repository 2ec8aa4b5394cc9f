# SPDX-License-Identifier: Apache-2.0
"""Faults in the log."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from contivpp_contiv.fault_log import FaultLog
from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.faults import FAULT, Fault
from contivpp_core.kubernetes import NAMESPACE, Namespace
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record
from contivpp_core.renderers import Renderer, View
from contivpp_core.state import Delete, Put


class Complainer:
    """Each namespace is a fault; its label says why."""

    name = "complainer"
    table = NAMESPACE.name
    reads: frozenset[str] = frozenset()
    produces: frozenset[str] = frozenset()
    derives = frozenset({FAULT.name})

    def render(self, view: View, key: str) -> Iterable[Record]:
        yield Fault(subject=f"node {key}", reason=dict(view.get(self.table, key).labels)["why"])


class Faulty(Plugin):
    name = "faulty"

    @hookimpl
    def renderers(self, agent: Agent) -> list[Renderer]:
        return [Complainer()]


def fault(name: str, why: str) -> Put:
    return Put(NAMESPACE.name, Namespace(name=name, labels=(("why", why),)))


def test_a_fault_is_told_once_and_again_when_it_changes_or_goes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "contivpp_contiv.fault_log")

    async def main() -> None:
        agent = Agent({"nodeName": "n1", "plugins": ["faulty"]}, [Faulty()], ledger_path=None, serve=False)
        await agent.start()
        log = FaultLog(agent)
        log.start()
        for writes in (
            [fault("b", "is wrong"), fault("a", "is wrong, too")],
            [fault("b", "is wrong")],
            [fault("c", "is wrong as well")],
            [fault("b", "is worse")],
            [Delete(NAMESPACE.name, name) for name in "abc"],
        ):
            await agent.controller.write("test", writes)
        log.stop()
        await agent.controller.write("test", [fault("d", "is not told")])
        await agent.stop()

    run_simulated(main())
    assert [(record.levelname, record.getMessage()) for record in caplog.records if "fault_log" in record.name] == [
        ("WARNING", "node a is wrong, too"),
        ("WARNING", "node b is wrong"),
        ("WARNING", "node c is wrong as well"),
        ("WARNING", "node b is worse"),
        *(("INFO", f"node {name} is as it should be") for name in "abc"),
    ]
