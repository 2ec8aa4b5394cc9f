# SPDX-License-Identifier: Apache-2.0
"""Faults in the log: each when it comes, changes and goes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from contivpp_core.agent import Agent
from contivpp_core.faults import FAULT, Fault

__all__ = ["FaultLog"]

log = logging.getLogger(__name__)


class FaultLog:
    """Tells of faults from `start` to `stop`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._told: dict[str, str] = {}
        self._unlisten: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to watch."""
        self._unlisten = self._agent.controller.listen(self._tell)

    def stop(self) -> None:
        """End."""
        self._unlisten()

    def _tell(self) -> None:
        faults: list[Fault] = self._agent.state.table(FAULT.name).unordered()
        if not faults and not self._told:
            return
        now = {fault.subject: fault.reason for fault in faults}
        for subject, reason in sorted(now.items()):
            if self._told.get(subject) != reason:
                log.warning("%s %s", subject, reason)
        for subject in sorted(self._told.keys() - now.keys()):
            log.info("%s is as it should be", subject)
        self._told = now
