# SPDX-License-Identifier: Apache-2.0
"""Items whose objects carry no mark of ours in VPP: which ones an earlier agent made is known from the ledger only.

An item is noted before its object is made, and until that is gone. What is noted and no longer wanted is looked for,
and deleted.
"""

from __future__ import annotations

import logging

import msgspec

from contivpp_core.items import Item
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_vpp.items import Nat44, Nat44Address

__all__ = ["Unmarked"]

log = logging.getLogger(__name__)

_SPACE = "vpp/unmarked"
_CLASSES: dict[str, type[Item]] = {each.kind: each for each in (Nat44, Nat44Address)}


class Unmarked:
    """What the ledger knows of them; without one, nothing is kept. Descriptors are made before the agent has it."""

    def __init__(self) -> None:
        self.ledger: Ledger | None = None

    async def note(self, item: Item) -> None:
        """The object is about to be made."""
        if self.ledger is not None:
            await self.ledger.commit(LedgerWrite(_SPACE, item.key, msgspec.json.encode((item.kind, item))))

    async def forget(self, item: Item) -> None:
        """The object is gone."""
        if self.ledger is not None:
            await self.ledger.commit(LedgerWrite(_SPACE, item.key, None))

    def items(self) -> list[Item]:
        """Return what may be there."""
        stored = self.ledger.items(_SPACE).values() if self.ledger is not None else ()
        return [item for value in stored if (item := _decoded(value)) is not None]


def _decoded(value: bytes) -> Item | None:
    try:
        kind, raw = msgspec.json.decode(value, type=tuple[str, msgspec.Raw])
        return msgspec.json.decode(raw, type=_CLASSES[kind])
    except (msgspec.MsgspecError, KeyError):
        log.warning("what another version of the agent noted cannot be read", extra={"value": value.decode("latin-1")})
        return None
