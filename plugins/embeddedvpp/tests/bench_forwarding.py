# SPDX-License-Identifier: Apache-2.0
"""How fast the embedded VPP forwards between two network namespaces: ``python bench_forwarding.py [tap|af-packet]``.

Prints one JSON object for each kind of port: UDP packets of 64 bytes offered, received and received a second,
the time of a ping from one namespace to the other, and the CPU time that making 100 TAPs takes. Needs root. Each
namespace is one of a child process, and goes with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from embeddedvpp.dataplane import (
    Dataplane,
    Interface,
    TapConfig,
    create_af_packet,
    create_tap,
    ip4,
)

SECONDS = 3.0
_CLONE_NEWNET = 0x40000000


class Namespace:
    """A network namespace that lives as long as a sleeping child."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up; echo ready; exec sleep 300"],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    @property
    def name(self) -> str:
        """As VPP names it."""
        return f"pid:{self.process.pid}"

    def run(self, *command: str) -> str:
        """Run a command in it."""
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in it."""
        return subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command],
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the child, and with it the namespace."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def possible() -> str:
    """Why namespaces cannot be used here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    done = subprocess.run(["unshare", "-n", "ip", "link"], check=False, capture_output=True)
    if done.returncode:
        return f"unshare -n: {done.stderr.decode().strip()}"
    return "" if Path("/dev/net/tun").exists() else "/dev/net/tun is missing"


async def pod(dataplane: Dataplane, kind: str, namespace: Namespace, number: int) -> Interface:
    """An interface with 10.9.N.1/24, and eth0 with 10.9.N.2 in the namespace."""
    if kind == "tap":
        config = TapConfig(
            host_if_name="eth0",
            host_namespace=namespace.name,
            host_ip4=(ip4(f"10.9.{number}.2"), 24),
            host_ip4_gateway=ip4(f"10.9.{number}.1"),
        )
        interface = await create_tap(dataplane, config)
    else:
        host = f"ev{os.getpid() % 100000}n{number}"
        command = f"ip link add {host} type veth peer name eth0 netns {namespace.process.pid}"
        await (await asyncio.create_subprocess_exec(*command.split())).wait()
        disable_transmit_checksums(namespace)
        namespace.run("ip", "address", "add", f"10.9.{number}.2/24", "dev", "eth0")
        namespace.run("ip", "link", "set", "eth0", "up")
        interface = create_af_packet(dataplane, host)
        namespace.run("ip", "route", "add", "default", "via", f"10.9.{number}.1")
    dataplane.add_address(interface.sw_if_index, ip4(f"10.9.{number}.1"), 24)
    dataplane.set_admin_state(interface.sw_if_index, up=True)
    return interface


_CHECKSUMS_OFF = """
import array, ctypes, fcntl, socket, struct
value = array.array("I", [0x17, 0])  # ETHTOOL_STXCSUM
request = struct.pack("16sP16x", b"eth0", value.buffer_info()[0])
with socket.socket() as control:
    fcntl.ioctl(control, 0x8946, request)  # SIOCETHTOOL
"""


def disable_transmit_checksums(namespace: Namespace) -> None:
    """``ethtool -K eth0 tx off`` without ethtool."""
    namespace.run(sys.executable, "-c", _CHECKSUMS_OFF)


PINGER = """
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(1.0)
times = []
for number in range(103):  # the first packets are lost to ARP, as with VPP
    body = struct.pack("!HH48x", 7, number)
    head = struct.pack("!BBH", 8, 0, 0xFFFF - (int.from_bytes(b"\\x08\\0\\0\\0" + body, "big") % 0xFFFF))
    begin = time.perf_counter()
    s.sendto(head + body, (sys.argv[1], 0))
    try:
        while True:
            answer = s.recv(2048)
            if answer[20] == 0 and answer[24:28] == body[:4]:
                times.append(time.perf_counter() - begin)
                break
    except TimeoutError:
        pass
    s.settimeout(0.3)
print(len(times), round(1000 * sum(times) / max(len(times), 1), 4))
"""
SENDER = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9000))
payload, sent, pace = b"x" * 22, 0, float(sys.argv[3])
begin = time.monotonic()
end = begin + float(sys.argv[2])
while (now := time.monotonic()) < end:
    while sent < (now - begin) * pace + 16:
        try:
            s.send(payload)
        except OSError:
            pass
        sent += 1
    time.sleep(0.0002)
print(sent)
"""
RECEIVER = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE, for the machine's root only
except PermissionError:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
s.bind(("0.0.0.0", 9000))
print("ready", flush=True)
s.settimeout(float(sys.argv[1]))
count, first, last = 0, 0.0, 0.0
b = bytearray(2048)
try:
    while True:
        s.recv_into(b)
        last = time.monotonic()
        if not count:
            first = last
            s.settimeout(0.7)
        count += 1
except TimeoutError:
    pass
print(count, last - first)
"""


async def measure(kind: str, seconds: float = SECONDS, pace: float = 200_000.0) -> dict[str, float | str]:
    """Forward UDP from one namespace to the other, and ping through."""
    dataplane = Dataplane()
    one, two = Namespace(), Namespace()
    loop = asyncio.get_running_loop()
    try:
        await pod(dataplane, kind, one, 1)
        await pod(dataplane, kind, two, 2)
        output = await loop.run_in_executor(None, lambda: one.run(sys.executable, "-c", PINGER, "10.9.2.2"))
        answered, average = output.split()
        receiver = two.start(sys.executable, "-c", RECEIVER, str(seconds + 5))
        assert receiver.stdout is not None
        await loop.run_in_executor(None, receiver.stdout.readline)
        cpu = time.process_time()
        sender = one.start(sys.executable, "-c", SENDER, "10.9.2.2", str(seconds), str(pace))
        offered = int((await loop.run_in_executor(None, sender.communicate))[0])
        output = (await loop.run_in_executor(None, receiver.communicate))[0]
        cpu = time.process_time() - cpu
        received, took = output.split()
        return {
            "kind": kind,
            "offered": offered,
            "received": int(received),
            "packets_per_second": round(int(received) / max(float(took), 0.001)),
            "cpu_us_per_packet": round(cpu * 1e6 / max(int(received), 1), 2),
            "pings_answered": int(answered),
            "ping_ms": float(average),
        }
    finally:
        await dataplane.close()
        one.close()
        two.close()


async def measure_creation(number: int = 100) -> dict[str, float | str]:
    """The CPU time of making TAPs one after the other."""
    dataplane, namespace = Dataplane(), Namespace()
    try:
        begin, cpu = time.monotonic(), time.process_time()
        for index in range(number):
            await create_tap(dataplane, TapConfig(host_if_name=f"t{index}", host_namespace=namespace.name))
        return {
            "kind": "tap-creation",
            "number": number,
            "cpu_ms_each": round((time.process_time() - cpu) * 1000 / number, 3),
            "ms_each": round((time.monotonic() - begin) * 1000 / number, 3),
        }
    finally:
        await dataplane.close()
        namespace.close()


if __name__ == "__main__":
    reason = possible()
    if reason:
        sys.exit(reason)
    for wanted in sys.argv[1:] or ["tap", "af-packet"]:
        print(json.dumps(asyncio.run(measure(wanted))), flush=True)
    print(json.dumps(asyncio.run(measure_creation())), flush=True)
