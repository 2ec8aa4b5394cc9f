# SPDX-License-Identifier: Apache-2.0
"""What real VPP did with packets is what the embedded one does, and what real VPP still does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embeddedvpp.api import Vpp
from embeddedvpp.cli import execute
from embeddedvpp.dataplane import (
    Dataplane,
    Feature,
    MemoryPort,
    PathType,
    PortType,
    VxlanTunnel,
    add_memory_interface,
    ip4,
)
from embeddedvpp.dataplane import Path as RoutePath
from embeddedvpp.dataplane.l2_fib import L2FibEntry

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    """A module beside this one; tests are not a package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


cases = _load("packet_cases")
packets, realvpp = _load("packets"), _load("realvpp")
TYPES = {
    "drop": PathType.DROP,
    "null-send-unreach": PathType.ICMP_UNREACH,
    "null-send-prohibit": PathType.ICMP_PROHIBIT,
}


class Embedded:
    """An embedded VPP with a case's set-up and interfaces in memory."""

    def __init__(self, case: Any) -> None:
        self.now = 0.0
        self.dataplane = Dataplane(time=lambda: self.now)
        self.out: list[tuple[str, bytes]] = []
        self.ports: dict[str, MemoryPort] = {}
        for number, name in enumerate(cases.VETHS, 1):
            port = add_memory_interface(self.dataplane, f"host-{name}", mac=cases.own_mac(number))
            port.on_transmit = lambda frame, name=name: self.out.append((name, frame))
            index = port.interface.sw_if_index
            self.dataplane.set_admin_state(index, up=True)
            self.dataplane.add_address(index, ip4(f"10.0.{number}.1"), 24)
            for host in (2, 3):
                self.dataplane.add_neighbor(index, ip4(f"10.0.{number}.{host}"), cases.host_mac(number, host))
            self.ports[name] = port
        if case.overlay:
            self._overlay()
        for name, mtu in case.mtu.items():
            found = self.dataplane.interfaces.by_name[name if name == "loop0" else f"host-{name}"]
            self.dataplane.set_mtu(found.sw_if_index, [mtu, 0, 0, 0])
        for prefix, route in case.routes.items():
            address, _, length = prefix.partition("/")
            self.dataplane.route_update(ip4(address), int(length), self._paths(route))

    def _overlay(self) -> None:
        """As ``packets.OVERLAY``."""
        plane = self.dataplane
        end = VxlanTunnel(ip4("10.0.2.1"), ip4("10.0.2.2"), cases.VNI, plane.fibs.get(0))
        tunnel, loop = plane.graph.vxlan.add(end), plane.create_loopback(mac=cases.bvi_mac(1))
        plane.bridges.add(1, features=Feature.FWD)
        plane.bridges.join(loop, 1, PortType.BVI)
        plane.bridges.join(tunnel, 1, shg=1)
        domain = plane.bridges.get(1).index
        plane.bridges.add_entry(L2FibEntry(domain, cases.bvi_mac(2), tunnel.sw_if_index, static=True))
        plane.set_admin_state(loop.sw_if_index, up=True)
        plane.add_address(loop.sw_if_index, ip4(cases.BVI), 24)
        plane.add_neighbor(loop.sw_if_index, ip4("192.168.30.2"), cases.bvi_mac(2))
        path = RoutePath(next_hop=ip4("192.168.30.2"), sw_if_index=loop.sw_if_index)
        plane.route_update(ip4("30.0.0.0"), 8, [path])

    def _paths(self, route: Any) -> list[RoutePath]:
        if isinstance(route, str):
            return [self._path(words.split()) for words in route.split(" via ")]
        return [
            RoutePath(next_hop=ip4(hop), sw_if_index=self.ports[port].interface.sw_if_index, weight=weight)
            for hop, port, weight in route
        ]

    def _path(self, words: list[str]) -> RoutePath:
        if words[0] in TYPES:
            return RoutePath(type=TYPES[words[0]])
        port = self.ports[words[1].removeprefix("host-")].interface if words[1:] else None
        return RoutePath(next_hop=ip4(words[0]), sw_if_index=port.sw_if_index if port else 0xFFFFFFFF)

    def send(self, port: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Send a frame; what came out."""
        self.out = []
        self.now += 0.1
        self.ports[port].inject(frame)
        return self.out

    def command(self, line: str) -> str:
        """A command of the CLI."""
        text = execute(Vpp(self.dataplane, time=lambda: self.now), line)
        assert isinstance(text, str)
        return text


def recorded(name: str) -> Any:
    """What real VPP did."""
    return json.loads((packets.RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", cases.CASES)
def test_embedded_vpp_does_with_packets_what_real_vpp_did(name: str) -> None:
    case = cases.CASES[name]
    embedded = Embedded(case)
    found, wanted = packets.run(case, embedded.send, embedded.command), recorded(name)
    for number, (got, expected) in enumerate(zip(found["out"], wanted["out"], strict=True)):
        assert got == expected, f"frame {number}"
    assert (found["errors"], found["counters"]) == (wanted["errors"], wanted["counters"])
    for number, (got, expected) in enumerate(zip(found["trace"], wanted["trace"], strict=True)):
        assert got == expected, f"trace {number}"


@pytest.mark.realvpp
@pytest.mark.parametrize("name", cases.CASES)
def test_real_vpp_still_does_so_with_packets(name: str) -> None:
    if realvpp.executable() is None:
        pytest.skip("CONTIVPP_VPP does not name a VPP executable")
    probe = subprocess.run(
        realvpp.in_namespace(["probe"], ["true"]), capture_output=True, text=True, timeout=20, check=False
    )
    if probe.returncode:
        pytest.skip(f"no network namespaces: {probe.stderr.strip()}")
    assert packets.in_namespace(name) == recorded(name)
