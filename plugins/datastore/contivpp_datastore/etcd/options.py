# SPDX-License-Identifier: Apache-2.0
"""How etcd is reached: endpoints, certificates, user. Files are read at each connection, so they may be renewed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from contivpp_core.kvstore import KVStoreError

__all__ = ["EtcdOptions"]

DEFAULT_PORT = 2379


@dataclass(frozen=True)
class EtcdOptions:
    """`endpoints` are URLs, all with the same scheme; https wants `ca`, and `certificate` and `key` for mutual TLS.

    Times are in seconds: `timeout` is for each call, `connect_timeout` for an endpoint to answer at all.
    """

    endpoints: tuple[str, ...]
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: Path | None = None
    timeout: float = 10.0
    connect_timeout: float = 3.0
    page: int = 1000
    """So many keys are read at once."""
    progress: float = 10.0
    """A watch that is quiet for so many seconds asks how far it is."""

    def target(self, endpoint: str) -> str:
        """Return `host:port` of an endpoint."""
        parts = urlsplit(endpoint)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}:{parts.port or DEFAULT_PORT}"

    def password(self) -> str:
        """Return the password, without the end of its line."""
        path = self.password_file
        if path is None:
            raise KVStoreError(f"etcd's user {self.user} has no password: name its file in datastore.passwordFile")
        return _read(path, "passwordFile", "the password").decode(errors="replace").rstrip("\r\n")

    def certificates(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return the content of the files: CA, private key, certificate."""
        return (
            _read(self.ca, "ca", "the CA") if self.ca else None,
            _read(self.key, "key", "the private key") if self.key else None,
            _read(self.certificate, "certificate", "the certificate") if self.certificate else None,
        )


def _read(path: Path, setting: str, what: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KVStoreError(f"{path}: {error.strerror}: {what} of etcd is read here (datastore.{setting})") from error
    if not data.strip():
        raise KVStoreError(f"{path}: the file is empty: {what} of etcd is read here (datastore.{setting})")
    return data
