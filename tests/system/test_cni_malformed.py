# SPDX-License-Identifier: Apache-2.0
"""Malformed CNI calls by Hypothesis: whatever comes, an answer as the specification says, and nothing left behind.

Half of the calls start an executable, half speak its protocol. CONTIVPP_MALFORMED sets how many are made (200 unless
told), CONTIVPP_MALFORMED_SEED repeats a run.
"""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from .cni_table import VERSIONS, shaped
from .cni_world import World, world
from .executables import KINDS, Outcome
from .harness import tools

pytestmark = [pytest.mark.netns, pytest.mark.tun]

CALLS = int(os.environ.get("CONTIVPP_MALFORMED", "200"))
SEED = int(os.environ.get("CONTIVPP_MALFORMED_SEED") or time.time_ns() % 1_000_000)
KERNEL_STRING = 131072 - 1  # MAX_ARG_STRLEN, less the closing NUL: of NAME=VALUE
STDIN_LIMIT = 1 << 20
ENVIRONMENT_LIMIT = 1 << 18
GROWTH_KIB = 48 * 1024
WAYS = [*KINDS, "socket"]


class Rig:
    """The node, a pod's namespace for the calls, and what has been counted."""

    def __init__(self, place: World) -> None:
        self.place = place
        self.netns = place.rig.namespaces.make("malformed")
        self.fifo = str(place.rig.folder / "fifo")
        os.mkfifo(self.fifo)
        assert place.rig.agent is not None
        self.pid = place.rig.agent.pid
        self.calls = self.added = 0
        self.ends: dict[str, int] = {}
        self.memory = 0  # KiB, when caches are warm

    def resident(self) -> int:
        """The agent's memory, in KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def call(self, way: str, environment: Mapping[bytes, bytes], stdin: bytes) -> Outcome:
        if way == "socket":
            return self._by_socket(environment, stdin)
        return self.place.executable(way).call(environment, stdin)

    def _by_socket(self, environment: Mapping[bytes, bytes], stdin: bytes) -> Outcome:
        """As an executable would; a call that is larger than the protocol allows may be closed without an answer."""
        block = b"".join(name + b"=" + value + b"\0" for name, value in environment.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30)
            connection.connect(self.place.rig.cni_socket)
            answer = b""
            try:
                connection.sendall(b"contivpp-cni/1 %d %d\n" % (len(block), len(stdin)) + block + stdin)
                while chunk := connection.recv(1 << 16):
                    answer += chunk
            except (BrokenPipeError, ConnectionResetError):
                pass
        if not answer and (len(block) > ENVIRONMENT_LIMIT or len(stdin) > STDIN_LIMIT):
            return Outcome(1, b'{"cniVersion":"1.1.0","code":7,"msg":"closed"}', b"")
        header, _, body = answer.partition(b"\n")
        code, size = map(int, header.split())
        assert size == len(body)
        return Outcome(code, body, b"")

    def judge(self, way: str, environment: Mapping[bytes, bytes], stdin: bytes) -> None:
        """Make one call, hold the answer to the specification, and take back what it did."""
        outcome = self.call(way, environment, stdin)
        self.calls += 1
        command = environment.get(b"CNI_COMMAND", b"")
        told = conforming(command, stdin, outcome)
        self.ends[told] = self.ends.get(told, 0) + 1
        if told in ("error 11", "error 50", "error 51"):  # "try again" is no answer to a call that is wrong
            size = sum(len(name) + len(value) + 2 for name, value in environment.items())
            assert size > ENVIRONMENT_LIMIT, outcome.stdout
        if command == b"ADD" and outcome.status == 0:
            self.added += 1
            self._undo(environment, stdin)
        assert self.place.attachments() == {}
        process = self.place.rig.agent
        assert process is not None
        assert (process.returncode, process.pid) == (None, self.pid)
        if self.calls % 100 == 0:
            self.others_are_fine()

    def _undo(self, environment: Mapping[bytes, bytes], stdin: bytes) -> None:
        keep = (b"CNI_CONTAINERID", b"CNI_IFNAME")
        given = {b"CNI_COMMAND": b"DEL", **{name: environment[name] for name in keep}}
        config = json.dumps({"cniVersion": "1.0.0", "name": json.loads(stdin)["name"]}).encode()
        assert self.call("socket", given, config) == Outcome(0, b"", b"")

    def others_are_fine(self) -> None:
        """The pod beside has its gateway, the agent its memory."""
        inside = ["nsenter", f"--net={self.place.bystander_netns}"]
        ping = [*inside, "ping", "-n", "-c1", "-W2", self.place.gateway]
        assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
        resident = self.resident()
        self.memory = self.memory or resident
        assert resident < self.memory + GROWTH_KIB, f"{self.memory} KiB after 100 calls, {resident} after {self.calls}"


def conforming(command: bytes, stdin: bytes, outcome: Outcome) -> str:
    """Assert that an answer is what the specification says; return a word for what it is."""
    assert b"Traceback" not in outcome.stdout + outcome.stderr
    assert 0 <= outcome.status <= 255
    printed = json.loads(outcome.stdout.decode(), parse_constant=_no_constant) if outcome.stdout else None
    if outcome.status:
        assert isinstance(printed, dict)
        code = printed.get("code")
        assert isinstance(code, int)
        assert isinstance(printed["cniVersion"], str)
        shaped({**printed, "cniVersion": "1.1.0"}, "error")
        assert code != 999, f"an error that nobody expected: {printed}"
        return f"error {code}"
    if command == b"VERSION":
        shaped(printed, "version")
        return "VERSION"
    if command == b"ADD":
        version = json.loads(stdin)["cniVersion"]
        assert version in VERSIONS
        if "prevResult" not in json.loads(stdin):
            shaped(printed, f"result {version}")
        assert isinstance(printed, dict)
        assert (printed["cniVersion"], type(printed["interfaces"]), type(printed["ips"])) == (version, list, list)
        return "ADD"
    assert outcome.stdout == b""
    return command.decode()


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


# --- what is sent

COMMANDS = [b"ADD", b"ADD", b"ADD", b"DEL", b"CHECK", b"GC", b"STATUS", b"VERSION"]
PREVIOUS = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:01", "mtu": 1500}, {"name": "net1", "sandbox": "/x"}],
    "ips": [{"address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 1}],
    "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1", "mtu": 1300, "priority": 3}],
    "dns": {"nameservers": ["192.0.2.53"], "domain": "a.example", "search": ["b.example"], "options": ["x"]},
}
CONFIG: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "malformed-net",
    "type": "contivpp",
    "mtu": 1400,
    "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1"},
    "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1", "mtu": 1300, "priority": 3}],
    "defaultRoute": True,
    "dns": {"nameservers": ["192.0.2.53"], "domain": "a.example", "search": ["b.example"], "options": ["x"]},
    "ipam": {},
    "capabilities": {"mac": True},
    "runtimeConfig": {
        "mac": "c2:11:22:33:44:55",
        "ips": ["10.1.0.29"],
        "dns": {"servers": ["192.0.2.53"], "searches": ["c.example"], "options": ["y"]},
        "portMappings": [{"hostPort": 80, "containerPort": 80}],
    },
    "args": {"cni": {"ips": ["10.1.0.28"], "mac": "c2:11:22:33:44:56", "labels": [{"key": "a", "value": "b"}]}},
    "prevResult": PREVIOUS,
    "cni.dev/valid-attachments": [{"containerID": "malformed", "ifname": "eth0"}],
    "cni.dev/attachments": [{"containerID": "malformed", "ifname": "eth0"}],
}
del CONFIG["routes"][0]["gw"]

numbers = st.one_of(
    st.integers(-(10**30), 10**30), st.sampled_from([0, -1, 2**31, 2**32, 2**63, 2**64, 10**400, 1e308, -0.0, 1.5])
)
words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "\0", "../..", "a/b", "${x}", "%s%n", "\u202e", "e\u0301", "\U0010ffff", "0.0.0.0/0", "::/0"]),
    st.sampled_from(["10.1.0.29", "10.1.0.17", "255.255.255.255", "1.1.0", "eth0", "lo", "true", "x" * 5000]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=8,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value but its top."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [path for key, each in inside for path in [(*prefix, key), *paths(each, (*prefix, key))]]


@st.composite
def configs(draw: st.DrawFn, top: str = "") -> dict[str, Any]:
    """The valid configuration with some keys left out, and with other values at one to three places."""
    config = copy.deepcopy(CONFIG)
    for key in draw(st.sets(st.sampled_from(sorted(set(CONFIG) - {"cniVersion", "name", top})), min_size=4)):
        del config[key]
    if draw(st.booleans()):
        config["cniVersion"] = draw(st.sampled_from(VERSIONS))
    places = [path for path in paths(config) if not top or path[0] == top]
    for path in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        spot: Any = config
        try:
            for key in path[:-1]:
                spot = spot[key]
            spot[path[-1]] = draw(values)
        except (TypeError, LookupError):  # an outer place was replaced before
            continue
    return config


TOKENS = [
    b"NaN", b"Infinity", b"-Infinity", b"1e999999", b"-0", b"01", b"1" * 5000, b'"\\ud800"', b'"\\u0000"', b"\0",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"[" * 100_000, b'{"a":' * 50_000, b"//", b",", b"}",
    b"\xef\xbb\xbf", b"'", b"\\",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Text of a valid configuration after one to four cuts, insertions and repetitions."""
    config = {key: CONFIG[key] for key in ("cniVersion", "name", "mtu", "dns", "runtimeConfig", "args")}
    text = json.dumps(config).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["cut", "insert", "replace", "truncate", "repeat"])):
            case "cut":
                text = text[:start] + text[end:]
            case "insert":
                text = text[:start] + draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8))) + text[start:]
            case "replace":
                text = text[:start] + draw(st.sampled_from(TOKENS)) + text[end:]
            case "truncate":
                text = text[:start]
            case "repeat":
                text = text[:end] + text[start:]
    return text


no_nul = st.binary(max_size=40).map(lambda value: value.replace(b"\0", b"\n"))
odd = st.one_of(
    no_nul,
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass").replace(b"\0", b"")),
    st.sampled_from(
        [b"", b" ", b"\n", b".", b"..", b"../../x", b"a/b", b"a:b", b"-a", b"\xff", b"\xed\xa0\x80", "e\u0301".encode()]
    ),
    st.sampled_from([1, 15, 16, 255, 256, 4095, 4096, 65536, 100_000]).map(lambda size: b"a" * size),
)


@st.composite
def environments(draw: st.DrawFn, netns: bytes, fifo: bytes) -> dict[bytes, bytes]:
    """A valid environment after one to three changes."""
    environment = valid(draw(st.sampled_from(COMMANDS)), netns)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*sorted(environment), b"CNI_NETNS_OVERRIDE", b"CNI_X"]))
        if draw(st.integers(0, 5)) == 0:
            environment.pop(name, None)
        elif name == b"CNI_NETNS":
            places = [b"/", b"/dev/null", b"/dev/zero", fifo, b"/proc/self/ns/net", b"/proc/self/ns/uts", netns + b"/x"]
            places += [b"/" + b"x" * 255, b"/x" * 3000, netns + b"\n", b"." + netns, netns.replace(b"/", b"//")]
            environment[name] = draw(st.one_of(st.sampled_from(places), odd))
        elif name == b"CNI_ARGS":
            pairs = st.lists(st.one_of(odd, st.sampled_from([b"IP=x", b"MAC=\xff", b"K8S_POD_NAME=a/b", b"IP=", b"="])))
            environment[name] = b";".join(draw(pairs))[:100_000]
        else:
            environment[name] = draw(odd)
    return environment


def valid(command: bytes, netns: bytes) -> dict[bytes, bytes]:
    """What a runtime would give."""
    return {
        b"CNI_COMMAND": command, b"CNI_CONTAINERID": b"malformed", b"CNI_NETNS": netns, b"CNI_IFNAME": b"eth0",
        b"CNI_ARGS": b"IgnoreUnknown=1", b"CNI_PATH": b"/opt/cni/bin",
    }  # fmt: skip


# --- the tests


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """One node for all calls; its pod beside must not notice them."""
    if reason := tools():
        pytest.skip(reason)
    async with world("embedded") as place:
        made = Rig(place)
        begin = time.monotonic()
        yield made
        made.others_are_fine()
        seconds = time.monotonic() - begin
        ends = ", ".join(f"{count} {told}" for told, count in sorted(made.ends.items()))
        print(f"\nseed {SEED}: {made.calls} calls, {made.added} ADD undone, {seconds:.0f} s; {ends}")
        print(f"the agent has {made.memory} KiB after 100 calls, and {made.resident()} now")


def examples(share: float) -> Any:
    """Settings for a share of the calls."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    number = max(5, int(CALLS * share))
    return settings(max_examples=number, deadline=None, suppress_health_check=checks, database=None, print_blob=True)


ways = st.sampled_from(WAYS)
commands = st.sampled_from(COMMANDS)


@seed(SEED)
@examples(0.3)
@given(data=st.data(), way=ways)
def test_environments(rig: Rig, data: st.DataObject, way: str) -> None:
    environment = data.draw(environments(rig.netns.encode(), rig.fifo.encode()))
    config = {key: CONFIG[key] for key in ("cniVersion", "name", "cni.dev/valid-attachments")}
    rig.judge(way, environment, json.dumps(config).encode())


@seed(SEED)
@examples(0.25)
@given(config=configs(), way=ways, command=commands)
def test_values_of_keys(rig: Rig, config: dict[str, Any], way: str, command: bytes) -> None:
    rig.judge(way, valid(command, rig.netns.encode()), json.dumps(config).encode())


@seed(SEED)
@examples(0.2)
@given(text=st.one_of(mutated(), mutated(), st.binary(max_size=200)), way=ways, command=commands)
def test_texts_on_stdin(rig: Rig, text: bytes, way: str, command: bytes) -> None:
    rig.judge(way, valid(command, rig.netns.encode()), text)


@seed(SEED)
@examples(0.15)
@given(config=configs("prevResult"), way=ways, command=st.sampled_from([b"ADD", b"CHECK", b"DEL"]))
def test_previous_results(rig: Rig, config: dict[str, Any], way: str, command: bytes) -> None:
    rig.judge(way, valid(command, rig.netns.encode()), json.dumps(config).encode())


@seed(SEED)
@examples(0.07)
@given(config=configs("cni.dev/valid-attachments"), way=ways)
def test_lists_of_attachments(rig: Rig, config: dict[str, Any], way: str) -> None:
    config["cniVersion"] = "1.1.0"
    rig.judge(way, valid(b"GC", rig.netns.encode()), json.dumps(config).encode())


@st.composite
def huge(draw: st.DrawFn, netns: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """A call with a stdin about the limit, or with variables as large as the kernel lets them be."""
    environment = valid(draw(commands), netns)
    text = json.dumps({"cniVersion": "1.1.0", "name": "malformed-net"}).encode()
    if draw(st.booleans()):
        name = draw(st.sampled_from([b"CNI_ARGS", b"CNI_PATH", b"CNI_CONTAINERID", b"CNI_NETNS", b"CNI_X"]))
        environment[name] = b"x" * (KERNEL_STRING - len(name) - 1)
        environment[b"CNI_Y"] = environment[b"CNI_Z"] = b"\xff" * (KERNEL_STRING - 6)
        return environment, text
    size = draw(st.sampled_from([STDIN_LIMIT - 1, STDIN_LIMIT, STDIN_LIMIT + 1, 2 * STDIN_LIMIT]))
    return environment, text.ljust(size, draw(st.sampled_from([b" ", b"[", b"\0", b'"', b"\xff"])))


@seed(SEED)
@examples(0.03)
@given(data=st.data(), way=ways)
def test_sizes(rig: Rig, data: st.DataObject, way: str) -> None:
    rig.judge(way, *data.draw(huge(rig.netns.encode())))
