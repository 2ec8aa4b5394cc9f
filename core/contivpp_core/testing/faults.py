# SPDX-License-Identifier: Apache-2.0
"""Faults by plan, for tests of whatever talks to a dataplane.

    faults = Faults(seed=7)
    faults.plan(Fault.REFUSE, "create vpp/route/")                  # the next one
    faults.plan(Fault.LOSE_ANSWER, "update ", nth=3)                # the third update from now on
    faults.plan(Fault.LOSE, "vpp/acl/", times=None, chance=0.1)     # one in ten, as the seed has it
    scheduler.register(faults.around(descriptor))

What faults strike are *points*, which have names. Around a descriptor a point is an operation, `create KEY`, `update
KEY`, `delete KEY` or `dump KIND`. Other levels name their own: `contivpp_vpp.middle` has one for each message to and
from VPP. A pattern is a regular expression that is searched in the name; the first rule that matches and is due
strikes. The same seed and the same points give the same faults; `struck` tells which, for the report of a failure.
"""

from __future__ import annotations

import asyncio
import copy
import enum
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from contivpp_core.items import AnyDescriptor, Outcome, Unavailable

__all__ = ["Fault", "Faults", "InjectedFault", "Rule", "Struck"]

D = TypeVar("D", bound=AnyDescriptor)


class Fault(enum.Enum):
    """What may happen at a point."""

    REFUSE = "refused"
    """Answered with an error, and not done; trying again may help."""
    REJECT = "refused for good"
    """The same, and no try helps before something changes."""
    LOSE = "lost"
    """Not done, and nobody answers."""
    LOSE_ANSWER = "answer lost"
    """Done, and nobody answers."""
    TWICE = "twice"
    """Carried out twice (an operation), or arrives twice (a message); the first answer counts."""
    SLOW = "slow"
    """Done after `seconds`."""
    TRUNCATE = "truncated"
    """The end of a message is missing. Of messages only."""
    CUT = "connection lost before"
    """The connection is lost; it is not done."""
    CUT_AFTER = "connection lost after"
    """Done; the connection is lost before the answer."""
    CALL = "called before"
    """`call` is called, and the point never passed: for the end of a process."""
    CALL_AFTER = "called after"
    """Done, then `call` is called, and the answer never comes."""


class InjectedFault(Exception):
    """An operation is refused by plan."""

    def __init__(self, text: str, outcome: Outcome) -> None:
        super().__init__(text)
        self.outcome = outcome


@dataclass
class Rule:
    """One line of a plan; `retval` is the number that VPP answers with when it refuses."""

    fault: Fault
    pattern: re.Pattern[str]
    nth: int = 1
    times: int | None = 1
    chance: float = 1.0
    seconds: float = 1.0
    retval: int | None = None
    call: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Struck:
    """A fault that happened: at which point, counted from the first."""

    number: int
    point: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.number} {self.point}: {self.fault.value}"


class Faults:
    """A plan, and what has come of it."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.rules: list[Rule] = []
        self.struck: list[Struck] = []
        self.points = 0
        self.cut: Callable[[], None] = lambda: None
        """Called around descriptors when the connection is lost."""

    def plan(
        self,
        fault: Fault,
        pattern: str = "",
        *,
        nth: int = 1,
        times: int | None = 1,
        chance: float = 1.0,
        seconds: float = 1.0,
        retval: int | None = None,
        call: Callable[[], None] = lambda: None,
    ) -> Rule:
        """Add a rule: strike the `nth` matching point from now on and those after it, `times` in all (None: always).

        With `chance`, each point that is due is struck with that probability.
        """
        rule = Rule(fault, re.compile(pattern), nth, times, chance, seconds, retval, call)
        self.rules.append(rule)
        return rule

    def calm(self) -> None:
        """Forget the plan: no faults from now on."""
        self.rules.clear()

    def strike(self, point: str) -> Rule | None:
        """Pass a point; return the rule that strikes, if one does."""
        self.points += 1
        for rule in self.rules:
            if not rule.pattern.search(point):
                continue
            if rule.nth > 1:
                rule.nth -= 1
            elif rule.chance >= 1 or self.random.random() < rule.chance:
                self._spend(rule)
                self.struck.append(Struck(self.points, point, rule.fault))
                return rule
        return None

    def _spend(self, rule: Rule) -> None:
        if rule.times is not None:
            rule.times -= 1
            if not rule.times:
                self.rules.remove(rule)

    # --- around descriptors

    def around(self, descriptor: D) -> D:
        """Return a descriptor that does the same, with the faults of this plan."""
        faulty = copy.copy(descriptor)

        async def create(item: Any, handles: Any) -> Any:
            return await self.operate(f"create {item.key}", lambda: descriptor.create(item, handles))

        async def update(old: Any, new: Any, handle: Any, handles: Any) -> Any:
            return await self.operate(f"update {new.key}", lambda: descriptor.update(old, new, handle, handles))

        async def delete(item: Any, handle: Any, handles: Any) -> None:
            key = item.key if item is not None else f"{descriptor.kind}/?"
            await self.operate(f"delete {key}", lambda: descriptor.delete(item, handle, handles))

        async def dump(known: Any) -> Any:
            return await self.operate(f"dump {descriptor.kind}", lambda: descriptor.dump(known))

        def classify(error: Exception) -> Outcome:
            return error.outcome if isinstance(error, InjectedFault) else descriptor.classify(error)

        def begin_create(item: Any, handles: Any, ended: Any) -> bool:
            if any(rule.pattern.search(f"create {item.key}") for rule in self.rules):
                return False  # it goes by `create`, where the faults are
            return descriptor.begin_create(item, handles, ended)

        for method in (create, begin_create, update, delete, dump, classify):
            setattr(faulty, method.__name__, method)
        return faulty

    async def operate(self, point: str, action: Callable[[], Awaitable[Any]]) -> Any:
        """Carry out an operation, with the fault that is planned for it."""
        rule = self.strike(point)
        if rule is None:
            return await action()
        text = f"{point} is {rule.fault.value} by plan"
        match rule.fault:
            case Fault.REFUSE:
                raise InjectedFault(text, Outcome.RETRY)
            case Fault.REJECT:
                raise InjectedFault(text, Outcome.CHANGE)
            case Fault.LOSE:
                raise Unavailable(text)
            case Fault.SLOW:
                await asyncio.sleep(rule.seconds)
                return await action()
            case Fault.TWICE:
                return await _twice(action)
            case Fault.CUT | Fault.CALL:
                self._end(rule)
            case Fault.LOSE_ANSWER:
                await action()
            case Fault.CUT_AFTER | Fault.CALL_AFTER:
                await action()
                self._end(rule)
            case Fault.TRUNCATE:
                raise ValueError("an operation cannot be truncated, only a message")
        if rule.fault in (Fault.CALL, Fault.CALL_AFTER):
            await asyncio.Event().wait()  # whoever asked is dead; its end cancels this
        raise Unavailable(text)

    def _end(self, rule: Rule) -> None:
        asyncio.get_running_loop().call_soon(self.cut if rule.fault in (Fault.CUT, Fault.CUT_AFTER) else rule.call)


async def _twice(action: Callable[[], Awaitable[Any]]) -> Any:
    first = await action()
    try:
        await action()
    except Exception:  # the second answer is nobody's
        return first
    return first
