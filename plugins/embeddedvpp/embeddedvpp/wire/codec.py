# SPDX-License-Identifier: Apache-2.0
"""Codecs generated from the declarations: Python source over ``struct``, compiled once on first use.

For every message and type there is a class with slots and two functions. Whatever has a fixed size, nested types
included, is one ``struct`` call; only what follows a variable array is done step by step. Integers are big-endian, f64
is in the byte order of the machine, as in VPP. ``u8`` arrays and unions are bytes, enumerations are plain integers:
a server must accept any number, as VPP does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from .declarations import BASE_TYPES, Definition, Field, Module, load

_CODES = {
    "u8": "B",
    "i8": "b",
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
    "bool": "?",
}


class CodecError(ValueError):
    """Bytes that are no such message, or a value that does not fit its field."""


class Message:
    """What the generated classes have in common; fields are attributes and keyword arguments."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no field {name}; it has {', '.join(self._fields)}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, n) == getattr(other, n) for n in self._fields)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"
        )


@dataclass(frozen=True, slots=True)
class Codec:
    """How one message is made, packed and unpacked."""

    definition: Definition
    make: Callable[..., Any]
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes | memoryview, int], tuple[Any, int]]

    def decode(self, data: bytes) -> Any:
        """The message; bytes after it are ignored, as VPP does; CodecError when it is cut short."""
        try:
            return self.unpack(data, 0)[0]
        except (struct.error, IndexError) as error:
            raise CodecError(f"{self.definition.name}: {len(data)} bytes are too few: {error}") from None

    def encode(self, message: Any) -> bytes:
        """The bytes of a message; CodecError when a value does not fit."""
        try:
            return self.pack(message)
        except (struct.error, TypeError, AttributeError) as error:
            raise CodecError(f"{self.definition.name}: {error}: {message!r}") from None


def fixed_bytes(value: bytes, size: int) -> bytes:
    """Bytes for a fixed array; shorter ones are padded by struct."""
    if len(value) > size:
        raise CodecError(f"{len(value)} bytes do not fit into {size}")
    return value


def fixed_text(value: str, size: int) -> bytes:
    """Text for a fixed string; one byte is for the NUL."""
    data = value.encode("utf-8", "surrogateescape")
    if len(data) >= size:
        raise CodecError(f"text of {len(data)} bytes does not fit into {size - 1}: {value!r}")
    return data


def text(data: bytes) -> str:
    """What is before the first NUL."""
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def pack_text(value: str) -> bytes:
    """A variable string: length and bytes."""
    data = value.encode("utf-8", "surrogateescape")
    return len(data).to_bytes(4, "big") + data


def unpack_text(data: bytes, at: int) -> tuple[str, int]:
    """A variable string and what follows."""
    (length,) = struct.unpack_from(">I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise CodecError(f"a string of {length} bytes is longer than the message")
    return bytes(data[at + 4 : end]).decode("utf-8", "surrogateescape"), end


def filled(values: Iterable[int], size: int) -> tuple[int, ...]:
    """Numbers for a fixed array, padded with zeros."""
    result = tuple(values)
    if len(result) > size:
        raise CodecError(f"{len(result)} elements do not fit into {size}")
    return result + (0,) * (size - len(result))


class _Compiler:
    """Writes the source; ``namespace`` has the functions once it has been executed."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.types = {found.name: found for module in modules for found in module.types}
        self.sizes: dict[str, int | None] = {}
        self.lines: list[str] = []
        self.namespace: dict[str, Any] = {
            "Message": Message, "Struct": struct.Struct, "F64": struct.Struct("=d"), "fixed_bytes": fixed_bytes,
            "fixed_text": fixed_text, "text": text, "pack_text": pack_text, "unpack_text": unpack_text,
            "filled": filled,
        }  # fmt: skip

    def resolve(self, field: Field) -> Field:
        """Follow aliases and enumerations to a base type, a union or a composite type."""
        while field.type not in BASE_TYPES:
            found = self.types[field.type]
            if found.kind == "alias":
                target = found.fields[0]
                length = target.length if target.length is not None else field.length
                field = Field(target.type, field.name, length, field.options)
            elif found.kind in ("enum", "flags"):
                field = Field(found.base, field.name, field.length, field.options)
            elif found.kind == "union":
                size = max(self.size(self.resolve(member)) or 0 for member in found.fields)
                field = Field("u8", field.name, size, field.options)
            else:
                return field
        return field

    def size(self, field: Field) -> int | None:
        """Bytes on the wire, None when variable."""
        if isinstance(field.length, str):
            return None
        if field.type == "string":
            one: int | None = 1
        elif field.type in BASE_TYPES:
            one = 8 if field.type == "f64" else struct.calcsize(">" + _CODES[field.type])
        else:
            self.compile(self.types[field.type])
            one = self.sizes[field.type]
        return None if one is None else one * (field.length if field.length is not None else 1)

    def compile(self, definition: Definition) -> None:
        """Write class and functions of a type or message, once."""
        name = definition.name
        if name in self.sizes:
            return
        fields = [self.resolve(found) for found in definition.fields]
        sizes = [self.size(found) for found in fields]
        self.sizes[name] = None if None in sizes else sum(size or 0 for size in sizes)
        shown = (
            [found for found in fields if found.name != "_vl_msg_id"]
            if definition.kind == "message"
            else fields
        )
        self._class(name, shown, definition.kind == "message")
        self._functions(name, fields)

    def _class(self, name: str, fields: list[Field], is_message: bool) -> None:
        names = tuple(found.name for found in fields)
        slots = (*names, "_vl_msg_id") if is_message else names
        parameters = ", ".join(f"{found.name}={self._default(found)}" for found in fields)
        self.lines += [f"class {name}(Message):", f"    __slots__ = {slots!r}", f"    _fields = {names!r}"]
        star = "*, " if is_message and names else ""
        self.lines.append(f"    def __init__(self, {star}{parameters}):")
        self.lines += ["        self._vl_msg_id = 0"] if is_message else ["        pass"]
        for found in fields:
            value = found.name
            if found.type not in BASE_TYPES and found.length is None:
                value = f"make_{found.type}() if {value} is None else {value}"
            self.lines.append(f"        self.{found.name} = {value}")
        self.lines.append(f"make_{name} = {name}")

    def _default(self, field: Field) -> str:
        default = field.options.get("default")
        if default is not None:
            return repr({"true": True, "false": False}.get(str(default), default))
        if field.type == "string":
            return "''"
        if field.length is not None:
            return "b''" if field.type == "u8" else "()"
        if field.type in BASE_TYPES:
            return {"bool": "False", "f64": "0.0"}.get(field.type, "0")
        return "None"

    def _functions(self, name: str, fields: list[Field]) -> None:
        counts = {
            found.length: found.name for found in fields if isinstance(found.length, str) and found.length
        }
        pack: list[str] = []
        unpack: list[str] = []
        values: dict[str, str] = {}
        run: list[Field] = []
        for found in [*fields, None]:
            if found is not None and self.size(found) is not None:
                run.append(found)
                continue
            if run:
                pack.append(self._pack_run(run, counts))
                values.update(self._unpack_run(run, unpack))
                run = []
            if found is not None:
                pack.append(self._pack_variable(found))
                values[found.name] = self._unpack_variable(found, unpack, values)
        arguments = [f"{key}={value}" for key, value in values.items() if key != "_vl_msg_id"]
        self.lines += [f"def pack_{name}(o):", "    return " + (" + ".join(pack) or "b''")]
        self.lines += [f"def unpack_{name}(data, at):", *("    " + line for line in unpack)]
        self.lines += [f"    o = {name}({', '.join(arguments)})"]
        if "_vl_msg_id" in values:
            self.lines.append(f"    o._vl_msg_id = {values['_vl_msg_id']}")
        self.lines.append("    return o, at")

    def _struct(self, layout: str) -> str:
        name = "S_" + layout.replace("?", "b_")
        self.namespace.setdefault(name, struct.Struct(">" + layout))
        return name

    def _pack_run(self, run: list[Field], counts: dict[str, str]) -> str:
        layout, values = "", []
        for found in run:
            expression = f"len(o.{counts[found.name]})" if found.name in counts else f"o.{found.name}"
            code, packed = self._flatten(found, expression)
            layout += code
            values += packed
        return f"{self._struct(layout)}.pack({', '.join(values)})"

    def _unpack_run(self, run: list[Field], lines: list[str]) -> dict[str, str]:
        layout, result = "", {}
        variables: list[str] = []
        for found in run:
            code, _ = self._flatten(found, "")
            layout += code
            result[found.name] = self._rebuild(found, variables)
        prefix = f"v{len(lines)}_"
        mapping = {name: prefix + name for name in variables}
        names = ", ".join(mapping[name] for name in variables)
        lines.append(
            f"{names}, = {self._struct(layout)}.unpack_from(data, at); at += {self._struct(layout)}.size"
        )
        return {key: value.replace("@", prefix) for key, value in result.items()}

    def _flatten(self, field: Field, o: str) -> tuple[str, list[str]]:
        """Struct codes of a fixed-size field, and the expressions that fill them."""
        if field.type == "string":
            return f"{field.length}s", [f"fixed_text({o}, {field.length})"]
        if field.type == "f64":
            return "8s", [f"F64.pack({o})"]
        if field.type in BASE_TYPES:
            if field.length is None:
                return _CODES[field.type], [o]
            if field.type == "u8":
                return f"{field.length}s", [f"fixed_bytes({o}, {field.length})"]
            return _CODES[field.type] * int(field.length), [f"*filled({o}, {field.length})"]
        if field.length is not None:
            size = self.size(field)
            return f"{size}s", [f"fixed_bytes(b''.join(map(pack_{field.type}, {o})), {size})"]
        layout, values = "", []
        for member in self.types[field.type].fields:
            code, packed = self._flatten(self.resolve(member), f"{o}.{member.name}")
            layout += code
            values += packed
        return layout, values

    def _rebuild(self, field: Field, variables: list[str]) -> str:
        """The expression that makes a fixed-size field from unpacked variables, which it names."""

        def variable() -> str:
            variables.append(f"a{len(variables)}")
            return f"@{variables[-1]}"

        if field.type == "string":
            return f"text({variable()})"
        if field.type == "f64":
            return f"F64.unpack({variable()})[0]"
        if field.type in BASE_TYPES:
            if field.length is None or field.type == "u8":
                return variable()
            return "(" + "".join(variable() + "," for _ in range(int(field.length))) + ")"
        if field.length is not None:
            size, name = self.sizes[field.type], variable()
            return f"tuple(unpack_{field.type}({name}, k)[0] for k in range(0, {self.size(field)}, {size}))"
        members = [self._rebuild(self.resolve(member), variables) for member in self.types[field.type].fields]
        return f"{field.type}({', '.join(members)})"

    def _pack_variable(self, field: Field) -> str:
        o = f"o.{field.name}"
        if field.type == "string":
            return f"pack_text({o})"
        if field.length is None:
            return f"pack_{field.type}({o})"
        return f"b''.join(map(pack_{field.type}, {o}))"

    def _unpack_variable(self, field: Field, lines: list[str], values: dict[str, str]) -> str:
        name = f"x_{field.name}"
        if field.type == "string":
            lines.append(f"{name}, at = unpack_text(data, at)")
        elif field.length is None:
            lines.append(f"{name}, at = unpack_{field.type}(data, at)")
        else:
            lines.append(f"{name} = []")
            lines.append(f"for _ in range({values[str(field.length)]}):")
            lines.append(f"    y, at = unpack_{field.type}(data, at); {name}.append(y)")
            lines.append(f"{name} = tuple({name})")
        return name


@cache
def codecs() -> dict[str, Codec]:
    """The codec of every declared message, by name."""
    modules = load().values()
    compiler = _Compiler(modules)
    messages = [found for module in modules for found in module.messages]
    for definition in [*compiler.types.values(), *messages]:
        if definition.kind in ("type", "struct", "message"):
            compiler.compile(definition)
    names = compiler.namespace
    exec(compile("\n".join(compiler.lines), "<codecs generated by embeddedvpp>", "exec"), names)
    return {
        found.name: Codec(
            found, names[found.name], names[f"pack_{found.name}"], names[f"unpack_{found.name}"]
        )
        for found in messages
    }


@cache
def types() -> dict[str, Callable[..., Any]]:
    """The generated classes of composite types, by name."""
    functions = codecs()["control_ping"].pack.__globals__
    return {
        found.name: functions[found.name]
        for module in load().values()
        for found in module.types
        if found.kind in ("type", "struct")
    }
