# SPDX-License-Identifier: Apache-2.0
"""The contract of `IdBook`, as tests that every implementation runs.

Derive a class whose name begins with `Test`, and give it a fixture `books`: several books of one cluster,
empty, as so many agents have them. `register` and `unregister` make and remove a Node object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from contivpp_core.identity import IdBook
from contivpp_core.node import NodeClaim

__all__ = ["IdBookContract", "held", "rests"]


def held(node_id: int, name: str, replaces: int = 0) -> NodeClaim:
    """Return a claim."""
    return NodeClaim(node_id=node_id, name=name, replaces=replaces)


def rests(node_id: int, name: str, freed: float) -> NodeClaim:
    """Return the entry of an ID that was freed."""
    return NodeClaim(node_id=node_id, name=name, freed=freed)


class IdBookContract:
    """Derive it and provide the fixture `books`."""

    async def register(self, name: str) -> None:
        """Make a Node object."""
        raise NotImplementedError

    async def unregister(self, name: str) -> None:
        """Remove a Node object."""
        raise NotImplementedError

    async def test_entries_are_read_as_they_were_written_by_any_book(self, books: Sequence[IdBook]) -> None:
        assert await books[0].claims() == ()
        for wanted in (held(10, "b", 3), held(2, "a")):
            assert await books[0].claim(wanted, None)
        assert await books[-1].claims() == (held(2, "a"), held(10, "b", 3))

    async def test_of_many_that_want_an_id_one_gets_it(self, books: Sequence[IdBook]) -> None:
        got = await asyncio.gather(*(book.claim(held(1, f"n{n}"), None) for n, book in enumerate(books)))
        assert got.count(True) == 1
        assert await books[0].claims() == (held(1, f"n{got.index(True)}"),)

    async def test_many_get_different_ids_at_once(self, books: Sequence[IdBook]) -> None:
        got = await asyncio.gather(*(book.claim(held(n + 1, f"n{n}"), None) for n, book in enumerate(books)))
        assert all(got)
        assert len(await books[0].claims()) == len(books)

    async def test_a_claim_can_be_repeated(self, books: Sequence[IdBook]) -> None:
        assert await books[0].claim(held(1, "a"), None)
        assert await books[0].claim(held(1, "a"), None)
        assert not await books[1].claim(held(1, "b"), None)

    async def test_an_id_is_taken_over_only_from_what_was_seen(self, books: Sequence[IdBook]) -> None:
        await books[0].claim(held(1, "a"), None)
        assert await books[0].surrender(held(1, "a"), 5.0)
        assert not await books[1].claim(held(1, "b"), rests(1, "a", 4.0))
        assert await books[1].claim(held(1, "b"), rests(1, "a", 5.0))
        assert not await books[0].surrender(held(1, "a"), 6.0)
        assert await books[0].claims() == (held(1, "b"),)

    async def test_of_two_that_free_an_id_one_does(self, books: Sequence[IdBook]) -> None:
        await books[0].claim(held(1, "a"), None)
        freed = await asyncio.gather(books[0].free(held(1, "a"), 5.0), books[1].free(held(1, "a"), 6.0))
        assert freed.count(True) == 1
        assert await books[0].claims() == (rests(1, "a", 5.0 + freed.index(True)),)

    async def test_the_id_of_a_node_that_is_there_is_not_freed(self, books: Sequence[IdBook]) -> None:
        await books[0].claim(held(1, "a"), None)
        await self.register("a")
        assert not await books[1].free(held(1, "a"), 5.0)
        assert not await books[1].forget("a")
        assert await books[0].claims() == (held(1, "a"),)
        await self.unregister("a")
        assert await books[1].free(held(1, "a"), 5.0)
