# SPDX-License-Identifier: Apache-2.0
"""What a declaration says, as values: the common ground of the parser, the generator and the codec compiler.

A field's wire form is a scalar, an enumeration, a string, bytes, a structure, a union, or an array of these.
Counters of arrays and discriminators of unions are on the wire, but not in the Python classes: there the
value itself says them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SCALARS = {  # name: (struct code, smallest, largest)
    "u8": ("B", 0, 0xFF),
    "i8": ("b", -0x80, 0x7F),
    "u16": ("H", 0, 0xFFFF),
    "i16": ("h", -0x8000, 0x7FFF),
    "u32": ("I", 0, 0xFFFFFFFF),
    "i32": ("i", -0x80000000, 0x7FFFFFFF),
    "u64": ("Q", 0, 0xFFFFFFFFFFFFFFFF),
    "i64": ("q", -0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
}


@dataclass(frozen=True)
class Scalar:
    """An integer of fixed width, in network order."""

    name: str


@dataclass(frozen=True)
class Bool:
    """One byte, 0 or 1."""


@dataclass(frozen=True)
class Float:
    """f64: VPP sends it in the byte order of the host, both ends being on one machine."""


@dataclass(frozen=True)
class Text:
    """A string: NUL-padded in `size` bytes, or, when size is 0, a 32-bit length and the bytes."""

    size: int


@dataclass(frozen=True)
class Enumeration:
    """Named numbers (`flags`: bits that combine)."""

    name: str
    base: str
    flags: bool
    members: tuple[tuple[str, int], ...]

    def value(self, member: str) -> int:
        return dict(self.members)[member]


@dataclass(frozen=True)
class Bytes:
    """`u8[N]`."""

    size: int


@dataclass(frozen=True)
class Union:
    """Bytes whose length depends on a discriminator: arm by name of the enumeration's member."""

    name: str
    arms: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        return max(size for _, size in self.arms)


@dataclass(frozen=True)
class Choice:
    """A union in a structure, with the field that says which arm is meant."""

    union: Union
    discriminator: str
    enumeration: Enumeration


@dataclass(frozen=True)
class Address:
    """A structure of only a discriminator and its union: in Python the bytes alone, the length says the arm."""

    name: str
    union: Union
    enumeration: Enumeration


@dataclass(frozen=True)
class Array:
    """`size` elements (0: as many as the counter says); `counter` names the field that counts those in use."""

    element: Wire
    size: int
    counter: str


@dataclass(frozen=True)
class Needs:
    """A rule: `field` must not be `none` (its default) when `discriminator` has one of the values."""

    field: str
    discriminator: str
    members: tuple[str, ...]
    none: int


@dataclass(frozen=True)
class Only:
    """A rule: of an enumeration's values VPP stands only these here."""

    field: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Limit:
    """A rule: `field` is at most the number of bits in the bytes of `of`."""

    field: str
    of: str


@dataclass(frozen=True)
class Most:
    """A rule: an array has at most so many elements, whatever its counter can count."""

    field: str
    count: int


@dataclass(frozen=True)
class Sum:
    """A rule: the sum of a number over the elements of an array is in these bounds, unless there are no elements."""

    member: str
    field: str
    smallest: int
    largest: int


@dataclass(frozen=True)
class Field:
    """One field; the default is as written in the declaration."""

    name: str
    wire: Wire
    default: str | None = None


@dataclass(frozen=True)
class Structure:
    """A structure. Fields in wire order, and rules over them."""

    name: str
    fields: tuple[Field, ...]
    rules: tuple[Rule, ...] = ()

    def enumeration(self, name: str) -> Enumeration:
        """The enumeration of a field that a rule names."""
        for field in self.fields:
            if field.name == name and isinstance(field.wire, Enumeration):
                return field.wire
        raise ValueError(f"{self.name}: {name} is no enumeration")

    def smallest(self, name: str) -> int:
        """The bytes that a field which a rule names has at least."""
        for field in self.fields:
            if field.name == name and isinstance(field.wire, Address):
                return min(size for _, size in field.wire.union.arms)
        return 0

    @property
    def is_leaf(self) -> bool:
        """Whether it has no structures or arrays in it."""
        return all(isinstance(field.wire, Scalar | Bool | Bytes | Enumeration | Address) for field in self.fields)

    def hidden(self) -> set[str]:
        """Counters: on the wire, but not in the class."""
        return {field.wire.counter for field in self.fields if isinstance(field.wire, Array) and field.wire.counter}


Rule = Needs | Only | Limit | Most | Sum
Wire = Scalar | Bool | Float | Text | Enumeration | Bytes | Choice | Address | Array | Structure


class Kind(Enum):
    """What a message does in a dialogue."""

    REQUEST = "request"
    DUMP = "dump"
    REPLY = "reply"
    DETAILS = "details"
    EVENT = "event"


@dataclass(frozen=True)
class Message:
    """A message; `client_index`, `context` and `retval` (by its name there) follow the message number.

    With `retval_last`, the return value is the end of the message instead.
    """

    kind: Kind
    crc: int
    body: Structure
    answer: str = ""
    client_index: bool = False
    context: bool = True
    retval: str = ""
    retval_last: bool = False

    @property
    def name(self) -> str:
        return self.body.name


def class_name(name: str) -> str:
    """ip_route_add_del_v2 → IpRouteAddDelV2."""
    return "".join(part.capitalize() for part in name.split("_"))
