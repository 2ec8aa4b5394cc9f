# SPDX-License-Identifier: Apache-2.0
"""`contivpp scenario`: every file is read first, and nothing runs if one of them is wrong; then one after the other."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from time import monotonic

from contivpp_core.errors import ConfigError, ContivError
from contivpp_sandbox.rigs.base import RigUnavailable
from contivpp_sandbox.rigs.registry import make_rig, run_for
from contivpp_sandbox.scenario.model import Scenario
from contivpp_sandbox.scenario.reading import read
from contivpp_sandbox.scenario.report import as_json, record_fields, summary_fields, summary_line, table
from contivpp_sandbox.scenario.runner import Outcome, run_scenario

__all__ = ["read_all", "run", "run_one"]


def run(files: Sequence[str], *, rig: str, output: str, quiet: bool, datastore: str = "embedded") -> int:
    """Run files on new rigs; return the exit code."""
    scenarios = read_all(files)
    # What agents log is about their own business; the verdicts tell what matters here.
    logging.getLogger().addHandler(logging.NullHandler())
    begin = monotonic()
    outcomes = []
    for name, scenario in scenarios:
        progress = _silent if quiet else _to_stderr
        outcome = run_one(name, scenario, rig=rig, datastore=datastore, progress=progress)
        outcomes.append(outcome)
        if outcome.error:
            print(f"contivpp: {name}: {outcome.error}", file=sys.stderr)
        if output == "json":
            for record in outcome.records:
                print(as_json(record_fields(record)))
        elif outcome.records:
            print(f"{name}:\n{table(outcome.records)}\n")
        sys.stdout.flush()
    seconds = monotonic() - begin
    print(as_json(summary_fields(outcomes, seconds)) if output == "json" else summary_line(outcomes, seconds))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def read_all(files: Sequence[str]) -> list[tuple[str, Scenario]]:
    """Read files; raise ConfigError with every fault of all of them."""
    scenarios, faults = [], []
    for name in files:
        scenario, wrong = read(name)
        faults += wrong
        if scenario is not None:
            scenarios.append((name, scenario))
    if faults:
        raise ConfigError(faults)
    return scenarios


def run_one(
    name: str,
    scenario: Scenario,
    *,
    rig: str,
    datastore: str = "embedded",
    progress: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run one scenario on a new rig; an error of the rig is in the outcome."""
    try:
        return run_for(rig, run_scenario(name, scenario, make_rig(rig, datastore), progress=progress))
    except ContivError as error:
        return Outcome(name, error=str(error), unavailable=isinstance(error, RigUnavailable))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """Tell nobody."""
