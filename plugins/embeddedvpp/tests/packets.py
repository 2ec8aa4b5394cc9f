# SPDX-License-Identifier: Apache-2.0
"""The same packets through real VPP and through the embedded one: cases, and what is needed to run them.

A VPP has the interfaces host-p1 (10.0.1.1/24) and host-p2 (10.0.2.1/24), with the hosts .2 and .3 on each. A case is
what else is set up, and frames; the result is what came out after each frame, and VPP's ``show errors`` at the end.
``CONTIVPP_VPP=…/vpp python tests/packets.py record [CASE …]`` puts what real VPP does into ``tests/packets``. That
needs root, for it happens in a network namespace of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from packet_cases import CASES, VETHS, Case, Route, bvi_mac, host_mac, own_mac

RESULTS = FilePath(__file__).parent / "packets"
SHOWN = 80  # bytes of a frame that are in the result as they are
QUIET = 0.05  # seconds without a frame: nothing more comes
OVERLAY = (
    "create vxlan tunnel src 10.0.2.1 dst 10.0.2.2 vni 10",
    f"create loopback interface mac {bvi_mac(1).hex(':')}",
    "create bridge-domain 1 learn 0 flood 0 uu-flood 0 forward 1 arp-term 0",
    "set interface l2 bridge loop0 1 bvi",
    "set interface l2 bridge vxlan_tunnel0 1 1",
    f"l2fib add {bvi_mac(2).hex(':')} 1 vxlan_tunnel0 static",
    "set interface state loop0 up",
    "set interface ip address loop0 192.168.30.1/24",
    f"set ip neighbor loop0 192.168.30.2 {bvi_mac(2).hex(':')}",
    "ip route add 30.0.0.0/8 via 192.168.30.2 loop0",
)
Result = dict[str, Any]


@dataclass
class RealVpp:
    """A real VPP in this process's namespace, and sockets at the other ends of its veths."""

    cli_socket: str
    program: str
    patience: float
    sockets: list[socket.socket] = field(default_factory=list)

    def command(self, line: str) -> str:
        """A command of the CLI."""
        done = subprocess.run(
            [self.program, "-s", self.cli_socket, *line.split()], check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout

    def prepare(self, case: Case) -> None:
        """Interfaces, hosts, and what the case adds."""
        for number, name in enumerate(VETHS, 1):
            for end in (name, f"{name}-peer"):
                FilePath(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
            subprocess.run(["ip", "link", "set", f"{name}-peer", "mtu", "9000", "up"], check=True)
            subprocess.run(["ip", "link", "set", name, "mtu", "9000", "up"], check=True)
            mac = own_mac(number).hex(":")
            self.command(f"create host-interface name {name} hw-addr {mac}")
            self.command(f"set interface state host-{name} up")
            self.command(f"set interface ip address host-{name} 10.0.{number}.1/24")
            self.sockets.append(_listen(f"{name}-peer"))
            for host in (2, 3):
                self.command(f"set ip neighbor host-{name} 10.0.{number}.{host} {host_mac(number, host).hex(':')}")
        for line in OVERLAY if case.overlay else ():
            self.command(line)
        for port, mtu in case.mtu.items():
            self.command(f"set interface mtu packet {mtu} {port if port == 'loop0' else f'host-{port}'}")
        for prefix, route in case.routes.items():
            self.command(f"ip route add {prefix} {_via(route)}")

    def send(self, port: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Send a frame; what came out."""
        self.sockets[VETHS.index(port)].send(frame)
        found, quiet = [], time.monotonic() + self.patience
        while time.monotonic() < quiet:
            for name, each in zip(VETHS, self.sockets, strict=True):
                try:
                    while True:
                        found.append((name, each.recv(65536)))
                        quiet = time.monotonic() + QUIET
                except BlockingIOError:
                    pass
            time.sleep(0.002)
        return found


def _listen(name: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
    made.setsockopt(263, 1, socket.if_nametoindex(name).to_bytes(4, "little") + b"\1" + bytes(11))  # promiscuous
    made.bind((name, 3))
    made.setblocking(False)
    return made


def _via(route: Route) -> str:
    if isinstance(route, str):
        return f"via {route}"
    return " ".join(f"via {hop} host-{port} weight {weight}" for hop, port, weight in route)


def errors(text: str) -> list[list[str]]:
    """The lines of ``show errors``, without those about rings of AF_PACKET."""
    rows = [line.split(None, 2) for line in text.splitlines()[1:]]
    found = [[count, node, " ".join(rest.split())] for count, node, rest in rows]
    return sorted(row for row in found if row[1] != "af-packet-input")


def shortened(port: str, data: bytes) -> list[str | int]:
    """A frame for the result: interface, length, beginning, digest of the whole."""
    if data[12:14] == b"\x08\0" and data[20:24] == b"\0\0\x40\1" and data[34] == 0:
        # The identification of an echo reply that is whole is a random number in VPP.
        data = data[:18] + b"\0\0" + data[20:24] + b"\0\0" + data[26:]
    return [port, len(data), data[:SHOWN].hex(), hashlib.sha256(data).hexdigest()[:16]]


# Of a trace: what belongs to a device, numbers of VPP's own, what one knows and the other does not.
_OF_DEVICE = re.compile(
    r"^ +((af_packet|block|address|tpacket3_hdr|status|sec|vnet-hdr|gso_size|buffer|current data)\b"
    r"|flags 0x00 gso_type|next-present|local|l4-cksum|ip4 l[23]|l[23]-hdr-offset)"
)
_NUMBERS = (
    (re.compile(r"\b(dpo-idx|adj|next|next:|adj:) ?\d+"), r"\1 N"),
    (re.compile(r"\bflow: ?0x[0-9a-f]+"), "flow"),
    (re.compile(r"(: ipv4 via .*) flow hash: 0x[0-9a-f]+"), r"\1"),
    (re.compile(r"(host-p\d|loop0) flags 0x[0-9a-f]+"), r"\1 flags"),
    (re.compile(r"fragment id 0x[0-9a-f]{4}$"), "fragment id"),
    (re.compile(r"checksum 0x[0-9a-f]{4} dscp"), "checksum dscp"),
    (re.compile(r"tx_sw_if_index \d+"), "tx_sw_if_index"),
    (re.compile(r"(no error|blackholed packets) \(.*\)"), r"\1"),
    (re.compile(r"^ +0000.*"), ""),
)
# VPP notes only some fragments at reassembly, in words about its buffers, and has nodes for multicast.
_NOT_COMPARED = frozenset(("ip4-local-full-reassembly", "ip4-mfib-forward-lookup", "ip4-mfib-forward-rpf"))


def trace(text: str) -> list[list[str]]:
    """``show trace`` as lines with the node before them, for each packet.

    Sorted: VPP runs its nodes in another order than others do.
    """
    packets: list[set[str]] = []
    node = ""
    for line in text.splitlines():
        if line.startswith("Packet "):
            packets.append(set())
        elif re.match(r"\d\d:", line):
            node = line.split(": ", 1)[1]
            if node not in _NOT_COMPARED:
                packets[-1].add(node)
        elif packets and line.strip() and node not in _NOT_COMPARED and not _OF_DEVICE.match(line):
            for pattern, replacement in _NUMBERS:
                line = pattern.sub(replacement, line)  # noqa: PLW2901
            packets[-1].add(f"{node}: {line.strip()}")
    return [sorted(each) for each in packets]


def counters(text: str) -> list[list[str]]:
    """``show interface``: interface, counter, count."""
    found, name = [], ""
    for line in text.splitlines()[1:]:
        name = line.split()[0] if line[0] != " " else name
        words = line[68:].split()
        if words:
            found.append([name, " ".join(words[:-1]), words[-1]])
    return sorted(found)


def run(
    case: Case, send: Callable[[str, bytes], list[tuple[str, bytes]]], command: Callable[[str], str]
) -> Result:
    """Send the case's frames; what happened."""
    command("trace add af-packet-input 1000")
    out = [[shortened(*each) for each in send(port, frame)] for port, frame in case.frames]
    shown = trace(command("show trace max 1000")) if case.trace else []
    return {
        "out": out,
        "errors": errors(command("show errors")),
        "counters": counters(command("show interface")),
        "trace": shown,
    }


def run_real(case: Case) -> Result:
    """In a namespace with the veths: what real VPP does."""
    from realvpp import executable, real_vpp

    program = executable()
    assert program is not None
    with real_vpp() as api_socket:
        folder = FilePath(api_socket).parent
        vpp = RealVpp(str(folder / "cli.sock"), str(program.with_name("vppctl")), case.patience)
        vpp.prepare(case)
        try:
            return run(case, vpp.send, vpp.command)
        finally:
            for each in vpp.sockets:
                each.close()


def in_namespace(name: str) -> Result:
    """What real VPP does in a case, in a namespace of its own."""
    add = "".join(f"ip link add {veth} type veth peer name {veth}-peer && " for veth in VETHS)
    command = ["unshare", "--net", "sh", "-c", add + 'exec "$0" "$@"', sys.executable, __file__, "one", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    result: Result = json.loads(done.stdout)
    return result


def record(names: Iterable[str]) -> None:
    """Write what real VPP does."""
    for name in names:
        (RESULTS / f"{name}.json").write_text(_readable(in_namespace(name)), encoding="utf-8")


def _readable(result: Result) -> str:
    """JSON with a line for each frame, counter, and line of a trace."""
    parts = []
    for key in ("out", "trace"):
        groups = ",\n".join("  [" + ",\n   ".join(map(json.dumps, each)) + "]" for each in result[key])
        parts.append(f' "{key}": [\n{groups}\n ]')
    for key in ("errors", "counters"):
        lines = ",\n".join(f"  {json.dumps(each)}" for each in result[key])
        parts.append(f' "{key}": [\n{lines}\n ]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    if sys.argv[1] == "one":
        print(json.dumps(run_real(CASES[sys.argv[2]])))
    else:
        record(sys.argv[2:] or CASES)
