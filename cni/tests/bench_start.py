# SPDX-License-Identifier: Apache-2.0
"""Start of the installed executable, with a server, against an empty Python program: paired runs, JSON."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from contivpp_cni import install


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


def bench(runs: int = 50, python: str = "/usr/bin/python3") -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory)
        listener.bind(str(path / "s"))
        listener.listen()
        threading.Thread(target=answer_calls, args=(listener,), daemon=True).start()
        text = install.executable_text(python=Path(python), trusted=False, socket=str(path / "s"))
        install.write_atomically(path / "compiled", text, mode=0o755)
        install.write_atomically(path / "text", text.replace(b"MAGIC_NUMBER == ", b"b'' == "), mode=0o755)
        commands = {name: [str(path / name)] for name in ("compiled", "text")}
        commands["empty"] = [python, "-I", "-S", "-c", "pass"]
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(milliseconds(command))
    result = {f"{name}_p50_ms": round(statistics.median(values), 2) for name, values in times.items()}
    for name in ("compiled", "text"):
        result[f"{name}_ratio"] = round(result[f"{name}_p50_ms"] / result["empty_p50_ms"], 3)
    return {"runs": runs, **result}


if __name__ == "__main__":
    print(json.dumps(bench(int(sys.argv[1]) if len(sys.argv) > 1 else 50)))
