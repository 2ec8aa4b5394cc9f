# SPDX-License-Identifier: Apache-2.0
"""The table of CNI checks: YAML files in `cni/`, read strictly, so that a misspelt key is an error.

A check has an ID, the text of the specification that it comes from, the versions that it applies to, and steps. A step
is one call of the executable with what is expected of it, or something that is done to the system. The README in
`cni/` tells the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import yaml

__all__ = ["VERSIONS", "Answer", "Check", "Facts", "Step", "difference", "filled", "load", "shaped"]

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
FOLDER = Path(__file__).with_name("cni")
PLACEHOLDER = re.compile(r"\$\{([a-zA-Z0-9_.]+)\}")


class Facts(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What must hold on the system: of a link in a namespace, and of an attachment. Nothing said: nothing checked."""

    netns: str = "${netns}"
    link: str = "eth0"
    present: bool | None = None
    up: bool | None = None
    mac: str | None = None
    mtu: int | None = None
    addresses: list[str] | None = None
    routes: list[dict[str, Any]] = []
    no_routes: list[str] = []
    sysctl: dict[str, str] = {}
    pings: str | None = None
    attachment: bool | None = None
    container: str = "${container}"


class Answer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One way in which a call may end: success, or one of these codes."""

    code: int | list[int] | None = None
    says: list[str] = []
    stdout: Any = None
    after: Facts | list[Facts] = []

    @property
    def codes(self) -> list[int]:
        if self.code is None:
            return []
        return self.code if isinstance(self.code, list) else [self.code]

    @property
    def facts(self) -> list[Facts]:
        return self.after if isinstance(self.after, list) else [self.after]


class Step(Answer, forbid_unknown_fields=True, kw_only=True):
    """One step: a call (with its answer), a command in a namespace, or a change of the rig."""

    call: str = ""
    env: dict[str, str | None] = {}
    config: dict[str, Any] = {}
    without: list[str] = []
    stdin: str | None = None
    stdin_hex: str | None = None
    stdin_bytes: int = 0
    save: str = ""
    same: str = ""
    within: float = 0.0
    times: int = 1
    either: list[Answer] = []
    run: str = ""
    run_in: str = "${netns}"
    drop: str = ""
    agent: str = ""
    vpp: str = ""


class Check(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A check as the table has it."""

    id: str
    spec: str
    steps: list[Step]
    versions: str | list[str] = "all"
    real: bool = False
    defect: str = ""  # why it fails for now

    def expanded(self) -> list[str]:
        """Return the versions: all of them, those that are listed, or those from one on (`0.4.0+`)."""
        if isinstance(self.versions, list):
            return self.versions
        if self.versions == "all":
            return list(VERSIONS)
        assert self.versions.endswith("+"), self.versions
        return list(VERSIONS[VERSIONS.index(self.versions[:-1]) :])


@cache
def load() -> list[Check]:
    """Read the table; IDs are unique."""
    checks: list[Check] = []
    for path in sorted(FOLDER.glob("check_*.yaml")):
        rows = yaml.safe_load(path.read_text())
        checks += [msgspec.convert(_steps(row), Check) for row in rows]
    ids = [check.id for check in checks]
    assert len(set(ids)) == len(ids), sorted({each for each in ids if ids.count(each) > 1})
    return checks


def _steps(row: dict[str, Any]) -> dict[str, Any]:
    """A check of one step has the step's keys beside its own."""
    if "steps" in row:
        return row
    own = {key: row[key] for key in ("id", "spec", "versions", "real", "defect") if key in row}
    return {**own, "steps": [{key: value for key, value in row.items() if key not in own}]}


@cache
def _schema(name: str) -> jsonschema.Draft202012Validator:
    schemas: dict[str, Any] = yaml.safe_load((FOLDER / "schemas.yaml").read_text())
    return jsonschema.Draft202012Validator(schemas[name])


def shaped(value: Any, name: str) -> None:
    """Assert that what was printed has the shape of the schema of this name."""
    if told := [error.message for error in _schema(name).iter_errors(value)]:
        raise AssertionError(f"no {name}: {told}: {value}")


def filled(value: Any, names: Mapping[str, Any]) -> Any:
    """Replace placeholders: `${name}` alone by its value, inside a text by its text."""
    if isinstance(value, dict):
        return {filled(key, names): filled(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, names) for each in value]
    if not isinstance(value, str):
        return value
    if whole := PLACEHOLDER.fullmatch(value):
        return _named(whole[1], names)
    return PLACEHOLDER.sub(lambda match: str(_named(match[1], names)), value)


def _named(path: str, names: Mapping[str, Any]) -> Any:
    name, *rest = path.split(".")
    value = names[name]
    for part in rest:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def difference(expected: Any, actual: Any, where: str = "") -> str:
    """Say where `actual` lacks what is expected, or "". A mapping may have more keys, a list must have as many.

    `$any` stands for any value, `$absent` for a key that must not be there, `{$has: [...]}` for a list that has these.
    """
    if expected == "$any":
        return ""
    if isinstance(expected, dict) and "$has" in expected:
        lacking = [one for one in expected["$has"] if all(difference(one, each) for each in actual)]
        return f"{where} lacks {lacking}: {actual}" if lacking else ""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _of_mapping(expected, actual, where)
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual, strict=True))
        return next((told for n, (one, two) in pairs if (told := difference(one, two, f"{where}.{n}"))), "")
    return "" if expected == actual and type(expected) is type(actual) else f"{where}: {actual!r}, not {expected!r}"


def _of_mapping(expected: dict[str, Any], actual: dict[str, Any], where: str) -> str:
    for key, value in expected.items():
        if (key in actual) == (value == "$absent"):
            return f"{where}.{key} is {'there' if key in actual else 'not there'}: {actual}"
        if key in actual and (told := difference(value, actual[key], f"{where}.{key}")):
            return told
    return ""
