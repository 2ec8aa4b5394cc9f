# SPDX-License-Identifier: Apache-2.0
"""Where reflected records go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

from contivpp_core.records import Record
from contivpp_ksr.resources import Resource

__all__ = ["Change", "Sink", "Tee"]


class Change(NamedTuple):
    """A record by its key, or None for one that is gone."""

    key: str
    record: Record | None


class Sink(Protocol):
    """Takes what a `Reflector` delivers, in its order. It keeps up by leaving out what is outdated already."""

    async def replace(self, resource: Resource, records: Mapping[str, Record], kept: AbstractSet[str]) -> None:
        """Take a full list. The keys in `kept` exist, and cannot be read: their last good records stay."""

    def apply(self, resource: Resource, changes: Sequence[Change]) -> None:
        """Take changes since the list; must not block."""


class Tee:
    """Delivers to several sinks."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    async def replace(self, resource: Resource, records: Mapping[str, Record], kept: AbstractSet[str]) -> None:
        """Hand a full list on."""
        for sink in self._sinks:
            await sink.replace(resource, records, kept)

    def apply(self, resource: Resource, changes: Sequence[Change]) -> None:
        """Hand changes on."""
        for sink in self._sinks:
            sink.apply(resource, changes)
