# SPDX-License-Identifier: Apache-2.0
"""`contivpp ksr`: a process of its own that keeps the cluster's store equal to the API server.

Several of them may run: one writes, the others watch and wait. What one knows and does is told on a unix socket that
only its user can open, and, if asked for, to probes and Prometheus on a loopback address.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from typing import Any

from contivpp_core import collector
from contivpp_core.kvstore import KVStore
from contivpp_core.tasks import end
from contivpp_ksr.access import Access, access_for
from contivpp_ksr.annotations import Annotator, StoreClaims
from contivpp_ksr.client import ApiClient
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.leftovers import Leftovers
from contivpp_ksr.metrics import source_metrics, store_metrics
from contivpp_ksr.reflector import Pace, Reflector
from contivpp_ksr.resources import RESOURCES
from contivpp_ksr.sink import Tee
from contivpp_ksr.status import StatusServer, standing_of
from contivpp_ksr.store_sink import StoreSink

__all__ = ["KsrProcess", "pace_of"]

log = logging.getLogger(__name__)


def pace_of(config: KsrConfig) -> Pace:
    """Return how the configuration wants the server to be watched."""
    return Pace(watch_list=config.watch_list, page_size=config.page_size, quiet=config.quiet_seconds)


class KsrProcess:
    """Reflectors, the sink into the store, and the annotator of Node objects; `run` until it is cancelled."""

    def __init__(self, config: KsrConfig, store: KVStore, *, node_name: str = "", access: Access | None = None) -> None:
        self.name = f"{node_name or socket.gethostname()} {os.getpid()}"
        self.node_name = node_name
        self.client = ApiClient(access or access_for(config))
        self.sink = StoreSink(store, self.name, ttl=config.lock_seconds)
        self._claims = StoreClaims(store)
        self.annotator = Annotator(
            self.client,
            lambda: self._claims.nodes,
            self._claims.claims,
            mine=lambda: tuple(self._claims.nodes),
            allowed=lambda: "Node" in self.sink.marked,  # not with an old view of the nodes
        )
        self.leftovers = Leftovers(
            store,
            lambda: self._claims.nodes,
            self._claims.claims,
            allowed=lambda: self.sink.leading and "Node" in self.sink.marked,
        )
        self._claims.tell = self.sink.tell = self._touch
        nodes = Tee(self.sink, self._claims)
        self.reflectors = {
            kind: Reflector(
                self.client,
                resource,
                nodes if kind == "Node" else self.sink,
                pace=pace_of(config),
                seed=self.name,
                tell=_log_standing,
            )
            for kind, resource in RESOURCES.items()
        }
        self.sink.renew = self._list_again
        self.metrics = [*source_metrics(self.reflectors.values), *store_metrics(self.sink)]
        self._status = StatusServer(self, config)

    def _touch(self) -> None:
        self.annotator.touch()
        self.leftovers.touch()

    def _list_again(self, kind: str) -> bool:
        self.reflectors[kind].list_again()
        return True

    @property
    def unready(self) -> str:
        """Say what is missing, or "": every kind is watched, and all of it in the store if this process writes it."""
        lost = [kind for kind, one in self.reflectors.items() if not one.standing.connected]
        if lost:
            return f"not watched: {', '.join(sorted(lost))}: {self.reflectors[lost[0]].standing.reason}"
        if self.sink.reason:
            return f"store: {self.sink.reason}"
        if self.sink.leading and self.sink.refused:  # a policy among them is not in force as it was meant
            return f"too large for the store: {', '.join(sorted(self.sink.refused))}"
        missing = RESOURCES.keys() - self.sink.marked if self.sink.leading else set()
        return f"not complete in the store: {', '.join(sorted(missing))}" if missing else ""

    def standing(self) -> dict[str, Any]:
        """Return what people ask."""
        return {
            "name": self.name,
            "ready": not self.unready,
            "reason": self.unready,
            "leading": self.sink.leading,
            "store": self.sink.reason or "written" if self.sink.leading else self.sink.reason or "another one writes",
            "due": self.sink.due,
            "refused": dict(sorted(self.sink.refused.items())),
            "annotations": {"written": self.annotator.written, "reason": self.annotator.reason},
            "kinds": {
                kind: standing_of(one, self.sink.counters[kind], kind in self.sink.marked)
                for kind, one in self.reflectors.items()
            },
        }

    async def run(self) -> None:
        """Work until cancelled; then the lock is given back."""
        async with self._status.serving():
            works = {
                "store": self.sink.run(),
                "claims": self._claims.run(),
                "annotations": self.annotator.run(),
                "leftovers": self.leftovers.run(),
                **{kind: one.run() for kind, one in self.reflectors.items()},
            }
            tasks = [asyncio.create_task(work, name=f"ksr {name}") for name, work in works.items()]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                await self.client.close()
            for result in results:
                if isinstance(result, Exception):
                    raise result

    async def run_until_signal(self) -> None:
        """Work until SIGTERM or SIGINT. The process is this one's alone."""
        collector.spare()
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        work = asyncio.create_task(self.run(), name="ksr")
        waiting = asyncio.create_task(asked.wait(), name="signal")
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if work.done():
            await work
        else:
            log.info("ksr stops, and gives the lock back")
            await end(work)


def _log_standing(reflector: Reflector) -> None:
    standing = reflector.standing
    level = logging.INFO if standing.connected else logging.WARNING
    what = "is watched" if standing.connected else "is not watched"
    log.log(level, "%s %s", reflector.resource.kind, what, extra={"reason": standing.reason})
