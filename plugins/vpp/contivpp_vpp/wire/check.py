# SPDX-License-Identifier: Apache-2.0
"""Finds the field because of which a message must not be sent.

VPP trusts its clients and can die of a wrong value. The compiled encoders refuse such a value quickly, but do
not know its name; this module walks the declaration again, slowly, and names it. Both hold the same rules (a
test says so).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contivpp_vpp.wire import schema


def problems(structure: schema.Structure, value: Any, path: str = "") -> Iterator[str]:
    """Every problem of a value, as `field: reason`."""
    for field in structure.fields:
        if field.name in structure.hidden():
            continue
        where = f"{path}{field.name}"
        try:
            content = getattr(value, field.name)
        except AttributeError:
            yield f"{path or structure.name}: {value!r} is not a {schema.class_name(structure.name)}"
            return
        if isinstance(field.wire, schema.Choice):
            yield from _choice(field.wire, content, getattr(value, field.wire.discriminator), where)
        elif isinstance(field.wire, schema.Array):
            yield from _array(field.wire, structure, content, where)
        else:
            yield from _problems(field.wire, content, where)
    for rule in structure.rules:
        yield from _rule(structure, rule, value, path)


def _problems(wire: schema.Wire, value: Any, where: str) -> Iterator[str]:
    match wire:
        case schema.Scalar(name=name):
            yield from _integer(name, value, where)
        case schema.Bool() if not isinstance(value, int):
            yield f"{where}: {value!r} is not a truth value"
        case schema.Float() if not isinstance(value, int | float):
            yield f"{where}: {value!r} is not a number"
        case schema.Text(size=size):
            yield from _text(size, value, where)
        case schema.Enumeration() as enumeration:
            yield from _enumeration(enumeration, value, where)
        case schema.Bytes(size=size) if not isinstance(value, bytes) or len(value) != size:
            yield f"{where}: {value!r} is not {size} bytes"
        case schema.Address(union=union) if not isinstance(value, bytes) or len(value) not in dict(union.arms).values():
            sizes = " or ".join(str(size) for _, size in union.arms)
            yield f"{where}: {value!r} is not {sizes} bytes"
        case schema.Structure():
            yield from problems(wire, value, f"{where}.")


def _integer(name: str, value: Any, where: str) -> Iterator[str]:
    _, smallest, largest = schema.SCALARS[name]
    if not isinstance(value, int):
        yield f"{where}: {value!r} is not an integer"
    elif not smallest <= value <= largest:
        yield f"{where}: {value} is not in {smallest}..{largest} ({name})"


def _text(size: int, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where}: {value!r} is not a string"
        return
    try:
        raw = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        yield f"{where}: {value!r} cannot be written in UTF-8"
        return
    if b"\0" in raw:
        yield f"{where}: {value!r} contains NUL"
    if size and len(raw) >= size:
        yield f"{where}: {value!r} has {len(raw)} bytes, at most {size - 1} fit"


def _enumeration(enumeration: schema.Enumeration, value: Any, where: str) -> Iterator[str]:
    values = {number for _, number in enumeration.members}
    if not isinstance(value, int):
        yield f"{where}: {value!r} is not a number of {enumeration.name}"
    elif enumeration.flags:
        if int(value) & ~mask(enumeration):
            yield f"{where}: {int(value):#x} has bits that {enumeration.name} does not know"
    elif value not in values:
        yield f"{where}: {int(value)} is no value of {enumeration.name}"


def mask(enumeration: schema.Enumeration) -> int:
    """All bits that flags know."""
    result = 0
    for _, number in enumeration.members:
        result |= number
    return result


def _choice(choice: schema.Choice, value: Any, discriminator: Any, where: str) -> Iterator[str]:
    if not isinstance(value, bytes):
        yield f"{where}: {value!r} is not bytes"
        return
    sizes = {choice.enumeration.value(member): size for member, size in choice.union.arms}
    size = sizes.get(discriminator, choice.union.size)
    if value and len(value) != size:
        yield f"{where}: {len(value)} bytes, but with {choice.discriminator} {discriminator!r} it is {size}"


def _array(array: schema.Array, structure: schema.Structure, value: Any, where: str) -> Iterator[str]:
    if array.element == schema.Scalar("u8"):
        if not isinstance(value, bytes):
            yield f"{where}: {value!r} is not bytes"
            return
    elif not isinstance(value, tuple | list):
        yield f"{where}: {value!r} is not a tuple"
        return
    else:
        for index, element in enumerate(value):
            yield from _problems(array.element, element, f"{where}[{index}]")
    if array.size and not array.counter and len(value) != array.size:
        yield f"{where}: {len(value)} elements, exactly {array.size} are wanted"
    elif array.size and len(value) > array.size:
        yield f"{where}: {len(value)} elements, at most {array.size} fit"
    for field in structure.fields:
        if field.name == array.counter and isinstance(field.wire, schema.Scalar):
            most = schema.SCALARS[field.wire.name][2]
            if len(value) > most:
                yield f"{where}: {len(value)} elements, at most {most} can be counted"


def _rule(structure: schema.Structure, rule: schema.Rule, value: Any, path: str) -> Iterator[str]:
    match rule:
        case schema.Needs(field=field, discriminator=discriminator, members=members, none=none):
            enumeration = structure.enumeration(discriminator)
            for member in members:
                if getattr(value, discriminator) == enumeration.value(member) and getattr(value, field) == none:
                    yield f"{path}{field}: {discriminator} {member} needs one, {none:#x} is none"
        case schema.Only(field=field, members=members):
            enumeration = structure.enumeration(field)
            if getattr(value, field) not in {enumeration.value(member) for member in members}:
                yield f"{path}{field}: {getattr(value, field)!r} kills VPP here, only {', '.join(members)} may be sent"
        case schema.Limit(field=field, of=of):
            number, raw = getattr(value, field), getattr(value, of)
            if isinstance(number, int) and isinstance(raw, bytes) and number > 8 * len(raw):
                yield f"{path}{field}: {number} is more than the {8 * len(raw)} bits of {of}"
        case schema.Most(field=field, count=count):
            elements = _elements(getattr(value, field))
            if len(elements) > count:
                yield f"{path}{field}: {len(elements)} elements kill VPP, at most {count} may be sent"
        case schema.Sum(member=member, field=field, smallest=smallest, largest=largest):
            numbers = [getattr(element, member, None) for element in _elements(getattr(value, field))]
            total = sum(number for number in numbers if isinstance(number, int))
            if numbers and not smallest <= total <= largest:
                yield f"{path}{field}: a sum of {member} of {total} kills VPP, only {smallest}..{largest} may be sent"


def _elements(value: Any) -> tuple[Any, ...] | list[Any]:
    return value if isinstance(value, tuple | list) else ()
