# SPDX-License-Identifier: Apache-2.0
"""In which order the backends of a mapping are added and deleted.

Whatever packet comes in between, the sum of probabilities that VPP divides by must be right: at least 1 and at most
255, which a byte holds. What is added comes first as long as it fits, so that there is always somewhere to go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from contivpp_vpp.items import NatBackend

__all__ = ["Change", "changes", "in_any_order"]

_MOST = 255


class Change(NamedTuple):
    """One message."""

    is_add: bool
    backend: NatBackend


def changes(old: Iterable[NatBackend], new: Iterable[NatBackend]) -> list[Change] | None:
    """Return the steps from one set of backends to another; None where there is no safe order.

    A probability changes by deletion and addition: VPP knows a backend by address, port and VRF.
    """
    before, after = set(old), set(new)
    goes = sorted(before - after, key=lambda backend: (backend.probability, backend))
    comes = sorted(after - before, key=lambda backend: (backend.probability, backend))
    there = {backend.endpoint for backend in before}
    total = sum(backend.probability for backend in before)
    steps: list[Change] = []
    while goes or comes:
        backend = next((each for each in comes if each.endpoint not in there), None)
        if backend is not None and total + backend.probability <= _MOST:
            comes.remove(backend)
            there.add(backend.endpoint)
            total += backend.probability
            steps.append(Change(is_add=True, backend=backend))
        elif goes and total > goes[-1].probability:
            backend = goes.pop()
            there.remove(backend.endpoint)
            total -= backend.probability
            steps.append(Change(is_add=False, backend=backend))
        else:
            return None
    return steps


def in_any_order(old: Iterable[NatBackend], steps: Iterable[Change]) -> bool:
    """Tell whether the sum is never too large, whichever of the steps are refused."""
    added = sum(step.backend.probability for step in steps if step.is_add)
    return sum(backend.probability for backend in old) + added <= _MOST
