# SPDX-License-Identifier: Apache-2.0
"""The debug CLI: command lines that work on a ``Vpp``. ``cli_show`` has what only looks, ``cli_socket`` the socket.

A command is a function of the words that follow its name; it returns text, or an awaitable of text (``ping``). As in
VPP, a word may be cut short while it is clear what is meant.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from .cli_l2 import show_bridge_domain, show_l2fib, show_vxlan_tunnel
from .cli_show import (
    CliError,
    interface_named,
    show_errors,
    show_hardware_interfaces,
    show_interface,
    show_interface_address,
    show_ip_fib,
    show_ip_neighbors,
    show_version,
)
from .cli_trace import clear_trace, show_trace, trace_add
from .dataplane import CLI, DataplaneError, Interface, Path, PathType, format_ip4, ip4

if TYPE_CHECKING:
    from .api.vpp import TraceEntry, Vpp

Answer = str | Awaitable[str]
Command = Callable[["Vpp", list[str]], Answer]
UNSET = 0xFFFFFFFF


class Failure(str):
    """The text of a command that failed; ``cli_inband`` answers -1 with it."""


def execute(vpp: Vpp, line: str) -> Answer:
    """Run one command line."""
    words = line.split()
    if not words:
        return ""
    name = _command_name(words)
    if name is None:
        group = next((found for found in GROUPS if found.startswith(words[0])), None)
        return Failure(f"{group}: unknown input `{' '.join(words[1:])}'\n" if group else f"unknown input `{line}'\n")
    rest = words[len(name.split()) :]
    try:
        return COMMANDS[name](vpp, rest)
    except DataplaneError as error:
        return Failure(f"{name}: {error}\n")
    except (CliError, ValueError, IndexError):
        return Failure(f"{name}: unknown input `{' '.join(rest)}'\n")


def _command_name(words: list[str]) -> str | None:
    """The longest command whose words begin with these."""
    for length in range(min(len(words), 3), 0, -1):
        given = words[:length]
        if " ".join(given) in COMMANDS:
            return " ".join(given)
        names = [name for name in COMMANDS if _abbreviates(given, name.split())]
        if len(names) == 1:
            return names[0]
    return None


def _abbreviates(given: list[str], full: list[str]) -> bool:
    return len(given) == len(full) and all(
        word.startswith(short) for short, word in zip(given, full, strict=True)
    )


def set_interface_state(vpp: Vpp, words: list[str]) -> str:
    """Set the admin state: set interface state INTERFACE up|down"""
    interface, state = interface_named(vpp, words[0]), words[1]
    if state not in ("up", "down"):
        raise CliError(state)
    vpp.dataplane.set_admin_state(interface.sw_if_index, up=state == "up")
    return ""


def ip_route(vpp: Vpp, words: list[str]) -> str:
    """Add or delete a route: ip route add|del A.B.C.D/N [table N] via [A.B.C.D] [INTERFACE]|drop"""
    verb, prefix, *rest = words
    address, _, length = prefix.partition("/")
    table = 0
    if "table" in rest:
        at = rest.index("table")
        table = int(rest[at + 1])
        del rest[at : at + 2]
    if verb not in ("add", "del"):
        raise CliError(verb)
    if verb == "del":
        vpp.dataplane.route_delete(ip4(address), int(length), table_id=table, source=CLI)
        return ""
    if rest[0] != "via":
        raise CliError(rest[0])
    path = Path(type=PathType.DROP) if rest[1] == "drop" else _route_path(vpp, rest[1:])
    vpp.dataplane.route_update(ip4(address), int(length), [path], table_id=table, source=CLI)
    return ""


def _route_path(vpp: Vpp, words: list[str]) -> Path:
    known = vpp.dataplane.interfaces.by_name
    hop = 0 if words[0] in known else ip4(words[0])
    names = words if words[0] in known else words[1:]
    return Path(next_hop=hop, sw_if_index=interface_named(vpp, names[0]).sw_if_index if names else UNSET)


def ping(vpp: Vpp, words: list[str]) -> Awaitable[str]:
    """Ping: ping A.B.C.D [repeat N] [source INTERFACE]"""
    destination, rest = ip4(words[0]), words[1:]
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    if options.keys() - {"repeat", "source"}:
        raise CliError(" ".join(rest))
    repeat = min(int(options.get("repeat", 5)), 1000)
    via = interface_named(vpp, options["source"]) if "source" in options else None
    return _ping(vpp, destination, repeat, via)


async def _ping(vpp: Vpp, destination: int, repeat: int, via: Interface | None) -> str:
    lines, received = [], 0
    for sequence in range(1, repeat + 1):
        try:
            reply = await vpp.dataplane.graph.icmp.ping(destination, sequence=sequence, via=via)
        except DataplaneError as error:
            lines += [f"Failed: {error}", "", _statistics(sequence - 1, received)]
            return "\n".join(lines) + "\n"
        if reply is not None:
            received += 1
            lines.append(
                f"{reply.size} bytes from {format_ip4(reply.source)}: icmp_seq={sequence} ttl={reply.ttl} "
                f"time={f'{reply.seconds * 1000:.4f}'.removeprefix('0')} ms"
            )
    lines += ["", _statistics(repeat, received)]
    return "\n".join(lines) + "\n"


def _statistics(sent: int, received: int) -> str:
    lost = 100 * (sent - received) // max(sent, 1)
    return f"Statistics: {sent} sent, {received} received, {lost}% packet loss"


def api_trace(vpp: Vpp, words: list[str]) -> Answer:
    """Record requests: api trace on|off|dump|save FILE"""
    verb = words[0]
    if verb == "on":
        vpp.trace = vpp.trace if vpp.trace is not None else deque(maxlen=100_000)
    elif verb == "off":
        vpp.trace = None
    elif verb in ("dump", "custom-dump"):
        return _trace_text(vpp.trace or ())
    elif verb == "save":
        return _save_trace(words[1].rpartition("/")[2], list(vpp.trace or ()))
    else:
        raise CliError(verb)
    return ""


async def _save_trace(name: str, entries: Sequence[TraceEntry]) -> str:
    """VPP, too, saves to /tmp only."""

    def write() -> None:
        with open(f"/tmp/{name}", "w", encoding="utf-8") as file:
            file.write(_trace_text(entries))

    try:
        await asyncio.to_thread(write)
    except OSError as error:
        return Failure(f"api trace: cannot write /tmp/{name}: {error.strerror}\n")
    return f"API trace saved to /tmp/{name}\n"


def _trace_text(entries: Sequence[TraceEntry]) -> str:
    return "".join(f"{entry.time:.6f} {entry.client} {entry.name}\n" for entry in entries)


def clear_interfaces(vpp: Vpp, words: list[str]) -> str:
    """Set the counters of interfaces to zero"""
    for found in vpp.dataplane.interfaces:
        found.counters.clear()
    return ""


def clear_errors(vpp: Vpp, words: list[str]) -> str:
    """Set error counters to zero"""
    vpp.dataplane.graph.clear_errors()
    return ""


def show_help(vpp: Vpp, words: list[str]) -> str:
    """Show this list"""
    return "".join(f"  {name:<32} {found.__doc__}\n" for name, found in sorted(COMMANDS.items()))


COMMANDS: dict[str, Command] = {
    "show version": show_version, "show interface": show_interface,
    "show interface address": show_interface_address,
    "show hardware-interfaces": show_hardware_interfaces, "show ip fib": show_ip_fib,
    "show ip neighbors": show_ip_neighbors, "show errors": show_errors,
    "show bridge-domain": show_bridge_domain, "show l2fib": show_l2fib, "show vxlan tunnel": show_vxlan_tunnel,
    "clear interfaces": clear_interfaces, "clear errors": clear_errors,
    "set interface state": set_interface_state, "ip route": ip_route, "ping": ping, "api trace": api_trace,
    "trace add": trace_add, "show trace": show_trace, "clear trace": clear_trace,
    "show node counters": show_errors,
    "help": show_help, "?": show_help,
}  # fmt: skip
GROUPS = sorted({name.split()[0] for name in COMMANDS if " " in name})
