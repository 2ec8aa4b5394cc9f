# SPDX-License-Identifier: Apache-2.0
"""How our veths are told from others: by the ifalias of each end.

A mark names both ends, so that a pair is recognised from either of them: after a crash, or when one end's namespace
cannot be reached. The kernel takes no alias in the message that makes a link; until it has one, the first end has a
*provisional* name, which is the mark then.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from contivpp_core.namespaces import Namespace
from contivpp_linux.items import Veth
from contivpp_linux.settled import split_alias

__all__ = ["PREFIX", "UNKNOWN_PATH", "Mark", "is_provisional", "label_of", "namespace_of", "provisional_name"]

PREFIX = "contivpp/1/"
UNKNOWN_PATH = "/proc/0/ns/net"  # never a file: there is no process 0
_PARTS = 6
_LONGEST_ALIAS = 255
_PROVISIONAL = re.compile(r"cvp-[0-9a-f]{11}")


class Mark(NamedTuple):
    """What an alias says: which end it is (`a`, the first, or `b`), both ends, and the label."""

    end: str
    namespace: str
    name: str
    peer_namespace: str
    peer_name: str
    label: str

    @classmethod
    def of(cls, item: Veth, end: str) -> Mark:
        """Return the mark of one end of a pair."""
        ends = (str(item.namespace), item.name, str(item.peer_namespace), item.peer_name)
        return cls(end, *ends, label_of(item))

    @classmethod
    def parse(cls, alias: str) -> Mark | None:
        """Return the mark in an alias, None where there is none."""
        alias, _ = split_alias(alias)
        parts = alias.removeprefix(PREFIX).split("/", _PARTS - 1)
        if not alias.startswith(PREFIX) or len(parts) != _PARTS or parts[0] not in ("a", "b"):
            return None
        return cls(*parts)

    @property
    def alias(self) -> str:
        """The alias; ValueError if the label makes it too long."""
        alias = PREFIX + "/".join(self)
        if len(alias.encode()) > _LONGEST_ALIAS:
            raise ValueError(f"the alias of veth {self.name} is too long for the kernel: shorten {self.label!r}")
        return alias

    @property
    def key(self) -> str:
        """The key of the pair's item."""
        return f"{Veth.kind}/{self.namespace}/{self.name}"

    def same_pair(self, other: Mark) -> bool:
        """Tell whether two marks mean the same pair."""
        return self[1:5] == other[1:5]


def label_of(item: Veth) -> str:
    """Return an item's label; the prefix of marks may stand before it."""
    return item.alias.removeprefix(PREFIX)


def namespace_of(text: str) -> Namespace:
    """Return a namespace of which only the identity is known: it cannot be entered."""
    device, _, inode = text.partition(":")
    return Namespace(UNKNOWN_PATH, int(device), int(inode)) if inode else Namespace()


def provisional_name(item: Veth) -> str:
    """Return the name that the first end has until it is marked."""
    return "cvp-" + hashlib.sha256(item.key.encode()).hexdigest()[:11]


def is_provisional(name: str) -> bool:
    """Tell whether a link's name is one of those."""
    return _PROVISIONAL.fullmatch(name) is not None
