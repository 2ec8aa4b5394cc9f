# SPDX-License-Identifier: Apache-2.0
"""The scheduler of items: graph, decisions, operations, reading back."""

from contivpp_core.scheduler.graph import ItemState
from contivpp_core.scheduler.scheduler import ItemStatus, Scheduler
from contivpp_core.scheduler.waiting import ItemRefused

__all__ = ["ItemRefused", "ItemState", "ItemStatus", "Scheduler"]
