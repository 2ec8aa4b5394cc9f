# SPDX-License-Identifier: Apache-2.0
"""The native executable against the Python one: the same call, the same bytes to the agent and to the runtime."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_cni import shim

Installed = Callable[[str, Path], Path]

NO_NUL = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b""))
TEXT = st.one_of(
    NO_NUL, st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass").replace(b"\0", b""))
)
NAMES = st.binary(max_size=6).map(lambda raw: b"CNI_" + raw.replace(b"\0", b"").replace(b"=", b""))
COMMANDS = st.one_of(st.sampled_from([*shim.COMMANDS, b"", b"add", b"VERSION"]), TEXT)
# A valid deadline that is short would compare the machine's speed.
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
STDIN = st.one_of(
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


@pytest.fixture(scope="module", params=["native", "sanitized"])
def both(
    request: pytest.FixtureRequest, installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Agent, list[Path]]]:
    """The native executable and the Python one, with one socket."""
    directory = tmp_path_factory.mktemp("both")
    agent = Agent(directory / "s")
    executables = [installed(kind, directory) for kind in (request.param, "compiled")]
    yield agent, executables
    agent.close()


def call(agent: Agent, executable: Path, environment: dict[bytes, bytes], stdin: bytes) -> tuple[Any, ...]:
    agent.received.clear()
    done = subprocess.run([executable], input=stdin, capture_output=True, env=environment, timeout=60, check=False)
    assert done.stderr == b""
    return done.returncode, done.stdout, list(agent.received)


VARIABLES = st.builds(
    lambda command, deadline, path, others: {
        b"CONTIVPP_CNI_SOCKET": path,
        b"CONTIVPP_CNI_DEADLINE": deadline,
        b"OTHER": b"1",
        **others,
        b"CNI_COMMAND": command,
    },
    command=COMMANDS,
    deadline=st.just(b"") | DEADLINES,
    path=st.just(b"") | st.just(b"") | TEXT.map(b"/none/".__add__),
    others=st.dictionaries(NAMES, TEXT, max_size=4),
)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(environment=VARIABLES, stdin=STDIN, answer=ANSWERS, split=st.integers(0, 40))
def test_both_say_the_same(
    both: tuple[Agent, list[Path]], environment: dict[bytes, bytes], stdin: bytes, answer: bytes, split: int
) -> None:
    agent, (native, python) = both
    agent.pieces = [piece for piece in (answer[:split], answer[split:]) if piece]
    expected = call(agent, python, environment, stdin)
    assert call(agent, native, environment, stdin) == expected
    if not expected[2]:  # its own words
        assert expected[1].isascii()
        json.loads(expected[1])
