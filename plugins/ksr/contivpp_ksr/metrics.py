# SPDX-License-Identifier: Apache-2.0
"""What is counted, as metrics, and as text in Prometheus' format.

`/stats` of `contivpp ksr` has the names of contiv-ksr (`adds`, `resyncErrors`; gauges, label `reflectorType`), for
dashboards that know them; its endpoints came from Endpoints, ours from EndpointSlices, and the label says `Endpoints`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from contivpp_core.metrics import Metric, read
from contivpp_ksr.counters import Counters
from contivpp_ksr.reflector import Reflector, Standing
from contivpp_ksr.store_sink import StoreSink

__all__ = ["original_text", "source_metrics", "store_metrics", "text"]

Reflectors = Callable[[], Iterable[Reflector]]
_OPERATIONS = ("add", "update", "delete")
_ORIGINAL_TYPES = {"EndpointSlice": "Endpoints"}


def source_metrics(reflectors: Reflectors) -> list[Metric]:
    """Return the metrics of reflectors, one sample for each kind."""

    def of(what: str, about: str, kind: Literal["counter", "gauge"], value: Callable[[Standing], float]) -> Metric:
        def values() -> list[tuple[Mapping[str, str], float]]:
            return [({"kind": one.resource.kind}, float(value(one.standing))) for one in reflectors()]

        return Metric(f"contivpp_ksr_{what}", about, kind, values)

    return [
        of("source_connected", "Whether the kind is watched now.", "gauge", lambda found: found.connected),
        of("source_listed", "Whether a full list was delivered.", "gauge", lambda found: found.listed),
        of("lists_total", "Full lists.", "counter", lambda found: found.lists),
        of("list_failures_total", "Full lists that failed.", "counter", lambda found: found.failed_lists),
        of("watches_total", "Watches that were opened.", "counter", lambda found: found.watches),
        of("events_total", "Events of watches, bookmarks too.", "counter", lambda found: found.events),
        of("malformed_objects", "Objects that cannot be read now.", "gauge", lambda found: len(found.malformed)),
        of("malformed_total", "Objects that could not be read.", "counter", lambda found: found.malformed_total),
    ]


def store_metrics(sink: StoreSink) -> list[Metric]:
    """Return the metrics of the sink into the store."""

    def writes(failed: bool) -> list[tuple[Mapping[str, str], float]]:
        return [
            ({"kind": kind, "operation": what}, float(getattr(found, f"{what}_errors" if failed else f"{what}s")))
            for kind, found in sink.counters.items()
            for what in _OPERATIONS
        ]

    def compared() -> list[tuple[Mapping[str, str], float]]:
        return [({"kind": kind}, float(found.resyncs)) for kind, found in sink.counters.items()]

    def complete() -> list[tuple[Mapping[str, str], float]]:
        return [({"kind": kind}, float(kind in sink.marked)) for kind in sink.counters]

    return [
        Metric("contivpp_ksr_writes_total", "Keys written to the store.", "counter", lambda: writes(False)),
        Metric("contivpp_ksr_write_failures_total", "Keys that could not be written.", "counter", lambda: writes(True)),
        Metric("contivpp_ksr_resyncs_total", "Full lists that were compared.", "counter", compared),
        Metric("contivpp_ksr_complete", "Whether the store has the kind completely.", "gauge", complete),
        Metric(
            "contivpp_ksr_leader", "Whether this process writes to the store.", "gauge", lambda: float(sink.leading)
        ),
        Metric("contivpp_ksr_due", "Keys that wait to be written.", "gauge", lambda: float(sink.due)),
        Metric(
            "contivpp_ksr_refused",
            "Keys whose value is too large for the store.",
            "gauge",
            lambda: float(len(sink.refused)),
        ),
    ]


def original_text(sink: StoreSink, reflectors: Iterable[Reflector], node: str) -> str:
    """Return what contiv-ksr told under /stats."""
    standings = {one.resource.kind: one.standing for one in reflectors}

    def numbers(kind: str, found: Counters) -> dict[str, int]:
        standing = standings.get(kind, Standing())
        return {
            "adds": found.adds,
            "deletes": found.deletes,
            "updates": found.updates,
            "addErrors": found.add_errors,
            "deleteErrors": found.delete_errors,
            "updateErrors": found.update_errors,
            "resyncs": found.resyncs,
            "resyncErrors": standing.failed_lists,
            "argErrors": standing.malformed_total,
        }

    told = {kind: numbers(kind, found) for kind, found in sink.counters.items()}
    lines: list[str] = []
    for name in numbers("", Counters()):
        lines.append(f"# TYPE {name} gauge")
        for kind, found in told.items():
            labels = {"node": node, "reflectorType": _ORIGINAL_TYPES.get(kind, kind)}
            lines.append(f"{name}{_labels(labels)} {found[name]}")
    return "\n".join([*lines, ""])


def text(metrics: Iterable[Metric]) -> str:
    """Return metrics in Prometheus' text format."""
    lines: list[str] = []
    for metric in metrics:
        samples = [f"{metric.name}{_labels(found.labels)} {found.value:.15g}" for found in read([metric])]
        if samples:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.type}", *samples]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    inside = ",".join(f'{name}="{escaped(value)}"' for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""
