# SPDX-License-Identifier: Apache-2.0
"""One run of random faults in memory: `python -m tests.faults SEED FAULTS`.

A process of its own, so that the seed also decides what the interpreter and others choose by chance: the order of
sets (PYTHONHASHSEED), pauses, MAC addresses.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import sys
import time
from collections import Counter

from contivpp_core.clock import run_simulated
from tests.faults.cluster import Chaos


def by_seed(seed: int) -> None:
    """Let all chance come from the seed."""
    numbers = itertools.count(seed)
    chosen = random.Random

    class Seeded(chosen):  # type: ignore[misc, valid-type]
        def __init__(self, seed: object = None) -> None:
            super().__init__(next(numbers) if seed is None else seed)  # type: ignore[arg-type]

    random.seed(seed)
    random.Random = Seeded  # type: ignore[misc]
    octets = chosen(seed)
    os.urandom = octets.randbytes


async def run(seed: int, faults: int) -> None:
    """Run, and tell what happened."""
    chaos, begin = Chaos(seed), time.monotonic()
    try:
        await chaos.run(faults)
    finally:
        struck = [each for some in chaos.faults.values() for each in some.struck]
        kinds = dict(sorted(Counter(each.fault.value for each in struck).items()))
        seconds = time.monotonic() - begin
        same = hash(tuple(map(str, struck)))
        print(f"seed {seed}: {chaos.struck} faults in {seconds:.1f} s: {kinds}; {chaos.done}; {same}")
        for some in chaos.faults.values():
            some.calm()
        await chaos.rig.stop()


if __name__ == "__main__":
    wanted_seed, wanted_faults = map(int, sys.argv[1:3])
    if os.environ.get("PYTHONHASHSEED") != str(wanted_seed):
        os.execve(sys.executable, [sys.executable, "-m", "tests.faults", *sys.argv[1:]],
                  {**os.environ, "PYTHONHASHSEED": str(wanted_seed)})  # fmt: skip
    logging.disable(logging.CRITICAL)
    by_seed(wanted_seed)
    run_simulated(run(wanted_seed, wanted_faults))
