# SPDX-License-Identifier: Apache-2.0
"""Metrics as plugins contribute them (hook `metrics`): a name, and a function that is asked when somebody scrapes.

There is no exporter here: whoever serves metrics reads them with `read`, in whatever format it speaks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Metric", "Sample", "read"]

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_]*")

Values = float | Iterable[tuple[Mapping[str, str], float]]


@dataclass(frozen=True)
class Metric:
    """A metric: `values` returns one number, or pairs of labels and number; it must not block."""

    name: str
    help: str
    type: Literal["counter", "gauge"]
    values: Callable[[], Values]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"metric {self.name!r}: names are lower-case letters, digits and underscores")


@dataclass(frozen=True)
class Sample:
    """One number of a metric."""

    metric: Metric
    labels: Mapping[str, str]
    value: float


def read(metrics: Iterable[Metric]) -> Iterator[Sample]:
    """Yield the samples of all metrics; one that raises is logged and left out."""
    for metric in metrics:
        try:
            values = metric.values()
            pairs = [({}, float(values))] if isinstance(values, int | float) else list(values)
        except Exception:
            log.exception("metric %s cannot be read", metric.name)
            continue
        for labels, value in pairs:
            yield Sample(metric, labels, value)
