# SPDX-License-Identifier: Apache-2.0
"""A reflector: one kind of the API server's objects, listed and then watched without end.

The first list is a stream of the watch itself where the server has that (`sendInitialEvents`), else it comes in pages.
After a cut the watch goes on from the last version that it told; when that is forgotten (410), everything is listed
again, and the sink compares. The server sends a bookmark every minute: a watch that says nothing for longer is dead,
whatever its connection looks like. One that has never said anything may be from a version that the server does not
have: a server that was put back to a backup agrees to it, and is silent until it gets there.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from contivpp_core.backoff import FIRST_SECONDS, LONGEST_SECONDS, Backoff
from contivpp_core.clock import gently
from contivpp_core.errors import ContivError
from contivpp_core.records import Record
from contivpp_ksr.client import ApiClient, ApiFailure, Gone, Unreachable, failure
from contivpp_ksr.reading import Event, Malformed, What
from contivpp_ksr.resources import Resource
from contivpp_ksr.sink import Change, Sink

__all__ = ["Pace", "Reflector", "Standing"]

log = logging.getLogger(__name__)

WATCH_SECONDS = (300, 600)
"""The server is asked to end a watch after a random time of these, as its own clients do: so load spreads again."""
INITIAL_QUIET_SECONDS = 10.0
"""A server that does not know `sendInitialEvents` sends objects, and then no end of them."""
WORKED_SECONDS = 5.0
LIST_SECONDS = 30.0
"""A list that is outdated sooner is not asked for again at once."""
SPREAD_SECONDS = 1.0
"""A server that starts has no history: within that time all agents of a cluster list again, and not in one moment."""
_NO_MATTER_HOW = frozenset((401, 403, 404, 410, 429))  # refusals that a list in pages would meet, too
SLICE = 50
"""Objects of a page that are taken before others get their turn."""
MOST_TOLD = 1000
"""So many malformed objects are remembered by name."""


@dataclass(frozen=True)
class Pace:
    """How a server is watched; times in seconds. `page_size`: objects of a list's first page, by which further ones are
    measured.
    """

    watch_list: bool = True
    page_size: int = 500
    quiet: float = 150.0
    initial_quiet: float = INITIAL_QUIET_SECONDS
    first_pause: float = FIRST_SECONDS
    longest_pause: float = LONGEST_SECONDS
    spread: float = SPREAD_SECONDS
    unserved: float = 60.0
    """After so long, on average, the server is asked again for a kind that it does not have."""


@dataclass
class Standing:
    """How a reflector stands, and what it has counted so far.

    `listed`: a full list was delivered. A reason while `connected`: the server does not have the kind.
    """

    listed: bool = False
    connected: bool = False
    reason: str = "is not listed yet"
    version: str = ""
    lists: int = 0
    failed_lists: int = 0
    watches: int = 0
    events: int = 0
    malformed_total: int = 0
    malformed: dict[str, Malformed] = field(default_factory=dict)


class Reflector:
    """Reflects one kind into a sink. `tell` is called when `standing` has changed in what people want to know."""

    def __init__(
        self,
        client: ApiClient,
        resource: Resource,
        sink: Sink,
        *,
        pace: Pace | None = None,
        seed: str = "",
        tell: Callable[[Reflector], None] = lambda reflector: None,
    ) -> None:
        self.resource = resource
        self.standing = Standing()
        self._client = client
        self._sink = sink
        self._pace = pace or Pace()
        self._tell = tell
        self._watch_list = self._pace.watch_list
        self._random = random.Random(f"{seed} {resource.kind}")
        self._backoff = Backoff(
            f"{seed} {resource.kind}", first=self._pace.first_pause, longest=self._pace.longest_pause
        )
        self._relist = Backoff(
            f"{seed} {resource.kind} list", first=self._pace.first_pause, longest=self._pace.longest_pause
        )
        self._version = ""
        self._list_again = True
        self._renew = False  # a list is wanted although nothing may be new
        self._listed_at = -LIST_SECONDS
        self._silence = 0.0  # of watches since anything was told
        self._turn: asyncio.Timeout | None = None

    def list_again(self) -> None:
        """List everything anew, now: what is known may be old."""
        self._list_again = self._renew = True
        if self._turn is not None:
            self._turn.reschedule(0)

    async def run(self) -> None:
        """Reflect for ever."""
        while True:
            wait = 0.0
            began = asyncio.get_running_loop().time()
            try:
                if await self._interrupted():
                    continue
                if asyncio.get_running_loop().time() > began + WORKED_SECONDS:
                    continue  # the server ended a watch that had worked
            except Gone as error:
                log.info("%s is listed again", self.resource.kind, extra={"reason": str(error)})
                await self._outdated()
                continue
            except ContivError as error:
                wait = error.retry_after if isinstance(error, ApiFailure) else 0.0
                self._lost(str(error))
            except Exception as error:
                log.exception("%s cannot be reflected", self.resource.kind)
                self._list_again = True
                self._lost(f"{type(error).__name__}: {error}")
            await self._backoff.pause(wait)

    async def _outdated(self) -> None:
        """List again: soon, but not again and again."""
        if self._list_again or asyncio.get_running_loop().time() < self._listed_at + LIST_SECONDS:
            await self._relist.pause()
        else:
            self._relist.reset()
            await asyncio.sleep(self._random.uniform(0, self._pace.spread))
        self._list_again = True

    async def _interrupted(self) -> bool:
        """List if that is wanted, and watch; tell whether that ended because a list is wanted."""
        try:
            async with asyncio.timeout(None) as self._turn:
                await self._reflect()
        except TimeoutError:
            if self._turn is None or not self._turn.expired():
                raise
            self._list_again = True  # one that was under way may have begun too early
            return True
        finally:
            self._turn = None
        return False

    async def _reflect(self) -> None:
        try:
            if self._list_again and not self._watch_list:
                await self._list()
            await self._watch()
        except ApiFailure as error:
            if not self._not_served(error):
                raise
            await self._without_objects(str(error))

    # --- the list in pages

    async def _list(self) -> None:
        records: dict[str, Record] = {}
        kept: set[str] = set()
        try:
            version = await self._pages(records, kept)
        except ContivError as error:
            self.standing.failed_lists += not self._not_served(error)
            raise
        await self._replace(version, records, kept)

    async def _pages(self, records: dict[str, Record], kept: set[str]) -> str:
        """Fill in all objects and return the list's version. A list that is outdated half-way begins again, whole."""
        limit, following = self._pace.page_size, ""
        while True:
            parameters = {**self.resource.parameters, **({"limit": str(limit)} if limit else {})}
            if following:
                parameters["continue"] = following
            try:
                page = self.resource.reader.page(await self._client.get(self.resource.path, parameters))
            except Gone:
                if not limit:
                    raise
                limit, following = 0, ""
                records.clear()
                kept.clear()
                continue
            except msgspec.MsgspecError as error:
                raise Unreachable(f"{self.resource.path}: the answer is no list: {error}") from error
            async for first in gently(range(0, len(page.objects), SLICE)):
                self._collect(page.objects[first : first + SLICE], records, kept)
            if not page.following:
                return page.version
            limit, following = page.fitting(limit), page.following

    def _collect(self, objects: list[Any], records: dict[str, Record], kept: set[str]) -> None:
        for found in self.resource.reader.take(objects, records):
            self._note(found)
            if found.key:
                kept.add(found.key)

    async def _replace(self, version: str, records: dict[str, Record], kept: set[str], reason: str = "") -> None:
        standing = self.standing
        for key in standing.malformed.keys() - kept:
            del standing.malformed[key]
        await self._sink.replace(self.resource, records, kept)
        standing.lists += 1
        self._silence = 0.0
        self._listed_at = asyncio.get_running_loop().time()
        self._version = standing.version = version
        self._list_again = self._renew = False
        standing.listed = True
        self._connected(reason)

    # --- a kind that the server does not have

    def _not_served(self, error: ContivError) -> bool:
        """Tell whether nobody has defined the kind. A server that starts answers 503 until it knows what is defined."""
        return self.resource.optional and isinstance(error, ApiFailure) and error.status == 404

    async def _without_objects(self, reason: str) -> None:
        """Where there is no such kind, there are no objects of it. Look again later."""
        if self._renew or not (self.standing.connected and self.standing.reason):
            await self._replace("", {}, set(), reason)
        self._list_again = True
        self._backoff.reset()
        await asyncio.sleep(self._pace.unserved * self._random.uniform(0.5, 1.5))

    # --- the watch

    async def _watch(self) -> None:
        parameters = {
            **self.resource.parameters,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._random.randint(*WATCH_SECONDS)),
        }
        if self._list_again:
            parameters |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            parameters["resourceVersion"] = self._version
        try:
            async with self._client.watch(self.resource.path, parameters, self._pace.quiet) as blocks:
                self.standing.watches += 1
                listed = self._list_again
                if listed:
                    await self._initial(blocks)
                else:
                    self._connected()
                await self._follow(blocks, listed=listed)
        except ApiFailure as error:
            if not self._list_again:
                raise
            self.standing.failed_lists += not self._not_served(error)
            if error.status in _NO_MATTER_HOW:
                raise
            if error.status in (400, 422):
                self._without_watch_list(str(error))
            # Over an old etcd the server agrees to a stream, and then tells an internal error in it.
            await self._list()

    async def _follow(self, blocks: AsyncIterator[bytes], *, listed: bool) -> None:
        """Take changes until the watch ends. After a long silence of watches that began with no list, the version that
        they go on from is in doubt.
        """
        now = asyncio.get_running_loop().time
        began = None if listed else now()
        try:
            async for block in blocks:
                self._silence, began = 0.0, None
                self._take(self._events(block))
        finally:
            self._silence += 0.0 if began is None else now() - began
            if self._silence >= 0.9 * self._pace.quiet:
                self._list_again = True

    async def _initial(self, blocks: AsyncIterator[bytes]) -> None:
        """Take the objects that are there; what follows their end is taken as changes."""
        records: dict[str, Record] = {}
        kept: set[str] = set()
        while True:
            try:
                async with asyncio.timeout(self._pace.initial_quiet):
                    block = await anext(blocks, b"")
            except TimeoutError:
                self._without_watch_list("the server tells no end of the objects that are there")
                raise Unreachable(f"{self.resource.path}: watched without a list") from None
            if not block:
                raise Unreachable(f"{self.resource.path}: the stream ended before all objects were told")
            events = iter(self._events(block))
            for event in events:
                if event.initial_end:
                    await self._replace(event.version, records, kept)
                    self._take(events)
                    return
                self._gather(event, records, kept)

    def _gather(self, event: Event, records: dict[str, Record], kept: set[str]) -> None:
        self.standing.events += 1
        if event.status is not None:
            raise failure(event.status, f"watch of {self.resource.path}")
        if event.malformed is not None:
            self._note(event.malformed)
            if event.key:
                kept.add(event.key)
            records.pop(event.key, None)
        elif event.what is What.PUT:
            records[event.key] = event.record
            kept.discard(event.key)
        elif event.what is What.DELETED:
            records.pop(event.key, None)
            kept.discard(event.key)

    def _without_watch_list(self, reason: str) -> None:
        log.info("%s is listed in pages from now on", self.resource.kind, extra={"reason": reason})
        self._watch_list = False

    def _events(self, block: bytes) -> list[Event]:
        try:
            return list(self.resource.reader.events(block))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._list_again = True  # nobody knows what was lost
            raise Unreachable(f"{self.resource.path}: what came is no event: {error}") from error

    def _take(self, events: Iterable[Event]) -> None:
        """Hand changes on; versions count only once that is done."""
        changes: list[Change] = []
        version, refused = "", None
        for event in events:
            self.standing.events += 1
            if event.status is not None:
                refused = event.status
                break
            version = event.version or version
            if event.malformed is not None:
                self._note(event.malformed)
            elif event.what is not What.BOOKMARK:
                self.standing.malformed.pop(event.key, None)
                changes.append(Change(event.key, event.record))
        if changes:
            self._sink.apply(self.resource, changes)
        if version:
            self._advance(version)
        if refused is not None:
            raise failure(refused, f"watch of {self.resource.path}")

    def _advance(self, version: str) -> None:
        """Note the newest version. One that is older than what is known is that of a server put back to a backup."""
        if version.isdecimal() and self._version.isdecimal() and int(version) < int(self._version):
            raise Gone(f"{self.resource.path}: the server went back from {self._version} to {version}", status=410)
        self._version = self.standing.version = version
        self._backoff.reset()

    # --- standing

    def _note(self, found: Malformed) -> None:
        malformed = self.standing.malformed
        known = malformed.get(found.key)
        if known == found:
            return
        self.standing.malformed_total += 1
        if known is not None or len(malformed) < MOST_TOLD:
            malformed[found.key] = found
            what = f"{self.resource.kind} {found.key or 'without a name'}"
            log.error("%s cannot be read: what is known of it stays", what, extra={"reason": found.reason})

    def _connected(self, reason: str = "") -> None:
        if not self.standing.connected or self.standing.reason != reason:
            self.standing.connected, self.standing.reason = True, reason
            self._tell(self)

    def _lost(self, reason: str) -> None:
        if self.standing.connected or self.standing.reason != reason:
            self.standing.connected, self.standing.reason = False, reason
            self._tell(self)
