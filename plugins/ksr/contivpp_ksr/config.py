# SPDX-License-Identifier: Apache-2.0
"""The section `ksr`: how the API server is reached, how it is watched, and where status is told."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from contivpp_core.config import Section

__all__ = ["KsrConfig"]


def _loopback(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not value:
        return value
    if not (separator and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("must be ADDRESS:PORT, for example 127.0.0.1:9191, or empty")
    try:
        local = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        raise ValueError(f"{host} is no IP address: give one, for example 127.0.0.1:{port}") from None
    if not local:
        raise ValueError(f"{host} is no loopback address: whoever can reach it may read it")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _absolute(value: Path | None) -> Path | None:
    if value is not None and not value.is_absolute():  # who gives the token itself is not to read it in a log
        raise ValueError("must be the absolute path of a file")
    return value


def _server(value: str) -> str:
    if "@" in value:
        raise ValueError("must hold neither user nor password: set tokenFile, or certificateFile and keyFile")
    return value


File = Annotated[Path | None, AfterValidator(_absolute)]


class KsrConfig(Section):
    """Without `server` and `kubeconfig` it is the configuration of a pod, else kubectl's.

    Files are read again when they change, and when the server refuses what was read.
    """

    kubeconfig: Path | None = None
    context: str = ""
    """The context of the kubeconfig; empty: its current one."""
    server: Annotated[str, AfterValidator(_server)] = Field(default="", pattern=r"^(https?://[^/]+/?)?$")
    ca_file: File = None
    token_file: File = None
    certificate_file: File = None
    key_file: File = None
    watch_list: bool = True
    """Ask for the first list as a stream, where the server can do that: it spares the server's memory."""
    page_size: int = Field(default=500, ge=1, le=10_000)
    """Objects of the first answer of a list that is not streamed. Further ones are measured by their bytes."""
    quiet_seconds: float = Field(default=150.0, gt=1, le=3600, allow_inf_nan=False)
    """A watch that is silent so long is taken for dead. The server says something every 60 s."""
    lock_seconds: float = Field(default=10.0, ge=1, le=300, allow_inf_nan=False)
    """So long after the end of a `contivpp ksr` without a farewell another one takes its place."""
    namespace: str = "contivpp-system"
    """Where the ConfigMap `contivpp-node-ids` is, if there is no store of the cluster."""
    socket: Path = Path("/run/contivpp/ksr.sock")
    """Where `contivpp ksr` tells its status; only its own user can open it."""
    health_address: Annotated[str, AfterValidator(_loopback)] = ""
    """Where `contivpp ksr` serves /healthz, /readyz, /metrics and /stats; a loopback address, or empty: nowhere."""

    @model_validator(mode="after")
    def _one_way(self) -> KsrConfig:
        if self.server and (self.kubeconfig or self.context):
            raise ValueError("give either 'server' and its files, or 'kubeconfig'")
        files = [self.ca_file, self.token_file, self.certificate_file, self.key_file]
        if not self.server and any(files):
            raise ValueError("caFile, tokenFile, certificateFile and keyFile need 'server'")
        host = urlsplit(self.server).hostname or ""
        private = self.server.startswith("https:") or host == "localhost" or _is_loopback(host)
        if self.token_file and not private:
            raise ValueError("the token would cross the network in the clear: use a server with https")
        if bool(self.certificate_file) is not bool(self.key_file):
            raise ValueError("certificateFile and keyFile need each other")
        return self
