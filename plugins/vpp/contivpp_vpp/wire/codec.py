# SPDX-License-Identifier: Apache-2.0
"""Encoders and decoders, compiled from the declarations when a message is first used.

A compiled encoder is plain Python: it loads the fields, refuses what VPP must not get, and packs everything
of fixed size with one `struct.Struct`. No declaration is looked at for a message. Which field was refused is
found afterwards (`check`). Decoders take unknown numbers of enumerations as they are: a newer VPP may send
them. Emitting the Python text is in `emit`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from contivpp_vpp.wire import base, check, emit, schema
from contivpp_vpp.wire.errors import InvalidMessage, MalformedMessage
from contivpp_vpp.wire.parser import declarations

MessageType = TypeVar("MessageType", bound=base.Message)
_REFUSED = (struct.error, TypeError, ValueError, AttributeError, LookupError, OverflowError)


@dataclass(frozen=True, slots=True, eq=False)
class Codec(Generic[MessageType]):
    """How one message looks on the wire."""

    declaration: schema.Message
    type: type[MessageType]
    _encode: Callable[[Any, int, int, int], bytes]
    _decode: Callable[[bytes], MessageType]
    retval: struct.Struct
    """Reads the return value alone, from a reply."""

    def encode(self, message: MessageType, *, number: int, client_index: int = 0, context: int = 0) -> bytes:
        """The message as VPP reads it, without the frame's header; raises InvalidMessage."""
        return self.encode_fast(message, number, client_index, context)

    def encode_fast(self, message: MessageType, number: int, client_index: int, context: int) -> bytes:
        """`encode`, for loops over many messages."""
        try:
            return self._encode(message, number, client_index, context)
        except _REFUSED as error:
            raise self._explain(message, error) from None

    def decode(self, data: bytes) -> MessageType:
        """The message in the bytes of a frame; raises MalformedMessage."""
        try:
            return self._decode(data)
        except _REFUSED as error:
            name = self.declaration.name
            raise MalformedMessage(f"{name}: {len(data)} bytes do not hold one ({error})") from error

    def _explain(self, message: MessageType, error: Exception) -> Exception:
        name = self.declaration.name
        if type(message) is not self.type:
            return InvalidMessage(f"{name}: {message!r} is not a {self.type.__name__}")
        found = next(check.problems(self.declaration.body, message), None)
        if found is None and self.declaration.retval:
            found = next(check.problems(_RETVAL, message), None)
        return InvalidMessage(f"{name}: {found}") if found else error


_RETVAL = schema.Structure("reply", (schema.Field("retval", schema.Scalar("i32")),))
_codecs: dict[type[base.Message], Codec[Any]] = {}


def codec(message: type[MessageType]) -> Codec[MessageType]:
    """The codec of a message class; compiled at the first call."""
    found = _codecs.get(message)
    if found is None:
        found = _codecs[message] = _compile(message)
    return found


def _compile(message: type[MessageType]) -> Codec[MessageType]:
    declaration = declarations().messages[message.MESSAGE]
    classes = import_module("contivpp_vpp.messages").__dict__
    encode = emit.compile_encoder(declaration, classes)
    decode = emit.compile_decoder(declaration, classes)
    retval = struct.Struct(f">{emit.retval_offset(declaration)}xi")
    return Codec(declaration, message, encode, decode, retval)
