# SPDX-License-Identifier: Apache-2.0
"""The keeper: the one process that holds a sandbox together.

    python -m contivpp_sandbox.sandbox.keeper FOLDER [--with-parent PID]

It makes the cluster's namespaces, in which the underlay is, and is the parent of the store or the servers, and of
every node's VPP and agent, every pod and every outside host, which get theirs. The kernel kills every one of them
when the keeper goes (PR_SET_PDEATHSIG), so whatever happens to the sandbox or to the command that made it, one process
is left to end; its number and start time are stored before it does anything. As their parent it also knows for sure
which processes are still its own: their numbers are not given out again before it has asked how they ended.

A client sends one line of JSON on the keeper's socket, and gets one back (`keeper_client`). One request is served after
the other; each is short.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contivpp_sandbox.sandbox import namespaces
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.processes import start_time

__all__ = ["Keeper", "main"]

REQUEST_BYTES = 1 << 20
REQUEST_SECONDS = 5.0
POLL_SECONDS = 0.01
_MAKERS = {"pod": namespaces.make_pod_namespaces, "node": namespaces.make_node_namespaces}
_LAST = ("vpp:", "node:", "store", "server:")


class _Stopped(Exception):
    """The keeper was told to stop."""


class Keeper:
    """Starts and ends processes: in the cluster's namespaces, in new ones, or in those of another process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[int, int] = {}
        self._networks: dict[str, int] = {}
        self._pid = os.getpid()

    def store(self) -> None:
        """Store which processes there are."""
        content = {
            "keeper": [self._pid, start_time(self._pid)],
            "networks": self._networks,
            "processes": {name: [child.pid, self._starts[child.pid]] for name, child in self._children.items()},
        }
        temporary = self._folder / ".keeper.json"
        temporary.write_text(json.dumps(content), "utf-8")
        os.replace(temporary, self._folder / "keeper.json")

    def make_namespaces(self) -> None:
        """Make the cluster's namespaces."""
        namespaces.make_cluster_namespaces()
        self._networks["keeper"] = namespaces.inode("self")
        self.store()

    def serve(self, listener: socket.socket) -> None:
        """Serve requests until one of them, or a signal, says stop."""
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(REQUEST_SECONDS)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as file:
                request = json.loads(file.readline(REQUEST_BYTES))
            handler: Callable[[Mapping[str, Any]], Any] = getattr(self, f"do_{request['do']}")
            answer = {"answer": handler(request)}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, subprocess.SubprocessError) as error:
            answer = {"error": str(error) or type(error).__name__}
        connection.sendall(json.dumps(answer).encode() + b"\n")
        if "answer" in answer and request["do"] == "stop":
            raise _Stopped

    # --- requests

    def do_start(self, request: Mapping[str, Any]) -> Any:
        """Start a process: `name`, `command`, `environment`, `log`.

        It gets the namespaces of a new pod or node (`makes`) that has a `hostname`, or those of the process `inside`.
        """
        name, makes = str(request["name"]), request.get("makes")
        if name in self._children and self._children[name].poll() is None:
            raise ValueError(f"{name} runs already")

        def prepare() -> None:
            try:
                namespaces.die_with_parent(self._pid)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                if makes:
                    _MAKERS[makes](str(request["hostname"]))
                elif inside := request.get("inside"):
                    namespaces.enter(int(inside), namespaces.POD)
            except BaseException as error:
                os.write(2, f"{name}: {error}\n".encode())
                raise

        log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                request["command"],
                env=request["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=prepare,  # noqa: PLW1509 (this process has one thread)
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._children[name] = child
        self._starts[child.pid] = start_time(child.pid)
        if makes:
            with contextlib.suppress(OSError):  # it has ended already
                self._networks[name] = namespaces.inode(child.pid)
        self.store()
        return [child.pid, self._starts[child.pid]]

    def do_end(self, request: Mapping[str, Any]) -> Any:
        """End processes: `names`, asked first unless `kill`; wait for them `seconds`, then kill. Unknown is ended."""
        self._end([self._children[name] for name in request["names"] if name in self._children], request)
        for name in request["names"]:
            child = self._children.pop(name, None)
            if child is not None:
                del self._starts[child.pid]
                self._networks.pop(name, None)
        self.store()
        return None

    def _end(self, children: Sequence[subprocess.Popen[bytes]], request: Mapping[str, Any]) -> None:
        end = time.monotonic() + float(request.get("seconds", 5.0))
        for child in children:
            child.send_signal(signal.SIGKILL if request.get("kill") else signal.SIGTERM)
        while any(child.poll() is None for child in children) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        for child in children:
            child.kill()
            child.wait()

    def do_list(self, request: Mapping[str, Any]) -> Any:
        """Tell the processes: `pid`, `start`, `code` (None as long as one runs)."""
        return {
            name: {"pid": child.pid, "start": self._starts[child.pid], "code": child.poll()}
            for name, child in self._children.items()
        }

    def do_stop(self, request: Mapping[str, Any]) -> Any:
        """End everything: pods and agents, then VPPs and what namespaces are held by, then this process."""
        names = list(self._children)
        self.do_end({**request, "names": [name for name in names if not name.startswith(_LAST)]})
        self.do_end({**request, "names": names})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a keeper; on stdout it says in one line of JSON whether it serves, or why not."""
    parser = argparse.ArgumentParser("keeper")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--with-parent", type=int, metavar="PID", help="end with the process that started this one")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    if options.with_parent:
        namespaces.die_with_parent(options.with_parent)
    keeper = Keeper(options.folder)
    keeper.store()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        keeper.make_namespaces()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(options.folder / "keeper.sock"))
            listener.listen(16)
            _say({"network": namespaces.inode("self")})
            _work(keeper, listener)
    except (OSError, SandboxError) as error:
        _say({"error": str(error)})
        return 1
    return 0


def _work(keeper: Keeper, listener: socket.socket) -> None:
    try:
        keeper.serve(listener)
    except _Stopped:
        return
    except KeyboardInterrupt:
        keeper.do_stop({"seconds": 3.0})


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _say(line: Mapping[str, Any]) -> None:
    """Tell the parent, if it is still there, and let go of its pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(line).encode() + b"\n")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
