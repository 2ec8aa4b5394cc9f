# SPDX-License-Identifier: Apache-2.0
"""Metrics of the connection: what was asked of VPP, and how long it took to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contivpp_core.metrics import Metric
from contivpp_vpp.connection import Connection
from contivpp_vpp.dialogue import MessageStatistics

__all__ = ["connection_metrics"]

Samples = list[tuple[Mapping[str, str], float]]


def connection_metrics(connection: Callable[[], Connection | None]) -> list[Metric]:
    """Return the metrics of the connection of the moment; they begin anew with each connection."""

    def each(value: Callable[[MessageStatistics], float]) -> Callable[[], Samples]:
        def samples() -> Samples:
            now = connection()
            return [] if now is None else [({"message": k}, value(s)) for k, s in sorted(now.statistics.items())]

        return samples

    def connected() -> float:
        return float(connection() is not None)

    def unanswered() -> float:
        now = connection()
        return 0 if now is None else now.unanswered

    return [
        Metric("contivpp_vpp_connected", "Whether VPP's API is connected.", "gauge", connected),
        Metric("contivpp_vpp_unanswered_requests", "Requests without an answer.", "gauge", unanswered),
        Metric("contivpp_vpp_requests_total", "Requests that were answered.", "counter", each(lambda s: s.count)),
        Metric("contivpp_vpp_request_errors_total", "Those refused.", "counter", each(lambda s: s.errors)),
        Metric(
            "contivpp_vpp_request_seconds_total",
            "From sending to the answer, added up.",
            "counter",
            each(lambda s: s.total_latency),
        ),
        Metric(
            "contivpp_vpp_request_seconds_max",
            "The longest time from sending to the answer.",
            "gauge",
            each(lambda s: s.max_latency),
        ),
    ]
