# SPDX-License-Identifier: Apache-2.0
"""The connection to etcd: which endpoint is used, the token of the user, and calls that fail over.

One endpoint is used at a time. When it does not answer, the next one is tried; when none does, callers are told, and
the next round waits a time that grows and has jitter. A call that only reads is tried at every endpoint; one that
writes is sent once, because whether a lost one was carried out is unknown. A channel that was lost is thrown away:
grpc's own pauses, and certificates that were replaced meanwhile, are gone with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would print on stderr is in the errors
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # children of the agent use no grpc

import grpc

from contivpp_core.kvstore import KVStoreError, StoreUnavailable
from contivpp_datastore.etcd import rpc
from contivpp_datastore.etcd.faults import from_rpc, is_stale_login
from contivpp_datastore.etcd.options import EtcdOptions

__all__ = ["Connection", "Dropped", "Link", "undropped"]

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5
"""Between rounds over all endpoints, for all callers together; these have pauses of their own."""
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, without the pauses of an old one
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 10_000),  # etcd refuses more than one in 5 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),  # etcd refuses these
    ("grpc.http2.max_pings_without_data", 0),
)
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Dropped(StoreUnavailable):
    """The channel was closed while a call was under way."""


class undropped:  # noqa: N801 (a context manager; a class costs each call less than a generator)
    """Tell a call that grpc has cancelled, because its channel was closed, from a task that somebody has cancelled."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise Dropped(f"{self._endpoint}: the connection to etcd was closed") from None
        elif isinstance(error, grpc.aio.UsageError):
            raise Dropped(f"{self._endpoint}: the connection to etcd is closed") from None


class Link:
    """A channel to one endpoint, which has answered."""

    def __init__(self, endpoint: str, channel: grpc.aio.Channel) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self.token = ""
        self.open = False  # etcd asks nobody who they are
        self.version: tuple[int, ...] = (0,)
        self.cluster = 0
        self._calls: dict[str, Any] = {}

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes along with each call; `hasleader` has etcd refuse where it cannot know the newest state."""
        leader = (("hasleader", "true"),)
        return (*leader, ("token", self.token)) if self.token else leader

    async def call(self, method: rpc.Method, request: Any, timeout: float) -> Any:
        """Send one request and return the response, or raise grpc's error."""
        with undropped(self.endpoint):
            if (call := self._calls.get(method.path)) is None:
                call = self._calls[method.path] = self.channel.unary_unary(
                    method.path, method.request.SerializeToString, method.response.FromString
                )
            return await call(request, timeout=timeout, metadata=self.metadata())


class Connection:
    """The connection that all calls and watches of a store share."""

    def __init__(self, options: EtcdOptions, *, rng: random.Random | None = None) -> None:
        self.options = options
        self._endpoints = list(options.endpoints)
        self._random = rng or random.Random()
        self._random.shuffle(self._endpoints)  # a cluster's agents spread over the members
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def endpoint(self) -> str:
        """The endpoint in use, or the one that is tried next."""
        return self._link.endpoint if self._link else self._endpoints[0]

    @property
    def cluster(self) -> int:
        """The ID of the cluster that answers now, 0 if none does."""
        return self._link.cluster if self._link else 0

    async def close(self) -> None:
        """Close everything; calls that are under way end."""
        self._closed = True
        if self._link is not None:
            self.drop(self._link)
        await asyncio.gather(*self._closing, return_exceptions=True)

    # --- calls

    async def call(self, method: rpc.Method, request: Any, *, timeout: float | None = None) -> Any:
        """Carry out a call; raise KVStore's errors."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (timeout or self.options.timeout)
        tries = len(self._endpoints) if method.safe else 1
        while True:
            link = self._link or await self.link(end)
            try:
                return await self._with_login(link, method, request, max(0.0, end - loop.time()) / tries)
            except grpc.aio.AioRpcError as error:
                failure = from_rpc(link.endpoint, error)
                if error.code() not in _LOST:
                    raise failure from None
                await self.lost(link, error)
            except Dropped as error:
                failure = error
            tries -= 1
            if not tries or loop.time() >= end:
                raise failure from None

    async def _with_login(self, link: Link, method: rpc.Method, request: Any, timeout: float) -> Any:
        if self.options.user and not link.token and not link.open:  # the last login has failed
            await self.renew(link, "")
        token = link.token
        try:
            return await link.call(method, request, timeout)
        except grpc.aio.AioRpcError as error:
            if not self.options.user or not (is_stale_login(error) or _denied(link, error)):
                raise
        await self.renew(link, token)
        return await link.call(method, request, timeout)

    async def renew(self, link: Link, token: str) -> None:
        """Log in again, unless somebody else has done so since `token` was in use."""
        async with self._connecting:
            if link.token == token:
                await self._login(link)

    # --- connecting

    async def lost(self, link: Link, error: grpc.aio.AioRpcError) -> None:
        """A call has failed because the connection is lost, or etcd cannot serve: go to the next endpoint."""
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            await self.late(link)
        else:
            self._leave(link, str(from_rpc(link.endpoint, error)))

    async def late(self, link: Link) -> None:
        """An answer is late. With one endpoint that is no reason to end everything else that uses it, if it answers."""
        if len(self._endpoints) == 1:
            with contextlib.suppress(grpc.aio.AioRpcError, Dropped):
                await link.call(rpc.STATUS, rpc.STATUS.request(), self.options.connect_timeout)
                return
        self._leave(link, "an answer is late")

    def _leave(self, link: Link, reason: str) -> None:
        if self._link is link:
            log.info("etcd does not answer", extra={"endpoint": link.endpoint, "reason": reason})
            self._endpoints.append(self._endpoints.pop(self._endpoints.index(link.endpoint)))
            self.drop(link)

    def drop(self, link: Link) -> None:
        """Close a channel; what uses it ends."""
        if self._link is link:
            self._link = None
        task = asyncio.get_running_loop().create_task(link.channel.close(), name="closing a channel to etcd")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def link(self, end: float | None = None) -> Link:
        """Return a channel that works, made now if there is none; `end` is the loop's time to give up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.options.timeout if end is None else end
        try:
            async with asyncio.timeout_at(end), self._connecting:
                if self._closed:
                    raise StoreUnavailable("the connection to etcd is closed")
                if self._link is None:
                    await asyncio.sleep(max(0.0, self._not_before - loop.time()))
                    self._link = await self._any()
                return self._link
        except TimeoutError:
            raise StoreUnavailable(f"{', '.join(self._endpoints)}: etcd gives no answer in time") from None

    async def _any(self) -> Link:
        """Try each endpoint once."""
        errors: list[KVStoreError] = []
        for endpoint in tuple(self._endpoints):
            try:
                link = await self._connect(endpoint)
            except KVStoreError as error:
                errors.append(error)
                self._endpoints.append(self._endpoints.pop(0))
                continue
            self._failures = 0
            return link
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 16))
        self._failures += 1
        self._not_before = asyncio.get_running_loop().time() + pause * self._random.uniform(0.5, 1.0)
        if len(errors) == 1:
            raise errors[0]
        raise _worst(errors)

    async def _connect(self, endpoint: str) -> Link:
        link = Link(endpoint, self._channel(endpoint))
        try:
            known = await self._ask(link)
            if self.options.user:
                await self._login(link)
                if not known:  # since 3.6 that is told to users only
                    await self._ask(link)
        except BaseException:
            with contextlib.suppress(Exception):
                await link.channel.close()
            raise
        log.info("connected to etcd", extra={"endpoint": endpoint, "version": ".".join(map(str, link.version))})
        return link

    async def _ask(self, link: Link) -> bool:
        """Ask an endpoint which etcd it is; tell whether it says so."""
        try:
            status = await link.call(rpc.STATUS, rpc.STATUS.request(), self.options.connect_timeout)
        except grpc.aio.AioRpcError as error:
            refused = error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            if refused or "user name is empty" in (error.details() or ""):
                return False
            raise from_rpc(link.endpoint, error) from None
        link.version = _version(status.version)
        link.cluster = status.header.cluster_id
        return True

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        options, target = self.options, self.options.target(endpoint)
        if not endpoint.startswith("https:"):
            return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        ca, key, certificate = options.certificates()
        return grpc.aio.secure_channel(
            target, grpc.ssl_channel_credentials(ca, key, certificate), options=CHANNEL_OPTIONS
        )

    async def _login(self, link: Link) -> None:
        request = rpc.AUTHENTICATE.request(name=self.options.user, password=self.options.password())
        link.token, link.open = "", False
        try:
            response = await link.call(rpc.AUTHENTICATE, request, self.options.timeout)
        except grpc.aio.AioRpcError as error:
            if "authentication is not enabled" in (error.details() or ""):
                log.warning("etcd asks nobody for a password, though a user is set", extra={"endpoint": link.endpoint})
                link.open = True
                return
            raise from_rpc(link.endpoint, error) from None
        link.token = response.token


def _worst(errors: list[KVStoreError]) -> KVStoreError:
    """Return one error for several: what an operator must mend comes before what may pass."""
    text = "; ".join(str(error) for error in errors)
    lasting = [error for error in errors if not isinstance(error, StoreUnavailable)]
    return type(lasting[0])(text) if len(lasting) == len(errors) else StoreUnavailable(text)


def _denied(link: Link, error: grpc.aio.AioRpcError) -> bool:
    """Tell whether etcd asks for a login by now, though it did not when the connection was made."""
    return link.open and error.code() == grpc.StatusCode.PERMISSION_DENIED


def _version(text: str) -> tuple[int, ...]:
    numbers = text.split("-", maxsplit=1)[0].split(".")
    return tuple(int(number) for number in numbers if number.isdecimal()) or (0,)
