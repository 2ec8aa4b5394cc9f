# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as a record, as JSON and as a line of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Broken", "Goal", "Measured", "Run", "Skipped"]

HEADINGS = ("benchmark", "ours", "reference", "ratio", "goal", "")


class Skipped(Exception):
    """A benchmark cannot run here; the text says why, and what would help."""


class Broken(Exception):
    """A benchmark failed: what it measures does not work, or the benchmark itself does not."""


@dataclass(frozen=True)
class Goal:
    """What is aimed at: a bound of the ratio, or (`absolute`) of our own value."""

    bound: float
    more_is_better: bool = False
    absolute: bool = False

    def __str__(self) -> str:
        relation = "at least" if self.more_is_better else "at most"
        return f"{relation} {self.bound:,.10g}" + ("" if self.absolute else " : 1")


@dataclass(frozen=True)
class Measured:
    """One line: a value of ours, and the same measured of a reference."""

    name: str
    what: str
    unit: str
    ours: float
    reference: float | None = None
    reference_name: str = ""
    goal: Goal | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours, divided by the reference."""
        return self.ours / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        """Tell whether the goal is met; None where there is none, or nothing to compare with."""
        value = self.ours if self.goal is not None and self.goal.absolute else self.ratio
        if self.goal is None or value is None:
            return None
        return value >= self.goal.bound if self.goal.more_is_better else value <= self.goal.bound

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        goal = None if self.goal is None else {**asdict(self.goal), "text": str(self.goal)}
        return {**asdict(self), "ratio": self.ratio, "goal": goal, "met": self.met}


@dataclass
class Run:
    """All that one run found, and where."""

    machine: dict[str, str]
    results: list[Measured] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def json(self) -> str:
        """Return the run as one JSON document."""
        document = {**vars(self), "results": [result.as_dict() for result in self.results]}
        return json.dumps(document, indent=2)

    def table(self) -> str:
        """Return the run for people."""
        lines = [_cells(result) for result in self.results]
        widths = [max(map(len, column)) for column in zip(HEADINGS, *lines, strict=True)]
        text = [", ".join(f"{name} {value}" for name, value in self.machine.items()), ""]
        text += [_row(cells, widths) for cells in (HEADINGS, *lines)]
        text += [f"{name}: skipped: {reason}" for name, reason in self.skipped.items()]
        text += [f"{name}: failed: {reason}" for name, reason in self.broken.items()]
        return "\n".join(text)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(result: Measured) -> tuple[str, ...]:
    ours, reference = f"{_number(result.ours)} {result.unit}", ""
    if result.reference is not None:
        reference = f"{_number(result.reference)} {result.unit} ({result.reference_name})"
    ratio = "" if result.ratio is None else f"{result.ratio:.2f} : 1"
    goal = "" if result.goal is None else f"{result.goal}{f' {result.unit}' if result.goal.absolute else ''}"
    met = {True: "met", False: "missed", None: ""}[result.met]
    return (f"{result.name}: {result.what}", ours, reference, ratio, goal, met)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
