# SPDX-License-Identifier: Apache-2.0
"""etcd and kube-apiserver: where they are on this machine, and how they are called."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contivpp_sandbox.servers.certificates import Pair

__all__ = [
    "APISERVER_CACHE",
    "APISERVER_VERSION",
    "NO_APISERVER",
    "NO_ETCD",
    "apiserver_command",
    "apiserver_executable",
    "etcd_command",
    "etcd_executable",
]

APISERVER_VERSION = "v1.34.4"
APISERVER_CACHE = Path.home() / ".cache/contivpp-tests/apiserver" / f"kube-apiserver-{APISERVER_VERSION}"
"""Where `python -m tests.servers.apiserver` puts what it has built."""
NO_ETCD = "etcd is not installed (Debian: apt install etcd-server; or name an executable by CONTIVPP_ETCD)"
NO_APISERVER = (
    "there is no kube-apiserver (in a checkout: python -m tests.servers.apiserver builds it, with Go; or put one on "
    "the PATH, or name one by CONTIVPP_KUBE_APISERVER)"
)


def etcd_executable() -> str:
    """Return etcd's path, or ""."""
    return shutil.which(os.environ.get("CONTIVPP_ETCD") or "etcd") or ""


def apiserver_executable() -> str:
    """Return kube-apiserver's path, or ""."""
    named = os.environ.get("CONTIVPP_KUBE_APISERVER")
    if named:
        return shutil.which(named) or ""
    built = str(APISERVER_CACHE) if os.access(APISERVER_CACHE, os.X_OK) else ""
    return shutil.which("kube-apiserver") or built


def etcd_command(
    data: Path,
    *,
    client: str,
    peer: str,
    others: Mapping[str, str] | None = None,
    name: str = "m0",
    ca: Path | None = None,
    pair: Pair | None = None,
    one_ca: bool = False,
) -> list[str]:
    """Return the command of a member of an etcd, by default of the only one: its folder and URLs.

    `others` are the URLs of its peers by name. With `ca` and `pair`, clients need a certificate of that CA; with
    `one_ca` peers as well.
    """
    members = ",".join(f"{each}={url}" for each, url in {name: peer, **(others or {})}.items())
    command = [
        *(etcd_executable(), "--name", name, "--data-dir", str(data), "--logger", "zap"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", members),
        *("--unsafe-no-fsync",) * _knows("--unsafe-no-fsync"),
    ]
    if ca is not None and pair is not None:
        for prefix in ("", "peer-") if one_ca else ("",):
            command += [f"--{prefix}client-cert-auth", f"--{prefix}trusted-ca-file", str(ca)]
            command += [f"--{prefix}cert-file", str(pair.certificate), f"--{prefix}key-file", str(pair.key)]
    return command


@functools.cache
def _knows(flag: str) -> bool:
    said = subprocess.run([etcd_executable(), "--help"], capture_output=True, check=False)
    return flag.encode() in said.stdout + said.stderr


def apiserver_command(
    folder: Path, *, address: str, port: int, ca: Path, server: Pair, accounts: Pair, settings: Mapping[str, Any]
) -> list[str]:
    """Return the command of a kube-apiserver with RBAC: where it listens, its certificates, further flags."""
    flags: dict[str, Any] = {
        "etcd-prefix": "/registry",
        "bind-address": address,
        "advertise-address": address,
        "secure-port": port,
        "tls-cert-file": server.certificate,
        "tls-private-key-file": server.key,
        "client-ca-file": ca,
        "authorization-mode": "RBAC",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": accounts.certificate,
        "service-account-signing-key-file": accounts.key,
        "service-cluster-ip-range": "10.96.0.0/12",
        "endpoint-reconciler-type": "none",
        # No controllers run here: no namespace would get the account that pods are given.
        "disable-admission-plugins": "ServiceAccount",
        "cert-dir": folder,
        "v": 1,
        **settings,
    }
    return [apiserver_executable(), *(f"--{name}={value}" for name, value in flags.items())]
