# SPDX-License-Identifier: Apache-2.0
"""Reads the declarations.

The format has one block for each thing: a head line, and indented lines for members or fields. `#` starts a
comment.

    enum NAME BASE                     members `NAME = number`; `flags` instead of `enum` for bits that combine
    alias NAME WIRE                    another name for a wire form
    union NAME                         arms `MEMBER: WIRE` (bytes), named like members of the enumeration that chooses
    type NAME                          a structure
    request NAME CRC -> REPLY          a message; also `dump NAME CRC -> DETAILS`
    reply NAME CRC                     also `details`, `event`

A field is `name: WIRE`, or `name: WIRE = default`. Wire forms: u8 … i64, f64, bool, `string[64]`, `string`
(of any length), a declared name, `u8[6]` (bytes), `X[4]` (exactly four), `X[n]` (counted by the field n
before it), `X[16 by n]` (sixteen on the wire, n in use), `U by field` (union).

Rules can follow, for what VPP does not check itself: `needs FIELD when FIELD is MEMBER, MEMBER` (the field must not
be its default then), `only FIELD is MEMBER, MEMBER`, `limit FIELD to bits of FIELD`, and for arrays `limit FIELD to 255
elements` and `limit sum of MEMBER in FIELD to 1..255`.

The number, client index, context and return value that every message begins with are not written down; `without
client_index`, `with client_index`, `retval as NAME` and `retval last` after the CRC say where a message deviates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

from contivpp_vpp.wire import schema
from contivpp_vpp.wire.schema import Kind

_RULE_NEEDS = re.compile(r"needs (\w+) when (\w+) is ([\w, ]+)$")
_RULE_ONLY = re.compile(r"only (\w+) is ([\w, ]+)$")
_RULE_LIMIT = re.compile(r"limit (\w+) to bits of (\w+)$")
_RULE_MOST = re.compile(r"limit (\w+) to (\d+) elements$")
_RULE_SUM = re.compile(r"limit sum of (\w+) in (\w+) to (\d+)\.\.(\d+)$")
_ARRAY = re.compile(r"(\w+)\[(?:(\d+)|(\w+)|(\d+) by (\w+))\]$")
_MESSAGE = re.compile(
    r"(\w+) (0x[0-9a-f]{8})((?: with client_index| without client_index)?)(?: retval as (\w+))?( retval last)?"
    r"(?: -> (\w+))?$"
)

Named = schema.Enumeration | schema.Union | schema.Structure | schema.Wire


class DeclarationError(ValueError):
    """A declaration cannot be read; says file, line and reason."""


class Declarations:
    """All declarations of some files. Names are global, as they are in VPP; files are read in the order given."""

    def __init__(self) -> None:
        self.named: dict[str, Named] = {}
        self.messages: dict[str, schema.Message] = {}
        self.files: dict[str, list[str]] = {}

    def read(self, name: str, text: str) -> None:
        """Add one file; `files[name]` then lists what it declares, in its order."""
        declared = self.files.setdefault(name, [])
        for number, head, lines in _blocks(text):
            try:
                declared.append(self._block(head, lines))
            except (DeclarationError, KeyError, ValueError) as error:
                raise DeclarationError(f"{name}:{number}: {head}: {error}") from error

    def _block(self, head: str, lines: list[str]) -> str:
        word, _, rest = head.partition(" ")
        if word in ("enum", "flags"):
            name, base = rest.split()
            members = tuple((m.strip(), int(v, 0)) for m, v in (line.split("=") for line in lines))
            return self._add(name, schema.Enumeration(name, base, word == "flags", members))
        if word == "alias":
            name, _, wire = rest.partition(" ")
            return self._add(name, self._wire(wire, {}))
        if word == "union":
            arms = tuple((arm, self._bytes(wire.strip())) for arm, wire in (line.split(":") for line in lines))
            return self._add(rest, schema.Union(rest, arms))
        if word == "type":
            return self._add(rest, _collapse(self._structure(rest, lines)))
        return self._message(Kind(word), rest, lines)

    def _add(self, name: str, value: Named) -> str:
        if name in self.named:
            raise DeclarationError(f"{name} is declared twice")
        self.named[name] = value
        return name

    def _message(self, kind: Kind, head: str, lines: list[str]) -> str:
        match = _MESSAGE.match(head)
        if match is None:
            raise DeclarationError("a message is `KIND NAME CRC`, a request or dump also has `-> ANSWER`")
        name, crc, client, retval, last, answer = match.groups()
        if name in self.messages:
            raise DeclarationError(f"{name} is declared twice")
        if bool(answer) != (kind in (Kind.REQUEST, Kind.DUMP)):
            raise DeclarationError("`-> ANSWER` belongs to requests and dumps, and only there")
        self.messages[name] = schema.Message(
            kind=kind,
            crc=int(crc, 16),
            body=self._structure(name, lines),
            answer=answer or "",
            client_index={"": kind in (Kind.REQUEST, Kind.DUMP, Kind.EVENT)}.get(client, "without" not in client),
            context=kind is not Kind.EVENT,
            retval=(retval or "retval") if kind is Kind.REPLY else "",
            retval_last=last is not None,
        )
        return name

    def _structure(self, name: str, lines: list[str]) -> schema.Structure:
        fields: dict[str, schema.Field] = {}
        rules: list[schema.Rule] = []
        for line in lines:
            if rule := _rule(line, fields):
                rules.append(rule)
            else:
                field = self._field(line, fields)
                fields[field.name] = field
        return schema.Structure(name, tuple(fields.values()), tuple(rules))

    def _field(self, line: str, before: dict[str, schema.Field]) -> schema.Field:
        name, colon, rest = line.partition(":")
        if not colon:
            raise DeclarationError(f"`{line}` is neither a field nor a rule")
        if name in before:
            raise DeclarationError(f"field {name} is declared twice")
        wire, _, default = (part.strip() for part in rest.partition("="))
        return schema.Field(name, self._wire(wire, before), default or None)

    def _wire(self, text: str, before: dict[str, schema.Field]) -> schema.Wire:
        if " by " in text and "[" not in text:
            union, _, discriminator = text.partition(" by ")
            return self._union_field(union, discriminator, before)
        if match := _ARRAY.match(text):
            element, size, counter, most, used = match.groups()
            if element == "string":
                return schema.Text(int(size))
            if element == "u8" and size:
                return schema.Bytes(int(size))
            return schema.Array(self._wire(element, before), int(size or most or 0), counter or used or "")
        match text:
            case "bool":
                return schema.Bool()
            case "f64":
                return schema.Float()
            case "string":
                return schema.Text(0)
        if text in schema.SCALARS:
            return schema.Scalar(text)
        named = self.named.get(text)
        if named is None or isinstance(named, schema.Union):
            raise DeclarationError(f"unknown wire form {text!r}")
        return named

    def _union_field(self, name: str, discriminator: str, before: dict[str, schema.Field]) -> schema.Choice:
        union = self.named[name]
        chooser = before.get(discriminator)
        if not isinstance(union, schema.Union) or chooser is None or not isinstance(chooser.wire, schema.Enumeration):
            raise DeclarationError(f"`{name} by {discriminator}` wants a union and an enumeration before it")
        return schema.Choice(union, discriminator, chooser.wire)

    def _bytes(self, text: str) -> int:
        wire = self._wire(text, {})
        if not isinstance(wire, schema.Bytes):
            raise DeclarationError(f"arms of a union are bytes, {text} is not")
        return wire.size


def _rule(line: str, fields: dict[str, schema.Field]) -> schema.Rule | None:
    """A line as a rule over the fields before it; None when it is none."""
    if match := _RULE_NEEDS.match(line):
        none = int(fields[match[1]].default or "0", 0)
        return schema.Needs(match[1], match[2], _members(match[3]), none)
    if match := _RULE_ONLY.match(line):
        return schema.Only(match[1], _members(match[2]))
    if match := _RULE_LIMIT.match(line):
        return schema.Limit(match[1], match[2])
    if match := _RULE_MOST.match(line):
        return schema.Most(match[1], int(match[2]))
    if match := _RULE_SUM.match(line):
        return schema.Sum(match[1], match[2], int(match[3]), int(match[4]))
    return None


def _members(text: str) -> tuple[str, ...]:
    return tuple(member.strip() for member in text.split(","))


def _collapse(structure: schema.Structure) -> schema.Structure | schema.Address:
    """A discriminator and its union alone are an address: its length says which arm it is."""
    match structure.fields:
        case (schema.Field(wire=schema.Enumeration()), schema.Field(wire=schema.Choice(union=union, enumeration=enum))):
            return schema.Address(structure.name, union, enum)
    return structure


def _blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    head, start, lines = "", 0, []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].rstrip()
        if not line:
            continue
        if line[0].isspace():
            lines.append(line.strip())
            continue
        if head:
            yield start, head, lines
        head, start, lines = line, number, []
    if head:
        yield start, head, lines


@cache
def declarations() -> Declarations:
    """The declarations of this package, read once: the common types first, then by file name."""
    result = Declarations()
    folder = resources.files("contivpp_vpp.wire") / "declarations"
    texts = {f.name.removesuffix(".messages"): f for f in folder.iterdir() if f.name.endswith(".messages")}
    for name in sorted(texts, key=lambda name: (name != "types", name)):
        result.read(name, texts[name].read_text(encoding="utf-8"))
    return result
