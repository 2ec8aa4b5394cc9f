# SPDX-License-Identifier: Apache-2.0
"""A plan: what would change, what would wait and why, and what cannot be foreseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from contivpp_core.items import Item

__all__ = ["Blocked", "Change", "Fields", "Plan", "Setting", "fields_of"]

Fields = dict[str, tuple[Any, Any]]
"""Fields that differ: name -> (old, new)."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key that would change.

    `action` is `create`, `update`, `delete`, or `recreate`: taken down and made again, with another value or, because
    of what it stands on, with the same. `operations` are what would be sent for the key, in order; a deletion without
    any goes with what it lives in. `drift`: the dataplane is not as the agent believes.
    """

    key: str
    kind: str
    domain: str
    action: str
    old: Item | None = None
    new: Item | None = None
    fields: Fields = {}
    owners: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    drift: bool = False


class Blocked(msgspec.Struct, frozen=True, kw_only=True):
    """One key that is not as wanted in the end: what it needs (create, update, ...), and why it is not done."""

    key: str
    kind: str
    domain: str
    needs: str
    state: str
    reason: str
    owners: tuple[str, ...] = ()


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that differs, and that only a restart can show the effect of."""

    setting: str
    old: Any
    new: Any


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `changes` and `blocked` are in the order of domain, kind and key; `steps` in that of time.

    `operations` counts what would be sent: `created`, `updated`, `deleted`, by kind. `failures` are renderings that
    fail, `settings` what cannot be planned, `notes` what else a reader should know.
    """

    revision: int
    live: bool = False
    changes: tuple[Change, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    steps: tuple[tuple[str, str], ...] = ()
    operations: Mapping[str, Mapping[str, int]] = {}
    failures: Mapping[str, str] = {}
    settings: tuple[Setting, ...] = ()
    notes: tuple[str, ...] = ()


def fields_of(old: Item | None, new: Item | None) -> Fields:
    """Return the fields in which two values differ; none where one of them is not there."""
    if old is None or new is None or type(old) is not type(new):
        return {}
    pairs = ((name, (getattr(old, name), getattr(new, name))) for name in old.__struct_fields__)
    return {name: pair for name, pair in pairs if pair[0] != pair[1]}
