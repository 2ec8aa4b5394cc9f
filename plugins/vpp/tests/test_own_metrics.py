# SPDX-License-Identifier: Apache-2.0
"""Metrics of the connection."""

from __future__ import annotations

import pytest

from contivpp_core.metrics import read
from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.errors import VppError
from contivpp_vpp.own_metrics import connection_metrics
from contivpp_vpp.scripted import ScriptedVpp


async def test_what_was_asked_and_how_long_it_took() -> None:
    vpp = ScriptedVpp()
    vpp.on(m.CreateLoopback, lambda _: m.CreateLoopbackReply(retval=-7))
    connection: Connection | None = await Connection.open(vpp.connect)
    samples = {(s.metric.name, *s.labels.values()): s.value for s in read(connection_metrics(lambda: None))}
    assert samples == {("contivpp_vpp_connected",): 0, ("contivpp_vpp_unanswered_requests",): 0}
    assert connection is not None
    await connection.request(m.ControlPing())
    with pytest.raises(VppError):
        await connection.request(m.CreateLoopback())
    samples = {(s.metric.name, *s.labels.values()): s.value for s in read(connection_metrics(lambda: connection))}
    assert samples["contivpp_vpp_connected",] == 1
    assert samples["contivpp_vpp_requests_total", "create_loopback"] == 1
    assert samples["contivpp_vpp_request_errors_total", "create_loopback"] == 1
    assert samples["contivpp_vpp_request_errors_total", "control_ping"] == 0
    seconds = samples["contivpp_vpp_request_seconds_total", "control_ping"]
    assert isinstance(seconds, float)
    assert 0 < seconds < 10
    connection.close()
