# SPDX-License-Identifier: Apache-2.0
"""What an operator should know of: something of the cluster's or the host's configuration that cannot work, and why.

Renderers derive faults beside their items, so a fault goes when its cause does. All else goes on.
"""

from __future__ import annotations

from contivpp_core.records import Record, Table

__all__ = ["FAULT", "Fault"]


class Fault(Record, frozen=True, kw_only=True):
    """`subject` says what it is about (`node NAME`, `interface NAME`, `route DESTINATION`), `reason` what is wrong."""

    subject: str
    reason: str


FAULT = Table("Fault", Fault, key=lambda record: record.subject, derived=True)
