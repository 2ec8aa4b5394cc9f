# SPDX-License-Identifier: Apache-2.0
"""A node to measure: embedded VPP and agent as processes, the installed executable, namespaces for pods.

All of it belongs to the network and mount namespace of the process that makes it, which is one of its own (see
`add.py`): the machine's network stays as it is, and everything ends with that process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from contivpp_cni import install

__all__ = ["CniPlugin", "Pod", "finish", "make_pods", "new_container", "prove", "reference_plugin", "running_node"]

START_SECONDS = 30.0
MTU = 1450
NETWORK = "bench"


@dataclass(frozen=True)
class Pod:
    """A sandbox without an interface."""

    name: str
    netns: Path


@dataclass(frozen=True)
class CniPlugin:
    """An executable as a runtime calls it."""

    executable: Path
    configuration: Path

    def start(self, command: str, pod: Pod, container: str) -> subprocess.Popen[bytes]:
        """Start a call; the executable's result fits into the pipe, so nobody has to read while it runs."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": str(pod.netns),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.executable.parent),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={pod.name}",
            "PATH": os.environ.get("PATH", ""),
        }
        with self.configuration.open("rb") as stdin:
            return subprocess.Popen(
                [self.executable], env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )

    def call(self, command: str, pod: Pod, container: str) -> tuple[float, float]:
        """Call and return begin and end; raise where the plugin fails."""
        begin = time.perf_counter()
        call = self.start(command, pod, container)
        finish(call)
        return begin, time.perf_counter()


def finish(call: subprocess.Popen[bytes]) -> bytes:
    """Wait for a call's end and return what it printed; raise where it failed."""
    out, err = call.communicate(timeout=120)
    if call.returncode:
        raise RuntimeError(f"{call.args!r} failed ({call.returncode}): {out.decode()} {err.decode()}")
    return out


def prove(plugin: CniPlugin, pod: Pod) -> None:
    """Connect a pod, ping its gateway from inside, disconnect it: what is timed later must be a working network."""
    container = new_container()
    result = json.loads(finish(plugin.start("ADD", pod, container)))
    gateway = result["ips"][0]["gateway"]
    ping = ["nsenter", f"--net={pod.netns}", "ping", "-c", "1", "-W", "5", gateway]
    done = subprocess.run(ping, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{plugin.executable}: no network: {' '.join(ping)}: {done.stdout}{done.stderr}")
    plugin.call("DEL", pod, container)


def new_container() -> str:
    """Return a container ID as runtimes make them."""
    return secrets.token_hex(32)


def make_pods(directory: Path, names: list[str]) -> list[Pod]:
    """Make sandboxes."""
    pods = []
    for name in names:
        path = directory / name
        path.touch()
        subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True)
        pods.append(Pod(name, path))
    return pods


def reference_plugin(directory: Path, executables: Path) -> CniPlugin:
    """`ptp` with `host-local`; without masquerading, as ours has none here."""
    path = directory / "ptp.conf"
    configuration = {
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "type": "ptp",
        "ipMasq": False,
        "mtu": MTU,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.200.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(directory / "host-local"),
        },
    }
    path.write_text(json.dumps(configuration))
    return CniPlugin(executables / "ptp", path)


@contextlib.contextmanager
def running_node(directory: Path, *, agent: list[str]) -> Iterator[CniPlugin]:
    """Start embedded VPP and agent, install the executable, and wait until pods can be connected."""
    configuration = directory / "agent.yaml"
    configuration.write_text(json.dumps(_agent_configuration(directory)))  # JSON is YAML
    plugin = _install(directory)
    vpp = [sys.executable, "-m", "embeddedvpp", "--api-socket", str(directory / "api.sock")]
    with (
        _process(vpp, directory / "vpp.log", ready=(directory / "api.sock").exists),
        _process([*agent, "--config", str(configuration)], directory / "agent.log", ready=lambda: _ready(plugin)),
    ):
        yield plugin


def _agent_configuration(directory: Path) -> dict[str, object]:
    return {
        "nodeName": "bench",
        "plugins": ["vpp", "linux", "ipam", "contiv"],
        "stateDir": str(directory / "state"),
        "runDir": str(directory / "run"),
        "vpp": {"apiSocket": str(directory / "api.sock")},
        "contiv": {"cniSocket": str(directory / "cni.sock"), "podInterface": "tap", "mtu": MTU},
    }


def _install(directory: Path) -> CniPlugin:
    options = argparse.Namespace(
        bin_dir=directory / "bin",
        conf_dir=directory / "net.d",
        conf_name="10-contivpp.conflist",
        cni_version="1.0.0",
        socket=str(directory / "cni.sock"),
        name=NETWORK,
        mtu=None,
        chain=[],
        python=None,
        trust_python=False,
        executable="python",
        native_program=None,
        trust_native=False,
    )
    for _ in install.install(options):
        pass
    path = directory / "contivpp.conf"
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": NETWORK, "type": "contivpp"}))
    return CniPlugin(directory / "bin" / "contivpp", path)


def _ready(plugin: CniPlugin) -> bool:
    done = subprocess.run(
        [plugin.executable],
        env={"CNI_COMMAND": "STATUS"},
        input=json.dumps({"cniVersion": "1.1.0", "name": NETWORK, "type": "contivpp"}).encode(),
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@contextlib.contextmanager
def _process(command: list[str], log: Path, *, ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{' '.join(command)} did not become ready: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
