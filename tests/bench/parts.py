# SPDX-License-Identifier: Apache-2.0
"""What an ADD consists of, from the times of its caller and those of the traced agent.

The parts are disjoint and add up to the whole: while VPP and Linux both work, the time counts as VPP's; what is left
of waiting for the items is the scheduler's.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

__all__ = ["parts_of"]

Interval = tuple[float, float]


def parts_of(calls: Sequence[Interval], spans: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """Return the median of each part in ms."""
    ordered = [(name, begin, end) for name, begin, end in spans]
    found = [_one(call, [s for s in ordered if call[0] <= s[1] and s[2] <= call[1]]) for call in calls]
    return {name: statistics.median(1e3 * parts[name] for parts in found) for name in found[0]}


def _one(call: Interval, spans: list[tuple[str, float, float]]) -> dict[str, float]:
    intervals: dict[str, list[Interval]] = {}
    for name, begin, end in spans:
        intervals.setdefault(name, []).append((begin, end))
    serve = length(intervals["serve ADD"])
    apply = intervals["apply"]
    vpp = within(intervals.get("vpp", []), apply)
    linux = within(intervals.get("linux", []), apply)
    ledger, render = length(intervals["ledger"]), length(intervals["render"])
    return {
        "executable": call[1] - call[0] - serve,
        "ledger": ledger,
        "record+render": render,
        "vpp": length(vpp),
        "linux": length([*vpp, *linux]) - length(vpp),
        "scheduler": length(apply) - length([*vpp, *linux]),
        "rest of the agent": serve - ledger - render - length(apply),
    }


def length(intervals: Iterable[Interval]) -> float:
    """Return how much time intervals cover together."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def within(intervals: Iterable[Interval], bounds: Sequence[Interval]) -> list[Interval]:
    """Return the pieces of intervals that lie in any of the bounds."""
    return [
        (max(begin, first), min(end, last))
        for begin, end in intervals
        for first, last in bounds
        if min(end, last) > max(begin, first)
    ]
