# SPDX-License-Identifier: Apache-2.0
"""Writes the typed message classes: `python -m contivpp_vpp.wire.generate`.

The result is `contivpp_vpp/messages/`, one module for each file of declarations, so that type checkers and
editors see the messages. It is committed; a test fails when it is not what the declarations say. Codecs are
not written there: they are compiled when a message is first used (`codec`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from contivpp_vpp.wire import schema
from contivpp_vpp.wire.parser import Declarations, declarations
from contivpp_vpp.wire.schema import Kind, class_name

_HEAD = """# SPDX-License-Identifier: Apache-2.0
\"\"\"{title}

Written by `python -m contivpp_vpp.wire.generate` from `wire/declarations/{source}`: change that, not this.
\"\"\"
"""
_KINDS = {Kind.REPLY: "Reply", Kind.DETAILS: "Details", Kind.EVENT: "Event"}
_LONGEST_LINE = 120
_CONFIG = "frozen=True, kw_only=True, gc=False"


def annotation(wire: schema.Wire) -> str:
    """The Python type of a field."""
    match wire:
        case schema.Scalar():
            return "int"
        case schema.Bool():
            return "bool"
        case schema.Float():
            return "float"
        case schema.Text():
            return "str"
        case schema.Enumeration(name=name, flags=flags):
            return class_name(name) if flags else f"{class_name(name)} | int"
        case schema.Array(element=schema.Scalar(name="u8")):
            return "bytes"
        case schema.Array(element=element):
            return f"tuple[{annotation(element)}, ...]"
        case schema.Structure(name=name):
            return class_name(name)
        case schema.Bytes() | schema.Choice() | schema.Address():
            return "bytes"


def default(field: schema.Field) -> str:
    """The default of a field, as an expression; without one in the declaration it is what zeros mean."""
    match field.wire:
        case schema.Scalar():
            return field.default or "0"
        case schema.Bool():
            return (field.default or "false").capitalize()
        case schema.Float():
            return "0.0"
        case schema.Text():
            return '""'
        case schema.Enumeration() as enumeration:
            return _default_member(enumeration, field.default)
        case schema.Bytes(size=size):
            return f"bytes({size})"
        case schema.Choice(union=union) | schema.Address(union=union):
            return f"bytes({union.arms[0][1]})"
        case schema.Array(element=schema.Scalar(name="u8")):
            return 'b""'
        case schema.Array(size=size, counter="") if size:
            return f"(0,) * {size}"
        case schema.Array():
            return "()"
        case schema.Structure(name=name):
            return f"{class_name(name)}()"


def _default_member(enumeration: schema.Enumeration, given: str | None) -> str:
    name = class_name(enumeration.name)
    if given:
        return f"{name}.{given}"
    zero = [member for member, value in enumeration.members if value == 0]
    if zero:
        return f"{name}.{zero[0]}"
    return f"{name}(0)" if enumeration.flags else f"{name}.{enumeration.members[0][0]}"


def _class(head: str, variables: list[str], body: schema.Structure) -> list[str]:
    fields = [
        f"    {field.name}: {annotation(field.wire)} = {default(field)}"
        for field in body.fields
        if field.name not in body.hidden()
    ]
    return [head, *variables, *([""] if variables and fields else []), *fields]


def _declared(source: Declarations, name: str) -> tuple[list[str], set[str]]:
    """The lines of one declaration, and the base classes that it wants."""
    if name in source.messages:
        return _message(source.messages[name])
    match source.named[name]:
        case schema.Enumeration() as enumeration:
            base = "IntFlag" if enumeration.flags else "IntEnum"
            boundary = ", boundary=KEEP" if enumeration.flags else ""
            members = [f"    {member} = {value}" for member, value in enumeration.members]
            return [f"class {class_name(name)}({base}{boundary}):", *members], {base}
        case schema.Structure(name=own) as structure if own == name:
            head = f"class {class_name(name)}(Structure, {_CONFIG}):"
            return _class(head, [f'    TYPE = "{name}"'], structure), {"Structure"}
    return [], set()


def _message(message: schema.Message) -> tuple[list[str], set[str]]:
    variables = [f'    MESSAGE = "{message.name}"', f"    CRC = 0x{message.crc:08x}"]
    answer = class_name(message.answer)
    if message.kind is Kind.REQUEST:
        base, parent = "Request", f"Request[{answer}]"
        variables.append(f"    REPLY = {answer}")
    elif message.kind is Kind.DUMP:
        base, parent = "Dump", f"Dump[{answer}]"
        variables.append(f"    DETAILS = {answer}")
    else:
        base = parent = _KINDS[message.kind]
    head = f"class {class_name(message.name)}({parent}, {_CONFIG}):"
    if len(head) > _LONGEST_LINE:
        head = f"class {class_name(message.name)}(\n    {parent}, {_CONFIG}\n):"
    return _class(head, variables, message.body), {base}


def _ordered(source: Declarations, names: list[str]) -> list[str]:
    """Answers stand before the message that names them."""
    result: list[str] = []
    for name in names:
        message = source.messages.get(name)
        if message is not None and message.answer and message.answer not in result:
            result.append(message.answer)
        if name not in result:
            result.append(name)
    return result


def _used(source: Declarations, names: Iterable[str]) -> set[str]:
    """Classes that the fields of these declarations name."""
    bodies = [source.messages[n].body if n in source.messages else source.named[n] for n in names]
    wires = [field.wire for body in bodies if isinstance(body, schema.Structure) for field in body.fields]
    wires = [wire.element if isinstance(wire, schema.Array) else wire for wire in wires]
    return {wire.name for wire in wires if isinstance(wire, schema.Enumeration | schema.Structure)}


def _module(source: Declarations, file: str) -> tuple[str, list[str]]:
    names = _ordered(source, source.files[file])
    blocks, bases = [], set()
    exported = []
    for name in names:
        lines, wanted = _declared(source, name)
        if lines:
            blocks.append("\n".join(lines))
            exported.append(class_name(name))
            bases |= wanted
    enums = sorted(bases & {"IntEnum", "IntFlag"})
    if "IntFlag" in enums:
        enums.insert(0, "KEEP")
    imports = [f"from enum import {', '.join(enums)}\n"] if enums else []
    own = bases - {"IntEnum", "IntFlag"}
    ours = [f"from contivpp_vpp.wire.base import {', '.join(sorted(own))}"] if own else []
    foreign = sorted(class_name(n) for n in _used(source, names) - set(names))
    if foreign:
        ours.insert(0, f"from contivpp_vpp.messages.types import {', '.join(foreign)}")
    title = f"Typed messages of VPP: {file}." if file != "types" else "Types that messages share."
    head = _HEAD.format(title=title, source=f"{file}.messages")
    listing = "__all__ = [\n" + "".join(f'    "{name}",\n' for name in sorted(exported)) + "]"
    groups = [imports[0]] if imports else []
    return head + "\n" + "\n".join([*groups, *ours, "", listing]) + "\n\n\n" + "\n\n\n".join(blocks) + "\n", exported


def generate() -> dict[str, str]:
    """The text of every module, by file name."""
    source = declarations()
    result = {}
    imports, everything = [], []
    for file in source.files:
        result[f"{file}.py"], exported = _module(source, file)
        listed = "".join(f"    {name},\n" for name in sorted(exported, key=str.lower))
        imports.append(f"from contivpp_vpp.messages.{file} import (\n{listed})")
        everything += exported
    head = _HEAD.format(title="Typed messages of VPP.", source="")
    listing = "__all__ = [\n" + "".join(f'    "{name}",\n' for name in sorted(everything)) + "]"
    result["__init__.py"] = head + "\n" + "\n".join(sorted(imports)) + "\n\n" + listing + "\n"
    return result


def main() -> None:
    """Write the modules beside this package."""
    folder = Path(__file__).parent.parent / "messages"
    folder.mkdir(exist_ok=True)
    for name, text in generate().items():
        (folder / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{folder}: {len(generate())} modules\n")


if __name__ == "__main__":
    main()
