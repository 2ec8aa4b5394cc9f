# SPDX-License-Identifier: Apache-2.0
"""Items and descriptors: the contract between what is wanted and what a dataplane can do.

An item is the smallest thing that the dataplane sets and unsets by itself: an interface, its VRF, its link
state, one address, one route. Its key is its identity in the dataplane, never its origin; origins are kept as
owners. A descriptor knows one kind of item: how to make, change, remove and find it, and what it depends on.
The scheduler (`contivpp_core.scheduler`) does the rest: order, comparison, retry, repair.

Descriptors send nothing on their own account and keep no state about items.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from contivpp_core.errors import ContivError

__all__ = [
    "Dependency",
    "Descriptor",
    "Found",
    "Item",
    "Known",
    "Outcome",
    "Owner",
    "Unavailable",
]


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all items. Fields are hashable; handles that a dataplane picks are never among them.

    So an item cannot be part of a cycle, and the garbage collector need not look at it.
    """

    kind: ClassVar[str]
    """The kind's name, `<domain>/<noun>`, for example `vpp/route`; every key of the kind begins with it and `/`."""

    @property
    def key(self) -> str:
        """The identity in the dataplane: `<kind>/<identity>`."""
        raise NotImplementedError


class Owner(NamedTuple):
    """Who wants an item: a renderer, and the key of the record that it rendered."""

    renderer: str
    record: str

    def __str__(self) -> str:
        return f"{self.renderer}:{self.record}"


class Dependency(msgspec.Struct, frozen=True, gc=False):
    """What must be applied before an item can be.

    `keys`: one of these item keys (or keys that an item provides) must be applied. With `value`, the applied item must
    equal it: the dependant is taken down before that item changes. `bound`: the dependant lives inside the item, as an
    address in an interface: it vanishes with it, without a message. With `fact`, a record (table, key) must exist
    instead, for example a network namespace. With `as_wanted`, it is not enough that the object is there (a new
    interface has some MAC): it must be as it is wanted before the dependant is made. With `without` alone, nothing may
    be there at that item's key when the dependant is made; the dependant does not stand on it.
    """

    keys: tuple[str, ...] = ()
    value: Item | None = None
    bound: bool = False
    fact: tuple[str, str] | None = None
    as_wanted: bool = False
    without: str = ""

    @classmethod
    def on(cls, key: str) -> Dependency:
        """Depend on one key."""
        return cls((key,))

    @classmethod
    def on_applied(cls, key: str) -> Dependency:
        """Depend on one key, and on its object being as wanted."""
        return cls((key,), as_wanted=True)

    @classmethod
    def inside(cls, key: str) -> Dependency:
        """Depend on one key, and vanish with it."""
        return cls((key,), None, True)

    @classmethod
    def absent(cls, key: str) -> Dependency:
        """Depend on nothing being there at an item's key."""
        return cls(without=key)

    def __str__(self) -> str:
        if self.fact:
            return f"{self.fact[0]} {self.fact[1]}"
        if self.without:
            return f"the end of {self.without}"
        return " or ".join(self.keys) + (" with another value" if self.value is not None else "")


I = TypeVar("I", bound=Item)  # noqa: E741 (the contract's letter for an item type)


class Found(NamedTuple):
    """One object of a dump: its canonical item, the handle, and whether it carries a mark of ours.

    `item` is None for an object of this kind that cannot be expressed as an item, for example a route over an
    interface that no longer exists; it then has `key`, and is deleted before anything is created when it is ours.
    """

    key: str
    item: Any
    handle: Any = None
    ours: bool = True
    shadowed: bool = False
    """Accepted, but a stronger source is in force."""


class Outcome(enum.Enum):
    """What an error of an operation means for the next try."""

    RETRY = "retry"
    """Try again after a while (back-off with jitter)."""
    CHANGE = "wait for a change"
    """The value is refused: no retry until the item or something that it depends on changes."""
    CONFLICT = "conflict"
    """Somebody else's object has the key: it is never overwritten."""
    UNKNOWN = "unknown"
    """It cannot be told whether the operation was carried out: read back before anything else."""


class Unavailable(ContivError):
    """The dataplane's answer was lost (connection, process): the result of the operation is unknown."""


class Known:
    """What a dump may look up: which key has a handle found by an earlier dump, and which items are of interest.

    `items` are those of each kind, or a function that returns them; it is asked once for each kind that is looked up.
    `noted` returns those of a kind that the ledger knows.
    """

    def __init__(
        self,
        items: Mapping[str, Sequence[Item]] | Callable[[str], Sequence[Item]] | None = None,
        noted: Callable[[str], Sequence[Item]] = lambda kind: (),
    ) -> None:
        self._keys: dict[tuple[str, Any], str] = {}
        self.noted: Callable[[str], Sequence[Any]] = noted
        """Returns the items of an unmarked kind whose objects we made, as they were made, whatever is wanted now."""
        self._ask = items if callable(items) else None
        self._items: dict[str, Sequence[Item]] = {} if items is None or callable(items) else dict(items)

    def items(self, kind: str) -> Sequence[Any]:
        """Return the items of a kind that are wanted or were last known to be there (which namespaces to read)."""
        if self._ask is not None and kind not in self._items:
            self._items[kind] = self._ask(kind)
        return self._items.get(kind, ())

    def add(self, space: str, handle: Any, key: str) -> None:
        """Remember that `handle` in the space (for example `vpp/interface`) stands for `key`."""
        self._keys[space, handle] = key

    def key(self, space: str, handle: Any) -> str | None:
        """Return the key for the handle, or None where no dump found it."""
        return self._keys.get((space, handle))


class Descriptor(Generic[I]):
    """How one kind of item is handled. Subclasses set the class variables and the methods that they need.

    `handles` maps each key that the item depends on to the handle of the object in force there: for `create` and the
    new side of `update` the present one, for `delete` the one that the object was made with.
    """

    kind: ClassVar[str]
    item: ClassVar[type[Item]]
    domain: ClassVar[str]
    """Which dataplane the kind lives in (`vpp`, `linux`): domains are lost, found and resynchronised as a whole."""
    merged: ClassVar[bool] = False
    """Whether the parts of several owners are folded by `merge`; otherwise the smallest owner is in force."""
    space: ClassVar[str | None] = None
    """Where others look up this kind's handles, for example `vpp/interface`; its items provide a key there."""
    found_only: ClassVar[bool] = False
    """Whether objects are only looked up, and deletion leaves them: what lives inside is then taken down first."""
    unmarked: ClassVar[bool] = False
    """Whether an object shows no mark of ours. It needs none inside something that does; else it is noted in the ledger
    before it is made (`contivpp_core.scheduler.notes`)."""
    dumps_after: ClassVar[tuple[str, ...]] = ()
    """Spaces and kinds whose handles this kind's dump looks up."""

    def dependencies(self, item: I) -> Iterable[Dependency]:
        """Return what must be applied before the item."""
        return ()

    def provides(self, item: I) -> Iterable[str]:
        """Return further keys, in any domain, that exist whenever the item does."""
        return ()

    def gate(self, item: I) -> str | None:
        """Return the key of an item that must be taken down before this one is (a filter's link), if any."""
        return None

    def merge(self, parts: Sequence[tuple[Owner, I]]) -> I:
        """Fold the parts of several owners, in the order of owners. Pure."""
        raise NotImplementedError(f"{self.kind} is not a merged kind")

    def equal(self, wanted: I, found: I) -> bool:
        """Tell whether an object is as wanted; override where a dump cannot show every field."""
        return wanted == found

    def recreates(self, old: I, new: I) -> bool:
        """Tell whether a change needs deletion and creation."""
        return True

    async def create(self, item: I, handles: Mapping[str, Any]) -> Any:
        """Make the object and return its handle."""
        raise NotImplementedError

    def begin_create(self, item: I, handles: Mapping[str, Any], ended: Callable[[Any, Exception | None], None]) -> bool:
        """Do what `create` does without waiting, if it is one message and can be sent now; tell whether that was done.

        Then `ended(handle, error)` is called once, not before this returns. It is a short way for kinds of which there
        are thousands; a descriptor without it is correct, too.
        """
        return False

    async def update(self, old: I, new: I, handle: Any, handles: Mapping[str, Any]) -> Any:
        """Change the object in place and return its handle."""
        raise NotImplementedError

    async def delete(self, item: I, handle: Any, handles: Mapping[str, Any]) -> None:
        """Remove the object. An object that is gone already is success. `item` is None for an inexpressible find."""
        raise NotImplementedError

    async def dump(self, known: Known) -> list[Found]:
        """Read every object of the kind, with canonical values."""
        raise NotImplementedError

    async def fingerprint(self) -> Hashable:
        """Return what changes whenever an object of the kind does, if that costs less than a dump (a generation).

        A check for drift then dumps the kind only when the fingerprint is not the one before its last clean check.
        None: there is no such thing.
        """
        return None

    def classify(self, error: Exception) -> Outcome:
        """Tell what an error means for the next try."""
        return Outcome.UNKNOWN if isinstance(error, Unavailable | OSError) else Outcome.RETRY


AnyDescriptor = Descriptor[Any]
