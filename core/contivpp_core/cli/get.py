# SPDX-License-Identifier: Apache-2.0
"""`contivpp get` and `contivpp history`: what a running agent knows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from contivpp_core.cli.client import Client, default_socket
from contivpp_core.cli.command import Command
from contivpp_core.cli.tables import table

__all__ = ["GET", "HISTORY"]

INTERFACE_KINDS = ("vpp/tap", "vpp/afpacket", "vpp/loopback", "vpp/physical", "vpp/vxlan")

View = tuple[Any, Sequence[str], Iterable[Sequence[object]]]
"""What was read, and how it is shown: heading and rows."""


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", choices=("table", "wide", "json"), default="table", help="how to print it"
    )
    parser.add_argument("--socket", default=None, help=f"the agent's socket (default: {default_socket()})")


def _print(arguments: argparse.Namespace, view: View) -> None:
    data, heading, rows = view
    print(json.dumps(data, indent=2) if arguments.output == "json" else table(heading, rows))


# --- get


def _pods(client: Client, arguments: argparse.Namespace) -> View:
    records = client.get("v1", "tables", "LocalPod", query={"standing": 1})["records"]
    heading = ["namespace", "name", "interface", "address", "state"]
    if arguments.output == "wide":
        heading += ["container", "reason"]
    rows = []
    for record in records:
        row = [record.get(name) for name in ("namespace", "name", "interface", "address", "state")]
        rows.append([*row, record.get("container_id"), record["reason"]] if arguments.output == "wide" else row)
    return records, heading, rows


def _nodes(client: Client, arguments: argparse.Namespace) -> View:
    faults = {each["subject"]: each["reason"] for each in client.get("v1", "tables", "Fault")["records"]}
    records = [
        {**record, "fault": faults.get(f"node {record['name']}", "")}
        for record in client.get("v1", "tables", "ClusterNode")["records"]
    ]
    rows = [
        [
            record["name"],
            record["node_id"],
            *(", ".join(record[f]) for f in ("vpp_addresses", "management_addresses")),
            record["fault"],
        ]
        for record in sorted(records, key=lambda record: (record["node_id"], record["name"]))
    ]
    return records, ["name", "id", "vpp addresses", "management addresses", "fault"], rows


def _faults(client: Client, arguments: argparse.Namespace) -> View:
    records = client.get("v1", "tables", "Fault")["records"]
    return records, ["subject", "reason"], [[record["subject"], record["reason"]] for record in records]


def _items(client: Client, arguments: argparse.Namespace, kinds: Sequence[str] = ()) -> View:
    query = {
        "kind": ",".join(kinds) or getattr(arguments, "kind", ""),
        "state": arguments.state,
        "prefix": arguments.prefix,
    }
    items = client.get("v1", "items", query=query)
    heading = ["key", "state", "reason"]
    if arguments.output == "wide":
        heading += ["owners", "attempts", "retry"]
    rows = []
    for item in items:
        row = [item["key"], item["state"], item["reason"]]
        if arguments.output == "wide":
            retry = "" if item["retry_seconds"] is None else f"in {item['retry_seconds']:.1f} s"
            row += [",".join(item["owners"]), item["attempts"], retry]
        rows.append(row)
    return items, heading, rows


def _interfaces(client: Client, arguments: argparse.Namespace) -> View:
    return _items(client, arguments, INTERFACE_KINDS)


def _tables(client: Client, arguments: argparse.Namespace) -> View:
    if not arguments.name:
        found = client.get("v1", "tables")
        return (
            found,
            ["name", "records", "ready", "stale", "derived"],
            [[t[c] for c in ("name", "records", "ready", "stale", "derived")] for t in found],
        )
    found = client.get("v1", "tables", arguments.name)
    records = found["records"]
    columns = ["key", *sorted({name for record in records for name in record if name != "key"})]
    rows = [[_cell(record.get(column)) for column in columns] for record in records]
    return found, columns, rows


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _plugins(client: Client, arguments: argparse.Namespace) -> View:
    found = client.get("v1", "plugins")
    rows = [[p["name"], p["distribution"], p["version"], ",".join(p["requires"])] for p in found]
    return found, ["name", "distribution", "version", "requires"], rows


def _status(client: Client, arguments: argparse.Namespace) -> View:
    found = client.get("v1", "status")
    rows = [["node", found["node"], ""], ["ready", found["ready"], ""], ["revision", found["revision"], ""]]
    rows += [
        [f"condition: {name}", state["ok"], state["reason"]] for name, state in found["conditions"].items()
    ]
    rows += [[f"items: {state}", number, ""] for state, number in found["items"].items() if number]
    rows += [
        [f"{group['state']}: {group['kind']}", group["count"], f"{group['key']}: {group['reason']}"]
        for group in found["notApplied"]
    ]
    rows += [[f"operations: {name}", sum(kinds.values()), ""] for name, kinds in found["operations"].items()]
    rows += [[f"renderer failed: {owner}", "", error] for owner, error in found["failedRenderers"].items()]
    rows += [[f"events dropped: {plugin}", number, ""] for plugin, number in found["droppedEvents"].items()]
    return found, ["what", "value", "reason"], rows


def _drift(client: Client, arguments: argparse.Namespace) -> View:
    found = client.get("v1", "drift")
    heading = ["kind", "checked", "ms", "longest dump", "items", "foreign", "found", "repaired", "last difference"]
    if arguments.output == "wide":
        heading += ["checks", "unchanged", "broken off", "failed", "error"]
    rows = []
    for kind in found["kinds"]:
        last = kind["last"]
        row = [
            kind["kind"],
            _time(kind["last_check"]),
            _milliseconds(kind["seconds"]),
            _milliseconds(kind["longest_dump_seconds"]),
            *(kind[name] for name in ("compared", "foreign", "differences", "repaired")),
            f"{_time(last['time'])} {last['key']} {last['words']}" if last else "",
        ]
        if arguments.output == "wide":
            row += [kind[name] for name in ("checks", "unchanged", "broken_off", "failed", "error")]
        rows.append(row)
    share = f"{found['state']}; {found['share']:.2%} of time, at most {found['limit']:.2%}"
    total = [sum(kind[name] for kind in found["kinds"]) for name in ("compared", "foreign", "differences", "repaired")]
    longest = max((kind["longest_dump_seconds"] for kind in found["kinds"]), default=0.0)
    whole = ["all kinds", "", "", _milliseconds(longest), *total, share]
    return found, heading, [*rows, whole + [""] * (len(heading) - len(whole))]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


_NOUNS: dict[str, tuple[str, Callable[[Client, argparse.Namespace], View]]] = {
    "pods": ("the pods on this node, and how each stands", _pods),
    "nodes": ("the nodes of the cluster, as each has published itself", _nodes),
    "faults": ("what of the configuration cannot work, and why", _faults),
    "interfaces": ("VPP's interfaces for pods, node and peers", _interfaces),
    "items": ("what the dataplanes are to hold, and how each item stands", _items),
    "tables": ("the agent's tables, or the records of one", _tables),
    "plugins": ("the plugins, in the order of what they require", _plugins),
    "drift": ("what others changed in the dataplanes, and what was repaired", _drift),
    "status": ("the agent at a glance", _status),
}


def _configure_get(parser: argparse.ArgumentParser) -> None:
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="|".join(_NOUNS))
    for noun, (text, _) in _NOUNS.items():
        below = nouns.add_parser(noun, help=text, description=text[0].upper() + text[1:] + ".")
        if noun in ("items", "interfaces"):
            below.add_argument("--state", default="", help="only items in this state, for example failed")
            below.add_argument("--prefix", default="", help="only items whose key begins so")
        if noun == "items":
            below.add_argument("--kind", default="", help="only items of these kinds, separated by commas")
        if noun == "tables":
            below.add_argument("name", nargs="?", default="", help="the table whose records to show")
        _add_output(below)


def _run_get(arguments: argparse.Namespace) -> int:
    _print(arguments, _NOUNS[arguments.noun][1](Client(arguments.socket), arguments))
    return 0


GET = Command(
    "get",
    "show what a running agent knows",
    _run_get,
    _configure_get,
    (
        ("contivpp get pods", "the pods on this node"),
        ("contivpp get nodes", "the nodes of the cluster: ID and addresses"),
        ("contivpp get items --state failed -o wide", "what could not be applied, for whom, and why"),
        ("contivpp get tables Pod -o json", "every record of the table Pod"),
        ("contivpp get faults", "what cannot work, for example two nodes with one address"),
        ("contivpp get drift", "what others changed in VPP and Linux, and was repaired"),
        ("contivpp get status", "readiness, condition by condition, and what is not applied, and why"),
    ),
)


# --- history


def _configure_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=20, help="at most so many, the newest (default: 20)")
    parser.add_argument("--since", type=int, default=None, help="only those after this revision")
    _add_output(parser)


def _run_history(arguments: argparse.Namespace) -> int:
    query = {"limit": max(0, arguments.limit), "since": arguments.since}
    entries = Client(arguments.socket).get("v1", "history", query=query)
    heading = ["revision", "time", "cause", "changed", "created", "updated", "deleted", "failed"]
    if arguments.output == "wide":
        heading += ["keys", "failures"]
    rows = []
    for entry in entries:
        time = datetime.fromtimestamp(entry["time"], UTC).isoformat(timespec="milliseconds")
        numbers = [
            entry.get(name, 0) for name in ("changed_total", "created", "updated", "deleted", "failed_total")
        ]
        row = [entry["revision"], time, entry["cause"], *numbers]
        if arguments.output == "wide":
            failures = "; ".join(f"{key}: {why}" for key, why in entry.get("failed", {}).items())
            row += [",".join(entry.get("changed", [])), failures]
        rows.append(row)
    _print(arguments, (entries, heading, rows))
    return 0


HISTORY = Command(
    "history",
    "show what happened lately: each write, its cause, and what came of it",
    _run_history,
    _configure_history,
    (
        ("contivpp history", "the newest 20 writes"),
        ("contivpp history --since 1200 -o wide", "all since revision 1200, with keys and failures"),
    ),
)
