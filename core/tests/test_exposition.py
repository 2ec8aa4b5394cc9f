# SPDX-License-Identifier: Apache-2.0
"""Metrics as Prometheus reads them, and histograms."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from contivpp_core.exposition import text
from contivpp_core.metrics import BOUNDS, Histogram, Metric


@given(st.lists(st.floats(0, 60), max_size=50))
def test_a_histogram_counts_what_is_up_to_each_bound(seconds: list[float]) -> None:
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    assert histogram.count == len(seconds)
    assert histogram.sum == pytest.approx(sum(seconds))
    found = dict(histogram.buckets())
    assert found.pop("+Inf") == len(seconds)
    assert found == {str(bound): sum(each <= bound for each in seconds) for bound in BOUNDS}


label = st.text(max_size=8)


@given(st.dictionaries(label, st.floats(allow_nan=False), max_size=5), st.integers(0, 2**40), st.floats(0, 60))
def test_prometheus_own_parser_reads_what_was_told(kinds: dict[str, float], count: int, seconds: float) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    metrics = [
        Metric("some_items", "Items; by \"kind\"\\n.", "gauge", lambda: [({"kind": k}, v) for k, v in kinds.items()]),
        Metric("done_total", "Done.", "counter", lambda: count),
        Metric("took_seconds", "Took.", "histogram", lambda: [({"kind": "x"}, histogram)]),
    ]
    families = {family.name: family for family in text_string_to_metric_families(text(metrics).decode())}
    if kinds:
        assert {s.labels["kind"]: s.value for s in families["some_items"].samples} == kinds
    assert [(s.name, s.value) for s in families["done"].samples] == [("done_total", count)]
    took = {(s.name, s.labels.get("le")): s.value for s in families["took_seconds"].samples}
    assert took["took_seconds_count", None] == took["took_seconds_bucket", "+Inf"] == 1
    assert took["took_seconds_sum", None] == seconds
    up_to = [took["took_seconds_bucket", str(bound)] for bound in BOUNDS]
    assert up_to.index(1) == bisect_left(BOUNDS, seconds) if seconds <= BOUNDS[-1] else not any(up_to)
    assert families["done"].type == "counter"
    assert families["took_seconds"].type == "histogram"


def test_a_broken_metric_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    metrics = [Metric("broken", "", "gauge", lambda: 1 / 0), Metric("fine", "", "gauge", lambda: 1)]
    assert [family.name for family in text_string_to_metric_families(text(metrics).decode())] == ["fine"]
    assert "metric broken cannot be read" in caplog.text


def test_names_that_prometheus_would_change_are_refused() -> None:
    with pytest.raises(ValueError, match="end in _total"):
        Metric("done", "", "counter", lambda: 1)
    with pytest.raises(ValueError, match="end in _total"):
        Metric("there_total", "", "gauge", lambda: 1)
