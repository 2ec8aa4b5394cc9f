# SPDX-License-Identifier: Apache-2.0
"""What emitting encoders and decoders has in common: the lines of a function, and sizes on the wire."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from contivpp_vpp.wire import schema

F64 = struct.Struct("=d")


def indented(lines: Iterable[str]) -> list[str]:
    """Lines as a block of what is before them."""
    return [f"    {line}" for line in lines]


class Source:
    """Lines of a function to be, and the constants that they name; a child's become part of its parent's."""

    def __init__(self, parent: Source | None = None) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = parent.constants if parent else {}
        self._variables: Iterator[int] = parent._variables if parent else itertools.count(1)

    def constant(self, value: Any) -> str:
        name = f"C{len(self.constants)}"
        self.constants[name] = value
        return name

    def variable(self) -> str:
        return f"v{next(self._variables)}"

    def function(self, head: str) -> Callable[..., Any]:
        text = "\n".join([f"def {head}:", *indented(self.lines), ""])
        exec(compile(text, f"<{head}>", "exec"), self.constants)
        function: Callable[..., Any] = self.constants[head.partition("(")[0]]
        return function


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
