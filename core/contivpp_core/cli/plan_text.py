# SPDX-License-Identifier: Apache-2.0
"""A plan for people: by domain and kind, one line for each key."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["text_of"]

SIGNS = {"create": "+ create", "update": "~ update", "recreate": "~ make again", "delete": "- delete"}
SUMMARY = {"create": "to create", "update": "to update", "recreate": "to make again", "delete": "to delete"}
LONGEST_VALUE = 200


def text_of(plan: Mapping[str, Any]) -> str:
    """Return the lines of a plan as the API gives it."""
    lines = [f"? {setting}" for setting in map(_setting, plan["settings"])]
    lines += [f"? {note}" for note in plan["notes"]]
    lines += [f"! renderer {owner} fails: {reason}" for owner, reason in plan["failures"].items()]
    lines += _grouped(plan)
    return "\n".join([*lines, _summary(plan)])


def _setting(found: Mapping[str, Any]) -> str:
    old, new = (_value(found[side]) for side in ("old", "new"))
    return f"{found['setting']} {old} -> {new}: only a restart can do this; it is not in the plan"


def _grouped(plan: Mapping[str, Any]) -> Iterator[str]:
    lines: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for change in plan["changes"]:
        lines[change["domain"], change["kind"]].append((change["key"], _change(change)))
    for each in plan["blocked"]:
        lines[each["domain"], each["kind"]].append((each["key"], _blocked(each)))
    domain = ""
    for group in sorted(lines):
        if group[0] != domain:
            domain = group[0]
            yield domain
        yield f"  {group[1]}"
        yield from (f"    {line}" for _, line in sorted(lines[group], key=lambda pair: pair[0]))


def _change(change: Mapping[str, Any]) -> str:
    line = f"{SIGNS[change['action']]} {change['key']}"
    if change["action"] == "create":
        details = _fields_of(change["new"], change["key"])
    else:
        details = [f"{name} {_value(old)} -> {_value(new)}" for name, (old, new) in change["fields"].items()]
    line += f": {', '.join(details)}" if details else ""
    if change["action"] == "delete" and not change["operations"]:
        line += ": goes with what it is in"
    if change["action"] == "recreate" and not change["fields"]:
        line += ": what it is in, or stands on, is made again"
    return line + (" (drift)" if change["drift"] else "") + _owners(change)


def _blocked(each: Mapping[str, Any]) -> str:
    return f"! {each['state']} {each['key']}: to {each['needs']}: {each['reason']}{_owners(each)}"


def _fields_of(item: Mapping[str, Any], key: str) -> list[str]:
    """Return the fields that the key does not tell already."""
    parts = set(key.split("/"))
    return [
        f"{name} {_value(value)}"
        for name, value in item.items()
        if value not in (None, "", [], {}, 0, False) and str(value) not in parts and str(value) not in key
    ]


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _owners(each: Mapping[str, Any]) -> str:
    return f"  ({', '.join(each['owners'])})" if each["owners"] else ""


def _summary(plan: Mapping[str, Any]) -> str:
    counts = _counts(change["action"] for change in plan["changes"])
    waiting = f"{len(plan['blocked'])} cannot be done" if plan["blocked"] else ""
    if not counts:
        return "Nothing would change." + (f" ({waiting}.)" if waiting else "")
    parts = [f"{counts[action]} {words}" for action, words in SUMMARY.items() if action in counts]
    return f"{', '.join(parts)}{f'; {waiting}' if waiting else ''}. Nothing was applied."


def _counts(actions: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for action in actions:
        counts[action] += 1
    return counts
