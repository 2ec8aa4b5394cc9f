# SPDX-License-Identifier: Apache-2.0
"""The plugin's promise, checked with core's test kit: nothing is needed but Python."""

from contivpp_blackhole import BLACKHOLE, Blackhole, BlackholePlugin, Renderer
from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.state import Delete, Put, Ready
from contivpp_core.testing.faults import Fault, Faults
from contivpp_core.testing.laws import check_hash_seeds, check_renderers
from contivpp_vpp.middle import through
from contivpp_vpp.plugin import VppPlugin
from contivpp_vpp.transports import in_memory
from embeddedvpp.api import Vpp
from embeddedvpp.server import ApiProtocol

ONE, TWO = Blackhole(prefix="192.0.2.0/24"), Blackhole(prefix="198.51.100.0/24")


def rendered():
    batches = [[Put(BLACKHOLE.name, ONE), Put(BLACKHOLE.name, TWO)], [Delete(BLACKHOLE.name, ONE.prefix)]]
    return check_renderers([BLACKHOLE], lambda: [Renderer()], [*batches, [Ready(BLACKHOLE.name)]])


def test_rendering_keeps_the_laws():
    items, _ = rendered()
    assert list(items) == [f"vpp/route/0/{TWO.prefix}"]
    check_hash_seeds(__file__, "rendered")


def test_prefixes_are_dropped_whatever_happens_to_the_messages():
    async def main():
        faults, vpp = Faults(seed=1), Vpp()
        faults.plan(Fault.CUT_AFTER, "> ip_route_add_del_v2")  # VPP does it, but its answer is lost
        faults.plan(Fault.REFUSE, "> ip_route_add_del_v2", times=3)  # the next tries
        way = through(faults, in_memory(lambda: ApiProtocol(vpp, set())))
        config = {"plugins": ["vpp", "blackhole"], "blackhole": {"prefixes": [ONE.prefix, TWO.prefix]}}
        agent = Agent(config, [VppPlugin(way), BlackholePlugin()], ledger_path=None, serve=False)
        await agent.start()
        keys = [f"vpp/route/0/{each.prefix}" for each in (ONE, TWO)]
        await agent.scheduler.waiters.until_applied(keys, seconds=60)
        await agent.stop()
        assert {each.fault for each in faults.struck} == {Fault.CUT_AFTER, Fault.REFUSE}

    run_simulated(main())
