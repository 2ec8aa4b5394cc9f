# SPDX-License-Identifier: Apache-2.0
"""``show ip fib`` in VPP's words: entries, buckets, and what each bucket leads to.

Three numbers are VPP's own business and have no counterpart here: the list of reverse paths (``uRPF``) is numbered
like its entry, ``next`` is the interface's index, and the numbers in ``[@N]`` are those of a VPP with all plugins.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from .columns import row
from .dataplane import FibEntry, FibTable, Interface, Path, PathType, format_ip4
from .dataplane.load_balance import shares

if TYPE_CHECKING:
    from .api.vpp import Vpp
    from .dataplane.forwarding import Action

DROP = "[@0]: dpo-drop ip4"
UNSET = 0xFFFFFFFF
HEADING = "flow hash:[src dst sport dport proto flowlabel ] epoch:0 flags:none"


def heading(vpp: Vpp, table: FibTable) -> str:
    """The first line of a table."""
    locks = {vpp.dataplane.fibs.sources.by_id[source].name: number for source, number in sorted(table.locks.items())}
    if table.table_id == 0:
        locks = {"adjacency": 1, "default-route": 1}
    text = "".join(f"{name}:{number}, " for name, number in locks.items())
    return f"{table.name}, fib_index:{table.index}, {HEADING} locks:[{text}]"


def table_lines(vpp: Vpp, table: FibTable) -> list[str]:
    """A table with all its entries: by address, the longer prefix first, but the default route before all."""
    entries = sorted(table, key=lambda entry: (entry.address, -entry.length if entry.length else -33))
    return [heading(vpp, table), *(line for entry in entries for line in entry_lines(vpp, entry))]


def summary_lines(vpp: Vpp, table: FibTable) -> list[str]:
    """How many entries of each prefix length."""
    lengths = sorted(entry.length for entry in table)
    rows = [f"{length:>20}{len(list(group)):>16}" for length, group in groupby(lengths)]
    return [heading(vpp, table), row(("Prefix length", 20), ("Count", 16)), *rows]


def entry_lines(vpp: Vpp, entry: FibEntry) -> list[str]:
    """A prefix and where it leads."""
    return [
        f"{format_ip4(entry.address)}/{entry.length}",
        "  unicast-ip4-chain",
        f"  [@0]: {_load_balance(vpp, entry, 4, depth=0)}",
    ]


def _load_balance(vpp: Vpp, entry: FibEntry, indent: int, *, depth: int) -> str:
    weighted = [
        (_path_text(vpp, entry, path, actions, indent, depth), path.weight or 1)
        for path, actions in vpp.dataplane.graph.ip4.resolver.usable_paths(entry)
    ] or [(DROP, 1)]
    parts = shares([weight for _, weight in weighted])
    buckets = [weighted[place][0] for place, number in parts for _ in range(number)]
    lines = [
        f"dpo-load-balance: [proto:ip4 index:{entry.number} buckets:{len(buckets)} uRPF:{entry.number} "
        f"to:[{entry.packets}:{entry.bytes}]]"
    ]
    first = 0
    for text, group in groupby(buckets):
        last = first + len(list(group)) - 1
        lines.append(f"{'':{indent}}[{first if first == last else f'{first}-{last}'}] {text}")
        first = last + 1
    return "\n".join(lines)


def _path_text(  # noqa: PLR0917 - one place calls it
    vpp: Vpp, entry: FibEntry, path: Path, actions: list[Action], indent: int, depth: int
) -> str:
    if path.type is PathType.NORMAL and path.sw_if_index == UNSET:
        table = vpp.dataplane.fibs.get(path.table_id)
        if not path.next_hop:
            return f"[@13]: dst-address,unicast lookup in {table.name}"
        via = table.lookup(path.next_hop)
        if depth > 4 or all(action.node.name == "ip4-drop" for action in actions):
            return DROP
        return f"[@12]: {_load_balance(vpp, via, indent + 6, depth=depth + 1)}"
    return _action_text(entry, actions[0])


def _action_text(entry: FibEntry, action: Action) -> str:
    interface, name = action.interface, action.node.name
    if name == "ip4-receive":
        where = f": {format_ip4(entry.address)} on {interface.name}" if interface is not None else ""
        return f"[@11]: dpo-receive{where}"
    if name == "ip4-null":
        assert action.path is not None
        reason = "unreachable" if action.path.type is PathType.ICMP_UNREACH else "prohibited"
        return f"[@13]: ip4-null action:send-{reason}"
    if interface is None:
        return DROP
    if name == "ip4-glean":
        connected = (entry.address, entry.length) in {
            (address >> (32 - length) << (32 - length), length) for address, length in interface.addresses
        }
        source = f"{format_ip4(entry.address)}/{entry.length}" if connected else "0.0.0.0/0"
        rewrite = b"\xff" * 6 + interface.mac + b"\x08\x06"
        return f"[@4]: ipv4-glean: [src:{source}] {_adjacency(interface, rewrite)}"
    if name == "ip4-arp":
        return f"[@3]: arp-ipv4: via {format_ip4(action.next_hop)} {interface.name}"
    return f"[@5]: ipv4 via {format_ip4(action.next_hop)} {_adjacency(interface, action.rewrite)}"


def _adjacency(interface: Interface, rewrite: bytes) -> str:
    return (
        f"{interface.name}: mtu:{interface.hardware_mtu} next:{interface.sw_if_index} flags:[] {rewrite.hex()}"
    )
