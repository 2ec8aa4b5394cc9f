# SPDX-License-Identifier: Apache-2.0
"""The core's own metrics: how items stand, what was done for them, and what the checks for drift found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from contivpp_core.metrics import Metric, Number

if TYPE_CHECKING:
    from contivpp_core.drift import Drift, KindReport
    from contivpp_core.scheduler import Scheduler

__all__ = ["own_metrics"]

Samples = list[tuple[Mapping[str, str], Number]]


def own_metrics(scheduler: Scheduler, drift: Drift) -> list[Metric]:
    """Return the metrics of the core."""
    return [*_of_items(scheduler), *_of_drift(drift)]


def _of_items(scheduler: Scheduler) -> list[Metric]:
    def items() -> Samples:
        counts = Counter((node.descriptor.kind, node.state.value) for node in scheduler.graph)
        return [({"kind": kind, "state": state}, number) for (kind, state), number in sorted(counts.items())]

    def retried() -> Samples:
        counts = Counter(node.descriptor.kind for node in scheduler.graph if node.due is not None)
        return [({"kind": kind}, number) for kind, number in sorted(counts.items())]

    def operations() -> Samples:
        counters = scheduler.counters
        named = {"create": counters.created, "update": counters.updated, "delete": counters.deleted}
        return [
            ({"kind": kind, "operation": name}, number)
            for name, kinds in named.items()
            for kind, number in sorted(kinds.items())
        ]

    def failures() -> Samples:
        return [({"kind": kind}, number) for kind, number in sorted(scheduler.counters.failed.items())]

    def latency() -> Samples:
        return [({"kind": kind}, histogram) for kind, histogram in sorted(scheduler.latency.items())]

    return [
        Metric("contivpp_apply_seconds", "From a change of what is wanted to its last answer.", "histogram", latency),
        Metric("contivpp_items", "Items by kind and state.", "gauge", items),
        Metric("contivpp_items_to_retry", "Items whose failed operation will be tried again.", "gauge", retried),
        Metric("contivpp_operations_total", "Operations carried out.", "counter", operations),
        Metric("contivpp_operation_failures_total", "Operations that failed.", "counter", failures),
    ]


def _of_drift(drift: Drift) -> list[Metric]:
    def each(value: Callable[[KindReport], float]) -> Callable[[], Samples]:
        return lambda: [({"kind": kind.kind}, value(kind)) for kind in drift.report().kinds]

    return [
        Metric("contivpp_drift_checks_total", "Checks for drift.", "counter", each(lambda k: k.checks)),
        Metric("contivpp_drift_check_failures_total", "Checks that failed.", "counter", each(lambda k: k.failed)),
        Metric(
            "contivpp_drift_check_seconds_total", "Time spent in checks.", "counter", each(lambda k: k.seconds_total)
        ),
        Metric(
            "contivpp_drift_check_timestamp_seconds", "The last check.", "gauge", each(lambda k: k.last_check or 0)
        ),
        Metric(
            "contivpp_drift_dump_seconds_max",
            "The longest dump: so long a check delays other requests.",
            "gauge",
            each(lambda k: k.longest_dump_seconds),
        ),
        Metric("contivpp_drift_items_compared", "Items in the last check.", "gauge", each(lambda k: k.compared)),
        Metric("contivpp_drift_foreign_objects", "Objects of others, left alone.", "gauge", each(lambda k: k.foreign)),
        Metric("contivpp_drift_differences_total", "Differences found.", "counter", each(lambda k: k.differences)),
        Metric("contivpp_drift_repaired_total", "Differences repaired.", "counter", each(lambda k: k.repaired)),
        Metric("contivpp_drift_share", "The share of time that the newest checks took.", "gauge", drift.share),
    ]
