# SPDX-License-Identifier: Apache-2.0
"""Writes the Python text of encoders."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from contivpp_vpp.wire import check, schema
from contivpp_vpp.wire.source import F64, Source, indented, size_of

_REMEMBERED = 8192


class _Refused(ValueError):
    pass


def _unknown_flags(value: int, known: set[int], bits: int) -> bool:
    """Whether flags have unknown bits; what is fine is remembered, as operations on flags are slow."""
    if int(value) & ~bits:
        return True
    known.add(int(value))
    return False


class Encoder(Source):
    """Emits an encoder."""

    def __init__(self, classes: Mapping[str, Any], parent: Encoder | None = None) -> None:
        super().__init__(parent)
        self._classes = classes
        self._codes: list[str] = []
        self._values: list[str] = []
        self._lengths: dict[str, str] = {}
        self._sums: dict[str, tuple[str, str]] = {}
        self._parts: list[str] = []
        self.constants["Refused"] = _Refused

    def slot(self, code: str, value: str) -> None:
        """A part of fixed size."""
        self._codes.append(code)
        self._values.append(value)

    def _flush(self) -> None:
        if self._codes:
            pack = self.constant(struct.Struct(">" + "".join(self._codes)).pack)
            self._parts.append(f"{pack}({', '.join(self._values)})")
            self._codes, self._values = [], []

    def _variable_part(self, value: str) -> None:
        self._flush()
        self._parts.append(value)

    def finish(self, head: str) -> Callable[..., Any]:
        self._flush()
        self.lines.append("return " + (" + ".join(self._parts) or 'b""'))
        return self.function(head)

    def _length(self, value: str) -> str:
        """A variable with the length of what a variable holds."""
        if value not in self._lengths:
            self._lengths[value] = self.variable()
            self.lines.append(f"{self._lengths[value]} = len({value})")
        return self._lengths[value]

    def _refuse_if(self, condition: str) -> None:
        self.lines.append(f"if {condition}: raise Refused")

    def structure(self, structure: schema.Structure, value: str) -> None:
        """Load the fields first: counters stand before what they count, and rules need several."""
        names: dict[str, str] = {}
        once = _used_once(structure)
        for field in structure.fields:
            if field.name in once:
                names[field.name] = f"{value}.{field.name}"
            elif field.name not in structure.hidden():
                names[field.name] = self.variable()
                self.lines.append(f"{names[field.name]} = {value}.{field.name}")
        for rule in structure.rules:
            if isinstance(rule, schema.Sum):
                self._sums[names[rule.field]] = rule.member, self.variable()
        for field in structure.fields:
            if isinstance(field.wire, schema.Array) and field.wire.counter:
                names[field.wire.counter] = f"len({names[field.name]})"
        for field in structure.fields:
            self._field(field, names)
        for rule in structure.rules:
            self._rule(structure, rule, names)

    def _rule(self, structure: schema.Structure, rule: schema.Rule, names: dict[str, str]) -> None:
        match rule:
            case schema.Needs(field=field, discriminator=discriminator, members=members, none=none):
                enumeration = structure.enumeration(discriminator)
                values = self.constant(frozenset(enumeration.value(member) for member in members))
                self._refuse_if(f"{names[discriminator]} in {values} and {names[field]} == {none}")
            case schema.Only(field=field, members=members):
                values = self.constant(frozenset(structure.enumeration(field).value(member) for member in members))
                self._refuse_if(f"{names[field]} not in {values}")
            case schema.Limit(field=field, of=of):
                always = 8 * structure.smallest(of)  # what is right for the smallest need not be multiplied
                limited = names[field]
                self._refuse_if(f"{limited} > {always} and {limited} > 8 * {self._length(names[of])}")
            case schema.Most(field=field, count=count):
                self._refuse_if(f"len({names[field]}) > {count}")
            case schema.Sum(field=field, smallest=smallest, largest=largest):
                _, total = self._sums[names[field]]
                self._refuse_if(f"{names[field]} and not {smallest} <= {total} <= {largest}")

    def _field(self, field: schema.Field, names: dict[str, str]) -> None:
        value = names[field.name]
        if isinstance(field.wire, schema.Choice):
            choice = field.wire
            sizes = self.constant({choice.enumeration.value(member): size for member, size in choice.union.arms})
            size = f"{sizes}.get({names[choice.discriminator]}, {choice.union.size})"
            self._refuse_if(f"{value} and len({value}) != {size}")
            self.slot(f"{choice.union.size}s", value)
        else:
            self.wire(field.wire, value)

    def wire(self, wire: schema.Wire, value: str) -> None:
        """Emit one value; what struct does not refuse by itself is checked."""
        match wire:
            case schema.Scalar(name=name):
                self.slot(schema.SCALARS[name][0], value)
            case schema.Bool():
                self.slot("?", value)
            case schema.Float():
                self.slot("8s", f"{self.constant(F64.pack)}({value})")
            case schema.Text(size=size):
                self._text(size, value)
            case schema.Enumeration():
                self._enumeration(wire, value)
            case schema.Bytes(size=size):
                self._refuse_if(f"len({value}) != {size}")
                self.slot(f"{size}s", value)
            case schema.Address(union=union, enumeration=enumeration):
                families = {size: enumeration.value(member) for member, size in union.arms}
                self.slot(schema.SCALARS[enumeration.base][0], f"{self.constant(families)}[{self._length(value)}]")
                self.slot(f"{union.size}s", value)
            case schema.Array():
                self._array(wire, value)
            case schema.Structure():
                self.structure(wire, value)

    def _text(self, size: int, value: str) -> None:
        raw = self.variable()
        self.lines.append(f'{raw} = {value}.encode("utf-8", "surrogateescape")')
        self._refuse_if(f"0 in {raw}" + (f" or len({raw}) >= {size}" if size else ""))
        if size:
            self.slot(f"{size}s", raw)
        else:
            self.slot("I", f"len({raw})")
            self._variable_part(raw)

    def _enumeration(self, wire: schema.Enumeration, value: str) -> None:
        # A set finds at once what is in it itself, and must compare what only equals: so it has the members.
        known = set(self._classes[schema.class_name(wire.name)])
        if wire.flags:
            known = {0, *map(int, known)}
        condition = f"{value} not in {self.constant(known)}"
        if wire.flags:
            unknown = self.constant(_unknown_flags)
            condition += f" and {unknown}({value}, {self.constant(known)}, {check.mask(wire)})"
        self._refuse_if(condition)
        self.slot(schema.SCALARS[wire.base][0], value)

    def _array(self, array: schema.Array, value: str) -> None:
        if array.size:
            self._refuse_if(f"len({value}) {'>' if array.counter else '!='} {array.size}")
        if array.element == schema.Scalar("u8"):
            self._variable_part(value)
        elif isinstance(array.element, schema.Scalar) and array.size and not array.counter:
            self.slot(f"{array.size}{schema.SCALARS[array.element.name][0]}", f"*{value}")
        elif isinstance(array.element, schema.Scalar) and not array.size:
            self._refuse_if(f"type({value}) not in {self.constant((tuple, list))}")  # bytes are numbers, too
            code = schema.SCALARS[array.element.name][0]
            self._variable_part(f"{self.constant(struct.pack)}(f'>{{len({value})}}{code}', *{value})")
        else:
            joined = self._elements(array.element, value)
            if array.size:
                self.slot(f"{array.size * size_of(array.element)}s", joined)
            else:
                self._variable_part(joined)

    def _elements(self, wire: schema.Wire, value: str) -> str:
        """A variable with all elements of an array in a row."""
        each, parts, joined = self.variable(), self.variable(), self.variable()
        element = Encoder(self._classes, self)
        element.wire(wire, each)
        element._flush()
        packed = " + ".join(element._parts)
        if value in self._sums:
            member, total = self._sums[value]
            self.lines.append(f"{total} = sum([{each}.{member} for {each} in {value}])")
        if isinstance(wire, schema.Structure) and wire.is_leaf:
            filled = self._remembered(value, each, [*element.lines], packed, parts)
        else:
            filled = _loop(value, each, [*element.lines, f"{parts}.append({packed})"], parts)
        self.lines += [f'{joined} = b""', f"if {value}:", *indented([*filled, f'{joined} = b"".join({parts})'])]
        return joined

    def _remembered(self, value: str, each: str, lines: list[str], packed: str, parts: str) -> list[str]:
        """Small values come again and again (a pod is the backend of many services): they are packed once."""
        remembered: dict[Any, bytes] = {}
        known, lookup, found = self.constant(remembered), self.constant(remembered.__getitem__), self.variable()
        forget = f"if len({known}) >= {_REMEMBERED}: {known}.clear()"
        new = [*lines, forget, f"{found} = {known}[{each}] = {packed}"]
        one = [f"{found} = {known}.get({each})", f"if {found} is None:", *indented(new), f"{parts}.append({found})"]
        all_known = f"{parts} = list(map({lookup}, {value}))"
        return ["try:", f"    {all_known}", "except KeyError:", *indented(_loop(value, each, one, parts))]


def _loop(value: str, each: str, lines: list[str], parts: str) -> list[str]:
    return [f"{parts} = []", f"for {each} in {value}:", *indented(lines)]


def _used_once(structure: schema.Structure) -> set[str]:
    """Fields that only struct looks at: no rule, and no check before packing."""
    ruled = {value for rule in structure.rules for value in vars(rule).values() if isinstance(value, str)}
    plain = {field.name for field in structure.fields if isinstance(field.wire, schema.Scalar | schema.Bool)}
    return plain - ruled - structure.hidden()
