# SPDX-License-Identifier: Apache-2.0
"""Reads scenario files: YAML, of which JSON is a part, without the traps of YAML.

A key that stands twice in a mapping is a fault, where YAML would keep the last one silently. Every fault is one line:
file, path in the file, reason. All faults of all files are told before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contivpp_sandbox.scenario.checks import check
from contivpp_sandbox.scenario.model import Scenario, items

__all__ = ["LARGEST", "parse", "read"]

LARGEST = 16 << 20
"""Bytes of a scenario file; a larger one is a mistake."""
_DEEPEST = 64

Fault = tuple[str, str]
"""Path in the file, and reason."""


def read(path: Path | str) -> tuple[Scenario | None, list[str]]:
    """Return the scenario of a file, or its faults."""
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        return None, [f"{name}: {error.strerror or error}: name a file that can be read"]
    if len(data) > LARGEST:
        return None, [f"{name}: larger than {LARGEST >> 20} MiB: this is no scenario"]
    try:
        return parse(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return None, [f"{name}: byte {error.start}: the file must be UTF-8 text"]


def parse(name: str, text: str) -> tuple[Scenario | None, list[str]]:
    """Return the scenario in a text, or its faults."""
    data, faults = _load(text)
    if not faults and not isinstance(data, dict):
        faults = [("", f"the file must be a mapping with 'nodes' and 'steps', not {_kind(data)}")]
    scenario = None
    if not faults:
        try:
            scenario = Scenario.model_validate(data)
        except ValidationError as error:
            faults = [_fault(found) for found in error.errors(include_url=False)]
        nodes, config = _names(data.get("nodes")), data.get("config")
        faults += check(nodes, config if isinstance(config, dict) else {}, items(data))
    lines = [": ".join(filter(None, (name, path, reason))) for path, reason in faults]
    return (None if faults else scenario), list(dict.fromkeys(lines))


def _load(text: str) -> tuple[Any, list[Fault]]:
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        return None, [("", f"not YAML: {error}")]
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        faults = list(_structure_faults(node, "", ()))
        return (None if faults else loader.construct_document(node)), faults
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}" if error.problem_mark else ""
        return None, [(place, f"not YAML: {error.problem or error.context}")]
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2030-13-01
        return None, [("", f"not YAML: {error}")]
    except RecursionError:
        return None, [("", f"nested deeper than {_DEEPEST} levels")]
    finally:
        loader.dispose()


def _structure_faults(node: yaml.Node, path: str, above: tuple[int, ...]) -> Iterator[Fault]:
    """Find what YAML allows and a scenario cannot hold: keys that stand twice, or are no text; endless aliases."""
    if id(node) in above or len(above) > _DEEPEST:
        yield path, f"line {node.start_mark.line + 1}: nested without end, or deeper than {_DEEPEST} levels"
        return
    inside = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _structure_faults(item, _join(path, index), inside)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield path, f"line {line}: a key must be text"
                continue
            if key.value in seen:
                yield _join(path, key.value), f"stands twice, in lines {seen[key.value]} and {line}"
            seen.setdefault(key.value, line)
            yield from _structure_faults(value, _join(path, key.value), inside)


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _fault(found: Any) -> Fault:
    """Turn a finding of the model into a line; unions name the variant in the location, which no file has."""
    path = ".".join(str(part) for part in found["loc"] if not str(part).startswith("variant:"))
    kind, message, value = found["type"], found["msg"], found["input"]
    if kind == "extra_forbidden":
        return path, "unknown field"
    if kind == "missing":
        return path, "is missing"
    message = message.removeprefix("Value error, ")
    if kind == "value_error" or isinstance(value, dict | list):
        return path, message
    return path, f"{message}, got {value!r}"


def _names(nodes: object) -> list[str]:
    return [name for name in nodes if isinstance(name, str)] if isinstance(nodes, list) else []


def _kind(data: object) -> str:
    return {list: "a list", type(None): "nothing", str: "text"}.get(type(data), f"a {type(data).__name__}")
