# SPDX-License-Identifier: Apache-2.0
"""Writes the Python text of decoders."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from contivpp_vpp.wire import schema
from contivpp_vpp.wire.schema import class_name
from contivpp_vpp.wire.source import F64, Source, size_of


class Retval(Enum):
    """Where in a message the return value is."""

    NONE = 0
    FIRST = 1
    LAST = 2


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


class Decoder(Source):
    """Emits a decoder of `data`, from `offset`."""

    def __init__(self, classes: Mapping[str, Any], parent: Decoder | None = None) -> None:
        super().__init__(parent)
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

    def structure(self, structure: schema.Structure, retval: Retval = Retval.NONE) -> str:
        """The expression that makes the structure, once all is unpacked."""
        names: dict[str, str] = {}
        code = self.slot("i") if retval is Retval.FIRST else ""
        for field in structure.fields:
            if isinstance(field.wire, schema.Choice):
                names[field.name] = self._choice(field.wire, names)
            elif isinstance(field.wire, schema.Array):
                names[field.name] = self._array(field.wire, names)
            else:
                names[field.name] = self.wire(field.wire)
        arguments = [f"{name}={value}" for name, value in names.items() if name not in structure.hidden()]
        if retval is Retval.LAST:
            code = self.slot("i")
        if code:
            arguments.append(f"retval={code}")
        return f"{self.constant(self._classes[class_name(structure.name)])}({', '.join(arguments)})"

    def wire(self, wire: schema.Wire) -> str:
        match wire:
            case schema.Scalar(name=name):
                return self.slot(schema.SCALARS[name][0])
            case schema.Bool():
                return self.slot("?")
            case schema.Float():
                return f"{self.constant(F64.unpack)}({self.slot('8s')})[0]"
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
        if array.size:
            target = self.slot(f"{array.size * size}s")
            if not array.counter:
                return self._elements(array.element, target)
            used = names[array.counter]
            return f"({self._elements(array.element, f'{target}[:{size} * {used}]')} if {used} else ())"
        return self._elements(array.element, self._take(f"{size} * {names[array.counter]}"))

    def _elements(self, wire: schema.Wire, data: str) -> str:
        """The elements of an array that fills bytes."""
        element = Decoder(self._classes, self)
        value = element.wire(wire)
        layout = self.constant(struct.Struct(">" + "".join(element._codes)).iter_unpack)
        return f"tuple([{value} for {', '.join(element._targets)}, in {layout}({data})])"
