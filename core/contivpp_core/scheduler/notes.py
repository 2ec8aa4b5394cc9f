# SPDX-License-Identifier: Apache-2.0
"""What is ours without showing it: some objects carry no mark in their dataplane, so the ledger knows them.

An item is noted before its object is made, and until that is gone. After a death of the agent, dumps take what is
noted for ours, wanted or not. When a domain has been read, the notes are what was found: what was there already when
it was wanted is ours, too, and is taken down when it is not wanted any more; what was noted and is gone is forgotten,
lest somebody else's object be taken for it later.

Another incarnation of a dataplane has nothing of what was noted of the former one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import msgspec

from contivpp_core.items import AnyDescriptor, Item
from contivpp_core.ledger import Ledger, LedgerWrite

__all__ = ["Notes"]

log = logging.getLogger(__name__)

_INCARNATION = ""
"""Under this key is which incarnation the notes of a domain are of; no item has it."""


class Notes:
    """What the ledger knows of such objects; without one, nothing is kept. Descriptors are told before it is open."""

    def __init__(self, descriptors: Mapping[str, AnyDescriptor]) -> None:
        self.ledger: Ledger | None = None
        self._descriptors = descriptors

    async def note(self, item: Item) -> None:
        """The object is about to be made."""
        if self.ledger is not None:
            await self.ledger.commit(self._write(item))

    async def forget(self, item: Item) -> None:
        """The object is gone."""
        space = self._space(item.kind)
        if self.ledger is not None and self.ledger.get(space, item.key) is not None:
            await self.ledger.commit(LedgerWrite(space, item.key, None))

    def of_kind(self, kind: str) -> list[Item]:
        """Return what is noted of a kind."""
        descriptor = self._descriptors[kind]
        if not descriptor.unmarked:
            return []
        some = (value for key, value in self._stored(descriptor.domain).items() if key.startswith(f"{kind}/"))
        return [item for value in some if (item := _decoded(value, descriptor)) is not None]

    # --- readings

    def incarnation(self, domain: str) -> str:
        """Return which incarnation of a domain is noted; "" if none is."""
        return self._stored(domain).get(_INCARNATION, b"").decode()

    async def begin(self, domain: str, incarnation: str) -> None:
        """A domain is about to be read; if it is another incarnation, nothing that is noted is there."""
        former = self.incarnation(domain)
        if self.ledger is None or former == incarnation or not self._concerned(domain):
            return
        space = _space_of(domain)
        gone = self._stored(domain) if former else ()
        writes = [*(LedgerWrite(space, key, None) for key in gone if key != _INCARNATION)]
        await self.ledger.commit(*writes, LedgerWrite(space, _INCARNATION, incarnation.encode()))

    async def keep(self, domain: str, items: Iterable[Item]) -> None:
        """A domain has been read, and these are there: note what is not noted, and forget all others."""
        if self.ledger is None or not self._concerned(domain):
            return
        noted, there = self._stored(domain).keys() - {_INCARNATION}, {item.key: item for item in items}
        writes = [LedgerWrite(_space_of(domain), key, None) for key in sorted(noted - there.keys())]
        writes += [self._write(item) for key, item in there.items() if key not in noted]
        if writes:
            await self.ledger.commit(*writes)

    # --- how it is stored

    def _concerned(self, domain: str) -> bool:
        return any(each.unmarked and each.domain == domain for each in self._descriptors.values())

    def _stored(self, domain: str) -> Mapping[str, bytes]:
        return self.ledger.items(_space_of(domain)) if self.ledger is not None else {}

    def _space(self, kind: str) -> str:
        return _space_of(self._descriptors[kind].domain)

    def _write(self, item: Item) -> LedgerWrite:
        return LedgerWrite(self._space(item.kind), item.key, msgspec.json.encode((item.kind, item)))


def _space_of(domain: str) -> str:
    return f"{domain}/unmarked"


def _decoded(value: bytes, descriptor: AnyDescriptor) -> Item | None:
    try:
        _, raw = msgspec.json.decode(value, type=tuple[str, msgspec.Raw])
        return msgspec.json.decode(raw, type=descriptor.item)
    except msgspec.MsgspecError:
        log.warning("what another version of the agent noted cannot be read", extra={"value": value.decode("latin-1")})
        return None
