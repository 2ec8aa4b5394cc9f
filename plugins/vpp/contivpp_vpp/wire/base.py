# SPDX-License-Identifier: Apache-2.0
"""Base classes of the generated message classes.

What a message *is* shows in its base class: a `Request` knows the class of its reply, a `Dump` that of its
details, so that `await connection.request(message)` has the right type. The class variables are in capitals
because VPP's fields are called `name`, `type` and the like.
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import msgspec


class Structure(msgspec.Struct, frozen=True, gc=False):
    """A type of VPP's API that is part of messages."""

    TYPE: ClassVar[str] = ""


class Message(msgspec.Struct, frozen=True, gc=False):
    """Any message; VPP knows it by its name and CRC."""

    MESSAGE: ClassVar[str] = ""
    CRC: ClassVar[int] = 0

    @classmethod
    def table_name(cls) -> str:
        """The name under which VPP announces this message, with exactly this layout."""
        return f"{cls.MESSAGE}_{cls.CRC:08x}"


class Reply(Message, frozen=True, kw_only=True, gc=False):
    """The answer to a request. Negative return values are raised as errors by the connection."""

    retval: int = 0


class Details(Message, frozen=True, gc=False):
    """One object in the answer to a dump."""


class Event(Message, frozen=True, gc=False):
    """A message that VPP sends by itself, after a client asked for such events."""


ReplyType = TypeVar("ReplyType", bound=Reply)
DetailsType = TypeVar("DetailsType", bound=Details)


class Request(Message, Generic[ReplyType], frozen=True, gc=False):
    """A message that is answered by one reply."""

    REPLY: ClassVar[type[Reply]]


class Dump(Message, Generic[DetailsType], frozen=True, gc=False):
    """A message that is answered by any number of details, and no end mark of its own."""

    DETAILS: ClassVar[type[Details]]
