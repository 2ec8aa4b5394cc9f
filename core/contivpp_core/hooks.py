# SPDX-License-Identifier: Apache-2.0
"""The dispatcher of hooks: how the core calls plugins without depending on their good behaviour.

pluggy checks implementations against the specifications (`contivpp_core.hookspecs`); calling is done here, because
every call needs the plugin's name, awaitables, and isolation: contributions and requests tell which plugin failed,
events go through a bounded queue and a task of each plugin, so a slow or broken one delays only itself.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from contivpp_core import hookspecs
from contivpp_core.errors import NotReady, PluginError
from contivpp_core.events import Event
from contivpp_core.loading import LoadedPlugin, manager_for
from contivpp_core.tasks import end

__all__ = ["QUEUE_LENGTH", "Hooks"]

log = logging.getLogger(__name__)

QUEUE_LENGTH = 4096


class _Mailbox:
    """The events that one plugin has not handled yet, and the task that hands them over."""

    def __init__(self, plugin: str, length: int) -> None:
        self.plugin = plugin
        self.queue: asyncio.Queue[tuple[str, Any, Event]] = asyncio.Queue(length)
        self.dropped = 0
        self.unhandled = 0
        self.task = asyncio.create_task(self._deliver(), name=f"events of {plugin}")

    def put(self, hook: str, function: Any, event: Event) -> None:
        try:
            self.queue.put_nowait((hook, function, event))
            self.unhandled += 1
        except asyncio.QueueFull:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8 …: not a line for each
                log.error(
                    "plugin %s does not keep up with events: %d dropped so far, the last one %s",
                    self.plugin,
                    self.dropped,
                    hook,
                )

    async def _deliver(self) -> None:
        while True:
            hook, function, event = await self.queue.get()
            try:
                result = function(event)
                if inspect.isawaitable(result):
                    await result
            except (Exception, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                    raise  # the agent stops; otherwise something that the plugin waited for was cancelled
                log.exception(
                    "plugin %s failed to handle %s", self.plugin, hook, extra={"plugin": self.plugin}
                )
            finally:
                self.unhandled -= 1
                self.queue.task_done()


class Hooks:
    """Calls the hooks of plugins, in the order of what they require."""

    def __init__(self, plugins: Sequence[LoadedPlugin], *, queue_length: int = QUEUE_LENGTH) -> None:
        self.plugins = tuple(plugins)
        self._manager = manager_for(plugins)
        self._rank = {entry.name: rank for rank, entry in enumerate(self.plugins)}
        self._queue_length = queue_length
        self._mailboxes: dict[str, _Mailbox] = {}

    def contributions(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
        """Yield (plugin, result) of every plugin that contributes; one that raises is a `PluginError`."""
        for implementation in self._implementations(hook):
            name = implementation.plugin_name
            try:
                result = _call(implementation, arguments)
            except Exception as error:
                raise PluginError(
                    f"plugin {name} ({self._distribution(name)}) failed in {hook}: {type(error).__name__}: {error}"
                ) from error
            if result is not None:
                yield name, result

    async def request(self, hook: str, deadline: float, **arguments: Any) -> Any:
        """Return the first answer other than None, or None; what the plugin raises is the caller's.

        No answer within `deadline` seconds is `NotReady`, naming the plugin that was asked.
        """
        asked = "no plugin"
        try:
            async with asyncio.timeout(deadline) as timeout:
                for implementation in self._implementations(hook):
                    asked = implementation.plugin_name
                    result = _call(implementation, arguments)
                    if inspect.isawaitable(result):
                        result = await result
                    if result is not None:
                        return result
        except TimeoutError:
            if not timeout.expired():
                raise  # the plugin's own
            raise NotReady(f"{asked} did not answer {hook} within {deadline:g} s: try again") from None
        return None

    def emit(self, hook: str, event: Event) -> None:
        """Tell every plugin that wants to know; returns at once. Needs a running loop."""
        for implementation in self._implementations(hook):
            name = implementation.plugin_name
            mailbox = self._mailboxes.get(name)
            if mailbox is None:
                mailbox = self._mailboxes[name] = _Mailbox(name, self._queue_length)
            mailbox.put(
                hook, implementation.function if implementation.argnames else _ignoring(implementation), event
            )

    def dropped(self) -> dict[str, int]:
        """Return how many events each plugin has missed."""
        return {name: mailbox.dropped for name, mailbox in self._mailboxes.items() if mailbox.dropped}

    async def drain(self) -> None:
        """Wait until every event told so far, and what these caused, is handled."""
        while any(mailbox.unhandled for mailbox in self._mailboxes.values()):
            await asyncio.gather(*(mailbox.queue.join() for mailbox in self._mailboxes.values()))

    async def stop(self, deadline: float = 5.0) -> None:
        """Let plugins handle what was told, for at most `deadline` seconds, and end their tasks."""
        try:
            async with asyncio.timeout(deadline):
                await self.drain()
        except TimeoutError:
            late = sorted(name for name, mailbox in self._mailboxes.items() if mailbox.unhandled)
            log.error(
                "plugins did not handle all events within %g s: %s",
                deadline,
                ", ".join(late) or "one in hand",
            )
        await end(*(mailbox.task for mailbox in self._mailboxes.values()))
        self._mailboxes.clear()

    def _distribution(self, name: str) -> str:
        return self.plugins[self._rank[name]].distribution

    def _implementations(self, hook: str) -> list[Any]:
        if (
            not callable(getattr(hookspecs, hook, None))
            or (caller := getattr(self._manager.hook, hook, None)) is None
        ):
            raise ValueError(f"there is no hook {hook}: contivpp_core.hookspecs lists them")
        return sorted(
            caller.get_hookimpls(), key=lambda implementation: self._rank[implementation.plugin_name]
        )


def _call(implementation: Any, arguments: dict[str, Any]) -> Any:
    return implementation.function(**{name: arguments[name] for name in implementation.argnames})


def _ignoring(implementation: Any) -> Any:
    """An implementation that takes none of the arguments."""
    return lambda event: implementation.function()
