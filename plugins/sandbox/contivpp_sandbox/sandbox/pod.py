# SPDX-License-Identifier: Apache-2.0
"""A pod of a sandbox: its object with the status that a kubelet would report, and its process."""

from __future__ import annotations

import copy
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from contivpp_core.kubernetes import Pod, decode
from contivpp_sandbox.rigs.base import container_id
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.processes import Process
from contivpp_sandbox.sandbox.station import Station

__all__ = ["SandboxPod"]


@dataclass
class SandboxPod:
    """A pod. `pid` and `start` are those of its process, 0 while there is none; `failure`: why it is not connected."""

    namespace: str
    name: str
    generation: int
    found: dict[str, Any]
    pid: int = 0
    start: int = 0
    address: str = ""
    failure: str = ""
    attached: bool = False  # from the beginning of ADD until a DEL that succeeded
    container: str = field(default="")

    def __post_init__(self) -> None:
        self.container = self.container or container_id(self.namespace, self.name, self.uid, self.generation)

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def uid(self) -> str:
        """The object's UID, or one that a server would have given."""
        given = self.found["metadata"].get("uid")
        return str(given) if given else f"{self.namespace}.{self.name}.{self.generation}"

    def know_uid(self, uid: str) -> None:
        """Take over the UID that a server has given ("": none)."""
        if uid:
            self.found = {**self.found, "metadata": {**self.found["metadata"], "uid": uid}}

    @property
    def process(self) -> Process:
        """The pod's process."""
        return Process(self.pid, self.start)

    @property
    def process_name(self) -> str:
        """What the keeper calls the process."""
        return f"pod:{self.container[:16]}"

    @property
    def plain_name(self) -> str:
        """A name for files and the like: an object's own may hold anything, as rigs take it."""
        return re.sub(r"[^A-Za-z0-9.-]", "_", f"{self.namespace}.{self.name}").lstrip(".-")[:60]

    @property
    def log_name(self) -> str:
        """The name of the process's log."""
        return f"{self.plain_name}.{self.container[:6]}.pod"

    @property
    def record(self) -> Pod:
        """What an agent reads of the object."""
        return decode(Pod, self.found)

    @property
    def ports(self) -> list[tuple[str, int, str]]:
        """Protocol, number and name of the ports that the pod declares, each once."""
        return list(dict.fromkeys((port.protocol, port.port, port.name) for port in self.record.ports))

    def renew(self, generation: int) -> None:
        """Begin anew with another container, as a kubelet does after a failure."""
        self.generation, self.pid, self.start = generation, 0, 0
        self.address, self.failure, self.attached = "", "", False
        self.container = container_id(self.namespace, self.name, self.uid, generation)

    def stored(self) -> dict[str, Any]:
        """Return what is written to the sandbox's file."""
        return asdict(self)

    def shown(self, *, deleting: bool = False) -> dict[str, Any]:
        """Return the object as a watch would show it now. A status that the object itself states, stands."""
        found = copy.deepcopy(self.found)
        found["metadata"].setdefault("uid", self.uid)
        if deleting:
            found["metadata"].setdefault("deletionTimestamp", "2030-01-01T00:00:00Z")
        status = found["status"] = found.get("status") or {}
        status.setdefault("phase", "Running" if self.address else "Pending")
        if self.address:
            status.setdefault("podIP", self.address)
            status.setdefault("podIPs", [{"ip": self.address}])
        ready = bool(self.address) and not deleting
        status.setdefault("conditions", [{"type": "Ready", "status": "True" if ready else "False"}])
        return found

    def station(self, directory: Directory) -> Station:
        """Return the pod's responder."""
        return Station(f"pod {self.key}", directory.pod_socket(self.container), directory.log(self.log_name))
