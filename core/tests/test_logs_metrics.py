# SPDX-License-Identifier: Apache-2.0
"""Log lines in both styles, and reading metrics."""

from __future__ import annotations

import io
import json
import logging

import pytest

from contivpp_core import logs
from contivpp_core.metrics import Metric, read


def test_json_lines_hold_fields_and_traceback() -> None:
    stream = io.StringIO()
    logs.set_up("info", "json", stream=stream)
    log = logging.getLogger("contivpp_test")
    log.debug("hidden")
    log.info("pod %s", "wired", extra={"pod": "x/a", "odd": object(), "msg_count": 2})
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["msg"], first["pod"]) == (
        "info",
        "contivpp_test",
        "pod wired",
        "x/a",
    )
    assert first["ts"].endswith("Z")
    assert "object object" in first["odd"]
    assert "ValueError: why" in second["error"]


def test_text_lines() -> None:
    stream = io.StringIO()
    logs.set_up("debug", "text", stream=stream)
    logging.getLogger("t").warning("pod wired", extra={"pod": "x/a"})
    assert stream.getvalue().endswith("Z WARNING t: pod wired pod=x/a\n")


def test_metrics_are_read_and_a_broken_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> float:
        raise OSError("gone")

    metrics = [
        Metric("one", "One.", "gauge", lambda: 1),
        Metric("broken", "Broken.", "gauge", broken),
        Metric("two", "Two.", "gauge", lambda: [({"kind": "a"}, 2.0), ({"kind": "b"}, 3.0)]),
    ]
    assert [(s.metric.name, s.labels, s.value) for s in read(metrics)] == [
        ("one", {}, 1.0),
        ("two", {"kind": "a"}, 2.0),
        ("two", {"kind": "b"}, 3.0),
    ]
    assert "metric broken cannot be read" in caplog.text
    with pytest.raises(ValueError, match="names are"):
        Metric("No-name", "", "gauge", lambda: 0)
