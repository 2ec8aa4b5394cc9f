# SPDX-License-Identifier: Apache-2.0
"""The laws that descriptors keep under faults, as functions for a plugin's tests.

    def test_my_descriptors_keep_the_laws():
        world = MyWorld()
        check_descriptors(world.descriptors, [[item, other], [item], []], seed=1, restart=world.restart)

A `Trial` is an agent's scheduler over dataplanes that survive it: it can be killed at any operation, its connections
can be lost, the dataplane can start anew. `check_descriptors` goes through wishes in random order, at first without
faults:

- an item is made after, and deleted before, what it depends on (`contivpp_core.testing.order`);
- where nothing is, each item is created once and not touched again, whatever the order in which they are wanted, and
  the result is the same.

Then it does so under random faults, and checks at each quiet point:

- what the dataplane holds, by the descriptors' own dumps, is what is wanted, and nothing more that is ours;
- a resync or a check for drift of a right dataplane sends no write, and neither does an agent that starts anew;
- with nothing wanted, nothing of ours is left.

The seed repeats a run, with the same PYTHONHASHSEED. A broken law raises an AssertionError that names the law, the
seed, and the last faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from contivpp_core.clock import run_simulated
from contivpp_core.items import AnyDescriptor, Found, Item, Known, Owner
from contivpp_core.ledger import Ledger
from contivpp_core.scheduler import Scheduler
from contivpp_core.tasks import end
from contivpp_core.testing.faults import Fault, Faults
from contivpp_core.testing.order import Noting, Order
from contivpp_core.testing.worlds import World

__all__ = ["Trial", "check_descriptors"]

LONG_SECONDS = 120.0
"""Every back-off has ended by then."""

ENDLESS_SECONDS = 3600.0
"""What is not done by then will never be."""

_ME = Owner("trial", "all")
_APPLIED = ("applied", "shadowed")
_POLL_SECONDS = 0.05
_RESYNC_TRIES = 100
_OPERATIONS = "^(create|update|delete) "
_ALL = "^(create|update|delete|dump) "
_MOVES = ("want", "want", "want", "faults", "faults", "lose", "kill", "kill at", "cut at")
_PAUSES = (0.0, 0.0, 0.01, 1.0)

Owners = dict[str, dict[Owner, Item]]


class Trial:
    """An agent that may be killed; what it wants, and its dataplanes, stay. `scheduler` is the one of the moment.

    `descriptors` makes the descriptors of one life; `restart(domain)` empties a dataplane, as a new process would.
    `told` hears what is wanted, each time before the agent does; `world` is for dataplanes reached by messages.
    """

    def __init__(
        self,
        descriptors: Callable[[], Iterable[AnyDescriptor]],
        *,
        faults: Faults | None = None,
        restart: Callable[[str], None] | None = None,
        told: Callable[[Mapping[str, Any]], None] = lambda owners: None,
        world: World | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.faults.cut = self._cut
        self.world = world or World()
        self.world.faults = self.faults
        self.world.lost = self._lost
        self.owners: Owners = {}
        self.ledger = Ledger.open(None)
        self.noting = Noting()
        self.wrote = self.noting.wrote
        self.lives = 0
        self._make = descriptors
        self._restart = restart
        self._told = told
        self._incarnations: dict[str, int] = defaultdict(int)
        self._busy: set[asyncio.Task[None]] = set()
        self._ups: dict[str, asyncio.Task[None]] = {}
        self._dying = asyncio.Lock()
        self._doomed = 0
        self.scheduler = self._agent()

    def _agent(self) -> Scheduler:
        self.lives += 1
        scheduler = Scheduler(seed=self.lives)
        scheduler.notes.ledger = self.ledger
        for descriptor in self._make():
            scheduler.register(self.faults.around(self.noting.around(descriptor)))
        self.world.begin(scheduler)
        return scheduler

    # --- the agent

    @property
    def domains(self) -> list[str]:
        """The dataplanes."""
        return sorted({descriptor.domain for descriptor in self.scheduler.descriptors.values()})

    async def start(self) -> None:
        """Connect every dataplane."""
        for domain in self.domains:
            await self._up(domain)

    def want(self, items: Iterable[Item] | Owners) -> None:
        """Want these items, and no others."""
        new = _owners(items)
        self._told(new)
        changed = {key for key in self.owners.keys() | new.keys() if self.owners.get(key) != new.get(key)}
        self.owners = new
        self.scheduler.submit(sorted(changed), new)

    async def kill(self, wish: Iterable[Item] | Owners | None = None) -> None:
        """The agent dies where it is, and another starts, maybe with another wish: it knows that, and the ledger."""
        async with self._dying:
            for domain in self.domains:
                await self._end_up(domain)
                self.world.disconnect(domain)
            await self.scheduler.stop()
            self.scheduler = self._agent()
            if wish is not None:
                self.owners = _owners(wish)
                self._told(self.owners)
            self.scheduler.submit(set(self.owners), self.owners)
        await self.start()

    async def stop(self) -> None:
        """End the agent for good; what is in the dataplanes stays."""
        await self.scheduler.stop()
        for domain in self.domains:
            self.world.disconnect(domain)
        await asyncio.sleep(_POLL_SECONDS)  # who was talked to learns of it

    def kill_soon(self) -> None:
        """The same, for `Fault.CALL`; an agent dies once."""
        if self._doomed != self.lives:
            self._doomed = self.lives
            self._spawn(self.kill())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    # --- the dataplanes

    async def lose(self, domain: str, *, new: bool = False) -> None:
        """The connection to a dataplane is lost, and comes back; with `new`, it is another one, and empty."""
        self.scheduler.domain_down(domain, f"{domain} is away by plan")
        self.world.disconnect(domain)
        if new:
            self._incarnations[domain] += 1
            if self._restart is not None:
                self._restart(domain)
        await asyncio.sleep(0.02)
        await self._up(domain)

    def _cut(self) -> None:
        for domain in self.domains:
            self._spawn(self.lose(domain))

    def _lost(self, domain: str, *, new: bool = False) -> None:
        self._spawn(self.lose(domain, new=new))

    async def _up(self, domain: str) -> None:
        """Read a domain until it succeeds; one that is being read already is read anew."""
        await self._end_up(domain)
        task = self._ups[domain] = asyncio.get_running_loop().create_task(self._until_up(domain))
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()

    async def _end_up(self, domain: str) -> None:
        while former := self._ups.pop(domain, None):
            await end(former)

    async def _until_up(self, domain: str) -> None:
        for _ in range(_RESYNC_TRIES):
            try:
                await self.world.connect(domain)
                await self.scheduler.domain_up(domain, str(self._incarnations[domain]))
            except Exception:  # a fault of a dump, or of what is deleted because it dangles
                await asyncio.sleep(0.1)
            else:
                return
        raise AssertionError(f"{domain} could not be read in {_RESYNC_TRIES} tries")

    # --- looking

    async def rest(self) -> None:
        """Let everything end that can, back-offs too."""
        for _ in range(2):
            end = asyncio.get_running_loop().time() + ENDLESS_SECONDS
            # The scheduler may be another one when it is idle, so there is no one event to wait for.
            while self._busy or not self.scheduler.idle():
                await asyncio.sleep(_POLL_SECONDS)
                now = asyncio.get_running_loop().time()
                assert now < end, f"law: work comes to an end; {self.scheduler.not_applied()}"
            await asyncio.sleep(LONG_SECONDS)
        await self.scheduler.settled()

    async def found(self) -> dict[str, Item | None]:
        """Return what the dataplanes hold of ours, by the descriptors' dumps; what dangles is None."""
        scheduler = self.scheduler
        found: dict[str, Item | None] = {}
        for domain in self.domains:
            for each in await _read(scheduler, domain):
                if each.ours:
                    found[each.key] = each.item
        return found

    async def check_laws(self) -> None:
        """Check the laws; there must be no faults any more."""
        await self.rest()
        states = {item.key: f"{item.state}: {item.reason}" for item in self.scheduler.items()}
        bad = {key: state for key, state in states.items() if not state.startswith(_APPLIED)}
        assert not bad, f"law: after any changes and faults every item is applied; {bad}"
        await self._check_found()
        self.wrote.clear()
        for domain in self.domains:
            await self.scheduler.resync(domain)
        await self.rest()
        assert not self.wrote, f"law: a resync of a right dataplane sends no write; {self.wrote}"
        for kind in self.scheduler.descriptors:
            differing = await self.scheduler.check(kind)
            assert not differing, f"law: a check of a right dataplane finds no drift; {differing}"
        await self.rest()
        assert not self.wrote, f"law: a check of a right dataplane sends no write; {self.wrote}"
        await self.kill()
        await self.rest()
        assert not self.wrote, f"law: an agent that starts anew sends no write; {self.wrote}"

    async def check_created_once(self, items: Iterable[Item] | Owners) -> None:
        """Check, with nothing there and without faults: every item is created once, and nothing else is written."""
        self.wrote.clear()
        self.want(items)
        await self.rest()
        self._check_wrote_creations("where nothing is")
        await self._check_found()

    async def check_order(self, wishes: Sequence[Iterable[Item] | Owners], chance: random.Random) -> None:
        """Check, with nothing there and without faults, the order of operations, and that the order of wishes is none.

        Afterwards nothing is there.
        """
        order = self.noting.order = Order(self.scheduler.descriptors)
        try:
            for wish in (*chance.sample(wishes, len(wishes)), ()):
                self.want(wish)
                await self.rest()
                await self._check_found()
                assert not order.violations, f"law: what an item depends on is there; {order.violations}"
            await self._check_any_order(chance.choice(wishes), chance)
            assert not order.violations, f"law: what an item depends on is there; {order.violations}"
        finally:
            self.noting.order = None

    async def _check_any_order(self, wish: Iterable[Item] | Owners, chance: random.Random) -> None:
        await self.check_created_once(wish)
        wanted = self.owners
        self.want(())
        await self.rest()
        self.wrote.clear()
        keys = chance.sample(sorted(wanted), len(wanted))
        for count in range(1, len(keys) + 1):
            self.want({key: wanted[key] for key in keys[:count]})
            await asyncio.sleep(chance.choice(_PAUSES))
        await self.rest()
        self._check_wrote_creations("whatever the order of wishes")
        await self._check_found()
        self.want(())
        await self.rest()

    def _check_wrote_creations(self, when: str) -> None:
        more, expected = Counter(self.wrote), Counter(f"create {key}" for key in self.owners)
        other = [*(more - expected), *(f"no {each}" for each in expected - more)]
        assert not other, f"law: {when}, an item is created once, and not touched again; {other}"

    async def _check_found(self) -> None:
        found = await self.found()
        nodes = self.scheduler.graph.nodes
        wanted = {key: node.desired for key, node in nodes.items() if node.desired is not None}
        shadowed = {key for key, node in nodes.items() if node.actual is not None and node.actual.shadowed}
        for key in sorted(wanted.keys() | found.keys()):
            want, there = wanted.get(key), found.get(key)
            same = want is not None and there is not None and nodes[key].descriptor.equal(want, there)
            assert same or key in shadowed, f"law: the dataplane holds what is wanted; {key} is {there}, not {want}"


def _owners(items: Iterable[Item] | Owners) -> Owners:
    return items if isinstance(items, dict) else {item.key: {_ME: item} for item in items}


async def _read(scheduler: Scheduler, domain: str) -> Sequence[Found]:
    """Dump every kind of a domain, with the handles that the scheduler knows."""
    noted = scheduler.notes.of_kind
    known = Known({kind: _believed(scheduler, d) for kind, d in scheduler.descriptors.items()}, noted)
    for node in scheduler.graph:
        if node.descriptor.space and node.actual is not None:
            for key in node.actual.provides:
                if key.startswith(f"{node.descriptor.space}/"):
                    known.add(node.descriptor.space, node.actual.handle, key)
    kinds = [d for d in scheduler.descriptors.values() if d.domain == domain]
    return [each for descriptor in kinds for each in await descriptor.dump(known)]


def _believed(scheduler: Scheduler, descriptor: AnyDescriptor) -> list[Item]:
    nodes = (node for node in scheduler.graph if node.descriptor is descriptor)
    return [item for node in nodes if (item := node.desired or node.former) is not None]


def check_descriptors(
    descriptors: Callable[[], Iterable[AnyDescriptor]],
    wishes: Sequence[Iterable[Item] | Owners],
    *,
    seed: int,
    steps: int = 40,
    restart: Callable[[str], None] | None = None,
    told: Callable[[Mapping[str, Any]], None] = lambda owners: None,
    world: World | None = None,
    run: Callable[[Coroutine[Any, Any, None]], None] = run_simulated,
) -> Faults:
    """Go through random wishes in simulated time, calmly and under random faults, and check the laws.

    Return what was struck. The other arguments are those of `Trial`.
    """
    faults = Faults(seed)

    async def main() -> None:
        trial = Trial(descriptors, faults=faults, restart=restart, told=told, world=world)
        await trial.start()
        chance = random.Random(seed)
        try:
            await trial.check_order(wishes, chance)
            await _go_through(trial, chance, wishes, steps)
        except AssertionError as error:
            last = "; ".join(map(str, faults.struck[-8:]))
            raise AssertionError(f"{error}\nseed {seed}, last faults: {last}") from error
        finally:
            faults.calm()
            with contextlib.suppress(AssertionError):
                await trial.rest()
            await trial.stop()

    run(main())
    return faults


async def _go_through(
    trial: Trial, chance: random.Random, wishes: Sequence[Iterable[Item] | Owners], steps: int
) -> None:
    for number in range(steps):
        await _step(trial, chance, wishes)
        if number % 10 == 9:
            trial.faults.calm()
            await trial.check_laws()
    trial.faults.calm()
    trial.want(())
    await trial.check_laws()


async def _step(trial: Trial, chance: random.Random, wishes: Sequence[Iterable[Item] | Owners]) -> None:
    faults = trial.faults
    more = ("messages",) * 3 * trial.world.messages + ("kill and want",) * trial.world.all_found
    match chance.choice(_MOVES + more):
        case "want":
            trial.want(chance.choice(wishes))
        case "faults":
            fault = chance.choice((Fault.REFUSE, Fault.LOSE, Fault.LOSE_ANSWER, Fault.SLOW, Fault.REFUSE))
            faults.plan(fault, chance.choice((_OPERATIONS, _ALL)), times=chance.randint(1, 5), chance=0.4, seconds=0.5)
        case "messages":
            trial.world.plan(faults, chance)
        case "lose":
            await trial.lose(chance.choice(trial.domains), new=chance.random() < 0.4)
        case "kill":
            await trial.kill()
        case "kill and want":
            await trial.kill(chance.choice(wishes))
        case "kill at":
            fault = chance.choice((Fault.CALL, Fault.CALL_AFTER))
            faults.plan(fault, nth=chance.randint(1, 6), call=trial.kill_soon)
        case "cut at":
            faults.plan(chance.choice((Fault.CUT, Fault.CUT_AFTER)), nth=chance.randint(1, 6))
    await asyncio.sleep(chance.choice((0.0, 0.005, 0.015, 0.03, 1.0)))
