# SPDX-License-Identifier: Apache-2.0
"""Runs a scenario on a rig: step by step, waiting after each until every agent has settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from contivpp_core.errors import ContivError
from contivpp_sandbox.rigs.base import ObjectReference, Rig, RigUnavailable, Verdict
from contivpp_sandbox.scenario.model import ProbeItem, Scenario, Step

__all__ = ["SETTLE_SECONDS", "Outcome", "Record", "run_scenario"]

SETTLE_SECONDS = 60.0
RETRY_SECONDS = 0.5
"""How often a probe with `within` is repeated."""


@dataclass(frozen=True)
class Record:
    """What one probe of a file found. `step` counts from 0, as the paths in messages do."""

    file: str
    step: int
    probe: ProbeItem
    verdict: Verdict
    ok: bool
    why: str


@dataclass
class Outcome:
    """What running a file came to; `unsettled` are lines for what was not applied after a step."""

    file: str
    records: list[Record] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    error: str = ""
    unavailable: bool = False
    """The error is that this machine cannot run the rig."""

    @property
    def ok(self) -> bool:
        """Tell whether every expectation holds."""
        return not self.error and all(record.ok for record in self.records)


async def run_scenario(
    name: str, scenario: Scenario, rig: Rig, *, progress: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Run a scenario on a rig that is not started; the rig is stopped whatever happens.

    An error of the rig ends the run, and is in the outcome, with what was found until then.
    """
    outcome = Outcome(name)
    try:
        progress(f"{name}: starting {rig.name} with {', '.join(scenario.nodes)}")
        await rig.start(scenario.nodes, scenario.config, scenario.underlay.request())
        outcome.unsettled += await rig.settle(SETTLE_SECONDS)
        for number, step in enumerate(scenario.steps):
            progress(f"{name}: step {number}: {_title(step)}")
            await _carry_out(step, rig)
            lines = [f"step {number}: {line}" for line in await rig.settle(SETTLE_SECONDS)]
            outcome.unsettled += lines
            for line in lines:
                progress(f"{name}: {line}")
            for probe in step.probe or ():
                outcome.records.append(await _probe(name, number, probe, rig))
    except ContivError as error:
        outcome.error = str(error)
        outcome.unavailable = isinstance(error, RigUnavailable)
    finally:
        await rig.stop()
    return outcome


async def _carry_out(step: Step, rig: Rig) -> None:
    if step.apply:
        await rig.apply(step.apply)
    if step.delete:
        await rig.delete([ObjectReference(item.kind, item.namespace, item.name) for item in step.delete])
    if step.wait:
        await rig.advance(step.wait)
    for restart in step.restart or ():
        await rig.restart(restart.what, restart.node, kill=restart.kill)


async def _probe(name: str, step: int, probe: ProbeItem, rig: Rig) -> Record:
    clock = asyncio.get_running_loop().time
    deadline = clock() + (probe.within or 0.0)
    while True:
        verdict = await rig.probe(probe.request())
        wrong = _wrong(probe, verdict)
        if not wrong or clock() >= deadline:
            return Record(name, step, probe, verdict, not wrong, "; ".join(filter(None, (wrong, verdict.why))))
        await rig.advance(RETRY_SECONDS)


def _wrong(probe: ProbeItem, verdict: Verdict) -> str:
    """Say in what a verdict is not as expected; empty if in nothing."""
    if verdict.verdict != probe.expect:
        return f"{verdict.verdict}, not {probe.expect}"
    if probe.reaches is not None and set(probe.reaches) != set(verdict.reached):
        return f"reached {', '.join(verdict.reached) or 'nobody'}, not {', '.join(sorted(set(probe.reaches)))}"
    if probe.source is not None and probe.source not in (verdict.seen_source, verdict.source_address):
        return f"the server saw {verdict.seen_source or 'nobody'}, not {probe.source}"
    return ""


def _title(step: Step) -> str:
    match step.kind:
        case "wait":
            return f"wait {step.wait:g} s"
        case "restart":
            return "restart " + ", ".join(item.what for item in step.restart or ())
        case kind:
            number = len(getattr(step, kind))
            noun = "probe" if kind == "probe" else "object"
            return f"{kind}, {number} {noun}{'' if number == 1 else 's'}"
