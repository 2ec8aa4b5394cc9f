# SPDX-License-Identifier: Apache-2.0
"""podman on a node, with its CNI backend: every folder of it is the node's own, also those that no option changes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from .harness import Node
from .images import root_tar
from .outside import program
from .processes import run
from .runtimes import Traces, install_cni

IMAGE = "localhost/busybox:1"
NETWORK = "k8s-pod-network"
CONFIG = """\
[containers]
cgroupns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
default_sysctls = ["net.ipv4.ping_group_range=0 0"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "{runtime}"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{bin}"]
network_config_dir = "{conf}"
default_network = "{network}"
"""


class Podman:
    """podman's command, used inside a node."""

    def __init__(self, rig: Node) -> None:
        self.rig = rig
        self.folder = rig.folder / "podman"
        (self.folder / "tmp").mkdir(parents=True)
        program("conmon", "conmon")
        bin_folder, conf_folder = install_cni(rig)
        self._config = self.folder / "containers.conf"
        self._config.write_text(
            CONFIG.format(bin=bin_folder, conf=conf_folder, network=NETWORK, runtime=program("runc", "runc"))
        )
        self._command = (
            *rig.machine.enter, program("podman", "podman"), "--root", str(self.folder / "root"),
            "--runroot", str(self.folder / "run"), "--tmpdir", str(self.folder / "libpod"), "--storage-driver", "vfs",
        )  # fmt: skip

    async def __call__(self, *arguments: str) -> str:
        """Run the command, which must succeed; return what it prints."""
        code, out, error = await self.attempt(*arguments)
        assert code == 0, error or out
        return out.strip()

    async def attempt(self, *arguments: str) -> tuple[int, str, str]:
        environment = {"CONTAINERS_CONF": str(self._config), "TMPDIR": str(self.folder / "tmp")}
        return await run(*self._command, *arguments, env=environment)

    async def load_image(self) -> None:
        archive = self.folder / "image.tar"
        archive.write_bytes(root_tar())
        await self("import", "--change", "ENV PATH=/bin", str(archive), IMAGE)
        archive.unlink()

    async def run(self, name: str, *command: str, options: Sequence[str] = ()) -> str:
        """Start a container in the background; return its ID."""
        return await self(
            "run", "--detach", "--network", NETWORK, "--name", name, "--dns", "127.0.0.1", "--cgroup-parent",
            f"/{self.rig.machine.group}", *options, IMAGE,
            *command,
        )  # fmt: skip

    async def inspect(self, name: str) -> Any:
        return json.loads(await self("inspect", name))[0]

    async def traces(self) -> Traces:
        """What containers can leave behind in podman, by kind."""
        layers = self.folder / "root" / "vfs" / "dir"
        return {
            "containers": (await self("ps", "--all", "--quiet", "--external")).split(),
            "layers": sorted(path.name for path in layers.iterdir()),
        }


@contextlib.asynccontextmanager
async def podman(rig: Node) -> AsyncIterator[Podman]:
    """podman with our network on a node, and an image."""
    made = Podman(rig)
    await made.load_image()
    try:
        yield made
    finally:
        await made.attempt("rm", "--all", "--force", "--time", "0")
