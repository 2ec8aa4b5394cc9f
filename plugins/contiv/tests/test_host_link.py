# SPDX-License-Identifier: Apache-2.0
"""How VPP and the host are linked, over restarts and other VPPs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.host_link import CONDITION, HostLinkChoice
from contivpp_contiv.records import TABLES
from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import AnyTable


class FakeVpp(Plugin):
    """Tells what this VPP can make; None: it does not answer."""

    name = "vpp"

    def __init__(self, *answers: bool | None) -> None:
        self.answers = list(answers)

    @hookimpl
    def tables(self) -> list[AnyTable]:
        return list(TABLES)

    async def tap_support(self) -> SimpleNamespace:
        usable = self.answers.pop(0)
        if usable is None:
            raise ConnectionError("VPP is gone")
        return SimpleNamespace(usable=usable)


class Host:
    """An agent with nothing but the choice."""

    def __init__(self, ledger: Ledger, *answers: bool | None, **settings: str) -> None:
        self.agent = Agent(
            {"nodeName": "n1", "plugins": ["vpp"]}, [FakeVpp(*answers)], ledger=ledger, ledger_path=None, serve=False
        )
        self.choice = HostLinkChoice(self.agent, ContivConfig.model_validate(settings))

    async def __aenter__(self) -> Host:
        await self.agent.start()
        await self.choice.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.choice.stop()
        await self.agent.stop()

    async def chosen(self) -> str:
        self.choice.choose()
        await self.agent.clock.sleep(2)
        return self.kind()

    def kind(self) -> str:
        found = self.agent.state.get("HostLink", "n1")
        return found.kind if found else ""


def test_the_choice_waits_for_vpp_and_outlives_the_agent():
    async def main() -> None:
        ledger = Ledger.open(None)
        async with Host(ledger, None, False) as host:
            assert host.kind() == ""
            assert "not chosen yet" in host.agent.conditions[CONDITION].reason
            assert await host.chosen() == "veth"  # the first question was not answered
            assert host.agent.conditions[CONDITION].ok
        async with Host(ledger, True) as host:
            assert host.kind() == "veth"  # until VPP answers, it stays
            assert await host.chosen() == "tap"

    run_simulated(main())


@pytest.mark.parametrize("kind", ["tap", "veth"])
def test_what_is_configured_is_not_asked(kind):
    async def main() -> None:
        ledger = Ledger.open(None)
        await ledger.commit(LedgerWrite("contiv.node", "host-link", b"tap"))
        async with Host(ledger, hostInterconnect=kind) as host:
            assert host.kind() == kind
            assert await host.chosen() == kind

    run_simulated(main())
