# SPDX-License-Identifier: Apache-2.0
"""Where the servers of a sandbox are, as whom they are asked, and what agents and `contivpp ksr` are configured with.

    etcd              the cluster's store (with `etcd`): agents and `contivpp ksr` have users of it
    apiserver-etcd    the API server's own
    apiserver         kube-apiserver
    forwarder         the way to it for commands outside the namespaces
    ksr1, ksr2        the reflector (with `etcd`); one of them writes
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from contivpp_sandbox.rigs.layout import SERVERS_ADDRESS
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.servers.certificates import Pair

__all__ = ["Datastore", "Places", "agent_sections", "ksr_config", "server_names"]

Datastore = Literal["embedded", "etcd", "kubernetes"]

PLUGINS = ["vpp", "linux", "ipam", "datastore", "contiv", "sandbox"]
SYSTEM_NAMESPACE = "contivpp-system"
REFLECTORS = ("ksr1", "ksr2")
_LOCK_SECONDS = 3.0
"""So long after its death a `contivpp ksr` is followed by the other: here nobody waits 10 s for that."""


def server_names(datastore: Datastore) -> tuple[str, ...]:
    """Return the servers, in the order in which they start."""
    common = ("apiserver-etcd", "forwarder", "apiserver")
    return {"embedded": (), "etcd": ("etcd", *common, *REFLECTORS), "kubernetes": common}[datastore]


class Places:
    """Files and addresses; making this object touches nothing."""

    def __init__(self, directory: Directory) -> None:
        self.folder = directory.path / "servers"
        self.pki = self.folder / "pki"
        self.ca = self.pki / "ca.pem"
        self.api_socket = str(directory.path / "api.sock")
        self.kubeconfig = self.folder / "kubeconfig"
        self.etcd = f"https://{SERVERS_ADDRESS}:2379"
        self.api_port = 6443
        self.api = f"https://{SERVERS_ADDRESS}:{self.api_port}"

    def data(self, server: str) -> Path:
        """Return the folder of what a server stores."""
        return self.folder / server

    def pair(self, name: str) -> Pair:
        """Return the files of a certificate of the API server's CA."""
        return Pair(self.pki / f"{name}.pem", self.pki / f"{name}.key")

    def pki_of(self, etcd: str) -> Path:
        """Return the folder of an etcd's CA. Each has its own: whom it signs for, that etcd lets in."""
        return self.folder / f"pki-{etcd}"

    def trust(self, etcd: str, name: str) -> tuple[Path, Pair]:
        """Return the CA of an etcd, and the files of one of its certificates."""
        folder = self.pki_of(etcd)
        return folder / "ca.pem", Pair(folder / f"{name}.pem", folder / f"{name}.key")

    def socket(self, reflector: str) -> Path:
        """Return where a `contivpp ksr` tells its status."""
        return self.folder / f"{reflector}.sock"


def agent_sections(directory: Directory, datastore: Datastore, node: str) -> dict[str, Any]:
    """Return the sections of a node's agent that say where the cluster's state is, and `plugins`."""
    if datastore == "embedded":
        return {"plugins": PLUGINS, "datastore": {"driver": "embedded", "socket": directory.store_socket}}
    places = Places(directory)
    if datastore == "etcd":
        return {"plugins": PLUGINS, "datastore": _etcd(places, node)}
    # Without a store of the cluster the plugin datastore is there for the local mirror.
    plugins = [*PLUGINS[:3], "ksr", *PLUGINS[3:]]
    return {"plugins": plugins, "datastore": {"driver": "none"}, "ksr": _api(places, "agent")}


def ksr_config(directory: Directory, name: str) -> dict[str, Any]:
    """Return the configuration of a `contivpp ksr`."""
    places = Places(directory)
    return {
        "nodeName": name,
        "plugins": ["datastore", "ksr"],
        "logFormat": "text",
        "datastore": _etcd(places, "ksr"),
        "ksr": {**_api(places, "ksr"), "socket": str(places.socket(name)), "lockSeconds": _LOCK_SECONDS},
    }


def _etcd(places: Places, user: str) -> dict[str, Any]:
    """etcd knows who asks by the certificate's common name."""
    ca, pair = places.trust("etcd", f"client-{user}")
    files = {"ca": str(ca), "certificate": str(pair.certificate), "key": str(pair.key)}
    return {"driver": "etcd", "endpoints": [places.etcd], **files}


def _api(places: Places, user: str) -> dict[str, Any]:
    pair = places.pair(f"api-{user}")
    files = {"caFile": str(places.ca), "certificateFile": str(pair.certificate), "keyFile": str(pair.key)}
    return {"server": places.api, **files}
