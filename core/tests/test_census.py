# SPDX-License-Identifier: Apache-2.0
"""What an uninstalled plugin left behind is named."""

from __future__ import annotations

from contivpp_core.census import Census
from contivpp_core.clock import run_simulated
from contivpp_core.items import Owner
from contivpp_core.ledger import Ledger
from contivpp_core.scheduler import Scheduler
from contivpp_core.testing.dataplane import FakeDataplane, FakePort, FakeRoute


def test_kinds_without_a_plugin_are_named_with_their_number() -> None:
    async def main() -> None:
        world, ledger = FakeDataplane(), Ledger.open(None)
        scheduler = Scheduler(seed=1)
        for descriptor in world.descriptors():
            scheduler.register(descriptor)
        await scheduler.domain_up("fake", "1")
        items = [FakePort(name="p"), FakeRoute(prefix=1, port="p"), FakeRoute(prefix=2, port="p")]
        scheduler.submit([item.key for item in items], {item.key: {Owner("a", "b"): item} for item in items})
        await scheduler.settled()
        census = Census(scheduler, ledger)
        census.count()
        await census.stop()
        assert census.leftovers() == {}

        fewer = Scheduler(seed=1)
        fewer.register(next(d for d in world.descriptors() if d.kind == "fake/port"))
        after = Census(fewer, ledger)
        assert after.leftovers() == {"fake/route": 2}
        after.count()  # what cannot be seen stays noted
        await after.stop()
        assert Census(fewer, ledger).leftovers() == {"fake/route": 2}

    run_simulated(main())
