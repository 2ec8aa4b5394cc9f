# SPDX-License-Identifier: Apache-2.0
"""From the objects of files to what an API server takes: what these files may leave out is filled in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contivpp_sandbox.servers.api import list_path

__all__ = ["submitted"]

_SERVERS_OWN = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields",
                "deletionGracePeriodSeconds")  # fmt: skip
_IMAGE = "sandbox"


def submitted(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what is the server's own, and without its status.

    Names and images of containers are filled in: what runs in a pod here is the sandbox's own.
    """
    metadata = {key: value for key, value in found["metadata"].items() if key not in _SERVERS_OWN}
    shown = {key: value for key, value in found.items() if key not in ("status", "metadata")}
    shown["metadata"] = metadata
    if not shown.get("apiVersion"):
        shown["apiVersion"] = list_path(found["kind"]).removeprefix("/apis/").removeprefix("/api/").rpartition("/")[0]
    if found["kind"] == "Pod":
        shown["spec"] = _pod_spec(found.get("spec") or {})
    return shown


def _pod_spec(found: Mapping[str, Any]) -> dict[str, Any]:
    containers = [
        {"name": f"c{number}", "image": _IMAGE, **container}
        for number, container in enumerate(found.get("containers") or [{}])
    ]
    return {"automountServiceAccountToken": False, **found, "containers": containers}
