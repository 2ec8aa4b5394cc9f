# SPDX-License-Identifier: Apache-2.0
"""The ``show`` commands of the CLI, in VPP's layout down to the blanks at the end of its lines: people compare,
and scripts cut columns. A command takes what follows its name and returns text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .cli_fib import entry_lines, heading, summary_lines, table_lines
from .columns import column, row
from .dataplane import Interface, format_ip4, format_mac, ip4

if TYPE_CHECKING:
    from .api.vpp import Vpp


class CliError(Exception):
    """Input that a command does not understand."""


def interface_named(vpp: Vpp, name: str) -> Interface:
    """The interface with a name that somebody typed."""
    found = vpp.dataplane.interfaces.by_name.get(name)
    if found is None:
        raise CliError(name)
    return found


def _chosen(vpp: Vpp, words: list[str]) -> list[Interface]:
    """The interfaces that were named, or all by the name of the hardware."""
    if words:
        return [interface_named(vpp, name) for name in words]
    return sorted(
        vpp.dataplane.interfaces,
        key=lambda each: (each.sub.parent.name if each.sub is not None else each.name, each.sw_if_index),
    )


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def show_version(vpp: Vpp, words: list[str]) -> str:
    """Show the version"""
    started = datetime.fromtimestamp(vpp.started, UTC)
    return f"vpp v{vpp.version} built by embeddedvpp on python at {started:%Y-%m-%dT%H:%M:%S}\n"


def show_interface(vpp: Vpp, words: list[str]) -> str:
    """Show interfaces with their state and counters: show interface [INTERFACE …]"""
    if words and "address".startswith(words[-1]) and len(words[-1]) > 1:
        return show_interface_address(vpp, words[:-1])
    lines = [
        row(("Name", 32), ("Idx", 5), ("State", 10), ("MTU (L3/IP4/IP6/MPLS)", 21), ("Counter", 16), ("Count", 16))
    ]
    for found in _chosen(vpp, words):
        state = "up" if found.admin_up else "down"
        head = column(found.name, 32, "-")
        head += row((found.sw_if_index, 5), (state, 10), ("/".join(map(str, found.mtu)), 21))
        counters = [column(label, 16, "-") + column(count, 16, "+") for label, count in _counters(found) if count]
        lines.append(head + (counters[0] if counters else ""))
        lines += [" " * len(head) + counter for counter in counters[1:]]
    return _text(lines)


def _counters(found: Interface) -> list[tuple[str, int]]:
    c = found.counters
    return [
        ("rx packets", c.rx_packets), ("rx bytes", c.rx_bytes), ("tx packets", c.tx_packets),
        ("tx bytes", c.tx_bytes), ("drops", c.drops), ("punt", c.punt), ("ip4", c.ip4), ("ip6", c.ip6),
        ("rx-no-buf", c.rx_no_buf), ("rx-miss", c.rx_miss), ("rx-error", c.rx_error), ("tx-error", c.tx_error),
    ]  # fmt: skip


def show_interface_address(vpp: Vpp, words: list[str]) -> str:
    """Show the addresses of interfaces: show interface address [INTERFACE …]"""
    lines = []
    for found in _chosen(vpp, words):
        head = f"{found.name} ({'up' if found.admin_up else 'dn'}):"
        if found.unnumbered_to is not None:
            lines += [f"{head} ", f"  unnumbered, use {found.unnumbered_to.name}"]
        else:
            lines.append(head)
        table = (
            f" ip4 table-id {found.fib4.table_id} fib-idx {found.fib4.index}" if found.fib4.table_id else ""
        )
        lines += [f"  L3 {format_ip4(address)}/{length}{table}" for address, length in found.source_addresses()]
    return _text(lines)


def show_hardware_interfaces(vpp: Vpp, words: list[str]) -> str:
    """Show hardware interfaces: show hardware-interfaces [brief] [INTERFACE …]"""
    brief = words[:1] == ["brief"]
    lines = [f"{row(('Name', 32), ('Idx', 6), ('Link', 8))}Hardware"]
    for found in _chosen(vpp, words[1:] if brief else words):
        cells = row((found.sw_if_index, 6), ("up" if found.link_up else "down", 8))
        lines += [f"{column(found.name, 32, '-')}{cells}{found.name}", "  Link speed: unknown"]
        if not brief:
            local = found.device_class == "local"
            lines.append("  local" if local else f"  Ethernet address {format_mac(found.mac)}")
    return _text(lines)


def show_ip_fib(vpp: Vpp, words: list[str]) -> str:
    """Show IPv4 tables: show ip fib [table N] [summary | A.B.C.D[/N]]"""
    words = list(words)
    wanted = None
    if words[:1] == ["table"]:
        wanted = int(words[1])
        words = words[2:]
    lines: list[str] = []
    for table in vpp.dataplane.fibs:
        if table.version != 4 or wanted not in (None, table.table_id):
            continue
        if not words:
            lines += table_lines(vpp, table)
        elif words == ["summary"]:
            lines += summary_lines(vpp, table)
        else:
            address, _, length = words[0].partition("/")
            exact = table.get(ip4(address), int(length)) if length else table.lookup(ip4(address))
            lines += [heading(vpp, table), *(entry_lines(vpp, exact) if exact else [])]
    return _text(lines)


def show_ip_neighbors(vpp: Vpp, words: list[str]) -> str:
    """Show neighbours: show ip neighbors [INTERFACE]"""
    index = interface_named(vpp, words[0]).sw_if_index if words else None
    lines = [row(("Age", 12), ("IP", 40), ("Flags", 6), ("Ethernet", 20), ("Interface", 24))]
    now = vpp.dataplane.time()
    for found in vpp.dataplane.neighbors.on_interface(index):
        name = vpp.dataplane.interfaces.get(found.sw_if_index).name
        flags = ("S" if found.static else "D") + ("N" if found.no_adj_fib else "")
        age = column(f"{found.age(now):.4f}".removeprefix("0"), 12, "+")
        lines.append(row((age, 12), (format_ip4(found.address), 40), (flags, 6), (format_mac(found.mac), 20)) + name)
    return _text(lines)


def show_errors(vpp: Vpp, words: list[str]) -> str:
    """Show error counters"""
    lines = [row(("Count", 10), ("Node", 35), ("Reason", 35), ("Severity", 10))]
    for found in vpp.dataplane.graph.error_counts():
        cells = row((found.node, 35), (found.reason.description, 35), (found.reason.severity, 10))
        lines.append(f"{column(found.count, 10, '+')}{cells}")
    return _text(lines)
