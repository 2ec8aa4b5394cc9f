# SPDX-License-Identifier: Apache-2.0
"""Messages per second from typed items to VPP's last answer: ours against other clients, on the same VPP, in turns.

The references: vpp_papi's asyncio client, given the same items; the same bytes made before, over a bare socket; GoVPP
with a window of 1,000 (routes, real VPP). VPP polls, as it does in production: it takes one core.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from pathlib import Path
from typing import Any

from contivpp_core.items import Item, Owner
from contivpp_core.scheduler import Scheduler
from contivpp_vpp import messages as m
from contivpp_vpp.access import VppAccess
from contivpp_vpp.connection import Connection
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.dialogue import answer_of
from contivpp_vpp.items import Loopback, Nat44, VrfTable
from contivpp_vpp.testing import executable, real_vpp
from contivpp_vpp.transports import unix_socket
from contivpp_vpp.wire.base import Request
from tests.bench import govpp
from tests.bench.replay import replay
from tests.bench.result import Broken, Goal, Measured, Skipped
from tests.bench.workloads import DUMPS, INTERFACE, VRF, WORK, DumpWork, Work, prepare

__all__ = ["messages"]

ROUNDS = 5
WINDOW = 1000  # of vpp_papi, which has none of its own
EMBEDDED_PART = 10  # the embedded VPP gets this part of the messages
POLLING = "unix { poll-sleep-usec 0 }"

Clock = tuple[float, float]  # seconds, and seconds of this thread's own time


def messages(runs: int) -> list[Measured]:
    """Run all, `runs` rounds of each at most."""
    try:
        import vpp_papi.vpp_papi_async  # noqa: F401
    except ImportError:
        raise Skipped("vpp_papi is missing: pip install vpp-papi") from None
    try:
        return asyncio.run(_Bench(min(ROUNDS, runs)).run())
    finally:
        gc.unfreeze()


@contextlib.asynccontextmanager
async def a_vpp() -> AsyncIterator[Path]:
    """The API socket of the VPP that CONTIVPP_VPP names, or of the embedded one."""
    if executable() is not None:
        async with real_vpp(heap="1g", extra=POLLING) as vpp:
            yield Path(vpp.api_socket)
        return
    with tempfile.TemporaryDirectory(prefix="vpp-") as folder:
        api_socket = Path(folder) / "api.sock"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "embeddedvpp", "--api-socket", str(api_socket)
        )
        try:
            while not api_socket.exists():
                await asyncio.sleep(0.02)
            yield api_socket
        finally:
            process.kill()
            await process.wait()


class _Timer:
    """Seconds of a block, and how many of them this thread worked."""

    def __enter__(self) -> _Timer:
        self._own, self._begin = time.thread_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.clock: Clock = (time.perf_counter() - self._begin, time.thread_time() - self._own)


class _Papi:
    """vpp_papi's asyncio client."""

    def __init__(self, api_socket: Path) -> None:
        from vpp_papi.vpp_papi_async import VPPApiClient

        self._client: Any = VPPApiClient(server_address=str(api_socket))

    async def __aenter__(self) -> _Papi:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if await self._client.connect("vpp_papi", asyncio.Queue()):
                raise Broken("vpp_papi does not connect")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.disconnect()

    async def add(self, work: Work, items: Sequence[Any], source: int) -> None:
        """A window's requests at once, then the next window's."""
        window = WINDOW if len(items) > WINDOW else max(1, len(items) // 4)
        for begin in range(0, len(items), window):
            replies = await asyncio.gather(
                *(self._ask(*work.arguments(item, source)) for item in items[begin : begin + window])
            )
            if wrong := [reply.retval for reply in replies if reply.retval]:
                raise Broken(f"vpp_papi, {work.name}: VPP refused {len(wrong)}, the first with {wrong[0]}")

    def _ask(self, name: str, arguments: dict[str, Any]) -> Awaitable[Any]:
        asked: Awaitable[Any] = getattr(self._client.api, name)(**arguments)
        return asked

    async def dump(self, work: DumpWork, source: int) -> int:
        _, found = await self._ask(*work.arguments(source))
        return len(found)


class _Bench:
    """One VPP, all clients."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._times: dict[tuple[str, str], list[Clock]] = defaultdict(list)
        self._numbers: dict[str, int] = {}
        self._vpp = ""
        self._why_not_go = ""

    async def run(self) -> list[Measured]:
        async with a_vpp() as self._socket:
            self._connection = await Connection.open(unix_socket(str(self._socket)), name="bench")
            self._vpp = f"VPP {self._connection.version}" if executable() else "embedded VPP"
            self._source = await prepare(self._connection)
            async with _Papi(self._socket) as self._papi:
                possible = [
                    work for work in WORK if all(each.table_name() in self._connection.table for each in work.messages)
                ]
                for work in possible:
                    await self._measure(work)
            await self._through_scheduler([work for work in possible if work.name != "ACLs of 1,000 rules"])
            self._connection.close()
        return [*self._against_papi(), *self._against_replay(), *self._against_go(), *self._of_scheduler()]

    async def _measure(self, work: Work) -> None:
        number = work.number if executable() else max(4, work.number // EMBEDDED_PART)
        items = self._items = work.make(number)
        self._numbers[work.name] = number
        few = items if executable() else items[: max(4, number // 4)]
        for _ in range(self._rounds):
            with self._timed(work.name, "ours") as _timer:
                await self._ours(work, items)
            await self._dumps(work, number)
            await work.remove(self._connection, items, self._source)
            with self._timed(work.name, "papi", number / len(few)):
                await self._papi.add(work, few, self._source)
            await work.remove(self._connection, few, self._source)
            await self._replay(work, items)
            await work.remove(self._connection, items, self._source)
            if work.name == "routes" and executable() and not self._why_not_go:
                await self._go(number)
                await work.remove(self._connection, items, self._source)

    @contextlib.contextmanager
    def _timed(self, name: str, who: str, factor: float = 1.0) -> Any:
        gc.collect()
        gc.freeze()  # as in an agent: what is there already is not looked at again and again
        with _Timer() as timer:
            yield timer
        wall, own = timer.clock
        self._times[name, who].append((wall * factor, own * factor))

    async def _ours(self, work: Work, items: Sequence[Any]) -> None:
        refused: list[tuple[Request[Any], Exception]] = []
        requests = (work.message(item, self._source) for item in items)
        await self._connection.send_all(requests, lambda request, error: refused.append((request, error)))
        if refused:
            raise Broken(f"{work.name}: {len(refused)} were refused, the first: {refused[0][1]}")

    async def _dumps(self, work: Work, number: int) -> None:
        for dump in DUMPS:
            if dump.of != work.name:
                continue
            self._numbers[dump.name] = number
            with self._timed(dump.name, "ours"):
                found = len(await self._connection.dump(dump.message(self._source)))
            with self._timed(dump.name, "papi"):
                theirs = await self._papi.dump(dump, self._source)
            if not found == theirs == number:
                raise Broken(f"{dump.name}: {number} are there, we found {found}, vpp_papi {theirs}")

    async def _replay(self, work: Work, items: Sequence[Any]) -> None:
        requests = [work.message(item, self._source) for item in items]
        reply: Any = answer_of(type(requests[0]))
        seconds = await asyncio.to_thread(replay, self._socket, requests, reply)
        self._times[work.name, "replay"].append((seconds, 0.0))

    async def _go(self, number: int) -> None:
        try:
            path = await asyncio.to_thread(govpp.program)
        except Skipped as reason:
            self._why_not_go = str(reason)
            return
        seconds = await asyncio.to_thread(govpp.seconds, path, self._socket, VRF, number, self._source)
        self._times["routes", "go"].append((seconds, 0.0))

    # --- through the scheduler

    async def _through_scheduler(self, works: Iterable[Work]) -> None:
        access = VppAccess()
        access.client = self._connection
        scheduler = Scheduler()
        for descriptor in all_descriptors(access):
            scheduler.register(descriptor)
        await scheduler.domain_up("vpp", "bench")
        below = [Loopback(name=INTERFACE, instance=0), VrfTable(vrf=VRF)]
        nat = m.Nat44EdPluginEnableDisable.table_name() in self._connection.table
        await self._apply(scheduler, [*below, *([Nat44()] if nat else [])])
        for work in works:
            items = work.make(self._numbers[work.name])
            with self._timed(work.name, "scheduler"):
                await self._apply(scheduler, items)
            counts = scheduler.counts()
            if counts["applied"] != len(scheduler.graph.nodes):
                raise Broken(f"{work.name} through the scheduler: {counts}")
        await scheduler.stop()

    @staticmethod
    async def _apply(scheduler: Scheduler, items: Iterable[Item]) -> None:
        owners = {item.key: {Owner("bench", item.key): item} for item in items}
        scheduler.submit(list(owners), owners)
        await scheduler.settled()

    # --- what is told

    def _rates(self, name: str, who: str) -> list[float]:
        return [self._numbers[name] / wall for wall, _ in self._times[name, who]]

    def _own(self, name: str, who: str) -> float:
        """Microseconds of the client's own time for a message."""
        return statistics.median(own for _, own in self._times[name, who]) / self._numbers[name] * 1e6

    def _against(self, name: str, who: str, known_as: str, goal: Goal | None) -> Measured:
        ours, theirs = self._rates(name, "ours"), self._rates(name, who)
        return Measured(
            "messages",
            f"{name}, {self._vpp}",
            "a second",
            statistics.median(ours),
            statistics.median(theirs),
            known_as,
            goal,
            {"ours": ours, "theirs": theirs},
        )

    def _against_papi(self) -> list[Measured]:
        lines = []
        for name in self._numbers:
            goal = Goal(10, more_is_better=True) if executable() else None  # the embedded VPP itself is slower
            lines.append(self._against(name, "papi", "vpp_papi asyncio", goal))
            ours, theirs = self._own(name, "ours"), self._own(name, "papi")
            what = f"{name}, the client's own time for one"
            lines.append(Measured("messages", what, "µs", ours, theirs, "vpp_papi asyncio", Goal(0.1)))
        return lines

    def _against_replay(self) -> list[Measured]:
        lines = []
        for name in self._numbers:
            if (name, "replay") in self._times:
                ours, floor = (
                    statistics.median(wall for wall, _ in self._times[name, who]) / self._numbers[name] * 1e6
                    for who in ("ours", "replay")
                )
                lines.append(
                    Measured("messages", f"{name}, time for one", "µs", ours, floor, "bytes made before", Goal(2.5))
                )
        return lines

    def _against_go(self) -> list[Measured]:
        if ("routes", "go") not in self._times:
            print(f"messages: without GoVPP: {self._why_not_go or 'it needs a real VPP'}", file=sys.stderr)
            return []
        return [self._against("routes", "go", f"GoVPP {govpp.VERSION}", Goal(1, more_is_better=True))]

    def _of_scheduler(self) -> list[Measured]:
        return [
            Measured(
                "messages",
                f"{name}, through the scheduler, {self._vpp}",
                "a second",
                self._rates(name, "scheduler")[0],
                details={"own_us": self._own(name, "scheduler")},
            )
            for name in self._numbers
            if (name, "scheduler") in self._times
        ]
