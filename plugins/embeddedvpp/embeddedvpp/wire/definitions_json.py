# SPDX-License-Identifier: Apache-2.0
"""The declarations as JSON in the layout of VPP's own ``.api.json`` files: the answer to ``get_api_json``."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from .declarations import BASE_TYPES, Definition, Field, Module, load

_SECTIONS = {"type": "types", "struct": "types", "union": "unions", "enum": "enums", "flags": "enumflags"}


@cache
def all_modules() -> str:
    """All modules that have messages, as one JSON array."""
    return json.dumps([module_json(module) for module in load().values() if module.messages])


def module_json(module: Module) -> dict[str, Any]:
    """One module; as in VPP, the types that it imports are repeated in it."""
    result: dict[str, Any] = {
        "module": module.name, "types": [], "messages": [_message(found) for found in module.messages],
        "unions": [], "enums": [], "enumflags": [],
        "services": {found.request: _service(found) for found in module.services},
        "options": {"version": module.version}, "aliases": {}, "vl_api_version": "0x" + module.crc,
        "imports": module.imports, "counters": [], "paths": [],
    }  # fmt: skip
    for definition in _visible_types(module):
        if definition.kind == "alias":
            target = definition.fields[0]
            length = {} if target.length is None else {"length": target.length}
            result["aliases"][definition.name] = {"type": _type_name(target.type), **length}
        else:
            result[_SECTIONS[definition.kind]].append(_definition(definition))
    return result


def _visible_types(module: Module) -> list[Definition]:
    found: dict[str, Definition] = {}
    for path in module.imports:
        imported = load().get(path.rpartition("/")[2].removesuffix(".api"))
        found.update({entry.name: entry for entry in (_visible_types(imported) if imported else [])})
    found.update({entry.name: entry for entry in module.types})
    return list(found.values())


def _type_name(name: str) -> str:
    return name if name in BASE_TYPES else f"vl_api_{name}_t"


def _field(field: Field) -> list[Any]:
    result: list[Any] = [_type_name(field.type), field.name]
    if isinstance(field.length, int):
        result.append(field.length)
    elif field.length is not None:
        result += [0, field.length] if field.length else [0]
    return [*result, field.options] if field.options else result


def _definition(definition: Definition) -> list[Any]:
    if definition.values:
        return [definition.name, *([n, v] for n, v in definition.values), {"enumtype": definition.base}]
    return [definition.name, *map(_field, definition.fields), *([{}] if definition.kind == "type" else [])]


def _message(definition: Definition) -> list[Any]:
    options = {"crc": "0x" + definition.crc, "options": dict.fromkeys(definition.options)}
    return [definition.name, *map(_field, definition.fields), options]


def _service(service: Any) -> dict[str, Any]:
    result: dict[str, Any] = {"reply": service.reply}
    if service.stream:
        result["stream"] = True
    if service.events:
        result["events"] = list(service.events)
    return result
