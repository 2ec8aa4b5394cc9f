# SPDX-License-Identifier: Apache-2.0
"""containerd on a node: its daemon inside the node's namespaces, everything of it in the node's folder.

It is used as the kubelet does, over the CRI, by `crictl`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from .harness import Node
from .images import oci_archive
from .outside import cni_plugins, crictl, program
from .processes import accepts, end, run, until
from .runtimes import install_cni

IMAGE = "docker.io/local/busybox:1"
PAUSE = "docker.io/local/pause:1"
CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.overlayfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{folder}/api.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  enable_unprivileged_icmp = true
  netns_mounts_under_state_dir = {deep}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin}"
    conf_dir = "{conf}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        NoNewKeyring = true
        SystemdCgroup = false
"""


class Refused(Exception):
    """What crictl said when it failed."""


class Containerd:
    """The daemon, and what the kubelet does with it.

    With `deep` it keeps network namespaces in its state folder, so their paths are long, and not in `/var/run/netns`.
    """

    def __init__(self, rig: Node, *, deep: bool = False) -> None:
        self.rig = rig
        self.folder = rig.folder / "containerd"
        self.folder.mkdir()
        self.socket = str(self.folder / "api.sock")
        self._deep = self.folder / "state" / "io.containerd.grpc.v1.cri" / "netns"
        self.process: asyncio.subprocess.Process | None = None
        self._crictl, self._ctr = str(crictl()), program("ctr", "containerd")
        bin_folder, conf_folder = install_cni(rig)
        (bin_folder / "loopback").symlink_to(cni_plugins("loopback") / "loopback")
        config = CONFIG.format(
            folder=self.folder, bin=bin_folder, conf=conf_folder, pause=PAUSE, runc=program("runc", "runc"),
            deep=str(deep).lower(),
        )  # fmt: skip
        (self.folder / "config.toml").write_text(config)

    async def start(self) -> None:
        daemon = program("containerd", "containerd")
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.rig.machine.enter, daemon, "--config", str(self.folder / "config.toml"),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        await until(lambda: accepts(self.socket), 20, f"containerd accepts connections\n{self.log()}")
        await self._patiently(self._serves, f"containerd serves the CRI\n{self.log()}")

    async def kill(self) -> None:
        await end(self.process)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    async def load_images(self) -> None:
        archive = self.folder / "image.tar"
        oci_archive(archive, IMAGE, PAUSE, machine=platform.machine())
        await self.ctr("images", "import", "--snapshotter", "native", str(archive))
        archive.unlink()

        await self._patiently(self._knows_images, f"the images are known\n{self.log()}")

    async def _serves(self) -> bool:
        with contextlib.suppress(Refused):
            await self.crictl("version")
            return True
        return False

    async def _knows_images(self) -> bool:
        images = json.loads(await self.crictl("images", "-o", "json"))["images"]
        return {IMAGE, PAUSE} <= {tag for image in images for tag in image["repoTags"]}

    async def _patiently(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        end = time.monotonic() + 30
        while not await condition():
            assert time.monotonic() < end, f"not within 30 s: {what}"
            await asyncio.sleep(0.05)

    async def ctr(self, *arguments: str) -> str:
        return await self._run(self._ctr, "--address", self.socket, "--namespace", "k8s.io", *arguments)

    async def crictl(self, *arguments: str) -> str:
        address = f"unix://{self.socket}"
        return await self._run(
            self._crictl, "--config", "/dev/null", "--timeout", "150s", "-r", address, "-i", address, *arguments
        )

    async def _run(self, *command: str) -> str:
        code, out, error = await run(*self.rig.machine.enter, *command, timeout=180)
        if code != 0:
            raise Refused(error.strip() or out.strip())
        return out

    # --- pods

    def _write(self, name: str, content: dict[str, Any]) -> str:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(content))
        return str(path)

    async def run_pod(
        self, name: str, *, namespace: str = "default", attempt: int = 0, host_network: bool = False
    ) -> str:
        """RunPodSandbox; return its ID."""
        return (await self.crictl("runp", self._sandbox(name, namespace, attempt, host_network=host_network))).strip()

    def _sandbox(
        self, name: str, namespace: str = "default", attempt: int = 0, *, host_network: bool = False
    ) -> str:
        node = 2  # NamespaceMode.NODE
        return self._write(
            f"{namespace}-{name}",
            {
                "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "attempt": attempt},
                "hostname": "" if host_network else name,
                "dns_config": {"servers": ["127.0.0.1"]},
                "linux": {
                    "cgroup_parent": f"/{self.rig.machine.group}",
                    "security_context": {"namespace_options": {"network": node} if host_network else {}},
                },
            },
        )

    async def run_container(self, sandbox: str, name: str, *command: str) -> str:
        """Create and start a container in a sandbox of `run_pod` that has this name; return its ID."""
        container = self._write(
            f"container-{name}",
            {
                "metadata": {"name": "main"},
                "image": {"image": IMAGE},
                "command": list(command),
                "linux": {},
            },
        )
        made = (await self.crictl("create", sandbox, container, self._sandbox(name))).strip()
        await self.crictl("start", made)
        return made

    async def remove_pod(self, sandbox: str) -> None:
        """StopPodSandbox and RemovePodSandbox."""
        await self.crictl("stopp", sandbox)
        await self.crictl("rmp", sandbox)

    async def sandboxes(self, name: str = "") -> list[str]:
        """The IDs of all sandboxes, or of those of one pod."""
        items = json.loads(await self.crictl("pods", "-o", "json"))["items"]
        return [item["id"] for item in items if name in ("", item["metadata"]["name"])]

    async def address(self, sandbox: str) -> str:
        return str(json.loads(await self.crictl("inspectp", sandbox))["status"]["network"]["ip"])

    # --- what is there

    async def traces(self) -> dict[str, list[str]]:
        """What pods can leave behind in the runtime, by kind."""
        return {
            "sandboxes": await self.sandboxes(),
            "containers": (await self.ctr("containers", "ls", "-q")).split(),
            "tasks": (await self.ctr("tasks", "ls", "-q")).split(),
            "snapshots": (await self.ctr("snapshots", "--snapshotter", "native", "ls")).splitlines(),
            "leases": (await self.ctr("leases", "ls", "-q")).split(),
            "runc": await self._runc(),
            "deep network namespaces": sorted(path.name for path in self._deep.glob("*")),
        }

    async def _runc(self) -> list[str]:
        """What the low-level runtime knows of."""
        folder = self.rig.machine.root / "run/containerd/runc/k8s.io"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@contextlib.asynccontextmanager
async def containerd(rig: Node, *, deep: bool = False) -> AsyncIterator[Containerd]:
    """containerd with our network on a node, and two images."""
    program("runc", "runc")
    daemon = Containerd(rig, deep=deep)
    try:
        await daemon.start()
        await daemon.load_images()
        yield daemon
    finally:
        await daemon.kill()
