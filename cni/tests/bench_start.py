# SPDX-License-Identifier: Apache-2.0
"""Start of each kind of the executable, with a server, against programs that do nothing: runs in turns, JSON.

The Python ones are compared with an empty Python program, the native one with ``true``.
"""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from contivpp_cni import install, native


def answer_calls(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            _, env, stdin = stream.readline().split()
            stream.read(int(env) + int(stdin))
            connection.sendall(b"0 2\n{}")


def milliseconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        command, input=b'{"cniVersion":"1.0.0"}', capture_output=True, env={"CNI_COMMAND": "ADD"}, check=True
    )
    return (time.perf_counter() - start) * 1e3


def native_program(socket: str) -> bytes | None:
    try:
        return native.with_socket(native.build(), socket.encode())
    except native.NativeError as error:
        print(f"without the native program: {error}", file=sys.stderr)
        return None


def commands_in(path: Path, socket: str, python: str) -> dict[str, list[str]]:
    """What is measured, by name; it is installed below `path`."""
    text = install.executable_text(python=Path(python), trusted=False, socket=socket)
    programs = {"compiled": text, "text": text.replace(b"MAGIC_NUMBER == ", b"b'' == ")}
    if (program := native_program(socket)) is not None:
        programs["native"] = program
    for name, content in programs.items():
        install.write_atomically(path / name, content, mode=0o755)
    commands = {name: [str(path / name)] for name in programs}
    return {**commands, "empty": [python, "-I", "-S", "-c", "pass"], "true": [shutil.which("true") or "/bin/true"]}


def bench(runs: int = 50, python: str = "/usr/bin/python3") -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory)
        listener.bind(str(path / "s"))
        listener.listen()
        threading.Thread(target=answer_calls, args=(listener,), daemon=True).start()
        commands = commands_in(path, str(path / "s"), python)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(milliseconds(command))
    middle = {name: statistics.median(values) for name, values in times.items()}
    result = {f"{name}_p50_ms": round(value, 2) for name, value in middle.items()}
    for name in middle.keys() - {"empty", "true"}:
        baseline = "true" if name == "native" else "empty"
        result[f"{name}_ratio"] = round(middle[name] / middle[baseline], 3)
    return {"runs": runs, **result}


if __name__ == "__main__":
    print(json.dumps(bench(int(sys.argv[1]) if len(sys.argv) > 1 else 50)))
