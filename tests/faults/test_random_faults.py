# SPDX-License-Identifier: Apache-2.0
"""Random faults over whole agents in memory, in simulated time.

CONTIVPP_FAULTS sets how many (200 unless told), CONTIVPP_FAULTS_SEED repeats a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

FAULTS = int(os.environ.get("CONTIVPP_FAULTS", "200"))
SEED = int(os.environ.get("CONTIVPP_FAULTS_SEED") or time.time_ns() % 1_000_000)


def faults(seed: int, number: int) -> str:
    """Run in a process of its own; return what it tells."""
    command = [sys.executable, "-m", "tests.faults", str(seed), str(number)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-6000:]}\nrepeat: {' '.join(command[1:])}"
    return done.stdout


def test_after_any_faults_vpp_and_linux_hold_what_is_wanted() -> None:
    assert f"seed {SEED}: " in faults(SEED, FAULTS)


def test_a_seed_repeats_a_run() -> None:
    first, second = (faults(7, 25).rpartition(": {")[2] for _ in range(2))
    assert first == second
