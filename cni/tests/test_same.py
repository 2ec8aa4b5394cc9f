# SPDX-License-Identifier: Apache-2.0
"""The native executable against the Python one: the same call, the same bytes to the agent and to the runtime."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_cni import shim

Installed = Callable[[str, Path], Path]

# Where the rules of UTF-8 and JSON change.
EDGES = b'\x01\x1f "\\~\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff'
TEXT = st.lists(st.sampled_from(EDGES), max_size=12).map(bytes) | st.binary(max_size=20).map(
    lambda raw: raw.replace(b"\0", b"")
)
NAMES = st.binary(max_size=6).map(lambda raw: b"CNI_" + raw.replace(b"\0", b"").replace(b"=", b""))
COMMANDS = st.sampled_from([*shim.COMMANDS, b"add", b"XYZ"])
PLAIN_DEADLINES = [b"", b"110", b"109.5", b"60.", b"0", b"111", b"1" * 17]  # a short one would compare speeds
DEADLINES = st.one_of(st.sampled_from(PLAIN_DEADLINES), TEXT.filter(lambda text: text.strip(b"0123456789.") != b""))
TOKENS = st.sampled_from(
    [
        *b'{}[]:",\\ \t\n\r\v\f',
        b'"cniVersion"',
        b'"cniVersion":"0.4.0"',
        b'"1.0.0"',
        b'"prevResult":',
        b"x" * 17,
        b"-",
        b".",
        b"\xff",
    ]
).map(lambda token: bytes([token]) if isinstance(token, int) else token)
SPACES = st.one_of(
    st.lists(st.sampled_from([b" ", b"\n", b"\f", b"\v\t"]), max_size=3).map(b"".join),
    st.integers(40, 62).map(b" ".__mul__),
)
VERSIONS = st.one_of(
    st.lists(st.sampled_from([b"1", b"0.", b"-", b"a", b"\xff", b"\\"]), max_size=4).map(b"".join),
    st.integers(12, 20).map(b"1".__mul__),
)
NEAR_VERSIONS = st.tuples(SPACES, SPACES, VERSIONS, SPACES).map(
    lambda parts: b'{%s"cniVersion"%s:%s"%s"' % (parts[0], parts[1], parts[3], parts[2])
)
STDIN = st.one_of(
    NEAR_VERSIONS,
    st.lists(TOKENS, max_size=30).map(b"".join),
    st.lists(TOKENS, max_size=30).map(lambda tokens: b"{" + b"".join(tokens)),
    st.binary(max_size=200),
    st.sampled_from([b"[" * shim.STDIN_LIMIT, b'{"cniVersion":"0.3.1"}'.ljust(shim.STDIN_LIMIT + 1)]),
)
NUMBERS = st.one_of(
    st.integers(0, 300).map(b"%d".__mod__), st.sampled_from([b"", b"00", b"-1", b"9" * 20, b"16777216", b"x"])
)
HEADERS = st.tuples(NUMBERS, st.sampled_from([b" ", b"  ", b"", b"\t", b"\0"]), NUMBERS).map(b"".join)
ANSWERS = st.one_of(
    st.tuples(st.integers(0, 255), st.binary(max_size=100)).map(
        lambda pair: b"%d %d\n" % (pair[0], len(pair[1])) + pair[1]
    ),
    st.tuples(HEADERS, st.binary(max_size=300)).map(b"\n".join),
    st.binary(max_size=80),
)


class Agent:
    """Answers every call with `pieces`, and keeps what it was sent."""

    def __init__(self, path: Path) -> None:
        self.pieces: list[bytes] = []
        self.received: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                line = stream.readline()
                sizes = [int(number) for number in line.split()[1:]]
                self.received.append(line + stream.read(sum(sizes)))
                try:
                    for piece in self.pieces:
                        connection.sendall(piece)
                except OSError:  # it has seen enough
                    pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


class Both:
    """The native executable and the Python one, with one socket."""

    def __init__(self, agent: Agent, native: Path, python: Path) -> None:
        self.agent = agent
        self._native = native
        self._python = python

    def compare(self, environment: dict[bytes, bytes], stdin: bytes) -> None:
        expected = self._call(self._python, environment, stdin)
        assert self._call(self._native, environment, stdin) == expected
        _, output, received = expected
        if not received:  # its own words
            assert output.isascii()
            json.loads(output)

    def _call(self, executable: Path, environment: dict[bytes, bytes], stdin: bytes) -> tuple[int, bytes, list[bytes]]:
        self.agent.received.clear()
        done = subprocess.run([executable], input=stdin, capture_output=True, env=environment, timeout=60, check=False)
        assert done.stderr == b""
        return done.returncode, done.stdout, list(self.agent.received)


@pytest.fixture(scope="module", params=["native", "sanitized"])
def both(
    request: pytest.FixtureRequest, installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    directory = tmp_path_factory.mktemp("both")
    agent = Agent(directory / "s")
    yield Both(agent, installed(request.param, directory), installed("compiled", directory))
    agent.close()


SETTINGS = settings(max_examples=80, deadline=None, print_blob=True)


@SETTINGS
@given(
    command=st.sampled_from([b"ADD", b"STATUS", b"XYZ"]),
    environment=st.dictionaries(NAMES, TEXT, max_size=4),
    stdin=STDIN,
    answer=ANSWERS,
    cut=st.integers(0, 40),
)
def test_both_send_and_pass_the_same(
    both: Both, *, command: bytes, environment: dict[bytes, bytes], stdin: bytes, answer: bytes, cut: int
) -> None:
    both.agent.pieces = [piece for piece in (answer[:cut], answer[cut:]) if piece]
    both.compare({b"OTHER": b"1", **environment, b"CNI_COMMAND": command}, stdin)


@SETTINGS
@given(command=COMMANDS | TEXT, path=TEXT.map(b"/none/".__add__), deadline=st.just(b"") | DEADLINES, stdin=STDIN)
def test_both_say_the_same_without_the_agent(
    both: Both, command: bytes, path: bytes, deadline: bytes, stdin: bytes
) -> None:
    variables = {b"CNI_COMMAND": command, b"CONTIVPP_CNI_SOCKET": path, b"CONTIVPP_CNI_DEADLINE": deadline}
    both.compare(variables, stdin)


@SETTINGS
@given(stdin=STDIN)
def test_both_find_the_same_version(both: Both, stdin: bytes) -> None:
    both.compare({b"CNI_COMMAND": b"VERSION"}, stdin)


def test_both_replace_the_same_of_every_sequence_of_edges(both: Both) -> None:
    sequences = [bytes(edges) + b"." for edges in itertools.product(EDGES, repeat=3)]
    for begin in range(0, len(sequences), 25_000):
        path = b"/none/" + b"".join(sequences[begin : begin + 25_000])
        both.compare({b"CNI_COMMAND": b"ADD", b"CONTIVPP_CNI_SOCKET": path}, b"")
