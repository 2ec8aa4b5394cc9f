# SPDX-License-Identifier: Apache-2.0
"""What the messages of VPP v26.06 look like, one module of declarations for each API module of VPP.

One declaration is one line; an indented line continues it:

``enum NAME BASE: A=1; B=2`` (``flags`` likewise), ``alias NAME TYPE[N]``, ``union``, ``type`` and ``struct`` (VPP's
JSON ends the one with an empty options object, the other not), and messages with their CRC: ``request`` (message id,
client index and context come first), ``reply`` (message id, context) and ``message`` (message id alone).
Fields are ``TYPE NAME``, ``TYPE NAME[8]``, ``TYPE NAME[count]`` with an earlier field as count, ``string NAME[]``; a
JSON object after it holds VPP's field options. ``service REQUEST REPLY`` tells what answers, ``stream`` a dump.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from functools import cache

MODULES = (
    "ip_types", "ethernet_types", "interface_types", "fib_types", "vpe_types",
    "memclnt", "vlib", "interface", "ip", "ip_neighbor", "fib", "vpe", "af_packet", "tapv2",
    "l2", "vxlan",
)  # fmt: skip
BASE_TYPES = frozenset(("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f64", "bool", "string"))
_HEADS = {"request": ("client_index", "context"), "reply": ("context",), "message": ()}


@dataclass(frozen=True, slots=True)
class Field:
    """A field; ``length`` is None (scalar), a number, or the name of the field that counts ("" for strings)."""

    type: str
    name: str
    length: int | str | None = None
    options: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definition:
    """A type or a message."""

    kind: str
    name: str
    base: str = ""
    crc: str = ""
    values: tuple[tuple[str, int], ...] = ()
    fields: tuple[Field, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def name_crc(self) -> str:
        """How the message table names a message."""
        return f"{self.name}_{self.crc}"


@dataclass(frozen=True, slots=True)
class Service:
    """What answers a request."""

    request: str
    reply: str
    stream: bool
    events: tuple[str, ...]


@dataclass(slots=True)
class Module:
    """One API module."""

    name: str
    version: str
    crc: str
    imports: list[str] = field(default_factory=list)
    types: list[Definition] = field(default_factory=list)
    messages: list[Definition] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)


@cache
def load() -> dict[str, Module]:
    """All modules by name, in the order in which VPP numbers their messages."""
    return {name: parse(importlib.import_module(f".{name}", __name__).TEXT) for name in MODULES}


def parse(text: str) -> Module:
    """Read the declarations of one module."""
    lines = text.replace("\n    ", " ").strip().splitlines()
    _, name, version, crc = lines[0].split()
    module = Module(name, version, crc)
    for line in lines[1:]:
        head, _, body = line.partition(":")
        words = head.split()
        if words[0] == "import":
            module.imports.append(words[1])
        elif words[0] == "service":
            events = tuple(words[words.index("events") + 1 :]) if "events" in words else ()
            module.services.append(Service(words[1], words[2], "stream" in words, events))
        elif words[0] in _HEADS:
            module.messages.append(_message(words, body))
        else:
            module.types.append(_type(words, body))
    return module


def _message(words: list[str], body: str) -> Definition:
    head = (Field("u16", "_vl_msg_id"), *(Field("u32", name) for name in _HEADS[words[0]]))
    options = tuple(word[1:] for word in words[3:])
    return Definition("message", words[1], crc=words[2], fields=head + _fields(body), options=options)


def _type(words: list[str], body: str) -> Definition:
    kind, name = words[:2]
    if kind in ("enum", "flags"):
        pairs = (item.strip().partition("=") for item in body.split(";"))
        return Definition(
            kind, name, words[2], values=tuple((label, int(value)) for label, _, value in pairs)
        )
    if kind == "alias":
        return Definition(
            kind, name, fields=(_field(f"{words[2].partition('[')[0]} {name}{_length(words[2])}"),)
        )
    return Definition(kind, name, fields=_fields(body))


def _length(word: str) -> str:
    return word[word.index("[") :] if "[" in word else ""


def _fields(body: str) -> tuple[Field, ...]:
    return tuple(_field(item.strip()) for item in body.split(";") if item.strip())


def _field(text: str) -> Field:
    declaration, brace, rest = text.partition(" {")
    type_name, name = declaration.split()
    options = json.loads("{" + rest) if brace else {}
    name, bracket, length = name.partition("[")
    if not bracket:
        return Field(type_name, name, None, options)
    length = length.rstrip("]")
    return Field(type_name, name, int(length) if length.isdigit() else length, options)
