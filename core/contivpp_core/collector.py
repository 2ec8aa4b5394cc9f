# SPDX-License-Identifier: Apache-2.0
"""The garbage collector's settings for an agent's process.

Records and items cannot be part of a cycle, and nothing else here makes many: nearly everything is freed by its
reference count. By default, Python would look for cycles after every 700 new objects, which takes a quarter of the time
of a cold start, and finds nothing.
"""

from __future__ import annotations

import gc

__all__ = ["spare"]

_THRESHOLDS = (10_000, 3, 1000)
"""Few objects at once: a collection stops everything for some milliseconds, a full one for much longer. With 4,000 in
place of 10,000 the pauses are hardly shorter, and a cold start takes a third longer."""


def spare() -> None:
    """Look for cycles rarely from now on, and never among what is there already: modules, classes, code."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
