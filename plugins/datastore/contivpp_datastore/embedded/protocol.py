# SPDX-License-Identifier: Apache-2.0
"""What client and server of the embedded store say to each other.

A frame is its length in bytes (4, big-endian) and a message in MessagePack. The client sends requests, each with a
number of its own; the server answers each, in any order, with that number. A listing may come in several answers
(`more`). A `Watch` is answered by batches without end; closing the connection ends it, so a watch has a connection of
its own, and one that does not read holds up nobody else.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from contivpp_core.errors import ContivError
from contivpp_core.kvstore import Compare, DeleteKey, KeyValue, PutKey, WatchEvent

__all__ = [
    "ANSWER_BYTES",
    "REQUEST_BYTES",
    "VERSION",
    "Answer",
    "Batch",
    "Delete",
    "Done",
    "Failed",
    "Frames",
    "Get",
    "Grant",
    "Hello",
    "Items",
    "KeepAlive",
    "List",
    "Malformed",
    "Operation",
    "Put",
    "Request",
    "Revoke",
    "Transaction",
    "Watch",
    "decode_answers",
    "decode_request",
    "encode",
    "operation",
    "unwrapped",
]

VERSION = 1
REQUEST_BYTES = 8 << 20
ANSWER_BYTES = 64 << 20

Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Malformed(ContivError):
    """The other side does not speak the protocol."""


class _Message(msgspec.Struct, frozen=True, tag_field="type"):
    id: Number


# --- requests


class Hello(_Message, frozen=True, tag="hello"):
    """The first request of a connection: the version of the protocol that the client speaks."""

    version: int


class Get(_Message, frozen=True, tag="get"):
    """Answered by `Items` with one item or none."""

    key: str


class List(_Message, frozen=True, tag="list"):
    """Answered by `Items`."""

    prefix: str


class Put(_Message, frozen=True, tag="put"):
    """Answered by `Done` with the revision."""

    key: str
    value: bytes
    lease: Number = 0


class Delete(_Message, frozen=True, tag="delete"):
    """Answered by `Done`, `succeeded` if the key was there."""

    key: str


class Operation(msgspec.Struct, frozen=True):
    """A put, or a delete when `value` is None."""

    key: str
    value: bytes | None = None
    lease: Number = 0


class Transaction(_Message, frozen=True, tag="transaction"):
    """Answered by `Done`."""

    compares: tuple[Compare, ...]
    success: tuple[Operation, ...]
    failure: tuple[Operation, ...]


class Watch(_Message, frozen=True, tag="watch"):
    """Answered by `Batch`, again and again."""

    prefix: str
    begin: Number


class Grant(_Message, frozen=True, tag="grant"):
    """Answered by `Done`, with the lease in place of the revision."""

    ttl: float


class KeepAlive(_Message, frozen=True, tag="keep_alive"):
    """Answered by `Done`."""

    lease: Number


class Revoke(_Message, frozen=True, tag="revoke"):
    """Answered by `Done`."""

    lease: Number


Request = Hello | Get | List | Put | Delete | Transaction | Watch | Grant | KeepAlive | Revoke


# --- answers


class Items(_Message, frozen=True, tag="items"):
    """Keys and values; `more` follow unless it is the last answer."""

    revision: int
    items: tuple[KeyValue, ...]
    more: bool = False


class Done(_Message, frozen=True, tag="done"):
    """Something was done."""

    revision: int = 0
    succeeded: bool = True


class Batch(_Message, frozen=True, tag="batch"):
    """What a watch saw up to `revision`."""

    revision: int
    events: tuple[WatchEvent, ...]


class Failed(_Message, frozen=True, tag="failed"):
    """`error` is `compacted` (with `oldest`), `lease_lost`, `unavailable` or `refused`."""

    error: str
    message: str
    oldest: int = 0


Answer = Items | Done | Batch | Failed

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(Answer)


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add what came, and return the frames that are complete; one that is too long is `Malformed`."""
        self._buffer += data
        frames = []
        begin = 0
        while len(self._buffer) - begin >= 4:
            length = int.from_bytes(self._buffer[begin : begin + 4], "big")
            if length > self._limit:
                raise Malformed(f"a frame of {length} bytes; at most {self._limit} are taken")
            if len(self._buffer) - begin - 4 < length:
                break
            frames.append(bytes(self._buffer[begin + 4 : begin + 4 + length]))
            begin += 4 + length
        del self._buffer[:begin]
        return frames


def encode(message: Request | Answer) -> bytes:
    """Return the message's frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def decode_request(frame: bytes) -> Request:
    """Return the request in a frame; raise `Malformed`."""
    return _decoded(_requests, frame)  # type: ignore[no-any-return]


def decode_answers(frames: list[bytes]) -> list[Answer]:
    """Return the answers in frames; raise `Malformed`."""
    return [_decoded(_answers, frame) for frame in frames]


def _decoded(decoder: msgspec.msgpack.Decoder[Any], frame: bytes) -> Any:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a frame of {len(frame)} bytes: {error}") from error


def operation(core: PutKey | DeleteKey) -> Operation:
    """Return an operation as it is sent."""
    return Operation(core.key, core.value, core.lease) if isinstance(core, PutKey) else Operation(core.key)


def unwrapped(sent: Operation) -> PutKey | DeleteKey:
    """Return an operation as the store takes it."""
    return DeleteKey(sent.key) if sent.value is None else PutKey(sent.key, sent.value, sent.lease)
