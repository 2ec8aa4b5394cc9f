# SPDX-License-Identifier: Apache-2.0
"""Keeps a connection to VPP: connects, tells when VPP comes and goes, and connects again.

Loss and return of VPP are events for those who listen. A listener learns whether it is the same VPP as before
(then nothing in it is lost) or a new one. A VPP that lacks required messages counts as not there, so that
nothing is half programmed; the reason says what it lacks.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from contivpp_core.tasks import end
from contivpp_vpp.connection import Connection, ConnectionSettings
from contivpp_vpp.errors import NotConnected, VppConnectionError
from contivpp_vpp.incarnation import Incarnation
from contivpp_vpp.transports import Connect
from contivpp_vpp.wire.base import Event, Message

log = logging.getLogger(__name__)
EventType = TypeVar("EventType", bound=Event)


@dataclass(frozen=True)
class Connected:
    """VPP is there. `restarted`: it is not the one that this client was connected to before."""

    connection: Connection
    incarnation: Incarnation
    restarted: bool


@dataclass(frozen=True)
class Backoff:
    """Seconds between attempts: doubled each time, and a random part of up to half taken off."""

    first: float = 0.05
    most: float = 2.0


class VppClient:
    """`async with VppClient(unix_socket(path)) as client:` keeps a connection as long as the block lasts."""

    def __init__(
        self,
        connect: Connect,
        *,
        name: str = "contivpp",
        settings: ConnectionSettings | None = None,
        backoff: Backoff | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._connect = connect
        self._name = name
        self._settings = settings
        self._backoff = backoff or Backoff()
        self._random = randomness or random.Random()
        self._required: set[type[Message]] = set()
        self._subscriptions: dict[int, tuple[type[Event], Callable[[Any], None]]] = {}
        self._numbers = itertools.count()
        self._endings: dict[int, Callable[[], None]] = {}
        self._on_connected: list[Callable[[Connected], None]] = []
        self._on_lost: list[Callable[[Exception], None]] = []
        self._connection: Connection | None = None
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.incarnation: Incarnation | None = None
        self.last_error: Exception | None = None

    def require(self, *wanted: type[Message]) -> None:
        """State the messages that a plugin needs; checked at each connect, and at once if there is a connection."""
        self._required |= set(wanted)
        if self._connection is not None:
            self._connection.require(wanted)

    def listen(
        self,
        *,
        connected: Callable[[Connected], None] | None = None,
        lost: Callable[[Exception], None] | None = None,
    ) -> None:
        """Be told of coming and going. `lost` is also called for each VPP that is refused, or does not shake hands."""
        if connected is not None:
            self._on_connected.append(connected)
        if lost is not None:
            self._on_lost.append(lost)

    def subscribe(self, event: type[EventType], callback: Callable[[EventType], None]) -> Callable[[], None]:
        """Like Connection.subscribe, for this and all later connections."""
        number = next(self._numbers)
        self._subscriptions[number] = (event, callback)
        if self._connection is not None:
            self._endings[number] = self._connection.subscribe(event, callback)

        def unsubscribe() -> None:
            self._subscriptions.pop(number, None)
            self._endings.pop(number, lambda: None)()

        return unsubscribe

    @property
    def connection(self) -> Connection:
        """The connection of the moment; raises NotConnected."""
        if self._connection is None:
            raise NotConnected(f"not connected to VPP: {self.last_error or 'not tried yet'}")
        return self._connection

    async def wait_connected(self) -> Connection:
        """Wait for a connection."""
        while self._connection is None:
            await self._arrived.wait()
        return self._connection

    async def __aenter__(self) -> VppClient:
        self._task = asyncio.create_task(self.run(), name="vpp-client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        await end(self._task)

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        loop = asyncio.get_running_loop()
        delay = self._backoff.first
        while True:
            began = loop.time()
            reason = await self._once()
            if str(reason) != str(self.last_error):  # an absent VPP fails in the same way every two seconds
                log.warning("VPP: %s", reason)
            self.last_error = reason
            if loop.time() - began > self._backoff.most:  # it held for a while: this is a new trouble, not the old one
                delay = self._backoff.first
            await asyncio.sleep(delay * self._random.uniform(0.5, 1.0))
            delay = min(2 * delay, self._backoff.most)

    async def _once(self) -> Exception:
        """One connection, from its attempt to its end; why it ended."""
        try:
            connection = await Connection.open(self._connect, name=self._name, settings=self._settings)
        except OSError as error:  # nobody is there; the way to connect knows more
            return error
        except VppConnectionError as error:  # somebody is there, but does not answer as VPP does
            self._tell(self._on_lost, error)
            return error
        except Exception as error:  # an answer that nobody can read must not end the attempts
            log.exception("the hand-shake with VPP failed")
            self._tell(self._on_lost, error)
            return error
        try:
            connection.require(self._required)
            self._adopt(connection)
            reason: Exception = await connection.lost()
        except VppConnectionError as error:
            reason = error
        finally:
            connection.close("this client ends")
            if self._connection is connection:
                self._connection = None
                self._arrived.clear()
                self._endings.clear()
        self._tell(self._on_lost, reason)
        return reason

    def _adopt(self, connection: Connection) -> None:
        last, self.incarnation = self.incarnation, connection.incarnation
        restarted = last is not None and not last.same(connection.incarnation)
        self._connection = connection
        for number, (event, callback) in self._subscriptions.items():
            self._endings[number] = connection.subscribe(event, callback)
        log.info("connected to VPP %s, process %d", connection.version, connection.incarnation.pid)
        self._arrived.set()
        self._tell(self._on_connected, Connected(connection, connection.incarnation, restarted))

    @staticmethod
    def _tell(listeners: list[Callable[[Any], None]], news: object) -> None:
        for listener in tuple(listeners):
            try:
                listener(news)
            except Exception:
                log.exception("a listener of the VPP connection failed")
