# SPDX-License-Identifier: Apache-2.0
"""Writes the Python text of encoders and decoders, and compiles it.

Both work alike: fields of fixed size are gathered into one format for `struct`; a part of variable size (a
string, a counted array) ends the gathering, and a new one begins behind it. Structures are flattened into
their container; only the elements of arrays get functions of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from contivpp_vpp.wire import check, schema
from contivpp_vpp.wire.schema import class_name

_F64 = struct.Struct("=d")


class _Source:
    """Lines of a function to be, and the constants that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}
        self._variables = 0

    def constant(self, value: Any) -> str:
        name = f"C{len(self.constants)}"
        self.constants[name] = value
        return name

    def variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def function(self, head: str) -> Callable[..., Any]:
        text = f"def {head}:\n" + "\n".join(f"    {line}" for line in self.lines) + "\n"
        exec(compile(text, f"<{head}>", "exec"), self.constants)
        function: Callable[..., Any] = self.constants[head.partition("(")[0]]
        return function


class _Refused(ValueError):
    pass


def _unknown_flags(value: int, known: set[int], bits: int) -> bool:
    """Whether flags have unknown bits; what is fine is remembered, as operations on flags are slow."""
    if int(value) & ~bits:
        return True
    known.add(int(value))
    return False


class _Encoder(_Source):
    """Emits an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self._codes: list[str] = []
        self._values: list[str] = []
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

    def _refuse_if(self, condition: str) -> None:
        self.lines.append(f"if {condition}: raise Refused")

    def structure(self, structure: schema.Structure, value: str) -> None:
        """Load the fields first: counters stand before what they count, and rules need several."""
        names: dict[str, str] = {}
        for field in structure.fields:
            if field.name not in structure.hidden():
                names[field.name] = self.variable()
                self.lines.append(f"{names[field.name]} = {value}.{field.name}")
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
                self._refuse_if(f"{names[field]} > 8 * len({names[of]})")

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
                self.slot("8s", f"{self.constant(_F64.pack)}({value})")
            case schema.Text(size=size):
                self._text(size, value)
            case schema.Enumeration():
                self._enumeration(wire, value)
            case schema.Bytes(size=size):
                self._refuse_if(f"len({value}) != {size}")
                self.slot(f"{size}s", value)
            case schema.Address(union=union, enumeration=enumeration):
                families = {size: enumeration.value(member) for member, size in union.arms}
                self.slot(schema.SCALARS[enumeration.base][0], f"{self.constant(families)}[len({value})]")
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
        known = {0, *(number for _, number in wire.members)} if wire.flags else {n for _, n in wire.members}
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
        else:
            element = _Encoder()
            element.wire(array.element, "value")
            function = self.constant(element.finish("encode_element(value)"))
            joined = f'b"".join([{function}(x) for x in {value}])'
            if array.size:
                self.slot(f"{array.size * size_of(array.element)}s", f'({joined} if {value} else b"")')
            else:
                self._variable_part(joined)


def size_of(wire: schema.Wire) -> int:
    """Bytes on the wire, of what has a fixed size."""
    match wire:
        case schema.Scalar(name=name) | schema.Enumeration(base=name):
            return struct.calcsize(">" + schema.SCALARS[name][0])
        case schema.Bool():
            return 1
        case schema.Float():
            return 8
        case schema.Text(size=size) | schema.Bytes(size=size) if size:
            return size
        case schema.Choice(union=union):
            return union.size
        case schema.Address(union=union, enumeration=enumeration):
            return union.size + size_of(enumeration)
        case schema.Array(element=element, size=size) if size:
            return size * size_of(element)
        case schema.Structure(fields=fields):
            return sum(size_of(field.wire) for field in fields)
    raise ValueError(f"{wire} has no fixed size, which elements of arrays must have")


def _text_of(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


class _Flags(dict[int, Any]):
    """Flags by their number, made when first seen: calling the class is slow."""

    def __init__(self, flags: Callable[[int], Any]) -> None:
        super().__init__()
        self._flags = flags

    def __missing__(self, number: int) -> Any:
        result = self[number] = self._flags(number)
        return result


class _Decoder(_Source):
    """Emits a decoder of `data`, from `offset`."""

    def __init__(self, classes: Mapping[str, Any]) -> None:
        super().__init__()
        self._classes = classes
        self._codes: list[str] = []
        self._targets: list[str] = []

    def skip(self, size: int) -> None:
        self._codes.append(f"{size}x")

    def slot(self, code: str) -> str:
        target = self.variable()
        self._codes.append(code)
        self._targets.append(target)
        return target

    def _flush(self) -> None:
        if self._codes:
            layout = struct.Struct(">" + "".join(self._codes))
            unpack = self.constant(layout.unpack_from)
            targets = f"({', '.join(self._targets)},) = " if self._targets else ""
            self.lines += [f"{targets}{unpack}(data, offset)", f"offset += {layout.size}"]
            self._codes, self._targets = [], []

    def finish(self, head: str, result: str) -> Callable[..., Any]:
        self._flush()
        self.lines.append(f"return {result}")
        return self.function(head)

    def structure(self, structure: schema.Structure, retval: str = "") -> str:
        """The expression that makes the structure, once all is unpacked."""
        names: dict[str, str] = {}
        for field in structure.fields:
            if isinstance(field.wire, schema.Choice):
                names[field.name] = self._choice(field.wire, names)
            elif isinstance(field.wire, schema.Array):
                names[field.name] = self._array(field.wire, names)
            else:
                names[field.name] = self.wire(field.wire)
        arguments = [f"{name}={value}" for name, value in names.items() if name not in structure.hidden()]
        if retval:
            arguments.append(f"retval={retval}")
        return f"{self.constant(self._classes[class_name(structure.name)])}({', '.join(arguments)})"

    def wire(self, wire: schema.Wire) -> str:
        match wire:
            case schema.Scalar(name=name):
                return self.slot(schema.SCALARS[name][0])
            case schema.Bool():
                return self.slot("?")
            case schema.Float():
                return f"{self.constant(_F64.unpack)}({self.slot('8s')})[0]"
            case schema.Text(size=size):
                return f"{self.constant(_text_of)}({self.slot(f'{size}s')})" if size else self._text()
            case schema.Enumeration():
                return self._enumeration(wire)
            case schema.Bytes(size=size):
                return self.slot(f"{size}s")
            case schema.Address(union=union, enumeration=enumeration):
                sizes = self.constant({enumeration.value(member): size for member, size in union.arms})
                family = self.slot(schema.SCALARS[enumeration.base][0])
                return f"{self.slot(f'{union.size}s')}[:{sizes}.get({family}, {union.size})]"
            case schema.Structure():
                return self.structure(wire)
        raise ValueError(f"{wire} cannot stand alone")

    def _enumeration(self, wire: schema.Enumeration) -> str:
        target = self.slot(schema.SCALARS[wire.base][0])
        cls = self._classes[class_name(wire.name)]
        if wire.flags:
            return f"{self.constant(_Flags(cls))}[{target}]"
        known = self.constant({number: cls(number) for _, number in wire.members})
        return f"{known}.get({target}, {target})"

    def _choice(self, choice: schema.Choice, names: dict[str, str]) -> str:
        sizes = self.constant({choice.enumeration.value(member): size for member, size in choice.union.arms})
        target = self.slot(f"{choice.union.size}s")
        size = f"{sizes}.get({names[choice.discriminator]})"
        return f'({target}[:n] if (n := {size}) else ({target} if any({target}) else b""))'

    def _text(self) -> str:
        return f'{self._take(self.slot("I"))}.decode("utf-8", "surrogateescape")'

    def _take(self, size: str) -> str:
        """A variable with the next bytes; a slice would be short where bytes are missing, without a word."""
        self._flush()
        target = self.variable()
        self.lines += [
            f"{target} = data[offset:offset + {size}]",
            f"if len({target}) != {size}: raise ValueError('it is cut off')",
            f"offset += {size}",
        ]
        return target

    def _array(self, array: schema.Array, names: dict[str, str]) -> str:
        if array.element == schema.Scalar("u8"):
            return self._take(names[array.counter])
        if isinstance(array.element, schema.Scalar) and array.size and not array.counter:
            return f"({', '.join(self.wire(array.element) for _ in range(array.size))},)"
        size = size_of(array.element)
        element = _Decoder(self._classes)
        function = self.constant(element.finish("decode_element(data, offset)", element.wire(array.element)))
        count = names[array.counter] if array.counter else str(array.size)
        if array.size:
            target, start = self.slot(f"{array.size * size}s"), "0"
            used = f"min({count}, {array.size})"
        else:
            self._flush()
            target, start, used = "data", self.variable(), count
            self.lines += [f"{start} = offset", f"offset += {size} * {count}"]
            self.lines.append("if offset > len(data): raise ValueError('it is cut off')")
        return f"tuple([{function}({target}, {start} + {size} * i) for i in range({used})])"


def compile_encoder(message: schema.Message) -> Callable[[Any, int, int, int], bytes]:
    """encode(message, number, client_index, context) → bytes."""
    encoder = _Encoder()
    encoder.slot("H", "number")
    if message.client_index:
        encoder.slot("I", "client_index")
    if message.context:
        encoder.slot("I", "context")
    if message.retval:
        encoder.slot("i", "message.retval")
    encoder.structure(message.body, "message")
    return encoder.finish("encode(message, number, client_index, context)")


def compile_decoder(message: schema.Message, classes: Mapping[str, Any]) -> Callable[[bytes], Any]:
    """decode(data) → message."""
    decoder = _Decoder(classes)
    decoder.lines.append("offset = 0")
    decoder.skip(2 + 4 * message.client_index + 4 * message.context)
    retval = decoder.slot("i") if message.retval else ""
    return decoder.finish("decode(data)", decoder.structure(message.body, retval))
