# SPDX-License-Identifier: Apache-2.0
"""What a sink has done for each kind."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass
class Counters:
    """Writes for one kind since the start, and those that failed; `resyncs` are comparisons with a full list."""

    adds: int = 0
    updates: int = 0
    deletes: int = 0
    add_errors: int = 0
    update_errors: int = 0
    delete_errors: int = 0
    resyncs: int = 0
