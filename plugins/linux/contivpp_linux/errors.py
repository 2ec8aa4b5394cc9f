# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with items of Linux, beyond what the kernel says (`contivpp_linux.kernel.errors`).

    ContivError
    ├── NamespaceVanished    the item's network namespace is gone; another one may be at its path
    ├── ForeignObject        somebody else's object has the item's place in the kernel
    └── StillThere           an object of ours from earlier has the place, and goes soon
"""

from __future__ import annotations

from contivpp_core.errors import ContivError
from contivpp_core.namespaces import Namespace

__all__ = ["ForeignObject", "NamespaceVanished", "StillThere"]


class NamespaceVanished(ContivError):
    """No network namespace, or another one, is at the path: nothing of the old one can be reached any more."""

    def __init__(self, namespace: Namespace, reason: str) -> None:
        super().__init__(
            f"network namespace {namespace.path} ({namespace}) is gone, or was replaced by another one: {reason}; "
            "nothing can be made in it"
        )
        self.namespace = namespace


class ForeignObject(ContivError):
    """Somebody else's object is never overwritten; remove or rename it, or choose another name."""


class StillThere(ContivError):
    """An object of ours that is no longer wanted has the place; it is on its way out."""
