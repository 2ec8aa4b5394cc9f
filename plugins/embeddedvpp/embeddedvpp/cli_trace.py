# SPDX-License-Identifier: Apache-2.0
"""``trace add``, ``show trace`` and ``clear trace``, in VPP's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dataplane import DataplaneError, Retval
from .dataplane.trace import INPUT_NODES, Trace

if TYPE_CHECKING:
    from .api.vpp import Vpp

MOST_SHOWN = 50
START = "------------------- Start of thread 0 vpp_main -------------------"


def trace_add(vpp: Vpp, words: list[str]) -> str:
    """Trace the next packets of an input node: trace add af-packet-input|virtio-input COUNT"""
    graph = vpp.dataplane.graph
    node = words[0] if words else ""
    known = node in graph.nodes or node in INPUT_NODES.values()
    if not known or len(words) < 2 or not words[1].isdecimal():
        raise DataplaneError(Retval.INVALID_VALUE, f"expected NODE COUNT, got `{' '.join(words)}'")
    if node not in INPUT_NODES.values():
        raise DataplaneError(
            Retval.INVALID_VALUE,
            f"node '{node}' doesn't support per-node tracing. "
            "There may be another way to initiate trace on this node.",
        )
    graph.tracing.add(node, int(words[1]))
    return ""


def show_trace(vpp: Vpp, words: list[str]) -> str:
    """Show traced packets: show trace [max COUNT]"""
    most = MOST_SHOWN
    if words:
        if len(words) != 2 or words[0] != "max" or not words[1].isdecimal():
            raise DataplaneError(Retval.INVALID_VALUE, f"expected 'max COUNT', got `{' '.join(words)}'")
        most = int(words[1])
    graph = vpp.dataplane.graph
    traces = graph.tracing.traces
    if not traces:
        return f"{START}\nNo packets in trace buffer\n\n"
    text = f"{START}\n"
    for number, trace in enumerate(traces[:most], 1):
        text += f"Packet {number}\n{_trace_text(trace, graph.started)}\n\n"
    if len(traces) > most:
        text += f"Limiting display to {most} packets. To display more specify max."
    return text + "\n"


def _trace_text(trace: Trace, started: float) -> str:
    lines, last = "", ""
    for at, node, text in trace.records:
        if node != last:
            lines += f"\n{_interval(at - started)}: {node}"
        last = node
        lines += "".join(f"\n  {line}" for line in text.split("\n"))
    return lines


def _interval(seconds: float) -> str:
    """Hours, minutes, seconds and microseconds."""
    micro = max(0, round(seconds * 1e6))
    minutes, whole = divmod(micro // 1_000_000, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{whole:02}:{micro % 1_000_000:06}"


def clear_trace(vpp: Vpp, words: list[str]) -> str:
    """Forget traced packets, and trace no more"""
    vpp.dataplane.graph.tracing.clear()
    return ""
