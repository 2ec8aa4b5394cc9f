# SPDX-License-Identifier: Apache-2.0
"""Lists and watches of one kind, from JSON to records.

msgspec decodes a page, or all events of a block, in one call and only the fields that the kind's shape names; all else
is skipped without being made. Only where that fails is each object looked at by itself, so that one that is malformed
costs nobody else anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from contivpp_core.kubernetes import shape_of
from contivpp_core.records import Record, Table
from contivpp_ksr.client import Status

__all__ = ["Event", "Malformed", "Page", "Reader", "What"]

INITIAL_END = "k8s.io/initial-events-end"
LONGEST_REASON = 300
PAGE_BYTES = 5 << 19
"""What a page after the first is to have: it is unpacked and decoded in one turn of the event loop, some 7 ms."""
PAGE_OBJECTS = 5000
"""Records of small objects take longer to make than bytes to read."""

R = TypeVar("R", bound=Record)


class Malformed(NamedTuple):
    """An object that cannot be read. `key` is "" where it does not even tell its name."""

    key: str
    version: str
    reason: str


class What(Enum):
    """What an event of a watch tells."""

    PUT = "put"
    DELETED = "deleted"
    MALFORMED = "malformed"
    BOOKMARK = "bookmark"
    ERROR = "error"


class Event(NamedTuple):
    """An event: a `record`, or what is wrong with one; `initial_end` is the bookmark that ends a first list."""

    what: What
    version: str
    key: str = ""
    record: Any = None
    malformed: Malformed | None = None
    status: Status | None = None
    initial_end: bool = False


class Page(NamedTuple):
    """A page of a list: the list's version, the token of the next page, objects for `Reader.take`, and its bytes."""

    version: str
    following: str
    objects: list[Any]
    size: int

    def fitting(self, limit: int) -> int:
        """Return how many objects the page after this one should have; this one was asked for with `limit`."""
        if not self.objects:
            return limit
        return max(1, min(len(self.objects) * PAGE_BYTES // self.size, PAGE_OBJECTS))


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Identity(msgspec.Struct):
    metadata: _Meta


class _Name(msgspec.Struct, rename="camel"):
    name: str | None = None
    namespace: str | None = None
    resource_version: str | None = None


class _Named(msgspec.Struct):
    metadata: _Name


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str
    following: str = msgspec.field(default="", name="continue")


class _RawPage(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct, tag="BOOKMARK", tag_field="type"):
    object: _Identity


class _Error(msgspec.Struct, tag="ERROR", tag_field="type"):
    object: Status


_identity = msgspec.json.Decoder(_Identity)
_named = msgspec.json.Decoder(_Named)
_raw_page = msgspec.json.Decoder(_RawPage)
_raw_event = msgspec.json.Decoder(_RawEvent)
_status = msgspec.json.Decoder(Status)


class Reader(Generic[R]):
    """Reads objects of one table's kind; `shape` and `make` are those of `kubernetes.shape_of` unless given."""

    def __init__(
        self,
        table: Table[R],
        shape: type[Any] | None = None,
        make: Callable[[Any], R] | None = None,
    ) -> None:
        if shape is None or make is None:
            shape, make = shape_of(table.record)
        self.table = table
        self._shape = shape
        self._make = make
        self._object = msgspec.json.Decoder(shape)
        page: Any = msgspec.defstruct("Page", [("metadata", _ListMeta), ("items", list[shape] | None, None)])  # type: ignore[valid-type]
        self._page = msgspec.json.Decoder(page)
        kinds: dict[str, Any] = {
            name: msgspec.defstruct(name.capitalize(), [("object", shape)], tag=name, tag_field="type")
            for name in ("ADDED", "MODIFIED", "DELETED")
        }
        self._deleted = kinds["DELETED"]
        union: Any = kinds["ADDED"] | kinds["MODIFIED"] | self._deleted | _Bookmark | _Error
        self._events = msgspec.json.Decoder(union)

    # --- lists

    def page(self, body: bytes) -> Page:
        """Take a page apart; raise msgspec.MsgspecError for what is no list at all."""
        try:
            found: Any = self._page.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found = _raw_page.decode(body)
        return Page(found.metadata.resource_version, found.metadata.following, found.items or [], len(body))

    def take(self, objects: Sequence[Any], records: dict[str, R]) -> list[Malformed]:
        """Add the records of a page's objects, by their keys; return what cannot be read."""
        make, key = self._make, self.table.key
        malformed = []
        for each in objects:
            try:
                found = make(each)
            except Exception:  # it cannot be read, or has to be decoded first
                alone = self.record(each)
                if isinstance(alone, Malformed):
                    malformed.append(alone)
                    continue
                found = alone
            records[key(found)] = found
        return malformed

    def record(self, found: Any) -> R | Malformed:
        """Return the record of an object of a page."""
        if type(found) is not msgspec.Raw:
            return self._made(found)
        try:
            return self._made(self._object.decode(found))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            meta = _meta(found)
            return Malformed(self._key(meta), meta.resource_version, _reason(error))

    # --- watches

    def events(self, block: bytes) -> Iterator[Event]:
        """Return what whole lines tell; raise msgspec.MsgspecError for a line that is no event at all."""
        try:
            found = self._events.decode_lines(block)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return iter([self._single(line) for line in block.splitlines() if line.strip()])
        return map(self._event, found)

    def _event(self, found: Any) -> Event:
        if type(found) is _Bookmark:
            return _bookmark(found.object.metadata)
        if type(found) is _Error:
            return Event(What.ERROR, "", status=found.object)
        shape = found.object
        if type(found) is self._deleted:
            return Event(What.DELETED, shape.metadata.resource_version, self._key(shape.metadata))
        return self._told(self._made(shape), shape.metadata.resource_version)

    def _single(self, line: bytes) -> Event:
        try:
            return self._event(self._events.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failed:
            error = failed
        found = _raw_event.decode(line)
        if found.type == "ERROR":
            return Event(What.ERROR, "", status=_status.decode(found.object))
        meta = _meta(found.object)
        if found.type == "BOOKMARK":
            return _bookmark(meta)
        if found.type == "DELETED":
            return Event(What.DELETED, meta.resource_version, self._key(meta))
        return self._told(Malformed(self._key(meta), meta.resource_version, _reason(error)), meta.resource_version)

    def _told(self, record: R | Malformed, version: str) -> Event:
        if isinstance(record, Malformed):
            return Event(What.MALFORMED, version, record.key, malformed=record)
        return Event(What.PUT, version, self.table.key(record), record)

    # --- both

    def _made(self, shape: Any) -> R | Malformed:
        try:
            return self._make(shape)
        except Exception as error:  # whatever it is, it concerns this object alone
            return Malformed(self._key(shape.metadata), shape.metadata.resource_version, _reason(error))

    def _key(self, meta: Any) -> str:
        return f"{meta.namespace}/{meta.name}" if self.table.namespace is not None and meta.name else str(meta.name)


def _meta(found: msgspec.Raw) -> _Meta:
    try:
        return _identity.decode(found).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        told = _named.decode(found).metadata  # its name is enough to keep what is known of it
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Meta()
    return _Meta(told.name or "", told.namespace or "", told.resource_version or "")


def _bookmark(meta: _Meta) -> Event:
    return Event(What.BOOKMARK, meta.resource_version, initial_end=(meta.annotations or {}).get(INITIAL_END) == "true")


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, msgspec.MsgspecError) else f"{type(error).__name__}: {error}"
    return text[:LONGEST_REASON]
