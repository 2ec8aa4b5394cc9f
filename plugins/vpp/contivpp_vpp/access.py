# SPDX-License-Identifier: Apache-2.0
"""How descriptors reach VPP: through one object that outlives connections.

The connection comes and goes; descriptors are made once. `VppAccess` holds the client of the moment and turns what
its failures mean into the core's terms: an answer that will not come is `Unavailable`, so the scheduler reads back
what it cannot know. Error numbers stay `VppError`; the tables below say what they mean for the next try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from contivpp_core.errors import ContivError
from contivpp_core.items import Outcome, Unavailable
from contivpp_vpp.connection import Connection
from contivpp_vpp.errors import ConnectionLost, MissingMessages, NotConnected, VppError
from contivpp_vpp.wire.base import Details, Dump, Reply, Request
from contivpp_vpp.wire.errors import InvalidMessage

__all__ = ["Client", "ForeignObject", "Refused", "VppAccess", "VppUnavailable", "outcome_of", "together"]

R = TypeVar("R", bound=Reply)
D = TypeVar("D", bound=Details)
T = TypeVar("T")


class Client(Protocol):
    """What is needed of a connection."""

    async def request(self, message: Request[R]) -> R:
        """Send a request and return its reply; raise VppError where VPP refuses."""
        ...

    async def dump(self, message: Dump[D]) -> Sequence[D]:
        """Send a dump and return all details."""
        ...


class VppUnavailable(Unavailable):
    """VPP's answer will not come; whether it did what was asked is unknown."""


class Refused(ContivError):
    """VPP, or this machine, cannot do what is wanted; no retry helps before something changes."""


class ForeignObject(ContivError):
    """Somebody else's object has the place of the wanted one; it is left alone."""


_LOST = (ConnectionLost, NotConnected, OSError)


def _unavailable(error: Exception) -> VppUnavailable:
    return VppUnavailable(f"the connection to VPP was lost: {error}")


class VppAccess:
    """The client of the moment (`client`), or none."""

    def __init__(self) -> None:
        self.client: Client | None = None

    async def request(self, message: Request[R]) -> R:
        """Send a request and return its reply."""
        return await self._answered(lambda client: client.request(message))

    async def dump(self, message: Dump[D]) -> list[D]:
        """Return all details of a dump."""
        return list(await self._answered(lambda client: client.dump(message)))

    async def _answered(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        if self.client is None:
            raise VppUnavailable("VPP is not connected")
        try:
            return await ask(self.client)
        except _LOST as error:
            raise _unavailable(error) from error

    def submit(self, message: Request[R], answered: Callable[[R | None, Exception | None], None]) -> bool:
        """Send a request, as soon as there is room, whose answer is a callback; False: not by this client."""
        client = self.client
        if not isinstance(client, Connection) or not client.alive:
            return False

        def told(reply: R | None, error: Exception | None) -> None:
            answered(reply, _unavailable(error) if isinstance(error, _LOST) else error)

        client.post(message, told)
        return True

    async def ensure(self, message: Request[Any], *done: int) -> None:
        """Send a request; the error numbers of `done` mean that it is so already, as for what is deleted twice."""
        try:
            await self.request(message)
        except VppError as error:
            if error.retval not in done:
                raise


_WAIT_FOR_CHANGE = frozenset(
    {
        -7,  # INVALID_VALUE
        -8,
        -9,  # UNIMPLEMENTED
        -52,  # NO_PATHS_IN_ROUTE
        -57,  # INVALID_SRC_ADDRESS
        -58,  # INVALID_DST_ADDRESS
        -59,  # ADDRESS_LENGTH_MISMATCH
        -73,  # INVALID_ARGUMENT
        -82,  # SAME_SRC_DST
        -88,  # IP_PREFIX_INVALID
        -97,  # INVALID_ADDRESS_FAMILY
        -126,  # UNSUPPORTED
        -133,  # ILLEGAL_NAME
        -150,
        -151,  # NON_ETHERNET
        -153,  # INVALID_PROTOCOL
        -157,  # FIB_PATH_UNSUPPORTED_NH_PROTO
        -166,
        -171,  # INVALID_PREFIX_LENGTH
    }
)
"""What VPP will refuse again as long as the same is asked."""

_FOREIGN = frozenset(
    {
        -79,  # IF_ALREADY_EXISTS
        -105,  # ADDRESS_IN_USE
        -127,  # DUPLICATE_IF_ADDRESS
        -147,  # INSTANCE_IN_USE
    }
)
"""Somebody holds what is wanted. Ours would have been found, and taken away before."""


def outcome_of(error: Exception) -> Outcome:
    """Tell what an error means for the next try; what is not listed may go away by itself."""
    if isinstance(error, Unavailable | TimeoutError | OSError):
        return Outcome.UNKNOWN
    if isinstance(error, ForeignObject):
        return Outcome.CONFLICT
    if isinstance(error, Refused | InvalidMessage | MissingMessages):
        return Outcome.CHANGE
    if isinstance(error, VppError):
        if error.retval in _WAIT_FOR_CHANGE:
            return Outcome.CHANGE
        if error.retval in _FOREIGN:
            return Outcome.CONFLICT
    return Outcome.RETRY


async def together(*asked: Awaitable[Any]) -> list[Any]:
    """Send several messages in one go and wait for every answer; then raise the first failure, if any.

    All answers are awaited, so that nothing of an operation is under way when it has failed.
    """
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return list(answers)
