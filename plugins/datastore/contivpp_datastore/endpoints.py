# SPDX-License-Identifier: Apache-2.0
"""What an endpoint of etcd looks like; apart, so that checking a configuration imports no grpc."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["endpoint_fault", "is_private"]


def endpoint_fault(endpoint: str) -> str:
    """Say what is wrong with an endpoint, or ""; the text never repeats it: it may hold a password."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        return "must be a URL, for example https://10.0.0.1:2379"
    if "@" in endpoint:
        return "must hold neither user nor password: set user and passwordFile"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must be a URL, for example https://10.0.0.1:2379"
    if parts.path.strip("/") or parts.query or parts.fragment:
        return "must be scheme, host and port only, for example https://10.0.0.1:2379"
    return ""


def is_private(endpoint: str) -> bool:
    """Tell whether nobody on the way can listen: TLS, or a loopback address."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    try:
        return parts.scheme == "https" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
