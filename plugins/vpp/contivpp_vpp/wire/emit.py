# SPDX-License-Identifier: Apache-2.0
"""Writes the Python text of encoders and decoders, and compiles it.

Both work alike: fields of fixed size are gathered into one format for `struct`; a part of variable size (a
string, a counted array) ends the gathering, and a new one begins behind it. Structures are flattened into
their container, and arrays of them into a loop: no function is called for an element but that of its `struct`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from contivpp_vpp.wire import schema
from contivpp_vpp.wire.decoder import Decoder, Retval
from contivpp_vpp.wire.encoder import Encoder
from contivpp_vpp.wire.source import size_of


def compile_encoder(message: schema.Message, classes: Mapping[str, Any]) -> Callable[[Any, int, int, int], bytes]:
    """encode(message, number, client_index, context) → bytes."""
    encoder = Encoder(classes)
    encoder.slot("H", "number")
    if message.client_index:
        encoder.slot("I", "client_index")
    if message.context:
        encoder.slot("I", "context")
    if message.retval and not message.retval_last:
        encoder.slot("i", "message.retval")
    encoder.structure(message.body, "message")
    if message.retval_last:
        encoder.slot("i", "message.retval")
    return encoder.finish("encode(message, number, client_index, context)")


def compile_decoder(message: schema.Message, classes: Mapping[str, Any]) -> Callable[[bytes], Any]:
    """decode(data) → message."""
    decoder = Decoder(classes)
    decoder.lines.append("offset = 0")
    decoder.skip(2 + 4 * message.client_index + 4 * message.context)
    retval = (Retval.LAST if message.retval_last else Retval.FIRST) if message.retval else Retval.NONE
    return decoder.finish("decode(data)", decoder.structure(message.body, retval))


def retval_offset(message: schema.Message) -> int:
    """Where the return value of a reply is."""
    head = 2 + 4 * message.client_index + 4 * message.context
    return head + (size_of(message.body) if message.retval_last else 0)
