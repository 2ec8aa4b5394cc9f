# SPDX-License-Identifier: Apache-2.0
"""Prints what probes found: for people as a table, for programs as one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from contivpp_sandbox.scenario.runner import Outcome, Record

__all__ = ["as_json", "record_fields", "summary_fields", "summary_line", "table"]

_COLUMNS = ("step", "from", "to", "port", "protocol", "expect", "verdict", "reached", "source", "ok", "why")


def record_fields(record: Record) -> dict[str, Any]:
    """Return the fields of a record, under their names in the output."""
    probe, verdict = record.probe, record.verdict
    return {
        "file": record.file,
        "step": record.step,
        "from": probe.source_end,
        "to": probe.target,
        "port": probe.port,
        "protocol": probe.protocol,
        "expect": probe.expect,
        "verdict": verdict.verdict,
        "reached": list(verdict.reached),
        "source": verdict.seen_source,
        "ok": record.ok,
        "why": record.why,
    }


def as_json(fields: dict[str, Any]) -> str:
    """Return one line of JSON."""
    return json.dumps(fields, ensure_ascii=False)


def table(records: Sequence[Record]) -> str:
    """Return the records of one file as a table."""
    rows = [list(_COLUMNS), *([_cell(record_fields(record)[name]) for name in _COLUMNS] for record in records)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return "-" if value in (None, "") else str(value)


def summary_fields(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Return the summary of all files."""
    records = [record for outcome in outcomes for record in outcome.records]
    good = sum(record.ok for record in records)
    return {
        "summary": {
            "files": len(outcomes),
            "probes": len(records),
            "ok": good,
            "failed": len(records) - good,
            "errors": sum(bool(outcome.error) for outcome in outcomes),
            "unsettled": sum(len(outcome.unsettled) for outcome in outcomes),
            "seconds": round(seconds, 3),
        }
    }


def summary_line(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the summary for people."""
    found = summary_fields(outcomes, seconds)["summary"]
    parts = [_count(found["files"], "file"), _count(found["probes"], "probe"), f"{found['failed']} failed"]
    if found["errors"]:
        parts.append(f"{_count(found['errors'], 'file')} not run to the end")
    if found["unsettled"]:
        parts.append(f"{_count(found['unsettled'], 'thing')} not applied")
    return f"{', '.join(parts)} in {seconds:.1f} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
