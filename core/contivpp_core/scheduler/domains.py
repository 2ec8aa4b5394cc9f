# SPDX-License-Identifier: Apache-2.0
"""Which dataplanes can be used now, and why not."""

from __future__ import annotations

import asyncio
from collections import defaultdict

__all__ = ["Domains"]


class Domains:
    """The dataplanes, by name."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}  # why it cannot be used now; "" when it can
        self._incarnations: dict[str, str] = {}
        self._changes: dict[str, int] = defaultdict(int)
        self._usable = asyncio.Event()

    def add(self, domain: str) -> None:
        """A descriptor of this domain is registered."""
        self._reasons.setdefault(domain, f"{domain} has not been read yet")

    def reason(self, domain: str) -> str:
        """Return why a domain cannot be used now, or ""."""
        return self._reasons.get(domain, "")

    def reasons(self) -> dict[str, str]:
        """Return for each domain why it cannot be used now; "" when it can."""
        return dict(self._reasons)

    def changes(self, domain: str) -> int:
        """Return how often a domain went down so far."""
        return self._changes[domain]

    def down(self, domain: str, reason: str) -> None:
        """A domain cannot be used."""
        self._reasons[domain] = reason or f"{domain} is not reachable"
        self._changes[domain] += 1
        self._usable.clear()

    def renewed(self, domain: str, incarnation: str) -> bool:
        """Take note of who answers; tell whether it is another one than before."""
        former = self._incarnations.get(domain, incarnation)
        self._incarnations[domain] = incarnation
        return former != incarnation

    def up(self, domain: str) -> None:
        """A domain has been read."""
        self._reasons[domain] = ""
        if not any(self._reasons.values()):
            self._usable.set()

    async def usable(self) -> None:
        """Wait until every domain has been read and can be used."""
        while not self._usable.is_set():  # one may be read again before the waiter has its turn
            await self._usable.wait()
