# SPDX-License-Identifier: Apache-2.0
"""Metrics in the text format that Prometheus scrapes. prometheus_client is imported at the first scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from contivpp_core.metrics import Histogram, Metric, Sample, read

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

__all__ = ["CONTENT_TYPE", "text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(metrics: Iterable[Metric]) -> bytes:
    """Return all metrics as text; one that cannot be read is left out (`read`)."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 (no command needs it)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    return generate_latest(registry)


class _Collector:
    """What prometheus_client asks."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        from prometheus_client.metrics_core import Metric as Family  # noqa: PLC0415

        families: dict[str, Any] = {}
        for sample in read(self._metrics):
            metric = sample.metric
            name = metric.name.removesuffix("_total")
            family = families.get(name) or families.setdefault(name, Family(name, metric.help, metric.type))
            _add(family, sample)
        yield from families.values()


def _add(family: Family, sample: Sample) -> None:
    name, labels, value = sample.metric.name, dict(sample.labels), sample.value
    if not isinstance(value, Histogram):
        family.add_sample(name, labels, value)
        return
    for bound, count in value.buckets():
        family.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{name}_count", labels, value.count)
    family.add_sample(f"{name}_sum", labels, value.sum)
