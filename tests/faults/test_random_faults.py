# SPDX-License-Identifier: Apache-2.0
"""Random faults over whole agents in memory, in simulated time.

CONTIVPP_FAULTS sets how many (200 unless told), CONTIVPP_FAULTS_SEED repeats a run.
"""

from __future__ import annotations

import os
import time
from collections import Counter

from contivpp_core.clock import run_simulated

from .cluster import Chaos

FAULTS = int(os.environ.get("CONTIVPP_FAULTS", "200"))
SEED = int(os.environ.get("CONTIVPP_FAULTS_SEED") or time.time_ns() % 1_000_000)


def test_after_any_faults_vpp_and_linux_hold_what_is_wanted() -> None:
    async def main() -> None:
        chaos = Chaos(SEED)
        begin = time.monotonic()
        try:
            await chaos.run(FAULTS)
        finally:
            kinds = Counter(each.fault.value for faults in chaos.faults.values() for each in faults.struck)
            seconds = time.monotonic() - begin
            print(f"seed {SEED}: {chaos.struck} faults in {seconds:.1f} s: {dict(kinds)}; {chaos.done}")
            for faults in chaos.faults.values():
                faults.calm()
            await chaos.rig.stop()
        assert chaos.struck >= FAULTS

    run_simulated(main())
