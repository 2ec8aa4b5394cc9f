# SPDX-License-Identifier: Apache-2.0
"""The debug CLI: commands that work on a ``Vpp``, and the socket protocol of ``vppctl``.

A command is a function of the words that follow its name; it returns text, or an awaitable of text (``ping``). On the
socket a line comes in, output and prompt go out. A terminal (``vppctl`` without a command) gets no line editing here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .dataplane import CLI, DataplaneError, FibTable, Interface, Path, PathType, format_ip4, format_mac, ip4

if TYPE_CHECKING:
    from .api.vpp import Vpp

PROMPT = "vpp# "
Answer = str | Awaitable[str]
Command = Callable[["Vpp", list[str]], Answer]
UNSET = 0xFFFFFFFF


class CliError(Exception):
    """Input that a command does not understand."""


def execute(vpp: Vpp, line: str) -> Answer:
    """Run one command line."""
    words = line.split()
    if not words:
        return ""
    for length in range(min(len(words), 3), 0, -1):
        command = COMMANDS.get(" ".join(words[:length]))
        if command is not None:
            try:
                return command(vpp, words[length:])
            except DataplaneError as error:
                return f"{' '.join(words[:length])}: {error}\n"
            except (CliError, ValueError, IndexError):
                return f"{' '.join(words[:length])}: unknown input `{' '.join(words[length:])}'\n"
    return f"unknown input `{line}'\n"


def _interface(vpp: Vpp, name: str) -> Interface:
    found = vpp.dataplane.interfaces.by_name.get(name)
    if found is None:
        raise CliError(name)
    return found


def show_version(vpp: Vpp, words: list[str]) -> str:
    """Show the version"""
    return f"vpp v{vpp.version} in Python (embeddedvpp)\n"


def show_interface(vpp: Vpp, words: list[str]) -> str:
    """Show interfaces with their state and counters"""
    lines = [
        f"{'Name':>21}{'Idx':>18}{'State':>7}  {'MTU (L3/IP4/IP6/MPLS)':<21}{'Counter':>12}{'Count':>18}".rstrip()
    ]
    for found in sorted(vpp.dataplane.interfaces, key=lambda each: each.name):
        mtu = "/".join(map(str, found.mtu))
        head = f"{found.name:<32}{found.sw_if_index:>7}{'up' if found.admin_up else 'down':>7}{mtu:>22}"
        counters = [(label, value) for label, value in _counters(found) if value]
        first, rest = (counters[:1] or [("", 0)])[0], counters[1:]
        lines.append(f"{head}     {first[0]:<18}{first[1]:>16}".rstrip(" 0") if not counters else
                     f"{head}     {first[0]:<18}{first[1]:>16}")  # fmt: skip
        lines += [f"{'':<73}{label:<18}{value:>16}" for label, value in rest]
    return "\n".join(lines) + "\n"


def _counters(found: Interface) -> list[tuple[str, int]]:
    c = found.counters
    return [
        ("rx packets", c.rx_packets), ("rx bytes", c.rx_bytes), ("tx packets", c.tx_packets),
        ("tx bytes", c.tx_bytes), ("drops", c.drops), ("punt", c.punt), ("ip4", c.ip4), ("ip6", c.ip6),
        ("rx-error", c.rx_error), ("tx-error", c.tx_error), ("rx-miss", c.rx_miss),
    ]  # fmt: skip


def show_interface_address(vpp: Vpp, words: list[str]) -> str:
    """Show the addresses of interfaces"""
    lines = []
    for found in vpp.dataplane.interfaces:
        lines.append(f"{found.name} ({'up' if found.admin_up else 'dn'}):")
        if found.unnumbered_to is not None:
            lines.append(f"  unnumbered, use {found.unnumbered_to.name}")
        table = (
            f" ip4 table-id {found.fib4.table_id} fib-idx {found.fib4.index}" if found.fib4.table_id else ""
        )
        lines += [f"  L3 {format_ip4(address)}/{length}{table}" for address, length in found.addresses]
    return "\n".join(lines) + "\n"


def show_hardware_interfaces(vpp: Vpp, words: list[str]) -> str:
    """Show hardware interfaces"""
    lines = [f"{'Name':^33}{'Idx':>3}   Link  Hardware"]
    for found in vpp.dataplane.interfaces:
        state = "up" if found.link_up else "down"
        lines.append(f"{found.name:<35}{found.sw_if_index:^5}{state:^6} {found.name}")
        if found.device_class != "local":
            lines.append(f"  Ethernet address {format_mac(found.mac)}")
    return "\n".join(lines) + "\n"


def show_ip_fib(vpp: Vpp, words: list[str]) -> str:
    """Show IPv4 tables: show ip fib [table N]"""
    wanted = int(words[words.index("table") + 1]) if "table" in words else None
    if words and wanted is None:
        raise CliError(words[0])
    lines: list[str] = []
    for table in vpp.dataplane.fibs:
        if table.version == 4 and wanted in (None, table.table_id):
            lines += _fib_lines(vpp, table)
    return "\n".join(lines) + "\n" if lines else ""


def _fib_lines(vpp: Vpp, table: FibTable) -> list[str]:
    lines = [f"{table.name}, fib_index:{table.index}"]
    for entry in table:
        lines.append(f"{format_ip4(entry.address)}/{entry.length}")
        for path in entry.paths:
            lines.append(f"    {_path_text(vpp, path)}")
    return lines


def _path_text(vpp: Vpp, path: Path) -> str:
    interface = vpp.dataplane.interfaces.find(path.sw_if_index)
    words = [] if path.type is PathType.NORMAL else [path.type.name.lower()]
    if path.next_hop:
        words.append(f"via {format_ip4(path.next_hop)}")
    if interface is not None:
        words.append(interface.name)
    if path.type is PathType.NORMAL and path.sw_if_index == UNSET:
        words.append(f"in table {path.table_id}")
    return f"{' '.join(words)} weight={path.weight} pref={path.preference}"


def show_ip_neighbors(vpp: Vpp, words: list[str]) -> str:
    """Show neighbours: show ip neighbors [INTERFACE]"""
    index = _interface(vpp, words[0]).sw_if_index if words else None
    lines = [f"{'Age':>12}{'IP':>40}{'Flags':>7}{'Ethernet':>21}{'Interface':>20}".rstrip()]
    now = vpp.dataplane.time()
    for found in vpp.dataplane.neighbors.on_interface(index):
        name = vpp.dataplane.interfaces.get(found.sw_if_index).name
        flags = ("S" if found.static else "D") + ("N" if found.no_adj_fib else "")
        lines.append(
            f"{found.age(now):>12.4f}{format_ip4(found.address):>40}{flags:>7}{format_mac(found.mac):>21} {name}"
        )
    return "\n".join(lines) + "\n"


def show_errors(vpp: Vpp, words: list[str]) -> str:
    """Show error counters"""
    lines = [f"{'Count':^10}{'Node':^34}{'Reason':^34}{'Severity':>12}"]
    for found in vpp.dataplane.graph.error_counts():
        lines.append(f"{found.count:>10}{found.node:>34}{found.reason.description:>34}{found.reason.severity:>12}")
    return "\n".join(lines) + "\n"


def set_interface_state(vpp: Vpp, words: list[str]) -> str:
    """Set the admin state: set interface state INTERFACE up|down"""
    interface, state = _interface(vpp, words[0]), words[1]
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
    return Path(next_hop=hop, sw_if_index=_interface(vpp, names[0]).sw_if_index if names else UNSET)


def ping(vpp: Vpp, words: list[str]) -> Awaitable[str]:
    """Ping: ping A.B.C.D [repeat N] [source INTERFACE]"""
    destination, rest = ip4(words[0]), words[1:]
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    if options.keys() - {"repeat", "source"}:
        raise CliError(" ".join(rest))
    repeat = min(int(options.get("repeat", 5)), 1000)
    via = _interface(vpp, options["source"]) if "source" in options else None
    return _ping(vpp, destination, repeat, via)


async def _ping(vpp: Vpp, destination: int, repeat: int, via: Interface | None) -> str:
    lines, received = [], 0
    for sequence in range(1, repeat + 1):
        try:
            reply = await vpp.dataplane.graph.icmp.ping(destination, sequence=sequence, via=via)
        except DataplaneError as error:
            return f"Failed: {error}\n"
        if reply is not None:
            received += 1
            lines.append(
                f"{reply.size} bytes from {format_ip4(reply.source)}: icmp_seq={sequence} ttl={reply.ttl} "
                f"time={reply.seconds * 1000:.4f} ms"
            )
    lost = 100 * (repeat - received) // max(repeat, 1)
    lines += ["", f"Statistics: {repeat} sent, {received} received, {lost}% packet loss"]
    return "\n".join(lines) + "\n"


def api_trace(vpp: Vpp, words: list[str]) -> str:
    """Record requests: api trace on|off|dump|save FILE"""
    verb = words[0]
    if verb == "on":
        vpp.trace = vpp.trace if vpp.trace is not None else deque(maxlen=100_000)
    elif verb == "off":
        vpp.trace = None
    elif verb in ("dump", "custom-dump"):
        return _trace_text(vpp)
    elif verb == "save":
        name = words[1].rpartition("/")[2]
        with open(f"/tmp/{name}", "w", encoding="utf-8") as file:  # VPP, too, saves to /tmp only
            file.write(_trace_text(vpp))
        return f"API trace saved to /tmp/{name}\n"
    else:
        raise CliError(verb)
    return ""


def _trace_text(vpp: Vpp) -> str:
    return "".join(f"{entry.time:.6f} {entry.client} {entry.name}\n" for entry in vpp.trace or ())


def show_help(vpp: Vpp, words: list[str]) -> str:
    """Show this list"""
    return "".join(f"  {name:<32} {found.__doc__}\n" for name, found in sorted(COMMANDS.items()))


COMMANDS: dict[str, Command] = {
    "show version": show_version, "show interface": show_interface, "show int": show_interface,
    "show interface address": show_interface_address, "show int addr": show_interface_address,
    "show hardware-interfaces": show_hardware_interfaces, "show ip fib": show_ip_fib,
    "show ip neighbors": show_ip_neighbors, "show errors": show_errors,
    "set interface state": set_interface_state, "ip route": ip_route, "ping": ping, "api trace": api_trace,
    "help": show_help, "?": show_help,
}  # fmt: skip


async def serve_client(vpp: Vpp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One CLI connection: telnet options are ignored, every line is answered, then comes the prompt."""
    try:
        writer.write(PROMPT.encode())
        while data := await reader.readline():
            line = _without_telnet(data).decode("utf-8", "replace").strip("\r\n\0 ")
            if line in ("quit", "exit", "q"):
                break
            answer = execute(vpp, line)
            text = await answer if inspect.isawaitable(answer) else answer
            writer.write((str(text).replace("\n", "\r\n") + PROMPT).encode())
            await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the client went, or sent a line without end
    finally:
        writer.close()


def _without_telnet(data: bytes) -> bytes:
    """Remove telnet option negotiation (IAC …) from input."""
    result, at = bytearray(), 0
    while at < len(data):
        if data[at] != 255:
            result.append(data[at])
            at += 1
        elif data[at + 1 : at + 2] == b"\xfa":
            end = data.find(b"\xff\xf0", at)
            at = len(data) if end < 0 else end + 2
        else:
            at += 3
    return bytes(result)
