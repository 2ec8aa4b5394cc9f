# SPDX-License-Identifier: Apache-2.0
"""Metrics as plugins contribute them (hook `metrics`): a name, and a function that is asked when somebody scrapes.

`read` gives the numbers to whoever wants them; `contivpp_core.exposition` writes them as Prometheus reads them.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Histogram", "Metric", "Sample", "read"]

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_]*")

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of a histogram's buckets, seconds."""


class Histogram:
    """How many observations there were up to each of `BOUNDS`, and their sum; seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """The number of all observations."""
        return sum(self.counts)

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Yield each bound as text, the last is `+Inf`, with the number of observations up to it."""
        total = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            total += count
            yield bound, total


Number = float | Histogram
Values = Number | Iterable[tuple[Mapping[str, str], Number]]


@dataclass(frozen=True)
class Metric:
    """A metric: `values` returns one number, or pairs of labels and number; it must not block.

    A counter's name ends in `_total`. The number of a histogram is a `Histogram`.
    """

    name: str
    help: str
    type: Literal["counter", "gauge", "histogram"]
    values: Callable[[], Values]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"metric {self.name!r}: names are lower-case letters, digits and underscores")
        if (self.type == "counter") is not self.name.endswith("_total"):
            raise ValueError(f"metric {self.name}, a {self.type}: the names of counters, and no others, end in _total")


@dataclass(frozen=True)
class Sample:
    """One number of a metric."""

    metric: Metric
    labels: Mapping[str, str]
    value: Number


def read(metrics: Iterable[Metric]) -> Iterator[Sample]:
    """Yield the samples of all metrics; one that raises is logged and left out."""
    for metric in metrics:
        try:
            values = metric.values()
            pairs = [({}, values)] if isinstance(values, int | float | Histogram) else list(values)
        except Exception:
            log.exception("metric %s cannot be read", metric.name)
            continue
        for labels, value in pairs:
            yield Sample(metric, labels, value)
