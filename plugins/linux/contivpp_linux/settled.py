# SPDX-License-Identifier: Apache-2.0
"""Which initial values were applied to a link: kept in the link's own ifalias, so it lives exactly as long as the link.

A digest stands for each value that was applied last. So a link that is new, or was left half done, counts as new; on a
settled one, what others have changed is left alone, and a value that is wanted anew is told from one that was applied.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from contivpp_linux.items import Mtu, Route, Settled, Sysctl

__all__ = ["Applied", "alias_of", "applied_of", "split_alias"]

_MARK = "contivpp/settled/1/"
_LONGEST_ALIAS = 255
_WIDTHS = (2, 4)  # characters for each digest; six bits each
_NO_PART_OF_THE_VALUE = ("namespace", "initial")


class Applied(NamedTuple):
    """The digests that a link carries."""

    digests: frozenset[str]
    width: int

    def has(self, item: Mtu | Route | Sysctl) -> bool:
        """Tell whether this very value was applied."""
        return _digest(item, self.width) in self.digests

    def are(self, items: Iterable[Mtu | Route | Sysctl]) -> bool:
        """Tell whether these values were applied, and no others."""
        return self.digests == {_digest(item, self.width) for item in items}


def alias_of(item: Settled) -> str:
    """Return the ifalias of a settled link."""
    begin = f"{item.mark} {_MARK}".lstrip()
    shortest, longest = _WIDTHS
    room = _LONGEST_ALIAS - len(begin.encode()) - 1
    width = min(longest, room // max(1, len(item.initial)))
    if width < shortest:
        raise ValueError(f"the alias of link {item.link} has no room to note {len(item.initial)} initial values")
    return f"{begin}{width}" + "".join(sorted(_digest(each, width) for each in item.initial))


def split_alias(alias: str) -> tuple[str, str]:
    """Return what stands in an ifalias before the note of applied values, and the note."""
    begin, found, rest = alias.partition(_MARK)
    return begin.rstrip(), found + rest


def applied_of(alias: str) -> Applied | None:
    """Return what was applied to the link with this ifalias, None where its initial values were never all applied."""
    text = split_alias(alias)[1].removeprefix(_MARK)
    if not text or not text[0].isdigit() or not int(text[0]):
        return None
    width, rest = int(text[0]), text[1:]
    return Applied(frozenset(rest[at : at + width] for at in range(0, len(rest), width)), width)


@functools.cache  # asking msgspec takes 0.2 ms
def _fields(kind: type[Mtu | Route | Sysctl]) -> tuple[tuple[str, object], ...]:
    """Return the fields that make up a value, with their defaults."""
    fields = msgspec.structs.fields(kind)
    return tuple((field.name, field.default) for field in fields if field.name not in _NO_PART_OF_THE_VALUE)


def _digest(item: Mtu | Route | Sysctl, width: int) -> str:
    """Return a digest of a value; fields that have their default are left out, so that a new one changes none."""
    value = {name: each for name, default in _fields(type(item)) if (each := getattr(item, name)) != default}
    text = msgspec.json.encode([item.kind, value], order="deterministic")
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest())[:width].decode()
