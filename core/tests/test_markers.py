# SPDX-License-Identifier: Apache-2.0
"""Markers of completed sweeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.cluster import MalformedValue, object_key
from contivpp_core.kubernetes import KINDS
from contivpp_core.markers import marked_kind, marker_key, marker_value, sweep_of


def test_each_marker_is_about_a_sweep_of_its_own() -> None:
    for kind in KINDS:
        key = marker_key(kind)
        assert marked_kind(key) == kind
        assert sweep_of(key, marker_value()) != sweep_of(key, marker_value())


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=8), st.text(max_size=8))
def test_no_object_has_a_markers_key(kind: str, namespace: str, name: str) -> None:
    assert marked_kind(object_key(kind, namespace, name)) == ""


@given(st.binary(max_size=20))
def test_a_value_that_is_no_marker_is_told(value: bytes) -> None:
    with pytest.raises(MalformedValue, match=r"/contivpp/k8s/Pod/_complete: "):
        sweep_of(marker_key("Pod"), value)
